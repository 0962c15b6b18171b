"""CPU at fixed rates, 4 ports: of the whole machine, and apart of the contestant's processes, source and receivers.

Kernel forwarding is charged to whoever's softirq it is, which is mostly the source's, so only the whole machine can be
compared. `nothing` is the source alone into a router that forwards nothing: what everyone pays.
"""

from functools import partial

from bench import busy
from bench.arena import Arena
from bench.contestants import Nothing
from bench.harness import Bench, Plan, Scenario
from bench.machine import resident
from bench.sampling import sampler
from bench.variants import Idle

OWN = {"cpu-own-20k": 20_000, "cpu-own-80k": 80_000}
RESTLESS = 20e-6  # seconds that the source of `cpu-20000-restless` sleeps between two looks at the clock


def scenarios(plan: Plan) -> list[Scenario]:
    """Idle, then rates, then what mcfwd's own processes take."""
    rates = plan.by_level((20_000,), (1000, 20_000, 100_000), (1000, 5000, 20_000, 50_000, 100_000))
    found = [Scenario("cpu", "cpu-idle", _idle, table=True)]
    found += [Scenario("cpu", f"cpu-{rate}", partial(_at, f"cpu-{rate}", rate), rate == 20_000) for rate in rates]
    if plan.level != "quick":
        found.append(Scenario("cpu", "cpu-20000-restless", partial(_at, "cpu-20000-restless", 20_000, tick=RESTLESS)))
    return found + [Scenario("cpu-own", name, partial(_own, name), table=True) for name in OWN]


def _idle(bench: Bench) -> None:
    """Memberships stand, no datagram flows; each profile alone. Resident memory of every process is noted too."""
    terms = bench.terms("cpu-idle", ports=4)
    names = ["mcfwd"] if bench.plan.level == "quick" else ["mcfwd", "mcfwd-throughput", "mcfwd-latency"]
    seconds = bench.plan.by_level(5.0, 10.0, 30.0)
    for contestant in bench.able("cpu-idle", names, terms):
        with Arena(contestant, terms) as arena:
            for _ in range(bench.plan.by_level(1, 2, 3) if contestant.name == "mcfwd" else 1):
                found = busy.measure(arena, 0.0, seconds)
                bench.add("cpu-idle", contestant.name, "processes", "cores", found.processes)
            for process, pid in arena.running.pids().items():
                bench.record.add("cpu-idle", contestant.name, f"resident {process}", "octets", resident(pid))


def _at(scenario: str, rate: int, bench: Bench, **changes: float) -> None:
    terms = bench.terms(scenario, ports=4, **changes)
    profiles = ["mcfwd-throughput", "mcfwd-latency"] if bench.plan.level != "quick" and not changes else []
    able = bench.able(scenario, [*bench.opponents(), "mcfwd", "limit", *profiles], terms)
    seconds = bench.plan.by_level(2.0, 3.0, 10.0)

    def measure(arena: Arena) -> None:
        found = busy.measure(arena, rate, seconds)
        bench.add(scenario, arena.contestant.name, "machine", "cores", found.machine)
        for part in ("processes", "source", "receivers"):
            bench.record.add(scenario, arena.contestant.name, part, "cores", getattr(found, part))

    with Idle(Nothing(), terms) as nothing:
        measure(nothing)
    bench.interleave(scenario, able, terms, measure)


def _own(scenario: str, bench: Bench) -> None:
    """User and system time of the contestant's own processes for each datagram that a receiver got."""
    terms = bench.terms(scenario, ports=4)
    seconds = bench.plan.by_level(3.0, 8.0, 20.0)

    def measure(arena: Arena) -> None:
        name = arena.contestant.name
        with sampler(arena.running.pids().values()) as samples:
            found = busy.measure(arena, OWN[scenario], seconds)
            user = samples.share()
        each = found.processes / max(found.delivered, 1.0)
        bench.add(scenario, name, "user", "s per delivered", each * user)
        bench.add(scenario, name, "system", "s per delivered", each * (1 - user))
        bench.record.add(scenario, name, "delivered", "of sent", found.delivered / (terms.ports * OWN[scenario]))
        bench.record.add(scenario, name, "others", "cores", found.others)

    bench.interleave(scenario, bench.able(scenario, ["mcfwd", "limit"], terms), terms, measure)
