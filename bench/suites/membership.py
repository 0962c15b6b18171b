"""Group join delay (RFC 3918 section 6.1), leave delay (6.2), and join delay under load (8.2).

Join: a stream flows that the receiver has not asked for; from its report leaving its link to the first datagram at its
socket, both stamped by the kernel (which itself delays a report by some milliseconds after the join). Case A: nobody
is a member; case B: another port is. Half the spacing of datagrams is part of every figure. Leave: from the leave on
the link to the last datagram on it. Static routes know neither.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.suites.latency import Burden
from forwarder.lab.capture import IGMP, UDP, Capture, Frame, reported_groups
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

RATE = 5000.0  # of the stream that is joined: a datagram every 0.2 ms
LEAVE_RATE = 1000.0
AHEAD = 0.1  # seconds that the stream flows before the join
CUT = 0.4  # seconds without a datagram: the branch is cut
PATIENCE = 10.0  # seconds of leaves of one contestant
GROUPS = "239.2.{}.{}"


def scenarios(plan: Plan) -> list[Scenario]:
    """Joins, then leaves."""
    found = [Scenario("join", "join-delay", partial(_joins, "join-delay", False, False))]
    if plan.level != "quick":
        found.append(Scenario("join", "join-delay-other-port", partial(_joins, "join-delay-other-port", True, False)))
        found.append(Scenario("burdened", "join-delay-burdened", partial(_joins, "join-delay-burdened", False, True)))
        found.append(Scenario("leave", "leave-delay", _leaves))
    return found


def _names(bench: Bench) -> list[str]:
    """Whoever speaks IGMP; igmpproxy as soon as anybody else does, as the usual program for the task."""
    others = bench.opponents()
    return [*dict.fromkeys([*others, *(["igmpproxy"] if others else [])]), "mcfwd", "mcfwd-latency"]


def _joins(scenario: str, other_port: bool, burdened: bool, bench: Bench) -> None:
    terms = bench.terms(scenario, ports=2, groups=2, receivers="polled")
    able = bench.able(scenario, _names(bench), terms, igmp=True)
    serial = iter(range(1, 60_000))

    def measure(arena: Arena) -> None:
        delays = []
        with _burden(arena, burdened), Capture(arena.lab.receivers[0], LINK, IGMP) as capture:
            for _ in range(bench.plan.by_level(5, 8, 20)):
                delays.append(_join(arena, capture, _group(next(serial)), other_port))
        detail = {"all": delays, "spacing": 1 / RATE}
        bench.add(scenario, arena.contestant.name, "median", "s", median(delays), detail)
        bench.record.add(scenario, arena.contestant.name, "max", "s", max(delays))

    bench.interleave(scenario, able, terms, measure, bench.plan.side_pairs if scenario != "join-delay" else 0)


@contextmanager
def _burden(arena: Arena, burdened: bool) -> Iterator[None]:
    if not burdened:
        yield
        return
    with Burden(arena):
        yield


def _group(serial: int) -> str:
    return GROUPS.format(serial // 250, serial % 250 + 1)


@contextmanager
def _flowing(arena: Arena, group: str, rate: float) -> Iterator[None]:
    """A stamped count of one group that flows until the context ends."""
    arena.receivers.stamp("kernel")
    arena.source.start(group, rate=rate, stream=arena.streams(1), size=arena.terms.size)
    time.sleep(AHEAD)
    try:
        yield
    finally:
        arena.source.stop()
        arena.receivers.stamp("")


def _join(arena: Arena, capture: Capture, group: str, other_port: bool) -> float:
    if other_port:
        arena.receivers.join(group, 1, [1])
    with _flowing(arena, group, RATE):
        if other_port:
            wait_for(lambda: arena.receivers.firsts()[1][0], 10.0, "stream at the other port")
        joined = arena.receivers.join(group, 1, [0])
        report = capture.wait_for(lambda frame: _reports(frame, group, joined), 5.0, "report")
        first = wait_for(lambda: arena.receivers.firsts()[0][0], 15.0, "first datagram")
    arena.receivers.leave(group, 1, [0, 1] if other_port else [0])
    return first - report.time


def _reports(frame: Frame, group: str, since: float) -> bool:
    return frame.outgoing and frame.time >= since and group in reported_groups(frame)


def _leaves(bench: Bench) -> None:
    """Another port stays a member all the time; default timers; who takes long goes once."""
    scenario = "leave-delay"
    terms = bench.terms(scenario, ports=2, receivers="polled")
    able = bench.able(scenario, _names(bench)[:-1], terms, igmp=True)
    serial = iter(range(1, 60_000))

    def measure(arena: Arena) -> None:
        begun = time.monotonic()
        for _ in range(bench.plan.pairs):
            delay = _leave(arena, _group(next(serial)))
            bench.add(scenario, arena.contestant.name, "last datagram", "s", delay)
            if time.monotonic() - begun > PATIENCE:
                return

    bench.interleave(scenario, able, terms, measure, pairs=1)


def _leave(arena: Arena, group: str) -> float:
    receiver = arena.lab.receivers[0]
    arena.receivers.join(group, 1, [0, 1])
    with Capture(receiver, LINK, IGMP) as reports, Capture(receiver, LINK, UDP, snaplen=64) as data:
        with _flowing(arena, group, LEAVE_RATE):
            wait_for(lambda: all(first[0] for first in arena.receivers.firsts()), 15.0, "stream at both ports")
            left = arena.receivers.leave(group, 1, [0])
            leave = reports.wait_for(lambda frame: _reports(frame, group, left), 5.0, "leave")
            wait_for(lambda: time.monotonic() - data.frames[-1].time > CUT, 60.0, "branch cut")
        last = data.frames[-1].time
    arena.receivers.leave(group, 1, [1])
    return max(0.0, last - leave.time)
