"""Aggregated multicast throughput (RFC 3918 section 4.3): the highest rate that every port gets without loss.

Over fan-outs, over sizes, and with sources and receivers of other kinds (OTHER_ENDS).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.numbered import payload
from bench.search import Trial

RFC_FRAMES = (64, 128, 256, 512, 1024, 1280, 1518)  # Ethernet frames with frame check sequence (RFC 2544 section 9)
JUMBO_MTU = 9000
JUMBO = JUMBO_MTU + 18  # as an Ethernet frame
SMALL = (172, 300)  # octets of payload: 20 ms of voice (G.711 with its RTP header), a message of market data
SEGMENTS = 40  # datagrams in one message of a source that segments by itself
OTHER_ENDS: dict[str, dict[str, Any]] = {
    "source-segmenting": {"segments": SEGMENTS},
    "source-packet": {"sender": "packet"},
    "receivers-polled": {"receivers": "polled"},
}


def scenarios(plan: Plan) -> list[Scenario]:
    """Fan-outs, sources and frame sizes of a plan."""
    fan_outs = plan.by_level((1, 4, 16), (1, 4, 16, 30), (1, 2, 4, 8, 16, 24, 30))
    found = [Scenario("throughput", f"throughput-{ports}", partial(_fan_out, ports), table=True) for ports in fan_outs]
    if plan.level != "quick":
        found.append(Scenario("throughput", "throughput-64", _sixty_four, table=True))
        found += [Scenario("sources", name, partial(_other_ends, name)) for name in OTHER_ENDS]
    for frame in plan.by_level((), (64, 1518, JUMBO), (*RFC_FRAMES, JUMBO)):
        found.append(Scenario("frames", f"frames-{frame}", partial(_frames, frame)))
    if plan.level != "quick":
        found += [Scenario("small", f"small-{size}", partial(_small, size)) for size in SMALL]
    return found


def first_rate(ports: int) -> float:
    """Where the first search begins, datagrams a second."""
    return 160_000 / (1 + 0.6 * ports)


def lossless(bench: Bench, scenario: str, arena: Arena, as_name: str = "") -> None:
    """One search, recorded: `rate` offered, `out` summed over ports, `cores` busy at that rate."""
    name = as_name or arena.contestant.name
    found = bench.search(scenario, name, arena.trial, first_rate(arena.terms.ports))
    note(bench, scenario, name, found, arena.terms.ports)


def note(bench: Bench, scenario: str, name: str, found: Trial | None, ports: int) -> None:
    """Records the outcome of a search."""
    found = found or Trial(0.0, 0.0, False)
    detail = {"sender_limited": found.sender_limited and found.lossless, "backlog": found.backlog, "note": found.note}
    bench.add(scenario, name, "rate", "pps", found.offered, detail)
    bench.record.add(scenario, name, "out", "pps", found.offered * ports)
    bench.record.add(scenario, name, "cores", "cores", found.cores)


def compare(bench: Bench, scenario: str, names: Sequence[str], pairs: int = 0, **terms: Any) -> None:
    """Lossless rates of contestants in turn; `pairs`: 0 for the plan's."""
    agreed = bench.terms(scenario, **terms)
    able = bench.able(scenario, names, agreed)
    bench.interleave(scenario, able, agreed, lambda arena: lossless(bench, scenario, arena), pairs)


def _fan_out(ports: int, bench: Bench) -> None:
    compare(bench, f"throughput-{ports}", [*bench.opponents(), "mcfwd", "limit"], ports=ports)


def _sixty_four(bench: Bench) -> None:
    """Beyond what the kernel can: mcfwd and the C program at 64 ports and, in turn with them, mcfwd at 4."""
    scenario = "throughput-64"
    few, many = bench.terms(scenario, ports=4), bench.terms(scenario, ports=64)
    able = bench.able(scenario, ["mcfwd", "limit"], many)
    with Arena(bench.contestants["mcfwd"], few) as narrow:

        def measure(arena: Arena) -> None:
            if arena.contestant.name == "mcfwd":
                lossless(bench, scenario, narrow, "mcfwd at 4 ports")
            lossless(bench, scenario, arena)

        bench.interleave(scenario, able, many, measure)


def _other_ends(scenario: str, bench: Bench) -> None:
    """At 4 ports, with another kind of source or receivers."""
    names = [*bench.opponents(), "mcfwd"]
    compare(bench, scenario, names, bench.plan.side_pairs, ports=4, **OTHER_ENDS[scenario])


def _frames(frame: int, bench: Bench) -> None:
    """At 4 ports; `frame` as the RFCs count, with its frame check sequence."""
    terms = {"ports": 4, "size": payload(frame), "mtu": JUMBO_MTU if frame > 1518 else 1500}
    compare(bench, f"frames-{frame}", [*bench.opponents(), "mcfwd"], bench.plan.side_pairs, **terms)


def _small(size: int, bench: Bench) -> None:
    """At 4 ports; `size` is the payload."""
    names = [*bench.opponents(), "mcfwd", "limit"]
    compare(bench, f"small-{size}", names, bench.plan.side_pairs, ports=4, size=size)
