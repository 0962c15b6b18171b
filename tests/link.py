"""The rig of the protocol tests: real packets between real cores, under a clock turned by hand.

`Bench` holds one proxy and speaks the notation of the conformance vectors; `Lan` is a fake LAN with seeded loss,
duplication and reordering that joins cores back to back.
"""

import heapq
import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from igmp.filter import Filter, Mode
from igmp.host import Host
from igmp.messages import (
    GroupRecord,
    Query,
    RecordType,
    Report,
    decode,
    encode_query,
    encode_report,
    encode_v1_report,
    encode_v2_leave,
    encode_v2_report,
)
from igmp.outputs import Output, Role, Route, Send
from igmp.packet import Link, Network, Rejected, Rules, encode, format_address, parse_address, receive
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

ADDRESSES = {
    **{letter: parse_address(f"10.99.0.{number}") for number, letter in enumerate("abcdef", 1)},
    **{name: parse_address(f"239.1.1.{number}") for number, name in enumerate(("G", "G2", "G3"), 1)},
    "S": parse_address("232.1.1.1"),
}
NAMES = {address: name for name, address in ADDRESSES.items()}
UP, D1, D2, D3 = 0, 1, 2, 3
LINKS = {
    UP: Link((Network.parse("10.0.0.2/24"),), altnets=(Network.parse("10.99.0.0/16"),)),
    D1: Link((Network.parse("192.168.10.1/24"),)),
    D2: Link((Network.parse("192.168.20.1/24"),)),
    D3: Link((Network.parse("192.168.30.1/24"),)),
}
SPEAKERS = {UP: "10.0.0.1", D1: "192.168.10.11", D2: "192.168.20.11", D3: "192.168.30.11"}
RECORDS = {
    "IS_IN": RecordType.MODE_IS_INCLUDE,
    "IS_EX": RecordType.MODE_IS_EXCLUDE,
    "TO_IN": RecordType.CHANGE_TO_INCLUDE,
    "TO_EX": RecordType.CHANGE_TO_EXCLUDE,
    "ALLOW": RecordType.ALLOW_NEW_SOURCES,
    "BLOCK": RecordType.BLOCK_OLD_SOURCES,
}
RECORD_NAMES = {kind: name for name, kind in RECORDS.items()}
ALL_HOSTS, ALL_ROUTERS, V3_ROUTERS = (parse_address(f"224.0.0.{last}") for last in (1, 2, 22))


def address(text: str) -> int:
    """A name of the vectors, or a dotted quad."""
    return ADDRESSES[text] if text in ADDRESSES else parse_address(text)


def name(number: int) -> str:
    return NAMES.get(number) or format_address(number)


def names(numbers) -> str:
    return ",".join(name(number) for number in sorted(numbers))


def sources(text: str) -> frozenset[int]:
    """From "a,b" or "{a,b}"; "" is none."""
    return frozenset(address(part.strip()) for part in text.strip("{}").split(",") if part.strip())


def filter_of(text: str) -> Filter:
    """From "IN{a,b}" or "EX{}"."""
    return Filter(Mode.INCLUDE if text.startswith("IN") else Mode.EXCLUDE, sources(text[2:]))


def filter_text(state: Filter) -> str:
    return f"{'IN' if state.mode is Mode.INCLUDE else 'EX'}{{{names(state.sources)}}}"


def record_of(text: str) -> GroupRecord:
    """From "TO_EX(G,{a,b})"."""
    kind, group, listed = re.fullmatch(r"(\w+)\(([\w.]+),\{(.*)\}\)", text).groups()
    return GroupRecord(RECORDS[kind], address(group), tuple(sorted(sources(listed))))


def packet_of(text: str, source: str) -> bytes:
    """The packet of "v2 Report(G)", "v1 Report(G)", "Leave(G)", or of records joined by " + "."""
    if found := re.fullmatch(r"(v1 Report|v2 Report|Leave)\(([\w.]+)\)", text):
        kind, group = found[1], address(found[2])
        encoders = {"v1 Report": encode_v1_report, "v2 Report": encode_v2_report, "Leave": encode_v2_leave}
        return encode(parse_address(source), ALL_ROUTERS if kind == "Leave" else group, encoders[kind](group))
    return encode(parse_address(source), V3_ROUTERS, encode_report([record_of(part) for part in text.split(" + ")]))


def query_packet(query: Query, source: str) -> bytes:
    return encode(parse_address(source), query.group or ALL_HOSTS, encode_query(query))


