import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forwarder.dataplane.fib import Decided, Decision
from forwarder.dataplane.flows import MOST_AT_ONCE, SEARCH_PAUSE, FlowTable
from forwarder.dataplane.frame import NONE
from forwarder.dataplane.room import IDLE, PROBATION, UNWANTED_IDLE, leaving
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
G = 0xEF010101
FORWARD = Decision(Reason.FORWARD, 0b110)
UNWANTED = Decision(Reason.NO_MEMBERS)


def table(capacity: int = 8, words: int = 1) -> FlowTable:
    return FlowTable(FlowColumns.allocate(capacity, words), KEY)


def find(flows: FlowTable, ingress: int, *flow: tuple[int, int]) -> list[int]:
    sources, groups = (np.array(column, np.uint32) for column in zip(*flow, strict=True))
    return flows.lookup(ingress, sources, groups).tolist()


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def seen(flows: FlowTable, row: int, frames: int, now: float) -> int:
    """Frames of a flow are counted."""
    flows.account(np.full(frames, row), np.full(frames, 100), now)
    return row


def established(flows: FlowTable, source: int, decision: Decision = FORWARD, now: float = 0.0) -> int:
    """The row of a flow that has gone on for a while."""
    return seen(flows, flows.insert(0, source, G, decision, now), PROBATION, now)


def test_a_flow_is_found_by_its_ingress_source_and_group():
    flows = table()
    row = flows.insert(3, 10, G, FORWARD, now=1.0)
    assert find(flows, 3, (10, G), (11, G), (10, G + 1)) == [row, -1, -1]
    assert find(flows, 4, (10, G)) == [-1]
    assert flows.key(row) == (3, 10, G)
    assert len(flows) == 1


def test_a_row_says_when_its_flow_began_and_a_successor_of_the_worker_knows_it():
    columns = FlowColumns.allocate(4, 1)
    flows = FlowTable(columns, KEY)
    row = seen(flows, flows.insert(0, 1, G, FORWARD, 1.5), 3, 2.5)
    assert (columns.first_seen[row], columns.last_seen[row]) == (1.5e9, 2.5e9)
    FlowTable(columns, KEY).decide(row, UNWANTED)
    assert columns.first_seen[row] == 1.5e9
    flows.expire(2.6 + IDLE)
    assert flows.insert(0, 2, G, FORWARD, 70.0) == row
    assert columns.first_seen[row] == 70e9


def test_what_was_decided_is_remembered():
    flows = table()
    wanted, unwanted = flows.insert(0, 1, G, FORWARD, 1.0), flows.insert(0, 2, G, UNWANTED, 1.0)
    assert flows.reasons(rows(unwanted, wanted, -1)).tolist() == [Reason.NO_MEMBERS, Reason.FORWARD, Reason.FLOW_LIMIT]
    assert flows.ports(rows(wanted)).tolist() == [[0b110]]


def test_bitmaps_of_several_words():
    flows = table(words=3)
    row = flows.insert(0, 1, G, Decision(Reason.FORWARD, 1 << 130 | 1 << 64 | 1), 1.0)
    assert flows.ports(rows(row)).tolist() == [[1, 1, 4]]


def test_full_table_refuses():
    flows = table(capacity=2)
    assert [established(flows, source) for source in range(2)] == [0, 1]
    assert flows.insert(0, 2, G, FORWARD, 1.0) == -1


def test_unwanted_flows_make_room_sooner():
    flows = table(capacity=2)
    established(flows, 1)
    established(flows, 2, UNWANTED)
    assert flows.insert(0, 3, G, FORWARD, UNWANTED_IDLE) == -1
    assert established(flows, 3, now=UNWANTED_IDLE + 0.2) == 1
    assert find(flows, 0, (1, G), (2, G), (3, G)) == [0, -1, 1]
    assert flows.insert(0, 4, G, FORWARD, IDLE + 0.1) == 0
    assert find(flows, 0, (1, G), (3, G), (4, G)) == [-1, 1, 0]


def test_a_full_table_is_not_searched_for_every_new_flow():
    flows = table(capacity=1)
    established(flows, 1, UNWANTED)
    assert flows.insert(0, 2, G, FORWARD, 1.95) == -1
    assert flows.insert(0, 2, G, FORWARD, 2.04) == -1
    assert flows.insert(0, 2, G, FORWARD, 2.06) == 0


