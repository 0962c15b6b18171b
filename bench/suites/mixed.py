"""Mixed class throughput (RFC 3918 section 4.1): unicast and multicast together on the same ports.

Half of what is offered is multicast to every port, half unicast to one port after the other. mcfwd forwards multicast
only: beside it, as beside every contestant, the kernel of the router forwards unicast. Neither class may lose any.
"""

from bench import machine
from bench.arena import LONGER, QUIET, Arena
from bench.harness import Bench, Plan, Scenario
from bench.search import Trial
from bench.suites.throughput import first_rate
from bench.traffic import Report


def scenarios(plan: Plan) -> list[Scenario]:
    """One, at 4 ports."""
    return [] if plan.level == "quick" else [Scenario("mixed", "mixed", _mixed)]


def _mixed(bench: Bench) -> None:
    terms = bench.terms("mixed", ports=4, unicast=True, sender="udp")
    able = bench.able("mixed", [*bench.opponents(), "mcfwd"], terms)
    bench.interleave("mixed", able, terms, lambda arena: _measure(bench, arena), bench.plan.side_pairs)


def _measure(bench: Bench, arena: Arena) -> None:
    name = arena.contestant.name
    found = bench.search("mixed", name, lambda rate: _trial(arena, rate), first_rate(arena.terms.ports))
    rate = found.offered / 2 if found else 0.0
    bench.add("mixed", name, "multicast", "pps", rate, found.note if found else None)
    bench.record.add("mixed", name, "unicast", "pps", rate)


def _trial(arena: Arena, rate: float) -> Trial:
    """Streams in turn: the group, receiver 0, the group, receiver 1, ..."""
    terms, ports = arena.terms, arena.terms.ports
    destinations = [word for port in range(ports) for word in (arena.groups[0], arena.lab.address(port))]
    count = int(rate * terms.seconds) // len(destinations) * len(destinations)
    stream = arena.streams(len(destinations))
    before = machine.CpuClock.read()
    length = {"count": count, "seconds": LONGER * terms.seconds}
    sent = arena.source.send(*destinations, rate=rate, stream=stream, size=terms.size, **length)
    cores = machine.CpuClock.read().cores_since(before)
    expected = [sum(sent.streams[0::2]) + sent.streams[2 * port + 1] for port in range(ports)]
    report = arena.receivers.wait(expected, QUIET)
    backlog = max(report.last) - sent.ended
    lossless = report.received == expected and backlog <= max(0.05, 0.04 * sent.seconds)
    return Trial(rate, sent.rate, lossless, cores, backlog, _by_class(report, sent.streams))


def _by_class(report: Report, sent: list[int]) -> str:
    rows = report.by_stream or []
    multicast = sum(sum(sent[0::2]) - sum(row[0::2]) for row in rows)
    unicast = sum(sent[1::2]) - sum(sum(row[1::2]) for row in rows)
    return f"lost {multicast} multicast, {unicast} unicast" if multicast or unicast else ""
