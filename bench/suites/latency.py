"""Multicast latency (RFC 3918 section 5.1), its spread over ports (5.2), and both under load (8.1).

`median` and what is with it is to the kernel's receive stamp at the receiver's end of the last link, nearest to what
the RFC means; `application` is to the moment the receiving program, asleep until then, has the datagram. Both from the
moment before the source's system call, CLOCK_REALTIME, for every datagram of an irregular stream at every port.
`direct` is the same over one link without a forwarder: it is part of every figure.
"""

from dataclasses import replace
from functools import partial

from bench.arena import Arena
from bench.contestants import Nothing
from bench.harness import Bench, Plan, Scenario
from bench.traffic import Source
from bench.variants import Direct

BACKGROUND = 10_000.0  # datagrams a second
LOADS = (20_000, 80_000)  # the kernel cannot carry the second


def scenarios(plan: Plan) -> list[Scenario]:
    """Rates, then burdened."""
    rates = plan.by_level((1000,), (1000, 10_000), (100, 1000, 10_000))
    found = [Scenario("latency", f"latency-{rate}", partial(_latency, rate), table=rate == 1000) for rate in rates]
    found += [Scenario("latency", f"latency-{rate}", partial(_loaded, rate), table=True) for rate in LOADS]
    if plan.level != "quick":
        found.append(Scenario("burdened", "latency-burdened", _burdened))
    return found


def _latency(rate: int, bench: Bench) -> None:
    scenario = f"latency-{rate}"
    terms = bench.terms(scenario, ports=4, receivers="polled")
    seconds = bench.plan.by_level(2.0, 2.5, 10.0)
    with Direct(Nothing(), replace(terms, ports=1)) as direct:
        note(bench, scenario, direct, rate, seconds)
    able = bench.able(scenario, [*bench.opponents(), "mcfwd", "mcfwd-latency", "mcfwd-busy"], terms)
    bench.interleave(scenario, able, terms, lambda arena: note(bench, scenario, arena, rate, seconds))


def note(bench: Bench, scenario: str, arena: Arena, rate: float, seconds: float) -> None:
    """One run, recorded in seconds."""
    name = "direct" if isinstance(arena, Direct) else arena.contestant.name
    found = arena.latency(rate, seconds)
    ports = [{key: port[key] for key in ("min", "median", "p99", "max")} for port in found.ports]
    bench.add(scenario, name, "median", "s", found.all["median"], {"all": found.all, "ports": ports})
    for key in ("min", "mean", "p99", "max"):
        bench.record.add(scenario, name, key, "s", found.all[key])
    application = arena.latency(rate, seconds / 2, "application").all
    bench.add(scenario, name, "application", "s", application["median"], {"all": application})
    bench.record.add(scenario, name, "spread over ports, median", "s", found.spread["median"])
    bench.record.add(scenario, name, "spread over ports, max", "s", found.spread["max"])


def _loaded(rate: int, bench: Bench) -> None:
    """Of every datagram of a stream so dense that it is gathered; datagrams that are due together have one stamp."""
    scenario = f"latency-{rate}"
    terms = bench.terms(scenario, ports=4, receivers="polled")
    names = [*(bench.opponents() if rate == LOADS[0] else ()), "mcfwd", "limit"]

    def measure(arena: Arena) -> None:
        found = arena.latency(rate, bench.plan.by_level(1.0, 2.0, 10.0), stamp="together").all
        for key in ("median", "p99"):
            bench.add(scenario, arena.contestant.name, key, "s", found[key], {"all": found})

    bench.interleave(scenario, bench.able(scenario, names, terms), terms, measure)


def _burdened(bench: Bench) -> None:
    """While BACKGROUND of another group goes to the same ports from a second source program."""
    scenario = "latency-burdened"
    terms = bench.terms(scenario, ports=4, groups=2, receivers="polled")
    able = bench.able(scenario, [*bench.opponents(), "mcfwd", "mcfwd-latency"], terms)
    bench.interleave(scenario, able, terms, lambda arena: _under_load(bench, scenario, arena), bench.plan.side_pairs)


def _under_load(bench: Bench, scenario: str, arena: Arena) -> None:
    with Burden(arena):
        note(bench, scenario, arena, 1000, bench.plan.by_level(2.0, 3.0, 10.0))


class Burden(Source):
    """BACKGROUND datagrams a second of an arena's second group, neither stamped nor counted."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena.lab.source)
        self.start(arena.groups[1], rate=BACKGROUND, stream=1 << 30, size=arena.terms.size)