def test_the_flows_of_an_ingress_are_forgotten_some_at_once_and_the_others_later():
    flows = table(MOST_AT_ONCE + 8)
    for source in range(MOST_AT_ONCE + 3):
        flows.insert(3, source, G, FORWARD, 100.0)
    flows.insert(4, 1, G, FORWARD, 100.0)
    for ingress in (3, 5):
        flows.forget(ingress)
        assert len(flows) == 3 + 1
    assert len(flows.expire(100.0)) == 3
    assert find(flows, 4, (1, G)) != [-1]


def test_expire_frees_what_was_not_seen():
    flows = table()
    for source in range(3):
        flows.insert(0, source, G, UNWANTED, 0.0)
    flows.account(rows(1), rows(100), now=30.0)
    assert flows.expire(IDLE + 1).tolist() == [0, 2]
    assert find(flows, 0, (0, G), (1, G), (2, G)) == [-1, 1, -1]
    assert flows.insert(0, 9, G, FORWARD, 61.0) == 0


def test_account_counts_every_frame():
    columns = FlowColumns.allocate(4, 1)
    flows = FlowTable(columns, KEY)
    flows.insert(0, 1, G, FORWARD, 1.0)
    flows.insert(0, 2, G, FORWARD, 1.0)
    flows.account(rows(0, 1, -1, 0), rows(100, 50, 7, 1), now=2.5)
    assert columns.packets.tolist() == [2, 1, 0, 0]
    assert columns.bytes.tolist() == [101, 50, 0, 0]
    assert columns.last_seen.tolist() == [2_500_000_000, 2_500_000_000, 0, 0]


def test_frames_without_a_flow_count_for_none():
    columns = FlowColumns.allocate(3, 1)
    flows = FlowTable(columns, KEY)
    for source in range(3):
        flows.insert(0, source, G, FORWARD, 1.0)
    for numbers in ((-1,), (-1, -1), (-1, 1, -1)):
        flows.account(rows(*numbers), np.full(len(numbers), 100), 2.0)
    assert columns.packets.tolist() == [0, 1, 0]
    assert columns.last_seen.tolist() == [1e9, 2e9, 1e9]


def test_account_drops():
    columns = FlowColumns.allocate(4, 1)
    flows = FlowTable(columns, KEY)
    flows.insert(0, 1, G, FORWARD, 1.0)
    reasons = np.array([Reason.TTL_EXPIRED, Reason.TTL_THRESHOLD, Reason.TTL_EXPIRED], np.uint8)
    flows.account_drops(rows(0, 0, -1), reasons, 1.0)
    assert (columns.dropped.tolist(), columns.ttl_expired.tolist()) == ([2, 0, 0, 0], [1, 0, 0, 0])


def test_a_reused_row_starts_from_zero():
    columns = FlowColumns.allocate(1, 1)
    flows = FlowTable(columns, KEY)
    flows.insert(0, 1, G, FORWARD, 0.0)
    flows.account(rows(0), rows(100), 0.0)
    flows.account_drops(rows(0), np.array([Reason.TTL_EXPIRED], np.uint8), 1.0)
    flows.expire(100.0)
    flows.insert(0, 2, G, FORWARD, 100.0)
    counters = (columns.packets, columns.bytes, columns.dropped, columns.ttl_expired)
    assert [int(column[0]) for column in counters] == [0, 0, 0, 0]


def test_rewriting_moves_the_version_by_two():
    columns = FlowColumns.allocate(2, 1)
    flows = FlowTable(columns, KEY)
    row = flows.insert(0, 1, G, FORWARD, 1.0)
    assert int(columns.version[row]) == 2
    flows.account(rows(row), rows(1), 1.0)
    assert int(columns.version[row]) == 2
    flows.decide(row, UNWANTED)
    assert int(columns.version[row]) == 4
    flows.expire(100.0)
    assert (int(columns.version[row]), int(columns.used[row])) == (6, 0)


