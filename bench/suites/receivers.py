"""Receivers as people have them: sockets with the buffer that they get by default, and iperf.

A socket that asks for nothing holds 212,992 octets, some 90 datagrams of 1,316 octets: what comes in a longer burst is
lost in it, whoever forwarded. `lost at` rows are what a rate loses that may be beyond the lossless one.
"""

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.suites.throughput import lossless

OTHERS = ("mcfwd-latency", "mcfwd-throughput", "limit")
RATES = (20_000, 60_000)
SECONDS = 1.5


def scenarios(plan: Plan) -> list[Scenario]:
    """One, at 4 ports."""
    return [Scenario("receivers", "default-buffers", _default_buffers, table=True)]


def _default_buffers(bench: Bench) -> None:
    scenario = "default-buffers"
    terms = bench.terms(scenario, ports=4, buffers="default")

    def measure(arena: Arena) -> None:
        lossless(bench, scenario, arena)
        for rate in RATES:
            load = arena.load(rate, SECONDS)
            name = arena.contestant.name
            bench.add(scenario, name, f"lost at {rate:,} pps", "%", 100 * (1 - load.share), load.note)

    for names, pairs in (([*bench.opponents(), "mcfwd"], bench.plan.pairs), (OTHERS, bench.plan.side_pairs)):
        bench.interleave(scenario, bench.able(scenario, names, terms), terms, measure, pairs)
