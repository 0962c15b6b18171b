"""What the tests with other people's daemons run on, and how they read the wire.

    Chain    source -- up0 [above] down0 -- switch -- up0 [below] down0 -- receiver0
                                                                  down1 -- receiver1
    Shared   source -- up0 [router] down0 -- switch -- down0 [neighbour] up0 -- nothing
                                                    \\- receiver0

mcfwd runs in one of the bracketed namespaces and a peer in the other. The switch is a bridge without snooping; all
IGMP between the two is captured on it, and taking one of its ports down lets a peer vanish without a word while the
other keeps its carrier. Unless `sending` is off, two sources send every group all the time: a stream that is not
received was held back.
"""

import itertools
import socket
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest

from bench.peers.daemon import Daemon
from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture, Frame
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.conftest import obstacle
from netns.site import OTHER_SOURCE, QUERY, ROUTER_ALERT, V3_REPORT, Stream, Told, ones_complement_sum, told

D = TypeVar("D", bound=Daemon)
P = TypeVar("P", bound="Plant")

GROUPS = [f"239.1.1.{number}" for number in range(1, 25)]
CHANNELS = [f"232.1.1.{number}" for number in range(1, 9)]
RATE = 20.0             # datagrams a second of each group from each source
ABOVE, BELOW = "192.168.10.1", "192.168.10.2"
BYSTANDER = "192.168.10.21"
LOWER, OURS, HIGHER = "192.168.10.2", "192.168.10.5", "192.168.10.9"
RECEIVERS = ("192.168.30.11", "192.168.40.11")
ALL_HOSTS, ALL_ROUTERS, V3_ROUTERS, ANY = "224.0.0.1", "224.0.0.2", "224.0.0.22", "0.0.0.0"

TIMERS = {
    "query_interval": 1.0,
    "query_response_interval": 0.4,
    "last_member_query_interval": 0.2,
    "startup_query_interval": 0.3,
    "unsolicited_report_interval": 0.2,
    "older_querier_timeout": 60.0,
}
# What follows from them with robustness 2 (RFC 9776 section 8), and the General Query that tells them.
LAST_MEMBER_QUERY_TIME, OTHER_QUERIER_PRESENT_INTERVAL, GROUP_MEMBERSHIP_INTERVAL = 0.4, 2.2, 2.8
GENERAL_QUERY = (3, "0.0.0.0", 0.4, (), False, 2, 1)
# The same of FRR. pimd takes these lines in this order only: it compares interval and response time.
FRR_INTERVAL, FRR_RESPONSE, FRR_LAST_MEMBER = 1, 0.5, 0.2
FRR_IGMP = (
    "ip igmp", "ip igmp query-max-response-time 5", "ip igmp query-interval 1", "ip igmp last-member-query-interval 2"
)
FRR_V2_QUERY = (2, "0.0.0.0", FRR_RESPONSE, (), False, 0, 0.0)
EARLY, LATE = 0.15, 0.75    # seconds that a late look takes away, that a busy machine adds


@dataclass(frozen=True)
class Asked:
    """A query as it was on the wire; of versions 1 and 2 the fields behind `response` are zero; times are seconds."""

    time: float
    source: str
    destination: str
    version: int
    group: str
    response: float
    sources: tuple[str, ...] = ()
    suppress: bool = False
    robustness: int = 0
    interval: float = 0.0

    @property
    def fields(self) -> tuple[object, ...]:
        """All but when, from and to whom."""
        return (self.version, self.group, self.response, self.sources, self.suppress, self.robustness, self.interval)


def asked(frame: Frame) -> Asked | None:
    """The query in a frame, None for another message; times below 12.8 s (codes below 128) only."""
    message = frame.payload
    if message[0] != QUERY:
        return None
    group, response = socket.inet_ntoa(message[4:8]), message[1] / 10
    common = (frame.time, frame.source, frame.destination)
    if len(message) == 8:
        return Asked(*common, 2 if message[1] else 1, group, response)
    sources = tuple(socket.inet_ntoa(message[at : at + 4]) for at in range(12, len(message), 4))
    return Asked(*common, 3, group, response, sources, bool(message[8] & 8), message[8] & 7, message[9])