def test_a_changed_group_makes_its_flows_stale():
    flows = table()
    for number, group in enumerate((G, G, G + 1, G + 0x100)):
        flows.insert(0, number, group, FORWARD, 1.0)
    everything = rows(0, 1, 2, 3, 3, -1)
    assert flows.stale(everything).tolist() == []
    flows.mark_group(G)
    assert flows.stale(everything).tolist() == [0, 1]
    flows.mark_group(G, 24)
    assert flows.stale(everything).tolist() == [0, 1, 2]
    flows.decide(0, UNWANTED)
    assert flows.stale(rows(0, 2, 2)).tolist() == [2]
    assert flows.reasons(rows(0)).tolist() == [Reason.NO_MEMBERS]
    assert flows.all_stale().tolist() == [1, 2]
    assert flows.count_unwanted() == 1
    flows.mark_all()
    assert flows.stale(everything).tolist() == flows.all_stale().tolist() == [0, 1, 2, 3]
    flows.mark_group(G + 77)


def test_rows_marked_by_number():
    flows = table()
    flows.insert(0, 1, G, FORWARD, 1.0)
    flows.insert(0, 2, G, FORWARD, 1.0)
    flows.mark(rows(1, 5))
    assert flows.all_stale().tolist() == [1]


def test_flows_that_stand_by_are_not_unwanted():
    flows = table()
    for source, reason in enumerate((Reason.FORWARD, Reason.STANDBY_DUPLICATE, Reason.NO_MEMBERS, Reason.BOUNDARY)):
        flows.insert(3, source, G, Decision(reason), 1.5)
    assert flows.count_unwanted() == 2
    assert list(flows.live())[1] == (1, 3, 1 << 32 | G, Reason.STANDBY_DUPLICATE, 1.5)


def test_a_freed_row_is_stale_no_more():
    flows = table()
    flows.insert(0, 1, G, FORWARD, 0.0)
    flows.mark_all()
    flows.expire(100.0)
    assert flows.all_stale().size == 0
    assert flows.insert(0, 2, G, FORWARD, 100.0) == 0
    assert flows.stale(rows(0)).tolist() == []


def test_a_table_in_which_nothing_is_stale_knows_it_without_looking():
    flows = table()
    first, second = (flows.insert(0, source, G, FORWARD, 1.0) for source in (1, 2))
    assert flows.all_stale() is flows.stale(rows(first, second)) is NONE
    flows.mark_group(G)
    flows.mark(rows(first))     # again
    flows.mark_all()
    assert flows.stale(rows(second, first, second, -1)).tolist() == [first, second]
    flows.decide(first, FORWARD)
    flows.decide(second, FORWARD)
    assert flows.all_stale() is flows.stale(rows(first, second)) is NONE
    flows.mark_all()
    flows.expire(1.0 + IDLE + 1.0)
    assert flows.all_stale() is NONE


def test_rows_that_are_not_in_use_are_never_stale():
    flows = table()
    flows.insert(0, 1, G, FORWARD, 1.0)
    flows.mark(rows(0, 3, 5))
    assert flows.all_stale().tolist() == [0]


def test_every_row_that_went_can_be_had_again():
    flows = table(capacity=6)
    for source in range(6):
        flows.insert(source % 2, source, G + source % 3, FORWARD, now=float(source))
    before = flows.changes
    assert flows.expire(IDLE).tolist() == []
    assert flows.changes == before
    assert flows.expire(IDLE + 3.5).tolist() == [0, 1, 2, 3]
    assert flows.changes > before
    assert [flows.insert(0, source, G, FORWARD, IDLE + 3.6) for source in range(10, 14)] == [0, 1, 2, 3]
    flows.mark_group(G + 1)     # of which only the fifth is left
    assert flows.all_stale().tolist() == [4]


def test_while_many_rows_can_go_a_full_table_is_searched_at_once():
    flows = table(capacity=MOST_AT_ONCE + 100)
    for source in range(flows.capacity):
        flows.insert(0, source, G, FORWARD, 1.0)
    later = 1.0 + IDLE + 1.0
    flows.account(np.repeat(np.arange(flows.capacity), PROBATION), np.ones(flows.capacity * PROBATION, np.int64), 1.0)
    found = [flows.insert(1, source, G, FORWARD, later) for source in range(flows.capacity)]
    assert sorted(found) == list(range(flows.capacity))
    assert flows.insert(2, 1, G, FORWARD, later) == -1


