"""Who is kept out of a flow lost what it has carried meanwhile: a model that counts every packet agrees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane import withheld
from forwarder.dataplane.withheld import Withheld
from forwarder.state.reasons import Reason

ROWS = 4
KEPT = ((), ((Reason.NOT_QUERIER, 0b010),), ((Reason.BOUNDARY, 0b110),),
        ((Reason.NOT_QUERIER, 0b100), (Reason.BOUNDARY, 1 << 70)))  # fmt: skip


class World:
    def __init__(self) -> None:
        self.packets = np.zeros(ROWS, np.uint64)
        self.lost: dict[tuple[int, int, Reason], int] = {}
        self.withheld = Withheld(self.packets, self.count)

    def count(self, egress, reason, rows, packets) -> None:
        for row, lost in zip(rows.tolist(), packets.tolist(), strict=True):
            self.lost[row, egress, reason] = self.lost.get((row, egress, reason), 0) + lost


STEPS = st.lists(st.one_of(
    st.tuples(st.just("carry"), st.integers(0, ROWS - 1), st.integers(1, 9)),
    st.tuples(st.just("decide"), st.lists(st.integers(0, ROWS - 1), unique=True, min_size=1), st.integers(0, 3)),
    st.tuples(st.just("forget"), st.integers(0, ROWS - 1), st.just(0)),
    st.tuples(st.just("settle"), st.just(0), st.just(0)),
), max_size=40)  # fmt: skip


@pytest.mark.parametrize("most", [withheld.MOST_KINDS, 2])
@given(steps=STEPS)
def test_what_was_lost_is_what_came_while_a_port_was_kept_out(most, steps):
    world, model, kept = World(), {}, [()] * ROWS
    world.withheld.most = most
    for step, what, value in steps:
        if step == "carry":
            world.packets[what] += np.uint64(value)
            for reason, ports in kept[what]:
                for port in (each for each in range(80) if ports >> each & 1):
                    model[what, port, reason] = model.get((what, port, reason), 0) + value
        elif step == "decide":
            rows = np.array(what)
            chosen = np.arange(len(rows)) % 2
            world.withheld.decided(rows, [KEPT[value], KEPT[3 - value]], chosen)
            for row, which in zip(what, chosen.tolist(), strict=True):
                kept[row] = KEPT[3 - value if which else value]
        elif step == "forget":
            world.withheld.forget(np.array([what]))
            world.packets[what], kept[what] = 0, ()
        else:
            world.withheld.settle()
        assert [bool(each) for each in world.withheld.which[:-1]] == [bool(each) for each in kept]
    world.withheld.settle()
    assert world.lost == model


def test_what_the_predecessor_counted_is_not_counted_again():
    world = World()
    world.packets[0] = 100
    world.withheld.decided(np.array([0]), [KEPT[1]], np.zeros(1, np.int64))
    world.packets[0] = 103
    world.withheld.settle()
    assert world.lost == {(0, 1, Reason.NOT_QUERIER): 3}


def test_without_anybody_to_tell_nothing_is_told():
    packets = np.zeros(ROWS, np.uint64)
    alone = Withheld(packets)
    alone.decided(np.array([0]), [KEPT[1]], np.zeros(1, np.int64))
    packets[0] = 3
    alone.settle()
    assert alone.which[-1] == 0
