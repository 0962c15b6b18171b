"""Which ports got their owner after something was said."""

from hypothesis import given
from hypothesis import strategies as st

from forwarder.agent.owners import Owners


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))), st.integers(0, 10))
def test_a_port_has_the_owner_it_was_assigned_last(assignments, stamp):
    owners, model = Owners(), {}
    for index, assigned in assignments:
        assert owners.assign(index, assigned) == (model.get(index) != assigned)
        model[index] = assigned
        assert owners.since(stamp) == sum(1 << each for each, since in model.items() if since > stamp)
