"""What flows lost at single ports is told flow by flow, in a table that has an end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane.egress_drops import MOST_AT_ONCE, EgressDrops
from forwarder.dataplane.fib import Decision
from forwarder.dataplane.flows import FlowTable
from forwarder.state.egress_drops import MOST, WORDS, FlowDrop, read
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

UP, D1, D2 = range(3)
S, G = 10 << 24 | 7, 239 << 24 | 1
LOST = Reason.MTU


class World:
    def __init__(self, flows: int = 1, rows: int = MOST, capacity: int = 64) -> None:
        self.table = np.zeros((rows, WORDS), np.uint64)
        self.flows = FlowTable(FlowColumns.allocate(capacity, 1), (3, 5))
        self.rows = [self.flows.insert(UP, S + at, G, Decision(Reason.FORWARD, 0b110), 1.0) for at in range(flows)]
        self.start()

    def start(self) -> None:
        self.drops = EgressDrops(self.flows, self.table)

    def count(self, egress: int, *lost: tuple[int, int], reason: Reason = LOST) -> None:
        """(flow or -1, packets) of each."""
        rows = np.array([-1 if flow < 0 else self.rows[flow] for flow, _ in lost])
        self.drops.count(egress, reason, rows, np.array([packets for _, packets in lost]))

    def said(self) -> dict[tuple[int, int, str], int]:
        return {(each.pair - (S << 32 | G) >> 32, each.egress, each.reason.name): each.packets
                for each in read(self.table)}  # fmt: skip


def test_packets_of_a_flow_add_up_by_port_and_reason():
    world = World(2)
    world.count(D1, (0, 2), (1, 1), (0, 3), (-1, 9))
    world.count(D1, (0, 1))
    world.count(D2, (0, 4), (1, 0), reason=Reason.RATE_LIMITED)
    assert world.said() == {(0, D1, "MTU"): 6, (1, D1, "MTU"): 1, (0, D2, "RATE_LIMITED"): 4}
    assert next(read(world.table)) == FlowDrop(UP, S << 32 | G, D1, LOST, 6, 1_000_000_000)


def test_a_successor_counts_on():
    world = World(2)
    world.count(D1, (0, 2), (1, 1))
    world.start()
    world.count(D1, (0, 1))
    world.count(D2, (0, 1))
    assert world.said() == {(0, D1, "MTU"): 3, (1, D1, "MTU"): 1, (0, D2, "MTU"): 1}


def test_a_full_table_loses_its_oldest_row():
    world = World(5, rows=3)
    for flow in range(5):
        world.count(D1, (flow, flow + 1))
    assert world.said() == {(2, D1, "MTU"): 3, (3, D1, "MTU"): 4, (4, D1, "MTU"): 5}
    world.start()
    world.count(D1, (0, 7))     # who of them is the oldest is not written down
    assert len(world.said()) == 3
    assert world.said()[0, D1, "MTU"] == 7


def test_an_index_that_is_another_s_has_lost_nothing():
    world = World(2)
    world.count(D1, (0, 2), (1, 1))
    world.count(D2, (0, 4))
    world.drops.forget(D1)
    assert world.said() == {(0, D2, "MTU"): 4}
    world.count(D1, (0, 3))
    assert world.said() == {(0, D1, "MTU"): 3, (0, D2, "MTU"): 4}
    world.drops.forget(UP)
    assert world.said() == {}


def test_a_flood_of_flows_costs_no_more_than_some():
    world = World(MOST_AT_ONCE + 10, capacity=256)
    world.count(D1, *((flow, 1) for flow in range(MOST_AT_ONCE + 10)))
    assert len(world.said()) == MOST_AT_ONCE


def test_a_row_that_is_being_written_or_says_nothing_known_is_left_out():
    world = World()
    world.count(D1, (0, 1))
    world.table[0, 0] |= np.uint64(0xFFFF)
    assert world.said() == {}
    world.table[0, 0] = 0
    assert world.said() == {}


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from((D1, D2)), st.integers(0, 9)), max_size=40))
def test_the_newest_rows_are_exact_as_long_as_they_stay(losses):
    world, expected = World(5, rows=16), {}
    for flow, egress, packets in losses:
        world.count(egress, (flow, packets))
        if packets:
            expected[flow, egress, "MTU"] = expected.get((flow, egress, "MTU"), 0) + packets
    assert world.said() == expected
