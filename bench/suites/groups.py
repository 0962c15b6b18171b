"""Many groups: lossless rate with interleaved groups, and the scaled group forwarding matrix (RFC 3918 section 4.2)."""

from functools import partial

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.suites.throughput import compare

MATRIX_RATE = 10_000.0  # datagrams a second in all, whatever the number of groups


def scenarios(plan: Plan) -> list[Scenario]:
    """Searches over groups, then the matrix."""
    numbers = plan.by_level((100,), (100, 1000), (10, 100, 1000))
    found = [Scenario("groups", f"groups-{number}", partial(_interleaved, number), table=True) for number in numbers]
    if plan.level != "quick":
        found.append(Scenario("matrix", "matrix", _matrix))
    return found


def _interleaved(number: int, bench: Bench) -> None:
    """Every datagram of another group than the one before, 4 ports."""
    names = [*bench.opponents(), "mcfwd", "mcfwd-throughput", "limit"]
    compare(bench, f"groups-{number}", names, ports=4, groups=number)


def _matrix(bench: Bench) -> None:
    """All destinations are members of all groups; a fixed load is spread over more and more of them."""
    steps = bench.plan.by_level((), (1, 10, 100, 1000), (1, 10, 100, 1000, 10_000))
    terms = bench.terms("matrix", ports=4, groups=steps[-1])
    able = bench.able("matrix", [*bench.opponents(), "mcfwd"], terms)
    bench.interleave("matrix", able, terms, lambda arena: _steps(bench, arena, steps), bench.plan.side_pairs)


def _steps(bench: Bench, arena: Arena, steps: tuple[int, ...]) -> None:
    every = arena.groups
    for number in steps:
        arena.groups = every[:number]
        load = arena.load(MATRIX_RATE, bench.plan.seconds + 0.5)
        bench.add("matrix", arena.contestant.name, f"{number} groups", "pps per port", load.delivered, load.note)
        bench.record.add("matrix", arena.contestant.name, f"{number} groups, share", "of sent", load.share)
    arena.groups = every