def text_of(packet: bytes) -> str:
    """A sent packet in the words of the vectors."""
    data = packet[(packet[0] & 15) * 4 :]
    message = decode(data)
    if isinstance(message, Query):
        listed = f",{{{names(message.sources)}}}" if message.sources else ""
        flag = f" S={int(message.suppress)}" if message.version == 3 and message.group else ""
        version = "" if message.version == 3 else f"v{message.version} "
        return f"{version}Q({name(message.group) if message.group else ''}{listed}){flag}"
    if message.leave:
        return f"Leave({name(message.records[0].group)})"
    if message.version < 3:
        return f"v{message.version} Report({name(message.records[0].group)})"
    return " + ".join(f"{RECORD_NAMES[each.type]}({name(each.group)},{{{names(each.sources)}}})"
                      for each in message.records)


def number_text(number: float) -> str:
    return f"{round(number, 4):g}"


def half() -> float:
    """The random source of the vectors."""
    return 0.5


class Bench:
    """One proxy with up, d1 and d2 whose startup series are over at t=0; `log` is what went out since then."""

    def __init__(self, rules: Rules | None = None, ports: tuple[int, ...] = (UP, D1, D2), **options) -> None:
        self.now = -10000.0
        self.log: list[tuple[float, int, str]] = []
        self.routes: dict[tuple[int, int | None], int] = {}
        self.roles: dict[int, Role] = {}
        self.sent: list[bytes] = []
        self.proxy = Proxy(half)
        for port in ports:
            self.add(port, rules=rules or Rules(), **options)

    def add(self, port: int, link: Link | None = None, **options) -> None:
        """Add a port and take it up now."""
        role = "upstream" if port == UP else "downstream"
        self.proxy.add_port(port, PortOptions(role, **options))
        self.take(self.proxy.port_up(port, link or LINKS[port], self.now))

    def inherit(self, *rows: tuple[int, int | None, int], ports: int = -1) -> "Bench":
        """Begin to take back what (group, source, port bitmap) of a predecessor say."""
        for group, source, bitmap in rows:
            self.proxy.inherit(group, source, bitmap)
            self.routes[group, source] = bitmap
        self.proxy.restore(ports, self.now)
        return self

    def take(self, outputs: list[Output]) -> list[Output]:
        for output in outputs:
            match output:
                case Send(port, packet):
                    self.sent.append(packet)
                    self.log.append((round(self.now, 4), port, text_of(packet)))
                case Route(group, source, ports, True):
                    assert self.routes.get((group, source)) != ports, "a row that did not change"
                    self.routes[group, source] = ports
                case Route(group, source):
                    del self.routes[group, source]
                case Role(port):
                    self.roles[port] = output
        return outputs

    def run(self, until: float) -> "Bench":
        """Turn the clock, stopping at every deadline before `until` and at it."""
        while self.proxy.deadline <= until:
            self.now = max(self.now, self.proxy.deadline)
            self.take(self.proxy.expire(self.now))
        self.now = max(self.now, until)
        return self

    def until(self, now: float) -> "Bench":
        """Turn the clock to just before what is due at `now`: packets go before timers."""
        while self.proxy.deadline < now:
            self.now = max(self.now, self.proxy.deadline)
            self.take(self.proxy.expire(self.now))
        self.now = now
        return self

    def hear(self, at: float, port: int, text: str, source: str | None = None) -> list[Output]:
        """A report arrives at `at`."""
        return self.receive(at, port, packet_of(text, source or SPEAKERS[port]))

    def ask(self, at: float, port: int, query: Query, source: str | None = None) -> list[Output]:
        """A query arrives at `at`."""
        return self.receive(at, port, query_packet(query, source or SPEAKERS[port]))

    def receive(self, at: float, port: int, packet: bytes) -> list[Output]:
        self.until(at)
        return self.take(self.proxy.receive(port, packet, at))

    def sends(self, port: int, since: float = 0.0, general: bool = False) -> list[tuple[float, str]]:
        """(time, text) of what went out of `port` since then; General Queries only on demand."""
        return [(at, text) for at, out, text in self.log
                if out == port and at >= since and (general or text not in ("Q()", "v2 Q()", "v1 Q()"))]

    def state(self, port: int = D1, group: str = "G") -> str:
        """The state of a group in the notation of the vectors."""
        for each in self.proxy.groups(self.now):
            if (each.port, each.group) == (port, address(group)):
                listed = ", ".join(f"{name(source)}:{number_text(left)}" for source, left in each.sources)
                if each.mode is Mode.INCLUDE:
                    return f"INCLUDE{{{listed}}}"
                blocked = ", ".join(name(source) for source in each.excluded_sources)
                return f"EXCLUDE X={{{listed}}} Y={{{blocked}}} GT={number_text(each.expires)}"
        return "none"

    def merged(self, group: str = "G") -> str:
        """What is reported upstream of a group."""
        for each in self.proxy.upstream(self.now):
            if each.group == address(group):
                return filter_text(Filter(each.mode, frozenset(each.sources)))
        return "IN{}"

    def wanted(self, source: str, group: str = "G") -> int:
        """Bitmap of the ports the routes give for a packet."""
        rows, key = self.routes, address(group)
        return rows.get((key, address(source)), rows.get((key, None), 0))


