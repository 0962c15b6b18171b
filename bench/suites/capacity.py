"""Multicast group capacity (RFC 3918 section 7.1): groups joined step by step until one of them does not get through.

Every port joins all groups, then every group gets two datagrams at a low rate and every port must have both. A step
that fails is given time to converge, since joins of thousands of groups take the receivers' kernels some seconds. The
last step may be the end of the ladder and not of the contestant: then the result says so.
"""

from bench.arena import FIRST_GROUP, QUIET, Arena
from bench.harness import Bench, Plan, Scenario
from forwarder.lab.numbering import expand
from forwarder.lab.wait import wait_for

RATE = 10_000.0
CONVERGENCE = 30.0


def scenarios(plan: Plan) -> list[Scenario]:
    """One, at two ports."""
    return [] if plan.level == "quick" else [Scenario("capacity", "group-capacity", _capacity)]


def _capacity(bench: Bench) -> None:
    steps = bench.plan.by_level((), (500, 2000, 5000, 10_000), (500, 1000, 2000, 5000, 10_000, 20_000, 40_000, 60_000))
    terms = bench.terms("group-capacity", ports=2, groups=steps[-1], receivers="polled")
    for contestant in bench.able("group-capacity", [*bench.opponents(), "mcfwd"], terms):
        with Ladder(contestant, terms) as arena:
            reached, complaint = _climb(bench, arena, steps)
        detail = {"at the end of the ladder": reached == steps[-1], "then": complaint}
        bench.add("group-capacity", contestant.name, "groups", "groups", reached, detail)


class Ladder(Arena):
    """Nothing is joined yet."""

    def _prepare(self) -> None:
        pass


def _climb(bench: Bench, arena: Arena, steps: tuple[int, ...]) -> tuple[int, str]:
    reached = 0
    for step in steps:
        first = expand([FIRST_GROUP], step + 1)[reached]
        try:
            arena.receivers.join(first, step - reached)
            wait_for(lambda step=step: _all_through(arena, step), CONVERGENCE, f"{step} groups at every port")  # type: ignore[misc]
        except (TimeoutError, RuntimeError) as error:
            return reached, str(error)
        reached = step
        if bench.plan.verbose:
            bench.say(f"    group-capacity {arena.contestant.name}: {step} groups")
    return reached, ""


def _all_through(arena: Arena, step: int) -> bool:
    stream = arena.streams(step)
    sent = arena.source.send(*arena.groups[:step], rate=RATE, count=2 * step, stream=stream, size=128)
    report = arena.receivers.wait([sent.count] * arena.terms.ports, QUIET)
    return min(report.received) == sent.count