def complaints(frame: Frame) -> list[str]:
    """What is wrong with the packet around an IGMP message (RFC 9776 section 4, RFC 1112 section 6.4)."""
    message, header = frame.payload, frame.packet[:24]
    place = {0x17: ALL_ROUTERS, V3_REPORT: V3_ROUTERS}.get(message[0], _place(message))
    wrong = {
        "time to live": frame.ttl != 1,
        "type of service": header[1] != 0xC0,
        "Router Alert": header[0] != 0x46 or header[20:24] != ROUTER_ALERT,
        "header checksum": ones_complement_sum(header) != 0xFFFF,
        "checksum": ones_complement_sum(message) != 0xFFFF,
        "destination": frame.destination != place,
        "Ethernet destination": frame.octets[:6] != _mac(frame.destination),
    }
    return [f"{name} of {frame.octets.hex()}" for name, is_wrong in wrong.items() if is_wrong]


def _place(message: bytes) -> str:
    group = socket.inet_ntoa(message[4:8])
    return ALL_HOSTS if group == ANY else group


def _mac(group: str) -> bytes:
    octets = socket.inet_aton(group)
    return bytes((1, 0, 0x5E, octets[1] & 0x7F)) + octets[2:]


class Wire:
    """The IGMP that one link carries, by who sent it."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def frames(self, source: str, since: float = 0.0) -> list[Frame]:
        """The frames of one sender."""
        return self.capture.select(lambda frame: frame.source == source and frame.time >= since)

    def told(self, source: str, group: str = "", since: float = 0.0) -> list[Told]:
        """What a host has told of a group, or of all."""
        return [each for frame in self.frames(source, since) for each in told(frame) if group in ("", each.group)]

    def changes(self, source: str, group: str) -> list[tuple[str, tuple[str, ...]]]:
        """Kinds and sources of what a host has told of a group, repetitions and answers to queries taken out."""
        news = [(each.kind, each.sources) for each in self.told(source, group) if not each.kind.startswith("IS_")]
        return [change for change, _ in itertools.groupby(news)]

    def wait_told(
        self, source: str, group: str, kind: str, *sources: str, since: float = 0.0, timeout: float = 8.0
    ) -> Told:
        """The first time from `since` on that a host tells this."""

        def found() -> list[Told]:
            return [each for each in self.told(source, group, since) if (each.kind, each.sources) == (kind, sources)]

        return wait_for(found, timeout, f"{kind} {group} {sources} of {source}")[0]

    def asked(self, source: str, group: str = ANY, since: float = 0.0) -> list[Asked]:
        """What a querier has asked: General Queries, or those for a group."""
        queries = [query for frame in self.frames(source, since) if (query := asked(frame))]
        return [query for query in queries if query.group == group]

    def wait_asked(
        self, source: str, group: str = ANY, since: float = 0.0, count: int = 1, timeout: float = 8.0
    ) -> Asked:
        """Query number `count` from `since` on."""

        def found() -> list[Asked]:
            return self.asked(source, group, since)[count - 1 :]

        return wait_for(found, timeout, f"{count} queries of {source} for {group}")[0]

    def last_asked(self, source: str) -> Asked:
        """The last General Query until now; waits for the first: others may hear it sooner than it is seen here."""
        self.wait_asked(source)
        return self.asked(source)[-1]

    def complaints(self, source: str) -> list[str]:
        """What is wrong with any packet of one sender; that and only that must be empty."""
        return [each for frame in self.frames(source) for each in complaints(frame)]


def skip_without(peer: str) -> None:
    """Skips the test for the reason that a peer (or a network namespace) is not to be had; none: goes on."""
    if reason := obstacle() or peer:
        pytest.skip(reason)


def wait_version(mcfwd: Mcfwd, version: int) -> None:
    """Until mcfwd speaks this version upstream."""
    mcfwd.wait_for(lambda _: mcfwd.interface("up0")["igmp_version"] == version, 15.0, f"version {version}")


def wait_querier(mcfwd: Mcfwd, address: str) -> None:
    """Until this is the querier that mcfwd knows downstream, itself or another."""
    mcfwd.wait_for(lambda _: mcfwd.interface("down0")["querier_address"] == address, 8.0, f"querier {address}")
    assert mcfwd.interface("down0")["querier"] is (address == OURS)


def host(stack: ExitStack, name: str) -> Namespace:
    """A namespace without reverse path filter, that forwards nothing by itself."""
    namespace = stack.enter_context(Namespace(name))
    for scope in ("all", "default"):
        namespace.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
    namespace.sysctl("ipv4/ip_forward", 0)
    namespace.sysctl("ipv4/igmp_max_memberships", 2000)
    links.up(namespace, "lo")
    return namespace


def cable(
    near: Namespace, near_name: str, far: Namespace, far_name: str = LINK, *, at: str = "", to: str = ""
) -> None:
    """A link between two namespaces, up; `at` and `to` are the addresses of its ends, none for a switch."""
    links.veth(near, near_name, far, far_name)
    for namespace, name, address in ((near, near_name, at), (far, far_name, to)):
        if address:
            links.add_address(namespace, name, f"{address}/24")
        links.up(namespace, name)
    for namespace, name in ((near, near_name), (far, far_name)):
        links.wait_up(namespace, name)


class Plant(ABC):
    """The source, the switch and what every topology has; a subclass wires and says where mcfwd runs."""

    def __init__(self, *, sending: bool = True) -> None:
        self._sending, self._streams = sending, itertools.count(0, 100)
        self._groups, self._channels = iter(GROUPS), iter(CHANNELS)
        self._stack = ExitStack()
        self.receivers: list[Receiver] = []

    def __enter__(self: P) -> P:
        with ExitStack() as self._stack:
            self.source, self.switch = host(self._stack, "source"), host(self._stack, "switch")
            self._wire()
            links.add_address(self.source, LINK, f"{OTHER_SOURCE}/24")
            if self._sending:
                self.send(*GROUPS, *CHANNELS)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, traceback)

    @abstractmethod
    def _wire(self) -> None:
        """Makes the links between the namespaces."""

    def send(self, *groups: str) -> None:
        """Both sources send these groups from now on."""
        for address in (SOURCE, OTHER_SOURCE):
            rate = {"rate": RATE * len(groups), "burst": len(groups), "size": 64}
            sender = Sender(self.source, *groups, bind=address, stream=next(self._streams), **rate)
            self._stack.enter_context(sender)

    def run(self, daemon: D) -> D:
        """Starts a peer; it ends with the plant."""
        return self._stack.enter_context(daemon)

    def new_group(self) -> str:
        """A group that both sources send and nobody had before."""
        return next(self._groups)

    def new_channel(self) -> str:
        """The same in the range for channels."""
        return next(self._channels)

    def capture(self, namespace: Namespace, interface: str = LINK) -> Wire:
        """The IGMP of a link from now on."""
        return Wire(self._stack.enter_context(Capture(namespace, interface)))

    def stream(self, namespace: Namespace, interface: str = LINK) -> Stream:
        """The UDP of a link from now on."""
        return Stream(self._stack.enter_context(Capture(namespace, interface, UDP, snaplen=64)))

    def run_mcfwd(self, namespace: Namespace, *arguments: str, **changes: float) -> Mcfwd:
        """mcfwd with the timers of TIMERS, some of them changed."""
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        lines = [f"{key} = {value}" for key, value in (TIMERS | changes).items()]
        (directory / "mcfwd.toml").write_text("\n".join(["[igmp]", *lines]) + "\n")
        return self._stack.enter_context(Mcfwd(namespace, "-c", str(directory / "mcfwd.toml"), *arguments))


class Chain(Plant):
    """See the module: a router above another. `wire` is what is between them, `upstream` what the source hears."""

    def _wire(self) -> None:
        stack = self._stack
        self.above, self.below = host(stack, "above"), host(stack, "below")
        cable(self.above, "up0", self.source, at=UPSTREAM, to=SOURCE)
        cable(self.above, "down0", self.switch, "above", at=ABOVE)
        cable(self.below, "up0", self.switch, "below", at=BELOW)
        links.bridge(self.switch, "br0", ["above", "below"], snooping=False)
        links.add_default_route(self.below, ABOVE)
        self.hosts = [host(stack, f"receiver{number}") for number in range(2)]
        for number, (namespace, address) in enumerate(zip(self.hosts, RECEIVERS, strict=True)):
            cable(self.below, f"down{number}", namespace, at=address[:-1], to=address)
            links.add_default_route(namespace, address[:-1])
        self.wire, self.upstream = self.capture(self.switch, "above"), self.capture(self.source)
        self.links = [self.capture(namespace) for namespace in self.hosts]
        self.receivers = [stack.enter_context(Receiver(namespace)) for namespace in self.hosts]
        self.streams = [self.stream(namespace) for namespace in self.hosts]

    def run_above(self, **changes: float) -> Mcfwd:
        """mcfwd in the upper namespace."""
        return self.run_mcfwd(self.above, "-u", "up0", "-d", "down0", **changes)

    def run_below(self, **changes: float) -> Mcfwd:
        """mcfwd in the lower namespace."""
        return self.run_mcfwd(self.below, "-u", "up0", "-d", "down0", "-d", "down1", **changes)

    def force_version(self, namespace: Namespace, interface: str, version: int) -> None:
        """Makes a kernel speak only that version of IGMP on a link; 0: the newest it may."""
        namespace.sysctl(f"ipv4/conf/{interface}/force_igmp_version", version)

    def bystander(self) -> Receiver:
        """A host of its own between the two routers, at BYSTANDER."""
        namespace = host(self._stack, "bystander")
        cable(namespace, LINK, self.switch, "bystander", at=BYSTANDER)
        links.configure(self.switch, "bystander", master=links.index(self.switch, "br0"))
        return self._stack.enter_context(Receiver(namespace))

    def cut(self) -> None:
        """The lower router is gone without a word; the upper one keeps its carrier."""
        links.down(self.switch, "below")

    def mend(self) -> None:
        """It is back."""
        links.up(self.switch, "below")
        links.wait_up(self.switch, "below")


class Shared(Plant):
    """See the module: two routers on one link, which one of them queries. `wire` is that link."""

    def __init__(self, neighbour_address: str, *, sending: bool = True) -> None:
        super().__init__(sending=sending)
        self._neighbour_address = neighbour_address

    def _wire(self) -> None:
        stack = self._stack
        self.router, self.neighbour, self.nothing = (host(stack, name) for name in ("router", "neighbour", "nothing"))
        self.host = host(stack, "receiver0")
        cable(self.router, "up0", self.source, at=UPSTREAM, to=SOURCE)
        cable(self.neighbour, "up0", self.nothing, at="10.9.0.1", to="10.9.0.2")
        cable(self.router, "down0", self.switch, "router", at=OURS)
        cable(self.neighbour, "down0", self.switch, "neighbour", at=self._neighbour_address)
        cable(self.host, LINK, self.switch, "receiver0", at="192.168.10.11")
        links.bridge(self.switch, "br0", ["router", "neighbour", "receiver0"], snooping=False)
        self.wire, self.upstream = self.capture(self.switch, "receiver0"), self.capture(self.source)
        self.receivers = [stack.enter_context(Receiver(self.host))]
        self.streams = [self.stream(self.host)]

    def run_beside(self, **changes: float) -> Mcfwd:
        """mcfwd beside the neighbour."""
        return self.run_mcfwd(self.router, "-u", "up0", "-d", "down0", **changes)
