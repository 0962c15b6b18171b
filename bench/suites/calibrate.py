"""What source and receivers reach alone: a figure near these is about them, not about a forwarder.

The source sends into a router that drops; the receivers are fed by a bridge in the router's place (which floods inside
the kernel and forwards nothing in the sense of IP), by single datagrams and by a source that segments by itself.
"""

from typing import Any

from bench.arena import FIRST_GROUP, Bridge, Idle
from bench.harness import Bench, Plan, Scenario
from bench.suites.cpu import Nothing
from bench.suites.throughput import SEGMENTS, first_rate

SECONDS = 1.0


def scenarios(plan: Plan) -> list[Scenario]:
    """One, without contestants."""
    return [Scenario("calibrate", "calibrate", _calibrate)]


def _calibrate(bench: Bench) -> None:
    terms = bench.terms("calibrate", ports=1)
    sources: dict[str, dict[str, Any]] = {"udp": {}, "packet": {"kind": "packet"}, "segmenting": {"segments": SEGMENTS}}
    with Idle(Nothing(), terms) as nothing:
        for name, kind in sources.items():
            sent = nothing.source.send(FIRST_GROUP, rate=0, seconds=SECONDS, size=terms.size, **kind)
            bench.add("calibrate", f"source {name}", "rate", "pps", sent.rate)
    for ports in bench.plan.by_level((4,), (1, 4, 16), (1, 4, 16, 64)):
        _fed(bench, ports)


def _fed(bench: Bench, ports: int) -> None:
    """Highest lossless rate of the receivers behind a bridge."""
    for name, segments in (("single", 1), ("segmenting", SEGMENTS)):
        terms = bench.terms("calibrate", ports=ports, segments=segments)
        who = f"{ports} receivers, source {name}"
        with Bridge(Nothing(), terms) as bridge:
            found = bench.search("calibrate", who, bridge.trial, first_rate(ports) * (1 if segments == 1 else 3))
            bench.add("calibrate", who, "rate", "pps", found.offered if found else 0.0)
