"""What the kernel has besides routing, with receive offload on the upstream link and without; and such offload at work.

`-gro` contestants have an upstream link that merges UDP datagrams, but gives up what it has gathered as soon as its
queue is empty. In `gro-merged` it waits for more, as a network card with deferred interrupts does: nearly all datagrams
come as super-frames of many. Kernel routing takes these for packets longer than the MTU and drops them.
"""

from bench import offload
from bench.arena import Arena
from bench.contestants.limit import RunningLimit
from bench.harness import Bench, Plan, Scenario
from bench.suites.throughput import compare, lossless

KINDS = ("kernel", "bridge", "bridge-flooding", "mirred", "nft", "mcfwd")
FLUSH = 0.0002  # seconds that gathered datagrams wait for more
RATE = 10_000.0
SECONDS = 1.5


def scenarios(plan: Plan) -> list[Scenario]:
    """Both, at 4 ports."""
    found = [Scenario("opponents", "opponents", _opponents)]
    return [] if plan.level == "quick" else [*found, Scenario("opponents", "gro-merged", _merged)]


def _opponents(bench: Bench) -> None:
    names = [*dict.fromkeys([*bench.opponents(), *KINDS, *(f"{name}-gro" for name in KINDS), "limit"])]
    compare(bench, "opponents", names, bench.plan.side_pairs, ports=4)


def _merged(bench: Bench) -> None:
    """Lossless rates, after a look at what a modest rate delivers: who loses nearly all of that is not searched for."""
    scenario = "gro-merged"
    terms = bench.terms(scenario, ports=4, merge=FLUSH)
    if reason := offload.obstacle():
        bench.skip(scenario, "all", reason)
        return

    def measure(arena: Arena) -> None:
        load = arena.load(RATE, SECONDS)
        bench.add(scenario, arena.contestant.name, "delivered", "% of 10,000 pps", 100 * load.share, load.note)
        if load.share > 0.5:
            lossless(bench, scenario, arena)
        if isinstance(arena.running, RunningLimit):
            _note_merged(bench, arena.running)

    able = bench.able(scenario, [*bench.opponents(), "mcfwd", "limit"], terms)
    bench.interleave(scenario, able, terms, measure, bench.plan.side_pairs)


def _note_merged(bench: Bench, limit: RunningLimit) -> None:
    """How long super-frames really were: datagrams that left each of 4 ports for each frame that came in."""
    counts = limit.counts()
    bench.record.add("gro-merged", "limit", "datagrams a frame", "", counts["sent"] / 4 / counts["received"])
