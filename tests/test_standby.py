import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.standby import GAP, HOLD_DOWN, Standby

FAILOVER = 1.0
HOLD = HOLD_DOWN * FAILOVER
A, B, C = 0, 1, 2
S, S2 = 0x0A630001_EF010101, 0x0A630002_EF010101
ROWS = 64


class Upstreams:
    """Drives a Standby as the worker does: new rows enter, sound frames are heard, what changed enters again."""

    def __init__(self, *priorities: int) -> None:
        self.priorities = dict(enumerate(priorities))
        self.standby = Standby(ROWS)
        self.row_of: dict[tuple[int, int], int] = {}
        self.taken: dict[int, bool] = {}
        self.links(*self.priorities)

    def links(self, *up: int, now: float = 0.0) -> None:
        self.standby.configure(self.priorities, up, FAILOVER)
        for key in self.row_of:
            self.decide(key, now)
        self.settle(now)

    def decide(self, key: tuple[int, int], now: float) -> None:
        port, flow = key
        row = self.row_of.setdefault(key, len(self.row_of))
        self.taken[row] = self.standby.enter(port, flow, row, now)

    def settle(self, now: float) -> None:
        keys = {row: key for key, row in self.row_of.items()}
        while (changed := self.standby.take_changed()).size:
            for row in changed.tolist():
                if row in keys:
                    self.decide(keys[row], now)

    def frames(self, port: int, *flows: int, now: float, sound: bool = True) -> list[bool]:
        """One frame of each flow comes by `port`: which are taken."""
        for flow in flows:
            if (port, flow) not in self.row_of:
                self.decide((port, flow), now)
        self.settle(now)
        rows = [self.row_of[port, flow] for flow in flows]
        if sound:
            self.standby.listen(np.array([*rows, -1], np.int64), now)
            self.settle(now)
        return [self.taken[row] for row in rows]

    def frame(self, port: int, now: float, **how) -> bool:
        return self.frames(port, S, now=now, **how)[0]

    def run(self, ports: list[int], start: float, end: float, step: float = 0.25) -> list[tuple[float, int]]:
        """A frame by each of `ports` at every step: time and port of those taken."""
        times = np.arange(start, end, step).tolist()
        return [(now, port) for now in times for port in ports if self.frame(port, now)]


def ports_of(taken: list[tuple[float, int]]) -> set[int]:
    return {port for _, port in taken}


def test_first_come_is_taken_among_equals():
    up = Upstreams(1, 1)
    assert ports_of(up.run([B, A], 0.0, 20.0)) == {B}


def test_every_frame_is_taken_where_there_is_one_copy():
    up = Upstreams(1, 1)
    assert len(up.run([B], 0.0, 20.0)) == 80


def test_flows_are_judged_one_by_one():
    up = Upstreams(1, 1)
    assert up.frames(A, S, now=0.0) == [True]
    assert up.frames(B, S, S2, now=0.1) == [False, True]
    assert up.frames(A, S, S2, now=0.2) == [True, False]


def test_a_silent_port_loses_the_flow_after_failover_time():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 3.0)
    assert not up.frame(B, 2.75 + FAILOVER - 0.01)
    assert up.frame(B, 2.75 + FAILOVER)
    assert not up.frame(A, 2.75 + FAILOVER + 0.01)


def test_a_port_back_from_silence_waits_for_the_hold_down():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 2.0)
    up.run([B], 2.0, 10.0)
    taken = up.run([A, B], 10.0, 30.0)
    before = [each for each in taken if each[0] < 10.0 + HOLD]
    assert ports_of(before) == {B}
    assert ports_of([each for each in taken if each[0] >= 10.0 + HOLD + GAP]) == {A}
    assert len(taken) >= 79


def test_flapping_does_not_move_a_flow_back():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 2.0)
    up.run([B], 2.0, 4.0)
    for period in range(10):
        start = 4.0 + 5.0 * period
        assert ports_of(up.run([A, B], start, start + 3.5)) == {B}
        assert ports_of(up.run([B], start + 3.5, start + 5.0)) == {B}


def test_equals_do_not_move_back():
    up = Upstreams(1, 1)
    up.run([A, B], 0.0, 2.0)
    up.run([B], 2.0, 4.0)
    assert ports_of(up.run([A, B], 4.0, 40.0)) == {B}


