"""What the scenario tests share: a neighbour that says whatever a test wants, and settings with short timers.

The scenarios are what users and test suites of other multicast daemons care about, numbered 1 to 50. Each test file
says in its docstring which scenario is proven where; a test that proves one has its number in its name.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from forwarder.lab.capture import Capture, Frame
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for
from netns.conftest import obstacle
from netns.frames import ROUTER_ALERT, Injector, ipv4, udp
from netns.site import QUERY, RECORDS, Site, sealed

SOON = 10.0                     # seconds in which everything that has no timer must have happened, on a busy machine
LATE, EARLY = 0.5, 0.1          # seconds that a busy machine adds to a timer, and that a late look takes away
ALL_HOSTS, ALL_ROUTERS, V3_ROUTERS = "224.0.0.1", "224.0.0.2", "224.0.0.22"
RECORD_TYPES = {name: number for number, name in RECORDS.items()}
Row = dict[str, Any]            # of `show groups`
TRAFFIC_SOURCES = ["10.0.0.101", "10.0.0.102", "10.0.0.103", "10.0.0.104"]


def record(kind: str, group: str, *sources: str, count: int | None = None, auxiliary: bytes = b"") -> bytes:
    """A group record of an IGMPv3 report; `kind` is a value of RECORDS, or a number; `count` may lie."""
    number = RECORD_TYPES[kind] if kind in RECORD_TYPES else int(kind)
    claimed = len(sources) if count is None else count
    header = bytes((number, len(auxiliary) // 4)) + claimed.to_bytes(2, "big")
    return header + b"".join(map(socket.inet_aton, (group, *sources))) + auxiliary


def v3_message(*records: bytes, count: int | None = None) -> bytes:
    """An IGMPv3 report, checksum filled in; `count` may lie."""
    claimed = len(records) if count is None else count
    return sealed(bytes((0x22, 0, 0, 0, 0, 0)) + claimed.to_bytes(2, "big") + b"".join(records))


def query_message(
    group: str = "0.0.0.0",
    *sources: str,
    version: int = 3,
    response: float = 0.5,
    suppress: bool = False,
    robustness: int = 2,
    interval: int = 1,
) -> bytes:
    """A query, checksum filled in; `response` and `interval` in seconds, short enough to need no floating point."""
    code = 0 if version == 1 else round(response * 10)
    eight = bytes((QUERY, code, 0, 0)) + socket.inet_aton(group)
    if version < 3:
        return sealed(eight)
    rest = bytes((suppress << 3 | robustness, interval)) + len(sources).to_bytes(2, "big")
    return sealed(eight + rest + b"".join(map(socket.inet_aton, sources)))


class Neighbour(Injector):
    """Speaks on a link as any host or router there: messages by hand, from `address` unless a call says otherwise."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        super().__init__(namespace)
        self.address = address

    def say(
        self,
        message: bytes,
        destination: str,
        source: str = "",
        *,
        options: bytes = ROUTER_ALERT,
        ttl: int = 1,
    ) -> None:
        """An IGMP message as it is."""
        self.send(ipv4(source or self.address, destination, message, ttl=ttl, protocol=2, options=options))

    def report(self, *records: bytes, source: str = "") -> None:
        """An IGMPv3 report of these records."""
        self.say(v3_message(*records), V3_ROUTERS, source)

    def report_old(self, version: int, group: str) -> None:
        """A report of IGMPv1 or v2."""
        self.say(sealed(bytes(((0x12, 0x16)[version - 1], 0, 0, 0)) + socket.inet_aton(group)), group)

    def leave_old(self, group: str) -> None:
        """An IGMPv2 leave."""
        self.say(sealed(bytes((0x17, 0, 0, 0)) + socket.inet_aton(group)), ALL_ROUTERS)

    def query(self, group: str = "", *sources: str, source: str = "", **fields: Any) -> None:
        """A General Query, or one for a group; `fields` as of `query_message`."""
        self.say(query_message(group or "0.0.0.0", *sources, **fields), group or ALL_HOSTS, source)


