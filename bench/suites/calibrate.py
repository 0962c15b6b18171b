"""What source and receivers reach alone: a figure near these is about them, not about a forwarder.

The source sends into a router that drops; the receivers are fed by a packet socket in the router's place, with single
datagrams and with super-frames. A bridge would wake them for every datagram and hide what they can take.
"""

from typing import Any

from bench.arena import FIRST_GROUP
from bench.contestants import Nothing
from bench.harness import Bench, Plan, Scenario
from bench.suites.throughput import SEGMENTS, first_rate
from bench.variants import Fed, Idle

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
    """Highest lossless rate of the receivers without a forwarder."""
    for name, segments in (("single", 1), ("super-frames", SEGMENTS)):
        terms = bench.terms("calibrate", ports=ports, segments=segments, sender="packet")
        who = f"{ports} receivers, {name}"
        with Fed(Nothing(), terms) as fed:
            found = bench.search("calibrate", who, fed.trial, 2 * first_rate(ports))
            bench.add("calibrate", who, "rate", "pps", found.offered if found else 0.0)
