"""CPU at fixed rates, 4 ports: of the whole machine (source and receivers included) and of the contestant's processes.

Kernel forwarding is charged to whoever's softirq it is, so only the whole machine can be compared. `nothing` is the
source alone into a router that forwards nothing: what everyone pays.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.arena import Arena, Idle
from bench.contestants import Program
from bench.harness import Bench, Plan, Scenario
from bench.machine import resident
from forwarder.lab.topology import Lab


@dataclass(frozen=True)
class Nothing:
    """No forwarder at all."""

    name: str = "nothing"
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """Never."""
        return ""

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """Does nothing."""
        yield Program()


def scenarios(plan: Plan) -> list[Scenario]:
    """Idle, then rates."""
    rates = plan.by_level((20_000,), (1000, 20_000, 100_000), (1000, 5000, 20_000, 50_000, 100_000))
    found = [Scenario("cpu", "cpu-idle", _idle, table=True)]
    return found + [Scenario("cpu", f"cpu-{rate}", partial(_at, rate), table=rate == 20_000) for rate in rates]


def _idle(bench: Bench) -> None:
    """Memberships stand, no datagram flows; each profile alone. Resident memory of every process is noted too."""
    terms = bench.terms("cpu-idle", ports=4)
    names = ["mcfwd"] if bench.plan.level == "quick" else ["mcfwd", "mcfwd-throughput", "mcfwd-latency"]
    seconds = bench.plan.by_level(5.0, 10.0, 30.0)
    for contestant in bench.able("cpu-idle", names, terms):
        with Arena(contestant, terms) as arena:
            for _ in range(bench.plan.by_level(1, 2, 3) if contestant.name == "mcfwd" else 1):
                _, processes = arena.cpu(0.0, seconds)
                bench.add("cpu-idle", contestant.name, "processes", "cores", processes)
            for process, pid in arena.running.pids().items():
                bench.record.add("cpu-idle", contestant.name, f"resident {process}", "octets", resident(pid))


def _at(rate: int, bench: Bench) -> None:
    scenario = f"cpu-{rate}"
    terms = bench.terms(scenario, ports=4)
    profiles = [] if bench.plan.level == "quick" else ["mcfwd-throughput", "mcfwd-latency"]
    able = bench.able(scenario, [*bench.opponents(), "mcfwd", *profiles], terms)
    seconds = bench.plan.by_level(2.0, 3.0, 10.0)

    def measure(arena: Arena) -> None:
        machine, processes = arena.cpu(rate, seconds)
        bench.add(scenario, arena.contestant.name, "machine", "cores", machine)
        bench.record.add(scenario, arena.contestant.name, "processes", "cores", processes)

    with Idle(Nothing(), terms) as nothing:
        measure(nothing)
    bench.interleave(scenario, able, terms, measure)