@contextmanager
def running_site(settings: str, receivers: int = 2, **options: Any) -> Iterator[Site]:
    """A Site without senders, with settings of its own; the test is skipped where there can be none."""
    if reason := obstacle():
        pytest.skip(reason)
    with Site((3,) * receivers, senders=False, configuration=settings, **options) as site:
        yield site


def neighbours(site: Site, stack: ExitStack) -> list[Neighbour]:
    """A neighbour on every downstream link, with the address of its receiver."""
    places = enumerate(site.lab.receivers)
    return [stack.enter_context(Neighbour(each, site.lab.address(number))) for number, each in places]


def wait_group(site: Site, port: str, group: str, condition: Callable[[Row], object] = bool) -> Row:
    """The row of `show groups` as soon as it is so."""
    row: Row = site.mcfwd.wait_for(
        lambda mcfwd: (found := mcfwd.group(port, group)) and condition(found) and found, SOON, f"{group} on {port}"
    )
    return row


def wait_no_group(site: Site, port: str, group: str) -> None:
    """Returns when nobody is a member any more."""
    site.mcfwd.wait_for(lambda mcfwd: mcfwd.group(port, group) is None, SOON, f"no {group} on {port}")


def state_of(row: Row) -> tuple[str, set[str], set[str]]:
    """Mode, sources with timers, excluded sources of a row of `show groups`."""
    return row["mode"], {each["address"] for each in row["sources"]}, set(row["excluded_sources"])


def counter(site: Site, port: str, name: str) -> int:
    """An IGMP counter of an interface, as of now."""
    return int(site.mcfwd.interface(port)["igmp"][name])


def settled_counters(site: Site, port: str) -> dict[str, int]:
    """The IGMP counters of an interface when everything so far is in them: they are published within 0.1 s."""
    seen: list[dict[str, int]] = [{}, {}]
    while seen[-1] != seen[-2] or not seen[-1]:
        time.sleep(0.3)
        seen.append(site.mcfwd.interface(port)["igmp"])
    return seen[-1]


def wait_counter(site: Site, port: str, name: str, value: int) -> None:
    """Returns when an IGMP counter has that value; AssertionError when it does not reach exactly that."""
    try:
        wait_for(lambda: counter(site, port, name) == value, SOON)
    except TimeoutError:
        assert counter(site, port, name) == value


def queries(site: Site, number: int, since: float = 0.0, group: str | None = None) -> list[Frame]:
    """The queries that mcfwd sent to a receiver's link from `since` on: for a group, "0.0.0.0" general, None any."""
    wanted = None if group is None else socket.inet_aton(group)
    return site.downstream[number].select(
        lambda frame: not frame.outgoing
        and frame.payload[0] == QUERY
        and frame.time >= since
        and wanted in (None, frame.payload[4:8])
    )


def asked_sources(query: Frame) -> list[str]:
    """The sources that a version 3 query names."""
    return [socket.inet_ntoa(query.payload[at : at + 4]) for at in range(12, len(query.payload), 4)]


def passing(site: Site, capture: Capture, group: str, sources: list[str], mark: str) -> set[str]:
    """Which of `sources`, sending a datagram each to `group` from upstream, reach the link of `capture`.

    `mark` is a group that the link takes from anybody: what has not come before a datagram to it, comes no more.
    """
    seen = len(capture.select())
    before = site.mcfwd.interface("up0")["rx_packets"]
    with Injector(site.lab.source) as injector:
        injector.send(*(udp(source, group, source.encode()) for source in sources))
        taken = before + len(sources)
        site.mcfwd.wait_for(lambda m: m.interface("up0")["rx_packets"] >= taken, SOON, "datagrams taken")
        injector.send(udp(sources[0], mark))
    wait_for(lambda: [frame for frame in capture.select()[seen:] if frame.destination == mark], SOON, "mark")
    frames = [frame for frame in capture.select()[seen:] if frame.destination == group]
    assert len(frames) == len({frame.source for frame in frames})
    return {frame.source for frame in frames}


def udp_capture(site: Site, stack: ExitStack, number: int) -> Capture:
    """The UDP of a receiver's link."""
    return stack.enter_context(Capture(site.lab.receivers[number], LINK, 17))