def test_where_a_flow_goes_is_known_by_all_words_of_its_bitmap():
    flows = table(words=3)
    ports = 1 << 130 | 1 << 64 | 1
    row = flows.insert(7, 1, G, Decision(Reason.FORWARD, ports), 1.0)
    assert flows.forwarded(7, 1 << 32 | G) == (row, ports)
    assert flows.forwarded(6, 1 << 32 | G) == flows.forwarded(7, 2 << 32 | G) == (-1, 0)
    flows.mark_all()
    assert flows.forwarded(7, 1 << 32 | G) == (row, 0)
    flows.decide(row, UNWANTED)
    assert flows.forwarded(7, 1 << 32 | G) == (row, 0)


def test_a_successor_finds_the_rows_of_its_predecessor():
    columns = FlowColumns.allocate(8, 2)
    first = FlowTable(columns, KEY)
    for number in range(6):
        first.insert(number % 2, number, G + number % 3, FORWARD, 0.0)
    for row in (1, 4):
        seen(first, row, PROBATION, 50.0)
    first.expire(70.0)
    second = FlowTable(columns, (KEY[1], KEY[0]))
    assert find(second, 1, (1, G + 1)) == [1]
    assert find(second, 0, (4, G + 1), (0, G)) == [4, -1]
    assert second.stale(rows(1, 4)).tolist() == [1, 4]
    assert second.reasons(rows(1)).tolist() == [Reason.FORWARD]
    assert [established(second, 100 + number, now=70.0) for number in range(6)] == [0, 2, 3, 5, 6, 7]
    assert second.insert(0, 200, G, FORWARD, 70.0) == -1


def test_a_successor_repairs_a_row_left_half_written():
    columns = FlowColumns.allocate(4, 1)
    first = FlowTable(columns, KEY)
    for source in range(2):
        first.insert(0, source, G, FORWARD, 0.0)
    columns.version[0] += 1
    second = FlowTable(columns, KEY)
    assert (int(columns.version[0]) & 1, int(columns.used[0])) == (0, 0)
    assert find(second, 0, (0, G), (1, G)) == [-1, 1]
    assert second.insert(0, 7, G, FORWARD, 1.0) == 0


def test_who_has_been_silent_longest_leaves_first():
    columns = FlowColumns.allocate(8, 1)
    flows = FlowTable(columns, KEY)
    for source, last in enumerate((5.0, 3.0, 4.0, 1.0, 2.0)):
        seen(flows, flows.insert(0, source, G, FORWARD, last), 1, last)
    trusted = established(flows, 9, now=0.5)
    assert sorted(leaving(columns, 6, rows(), 6.0, 2).tolist()) == [3, 4]
    assert sorted(leaving(columns, 6, rows(3, -1), 6.0, 2).tolist()) == [1, 4]
    assert sorted(leaving(columns, 6, rows(), 6.0, 9).tolist()) == [0, 1, 2, 3, 4]
    assert trusted in leaving(columns, 6, rows(), IDLE + 0.6, 9).tolist()


def test_flows_that_are_more_than_one_frame_old_leave_after_a_while_until_they_are_trusted():
    columns = FlowColumns.allocate(4, 1)
    flows = FlowTable(columns, KEY)
    for frames in (1, 2, PROBATION - 1, PROBATION):
        seen(flows, flows.insert(0, frames, G, FORWARD, 0.0), frames, 0.0)
    found = [leaving(columns, 4, rows(), now, 9).tolist() for now in (0.1, UNWANTED_IDLE + 0.1, IDLE + 0.1)]
    assert found == [[0], [0, 1, 2], [0, 1, 2, 3]]