def test_priority_decides_at_the_start_of_a_flow():
    up = Upstreams(2, 1)
    assert up.frame(A, 0.0)
    assert not up.frame(B, 0.01)
    assert not up.frame(A, 0.02)
    assert up.frame(B, 0.02 + GAP)
    assert not up.frame(A, 0.03 + GAP)


def test_a_better_port_that_appears_late_waits_for_the_hold_down():
    up = Upstreams(2, 1)
    up.run([A], 0.0, 2.0)
    taken = up.run([A, B], 2.0, 12.0)
    assert ports_of([each for each in taken if each[0] < 2.0 + HOLD]) == {A}
    assert ports_of([each for each in taken if each[0] > 2.0 + HOLD + GAP]) == {B}


def test_nothing_is_taken_while_a_flow_moves_between_two_that_deliver():
    up = Upstreams(2, 1)
    up.run([A], 0.0, 2.0)
    taken = up.run([A, B], 2.0, 9.0, step=0.01)
    last = max(now for now, port in taken if port == A)
    first = min(now for now, port in taken if port == B)
    assert GAP <= first - last <= GAP + 0.02


def test_a_link_down_loses_the_flow_at_once():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 3.0)
    up.links(B, now=2.75 + GAP)
    assert up.frame(B, 2.76 + GAP)


def test_a_link_down_loses_a_slow_flow_at_once():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 20.0, step=0.75)
    up.links(B, now=20.2)
    assert up.frame(B, 20.25)
    assert up.frame(B, 25.0)


def test_a_better_port_that_has_just_gone_too_does_not_lengthen_the_wait():
    up = Upstreams(1, 3, 2)
    up.run([A, B, C], 0.0, 3.0)
    up.run([B, C], 3.0, 3.5)
    assert ports_of(up.run([B], 3.5, 2.75 + FAILOVER)) == set()
    assert up.frame(B, 2.75 + FAILOVER)


def test_a_link_just_down_leaves_a_gap():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 3.0)
    up.links(B, now=2.751)
    assert not up.frame(B, 2.752)
    assert up.frame(B, 2.751 + GAP)


def test_a_link_up_again_waits_for_the_hold_down():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 3.0)
    up.links(B, now=3.0)
    up.run([B], 3.0, 3.5)
    up.links(A, B, now=3.5)
    assert ports_of(up.run([A, B], 3.5, 3.5 + HOLD - 0.5)) == {B}


def test_of_three_the_best_that_is_heard():
    up = Upstreams(1, 3, 2)
    up.run([A, B, C], 0.0, 3.0)
    assert ports_of(up.run([B, C], 3.0, 6.0, step=1 / 16)) == {C}
    assert ports_of(up.run([B], 6.0, 9.0)) == {B}


def test_unsound_frames_are_not_heard():
    up = Upstreams(1, 2)
    for now in np.arange(0.0, 5.0, 0.25).tolist():
        up.frame(A, now, sound=False)
        assert up.frame(B, now + 0.01) or now < GAP


def test_a_port_without_hearers_elsewhere_keeps_a_flow_that_pauses():
    up = Upstreams(1, 2)
    assert up.frame(B, 0.0)
    assert up.frame(B, 50.0)
    assert up.frame(A, 120.0)
    assert not up.frame(B, 120.1)


def test_a_row_given_to_another_flow_frees_the_first():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 3.0)
    row = up.row_of.pop((A, S))
    up.row_of[A, S2] = row
    up.taken[row] = up.standby.enter(A, S2, row, 3.0)
    up.settle(3.0)
    assert up.frame(B, 3.0)
    assert up.frames(A, S2, now=3.1) == [True]
    up.standby.forget(row)
    up.standby.forget(row)
    assert up.frame(B, 3.2)


def test_one_upstream_is_no_concern():
    standby = Standby(ROWS)
    standby.configure({A: 1}, [A], FAILOVER)
    assert not standby.several
    assert not standby.concerns(A)


def test_a_removed_upstream_leaves_its_flows_to_the_others():
    up = Upstreams(1, 2, 3)
    up.run([A, B, C], 0.0, 3.0)
    up.priorities = {B: 2, C: 3}
    del up.row_of[A, S]
    up.links(B, C, now=3.0)
    assert not up.standby.concerns(A)
    assert ports_of(up.run([B, C], 3.0, 5.0)) == {B}


