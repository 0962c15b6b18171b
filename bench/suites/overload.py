"""Overload: offered twice what is lossless, or all that the source can, whichever is less.

Delivered is what the mean port receives while the source still sends; peak is the lossless rate, found just before in
trials as long as the load. The load is offered twice and the better time counts, as the search for the peak tries a
rate again that fails: a hiccup of the machine is not a forwarder's limit, on either side of the ratio.
"""

from functools import partial

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.suites.throughput import first_rate

SECONDS = 4.0


def scenarios(plan: Plan) -> list[Scenario]:
    """Of the table, and more in full."""
    fan_outs = plan.by_level((4,), (4, 16), (1, 4, 16, 30))
    return [Scenario("overload", f"overload-{ports}", partial(_overload, ports), table=True) for ports in fan_outs]


def _overload(ports: int, bench: Bench) -> None:
    scenario = f"overload-{ports}"
    seconds = max(bench.plan.seconds, bench.plan.by_level(3.0, SECONDS, 2 * SECONDS))
    terms = bench.terms(scenario, ports=ports, seconds=seconds)
    able = bench.able(scenario, [*bench.opponents(), "mcfwd"], terms)
    for contestant in able:
        known = bench.best.get((f"throughput-{ports}", contestant.name))
        if known:
            bench.best[scenario, contestant.name] = known
    bench.interleave(scenario, able, terms, lambda arena: _measure(bench, scenario, arena))


def _measure(bench: Bench, scenario: str, arena: Arena) -> None:
    name = arena.contestant.name
    peak = bench.search(scenario, name, arena.trial, first_rate(arena.terms.ports))
    if peak is None:
        raise RuntimeError("no lossless rate")
    loads = [arena.load(2 * peak.offered, arena.terms.seconds) for _ in range(2)]
    load = max(loads, key=lambda each: each.delivered)
    detail = {"peak": peak.offered, "offered": load.offered, "delivered": load.delivered, "lost": load.note}
    bench.add(scenario, name, "of-peak", "of peak", load.delivered / peak.offered, detail)
    bench.record.add(scenario, name, "offered", "pps", load.offered)
    bench.record.add(scenario, name, "delivered", "pps per port", load.delivered)
