from hypothesis import given
from hypothesis import strategies as st

from forwarder.state.names import TOLD, known, near


def test_near_names_come_first():
    assert known("eht1", ["wan0", "eth0", "eth1", "lan7"]) == "; there are eth1, eth0, lan7, wan0"
    assert known("eth0", ["wan0"]) == "; there is wan0"
    assert known("eth0", []) == "; there are none"
    assert near("et1", ["lan7"]) == []


def test_what_is_told_is_bounded():
    assert known("x", [f"lan{at:04}" for at in range(5000)]).endswith("lan0007 and 4992 more")


@given(st.text(), st.lists(st.text()))
def test_each_name_is_told_once(name, names):
    told = known(name, names)
    assert told.startswith("; there ")
    assert len(near(name, names)) <= TOLD