def test_new_priorities_move_flows_after_the_hold_down():
    up = Upstreams(1, 2)
    up.run([A, B], 0.0, 10.0)
    up.priorities = {A: 2, B: 1}
    up.links(A, B, now=10.0)
    taken = up.run([A, B], 10.0, 12.0)
    assert ports_of([each for each in taken if each[0] > 10.5]) == {B}


@pytest.mark.parametrize("taken", [A, B])
def test_a_successor_takes_from_the_same_port(taken):
    standby = Standby(ROWS)
    standby.configure({A: 1, B: 2}, [A, B], FAILOVER)
    standby.adopt(A, S, 7, taken == A, 99.9)
    standby.adopt(B, S, 3, taken == B, 99.9)
    assert standby.enter(A, S, 7, 100.0) == (taken == A)
    assert standby.enter(B, S, 3, 100.0) == (taken == B)


# Never two copies, and never long without one.

STEP = 1 / 32
outages = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 300)), max_size=5)


def is_out(cuts: list[tuple[int, int]], step: int) -> bool:
    return any(start <= step < start + length for start, length in cuts)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 2), st.floats(0, GAP * 0.9), outages), min_size=2, max_size=3),
    st.integers(1, 6),
)
def test_one_copy_of_every_packet_and_failover_time_at_most_without_one(paths, every):
    """Packets numbered by their time of sending, over paths of different delay; for every failure on its own."""
    up = Upstreams(*(priority for priority, _, _ in paths))
    arrivals = sorted(
        (step * STEP + delay, port, step)
        for step in range(0, 900, every)
        for port, (_, delay, cuts) in enumerate(paths)
        if not is_out(cuts, step)
    )
    taken = [(now, step) for now, port, step in arrivals if up.frame(port, now)]
    assert len({step for _, step in taken}) == len(taken)
    longest = FAILOVER * (1 + 2 * GAP) + 2 * every * STEP
    reachable = [now for now, _, _ in arrivals]
    failures = [start * STEP for _, _, cuts in paths for start, _ in cuts]
    moments = [now for now, _ in taken]
    for before, after in zip(moments, [*moments[1:], reachable[-1]], strict=True):
        inside = [now for now in reachable if before < now < after]
        times = sum(before + every * STEP < failure < after for failure in failures)
        if after - before > longest * (1 + times):
            assert np.diff([before, *inside, after]).max() > FAILOVER / 2  # nothing came: nothing could be taken


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 3), min_size=1), st.integers(1, 40)), max_size=60))
def test_flows_of_one_batch_fare_as_if_each_came_alone(events):
    together, alone = Upstreams(2, 1, 1), [Upstreams(2, 1, 1) for _ in range(4)]
    now = 0.0
    for port, flows, steps in events:
        now += steps * STEP
        chosen = sorted(flows)
        taken = together.frames(port, *(S + flow for flow in chosen), now=now)
        assert taken == [alone[flow].frames(port, S + flow, now=now)[0] for flow in chosen]


def test_flows_that_enter_together_are_looked_at_only_where_hands_may_change():
    standby = Standby(ROWS)
    standby.configure({A: 1, B: 1}, [A, B], FAILOVER)
    pairs, here, there = np.array([S, S2], np.uint64), np.array([0, 1]), np.array([2, 3])
    assert standby.work(here, 0.0).all()
    assert standby.enter_all(A, pairs, here, 0.0).tolist() == [True, True]
    assert standby.enter_all(B, pairs, there, 0.0).tolist() == [False, False]
    standby.listen(here, 0.0)
    for rows in (here, there):
        assert not standby.work(rows, 0.5).any()
    standby.listen(here[:1], 1.5)
    assert standby.work(there, 1.6).tolist() == [False, True], "who is silent may lose its flow"
    standby.configure({A: 1, B: 1}, [B], FAILOVER)
    assert standby.work(there, 1.6).all(), "and so may who is down"
    assert not standby.work(here, 1.6).any()
    standby.configure({A: 1, B: 2}, [A, B], FAILOVER)
    assert standby.work(here, 1.6).all()
    standby.enter_all(A, pairs, here, 1.6)
    standby.forget_all(np.array([0, 1, 2]))
    assert standby.holds(np.arange(4)).tolist() == [False, False, False, True]