class Core(Protocol):
    """What a LAN needs of a station."""

    @property
    def deadline(self) -> float: ...
    def receive(self, port: int, packet: bytes, now: float) -> list[Output]: ...
    def expire(self, now: float) -> list[Output]: ...


class Member:
    """A host with a core of ours that wants what it is told to."""

    def __init__(self, link: Link, version: int | None, draw: Callable[[], float]) -> None:
        self._link = link
        counters = dict.fromkeys((f"tx_{kind}" for kind in ("report_v1", "report_v2", "report_v3", "leave")), 0)
        self.host = Host(0, PortOptions("upstream", igmp_version=version), counters, draw)
        self.host.start(link, 0.0)
        self.rejected: list[str] = []

    @property
    def deadline(self) -> float:
        return self.host.deadline

    def want(self, group: int, wanted: Filter, now: float) -> list[Output]:
        return list(self.host.change({group: wanted}, now))

    def receive(self, port: int, packet: bytes, now: float) -> list[Output]:
        try:
            message = receive(packet, self._link, True, Rules()).message
        except Rejected as rejected:
            self.rejected.append(rejected.counter)
            return []
        # A host that is not a router does not hear version 3 reports: they go to 224.0.0.22.
        if isinstance(message, Report) and message.version == 3:
            return []
        return list(self.host.receive(message, now))

    def expire(self, now: float) -> list[Output]:
        return list(self.host.expire(now))


@dataclass
class Faults:
    """Probabilities of what a LAN does to each delivery, and the longest delay in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.0


@dataclass
class World:
    """The clock, and everything on the way."""

    seed: int = 0
    now: float = 0.0
    outputs: list[tuple[float, Core, Output]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._flight: list[tuple[float, int, Core, int, bytes]] = []
        self._serial = itertools.count()
        self._ports: dict[tuple[int, int], Lan] = {}
        self._cores: list[Core] = []

    def draw(self) -> float:
        """A number in (0, 1] for a core."""
        return 1.0 - self.random.random()

    def lan(self, faults: Faults | None = None) -> "Lan":
        return Lan(self, faults or Faults())

    def attach(self, core: Core, port: int, lan: "Lan") -> None:
        lan.stations.append((core, port))
        self._ports[id(core), port] = lan
        if core not in self._cores:
            self._cores.append(core)

    def take(self, core: Core, outputs: list[Output]) -> None:
        """Deliver what `core` put out."""
        for output in outputs:
            self.outputs.append((self.now, core, output))
            if isinstance(output, Send):
                self._ports[id(core), output.port].carry(core, output.packet)

    def fly(self, delay: float, core: Core, port: int, packet: bytes) -> None:
        heapq.heappush(self._flight, (self.now + delay, next(self._serial), core, port, packet))

    def run(self, until: float) -> None:
        """Deliver and expire in order of time; at the same instant packets go first."""
        while True:
            arrival = self._flight[0][0] if self._flight else float("inf")
            deadline = min(core.deadline for core in self._cores)
            if min(arrival, deadline) > until:
                self.now = until
                return
            self.now = max(self.now, min(arrival, deadline))
            if arrival <= deadline:
                _, _, core, port, packet = heapq.heappop(self._flight)
                self.take(core, core.receive(port, packet, self.now))
            else:
                for core in self._cores:
                    if core.deadline <= self.now:
                        self.take(core, core.expire(self.now))


@dataclass
class Lan:
    """Everybody hears everybody, more or less."""

    world: World
    faults: Faults
    stations: list[tuple[Core, int]] = field(default_factory=list)

    def carry(self, sender: Core, packet: bytes) -> None:
        for core, port in self.stations:
            if core is not sender:
                for delay in self._deliveries():
                    self.world.fly(delay, core, port, packet)

    def _deliveries(self) -> Iterator[float]:
        draw = self.world.random.random
        if draw() >= self.faults.loss:
            yield draw() * self.faults.delay
        if draw() < self.faults.duplication:
            yield draw() * self.faults.delay
