"""What the tests of the upstream side share: a router that asks, a host whose wishes are asked about, and an ear."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from forwarder.lab import links
from forwarder.lab.capture import Frame
from forwarder.lab.topology import SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.frames import checksum, group_mac
from netns.scenarios import SOON, Neighbour, record, settled_counters
from netns.site import ROUTER_ALERT, Site, Told, sealed, told

CHANGES = ("ALLOW", "BLOCK", "TO_IN", "TO_EX")
REPEATED = 0.2          # seconds within which a change is said again
TIMERS = f"""
[igmp]
query_interval = 60.0
query_response_interval = 1.0
last_member_query_interval = 0.1
startup_query_interval = 0.3
unsolicited_report_interval = {REPEATED}
older_querier_timeout = 60.0
"""
NOW = 0.1               # seconds: the shortest time in which a query of version 2 can want its answer


class Router(Neighbour):
    """The router on the upstream link."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.lab.source, SOURCE)
        self._to_us = bytes.fromhex(links.attribute(site.lab.router, "up0", "IFLA_ADDRESS").replace(":", ""))

    def send_alone(self, frame: bytes) -> None:
        """A frame to mcfwd's own address on the link."""
        self.send_frame(self._to_us + frame[6:])


@contextmanager
def wishes(site: Site, host: Neighbour) -> Iterator[Callable[..., str]]:
    """`want(*sources, exclude=False)` joins a new group, all sources of it or these; the group, once upstream knows.

    All of them are left afterwards, and upstream knows that too.
    """
    wanted: list[str] = []

    def want(*sources: str, exclude: bool = False) -> str:
        group = site.new_group()
        wanted.append(group)
        host.report(record("ALLOW" if sources and not exclude else "TO_EX", group, *sources))
        settle(site, group)
        return group

    yield want
    left = time.monotonic()
    for group in wanted:
        host.report(record("TO_IN", group))
    forgotten(site, wanted, left)


def forgotten(site: Site, groups: Iterable[str], left: float) -> None:
    """Returns when nothing is wanted upstream any more, and that was said of these groups as often as it is."""
    site.mcfwd.wait_for(lambda mcfwd: not mcfwd.show("upstream"), SOON, "nothing wanted")
    settle(site, *groups, since=left, kinds=("TO_IN", "BLOCK"))     # a join may have been said once more meanwhile


def settle(site: Site, *groups: str, since: float = 0.0, kinds: Sequence[str] = CHANGES) -> None:
    """Returns when all that was said of these groups was said twice, as robustness wants it of version 3."""

    def repeated(group: str) -> bool:
        told = (each for each in site.told_upstream(group, since) if each.kind in kinds)
        times = Counter((each.kind, each.sources) for each in told)
        return bool(times) and min(times.values()) >= 2

    for group in groups:
        wait_for(lambda group=group: repeated(group), SOON, f"reports of {group}")


def heard(site: Site, since: float) -> list[Frame]:
    """What mcfwd has sent upstream."""
    return site.upstream.select(lambda frame: frame.source == UPSTREAM and frame.time >= since)


def records(frame: Frame) -> list[tuple[str, str, tuple[str, ...]]]:
    """Kind, group and sources of all that a message says."""
    return [(each.kind, each.group, each.sources) for each in told(frame)]


def answers(site: Site, group: str, since: float) -> list[Told]:
    """What mcfwd has said of a group."""
    return site.told_upstream(group, since)


def counted(site: Site, before: dict[str, int]) -> dict[str, int]:
    """The counters of receipt upstream that have changed, and by how much."""
    after = settled_counters(site, "up0")
    return {name: after[name] - was for name, was in before.items() if after[name] != was and name[:3] != "tx_"}


def passed_without(site: Site, seconds: float, groups: Sequence[str], since: float) -> None:
    """For that long nothing is said of these groups."""
    time.sleep(seconds)
    assert [each for group in groups for each in site.told_upstream(group, since)] == []


def assert_envelope(frame: Frame, destination: str) -> None:
    """The packet is as RFC 9776 section 4 wants it around every message, to that address; its checksums are right."""
    packet = frame.packet
    assert packet[:2] == bytes((0x46, 0xC0))                    # six words; internetwork control
    assert int.from_bytes(packet[2:4], "big") == 24 + len(frame.payload)
    assert packet[6:10] == bytes((0x40, 0, 1, 2))               # DF, no fragment; TTL 1, IGMP
    assert packet[20:24] == ROUTER_ALERT
    assert (frame.source, frame.destination) == (UPSTREAM, destination)
    assert frame.octets[:6] == group_mac(destination)
    assert checksum(packet[:24]) == 0
    assert checksum(frame.payload) == 0


def damaged(octets: bytes, at: int) -> bytes:
    """The same with another octet there, so that the checksum is wrong."""
    return octets[:at] + bytes((octets[at] ^ 0x55,)) + octets[at + 1 :]


def resealed(message: bytes, at: int = 0, value: int | None = None) -> bytes:
    """The message as it is, or with another octet, under a right checksum."""
    if value is not None:
        message = message[:at] + bytes((value,)) + message[at + 1 :]
    return sealed(message[:2] + bytes(2) + message[4:])
