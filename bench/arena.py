"""A contestant at work in a lab, with the source before it and receivers behind it; one method per kind of trial."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from bench import machine, offload
from bench.contestants import Contestant, Running
from bench.search import Trial
from bench.send import Sent
from bench.traffic import Latency, Receivers, Report, Source
from forwarder.lab import links
from forwarder.lab.numbering import expand
from forwarder.lab.topology import LINK, UPSTREAM, Lab

FIRST_GROUP = "239.1.0.1"
WARM_UP = 2000.0  # datagrams a second: makes flows, routes and caches; excluded from every result
CONVERGENCE = 60.0  # seconds at most until every receiver gets every group
BACKLOG = 0.04  # of a trial's time: what is still on its way when the sender ends must come within it
SHORTEST_BACKLOG = 0.05  # seconds
LONGER = 1.1  # times its length a trial lasts at most: a source at its end sends less instead of longer
QUIET = 0.25  # seconds without a datagram: what has not come is lost


@dataclass(frozen=True)
class Terms:
    """Of every trial in an arena."""

    ports: int = 4
    groups: int = 1
    size: int = 1316
    seconds: float = 1.5
    sender: str = "udp"
    segments: int = 1
    mtu: int = 1500
    unicast: bool = False  # the router also forwards unicast
    receivers: str = "blocking"  # how they wait: blocking | polled (bench.receive)
    buffers: str = "large"  # of the receivers' sockets: large | default (what a socket has that asks for nothing)
    tick: float = 0.0002  # seconds that the source sleeps at least: what is due within goes together
    merge: float = 0.0  # seconds that the router's upstream link gathers datagrams into super-frames (bench.offload)


@dataclass(frozen=True)
class Load:
    """What came through at a fixed rate: datagrams a second sent, and received by the mean port while it was sent."""

    offered: float
    delivered: float
    share: float  # of what was sent, at the worst port
    cores: float
    note: str


class Arena:
    """Lab, contestant, source and receivers while the context lasts; all receivers have joined all groups."""

    def __init__(self, contestant: Contestant, terms: Terms) -> None:
        self.contestant, self.terms = contestant, terms
        self.groups = expand([FIRST_GROUP], terms.groups)
        self.lab: Lab
        self.running: Running
        self.source: Source
        self.receivers: Receivers
        self._stack = ExitStack()
        self._stream = 1
        self._drops = Counter[str]()

    def __enter__(self) -> "Arena":
        with ExitStack() as stack:
            self.lab = stack.enter_context(Lab(self.terms.ports, mtu=self.terms.mtu))
            self._tune()
            self.running = stack.enter_context(self.contestant.start(self.lab, self.groups))
            self.receivers = stack.enter_context(self._receivers())
            self.source = stack.enter_context(self._source())
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def streams(self, count: int) -> int:
        """The first of `count` fresh stream numbers, which the receivers now count."""
        first, self._stream = self._stream, self._stream + count
        self.receivers.reset(first, count)
        return first

    def warm_up(self, destinations: Sequence[str] = ()) -> None:
        """Sends every group until each receiver has got each; TimeoutError."""
        destinations = destinations or self.groups
        deadline = time.monotonic() + CONVERGENCE
        rate = max(WARM_UP, len(destinations) * 2.0)
        while True:
            report = self._trickle(destinations, rate)
            if not report.unheard:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.contestant.name}: {report.unheard} of all groups and ports got nothing")
        self._lost(report)

    def _trickle(self, destinations: Sequence[str], rate: float) -> Report:
        stream = self.streams(len(destinations))
        count = max(200, len(destinations))
        kind = {"size": self.terms.size, "kind": self.terms.sender}
        sent = self.source.send(*destinations, rate=rate, count=count, stream=stream, **kind)
        return self.receivers.wait([sent.count] * self.terms.ports, QUIET)

    def offer(self, rate: float, seconds: float) -> dict[str, Any]:
        """Keywords of a transmission on these terms; fresh streams."""
        terms = self.terms
        return {
            "rate": rate,
            "count": max(terms.segments, int(rate * seconds)) // terms.segments * terms.segments,
            "seconds": seconds * LONGER,
            "stream": self.streams(len(self.groups)),
            "size": terms.size,
            "segments": terms.segments,
            "tick": terms.tick,
            "kind": terms.sender,
        }

    def trial(self, rate: float) -> Trial:
        """Whether `rate` datagrams a second come through without loss, duplicates or a growing backlog."""
        offer = self.offer(rate, self.terms.seconds)
        before = machine.CpuClock.read()
        sent = self.source.send(*self.groups, **offer)
        cores = machine.CpuClock.read().cores_since(before)
        report = self.receivers.wait([sent.count] * self.terms.ports, QUIET)
        return self._judge(rate, sent, report, cores)

    def _judge(self, rate: float, sent: Sent, report: Report, cores: float) -> Trial:
        backlog = max(report.last) - sent.ended
        complaints = []
        if min(report.received) < sent.count:
            complaints.append(f"received {min(report.received)}..{max(report.received)} of {sent.count}")
            complaints.append(self._lost(report))
        if any(report.duplicated) or report.damaged:
            complaints.append(f"{sum(report.duplicated)} duplicated, {report.damaged} damaged")
        if backlog > max(SHORTEST_BACKLOG, BACKLOG * sent.seconds):
            complaints.append(f"the last came {backlog:.2f} s late")
        if any(report.reordered):
            complaints.append(f"{sum(report.reordered)} reordered")
        bad = [complaint for complaint in complaints if not complaint.endswith("reordered")]
        return Trial(rate, sent.rate, not bad, cores, backlog, "; ".join(complaints))

    def load(self, rate: float, seconds: float, settle: float = 0.5) -> Load:
        """What is delivered at a rate that may be too much; `settle`: seconds at the start that are not counted.

        Only what arrives while the source still sends counts: buffers that empty afterwards are no throughput.
        """
        offer = self.offer(rate, seconds)
        self.source.start(*self.groups, **offer)
        time.sleep(settle)
        first = self.receivers.report()
        before = machine.CpuClock.read()
        sent = self.source.wait(8 * seconds + 30)
        cores = machine.CpuClock.read().cores_since(before)
        second = self.receivers.report()
        last = self.receivers.wait([sent.count] * self.terms.ports, QUIET)
        pairs = zip(first.received, second.received, strict=True)
        arrived = sum(b - a for a, b in pairs) / self.terms.ports
        share = min(last.received) / sent.count
        return Load(sent.rate, arrived / (second.time - first.time), share, cores, self._lost(last))

    def latency(self, rate: float, seconds: float, by: str = "kernel", stamp: str = "alone") -> Latency:
        """Of stamped datagrams of the first group, to the kernel's receive stamp or to the receiving application.

        `stamp`: see `send.Offer`.
        """
        self.receivers.stamp(by)
        try:
            stream = self.streams(1)
            sent = self.source.send(
                self.groups[0], rate=rate, seconds=seconds, stream=stream, size=self.terms.size, stamp=stamp
            )
            self.receivers.wait([sent.count] * self.terms.ports, QUIET)
            return self.receivers.latency()
        finally:
            self.receivers.stamp("")

    def _lost(self, report: Report) -> str:
        """Where datagrams went since the last loss, as far as anybody counted."""
        drops = self.running.drops() + machine.backlog_drops()
        fresh, self._drops = drops - self._drops, drops
        fresh["receivers' sockets"] = sum(report.socket_drops)
        return ", ".join(f"{reason} {count}" for reason, count in fresh.items() if count) or "nobody counted a drop"

    def _receivers(self) -> Receivers:
        return Receivers(self.lab.receivers, wait=self.terms.receivers, buffers=self.terms.buffers)

    def _source(self) -> Source:
        return Source(self.lab.source, LINK)

    def _prepare(self) -> None:
        self.receivers.join(FIRST_GROUP, len(self.groups))
        self.warm_up()

    def _tune(self) -> None:
        for namespace in (self.lab.router, *self.lab.receivers):
            namespace.sysctl("ipv4/igmp_max_memberships", max(2000, self.terms.groups + 100))
        links.add_multicast_route(self.lab.source, LINK)
        if self.terms.merge:
            offload.merge(self.lab.router, self.lab.upstream, self.terms.merge)
        if self.terms.unicast:
            self.lab.router.sysctl("ipv4/ip_forward", 1)
            links.add_default_route(self.lab.source, UPSTREAM)