def test_flows_that_the_index_has_no_place_for_cost_no_row():
    flows = FlowTable(FlowColumns.allocate(128, 1), (1, 1))  # a key by which all these share a place
    pairs = np.arange(80, dtype=np.uint64) | np.uint64(G << 8 & 0xFFFF_FFFF)
    found = flows.insert_all(0, pairs, Decided.alike(FORWARD, 80), 1.0)
    refused = np.count_nonzero(found < 0)
    assert 0 < refused == 128 - 48 - len(flows)
    assert flows.lookup_pairs(0, pairs).tolist() == found.tolist()
    others = [flows.insert(1, 1 << 20 | number << 8, G, FORWARD, 1.0) for number in range(60)]
    assert min(others) >= 0
    assert len(set(others) | set(found[found >= 0].tolist())) == 140 - refused


flow_keys = st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(G, G + 3))
decisions = st.builds(lambda ports: Decision(Reason.FORWARD, ports) if ports else UNWANTED, st.integers(0, 2**70 - 1))


class FlowTableAgainstDict(RuleBasedStateMachine):
    """The table says what a dict of the same flows says, through insertion, decision, expiry and succession."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = FlowColumns.allocate(24, 2)
        self.flows = FlowTable(self.columns, KEY)
        self.model: dict[tuple[int, int, int], list] = {}  # key -> [row, decision, last seen, frames, stale]
        self.now, self.searched = 0.0, -1.0

    @rule(key=flow_keys, decision=decisions)
    def insert_or_decide(self, key, decision):
        if key in self.model:
            self.flows.decide(self.model[key][0], decision)
            self.model[key][1], self.model[key][4] = decision, False
            return
        row = self.flows.insert(*key, decision, self.now)
        held = {state[0]: each for each, state in self.model.items()}
        if row < 0:
            assert len(self.model) == 24
            assert self.now < self.searched + SEARCH_PAUSE or not any(map(self.may_go, self.model.values()))
            return
        if len(self.model) == 24:
            self.searched = self.now
            self.model = {each: state for each, state in self.model.items() if not self.may_go(state)}
        assert row not in {state[0] for state in self.model.values()}, held
        self.model[key] = [row, decision, self.now, 0, False]

    def may_go(self, state) -> bool:
        if state[3] == 1:
            return self.now > state[2]
        trusted = state[1].reason == Reason.FORWARD and state[3] >= PROBATION
        return self.now - state[2] > (IDLE if trusted else UNWANTED_IDLE)

    @rule(seconds=st.sampled_from([0.5, 1.5, 3.0, 61.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(seen=st.lists(flow_keys, max_size=30))
    def account(self, seen):
        found = [self.model[key][0] if key in self.model else -1 for key in seen]
        self.flows.account(np.array(found, np.int64), np.full(len(seen), 10), self.now)
        for key in seen:
            if key in self.model:
                self.model[key][2], self.model[key][3] = self.now, self.model[key][3] + 1

    @rule(group=st.integers(G, G + 3), plen=st.sampled_from([31, 32]))
    def mark(self, group, plen):
        self.flows.mark_group(group, plen)
        for key, state in self.model.items():
            state[4] |= key[2] >> 32 - plen == group >> 32 - plen

    @rule()
    def expire(self):
        self.flows.expire(self.now)
        self.model = {key: state for key, state in self.model.items() if self.now - state[2] <= IDLE}

    @precondition(lambda self: self.model)
    @rule()
    def succeed(self):
        self.flows = FlowTable(self.columns, KEY)
        for state in self.model.values():
            state[4] = True

    @invariant()
    def agree(self):
        for ingress in range(3):
            every = [(source, group) for source in range(41) for group in range(G, G + 4)]
            expected = [self.model.get((ingress, *flow), [-1])[0] for flow in every]
            assert find(self.flows, ingress, *every) == expected
        held = rows(*(state[0] for state in self.model.values()))
        words = self.flows.ports(held)
        assert [int(low) | int(high) << 64 for low, high in words] == [state[1].ports for state in self.model.values()]
        assert self.flows.reasons(held).tolist() == [state[1].reason for state in self.model.values()]
        assert self.columns.packets[held].tolist() == [state[3] for state in self.model.values()]
        assert self.flows.stale(held).tolist() == sorted(state[0] for state in self.model.values() if state[4])
        assert len(self.flows) == len(self.model) == int(self.columns.used.sum())
        assert not (self.columns.version & np.uint64(1)).any()


TestFlowTableAgainstDict = FlowTableAgainstDict.TestCase
TestFlowTableAgainstDict.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
