"""The IPv4 envelope of IGMP: what a received packet must pass before a core sees it, and how a message is sent.

Rules of this file: `receive` raises `Rejected` and nothing else for any bytes, for the first check that fails in
the order written there; what a core gets has possible sources and trackable groups only, so cores never look
again. No state is kept: the same packet on the same link always gets the same answer.
"""

import functools
import struct
from collections.abc import Collection
from dataclasses import dataclass

from igmp.access import OPEN, AccessList
from igmp.checksum import checksum, is_intact
from igmp.link import Link, Network, format_address, group_mac, is_unicast, parse_address
from igmp.messages import IP_HEADER, MalformedMessage, Message, Report, parse, verify
from igmp.validation import (
    ALL_ROUTERS,
    ALL_SYSTEMS,
    V3_ROUTERS,
    Rejected,
    Rules,
    is_trackable,
    judge_query,
    judge_report,
)

__all__ = [
    "ALL_ROUTERS",
    "ALL_SYSTEMS",
    "V3_ROUTERS",
    "Link",
    "Network",
    "Received",
    "Rejected",
    "Rules",
    "encode",
    "format_address",
    "group_mac",
    "is_trackable",
    "overhear",
    "parse_address",
    "receive",
]

# RFC 9776 4 a
PROTOCOL = 2                            # IPPROTO_IGMP
_MINIMUM_HEADER = 20
_ROUTER_ALERT = 0x94040000              # RFC 2113: copied, option 20, length 4, value 0
_ROUTER_ALERT_OPTION = _ROUTER_ALERT.to_bytes(4, "big")
_OPTIONS_END, _NO_OPERATION = 0, 1
_FRAGMENT = 0x3FFF                      # MF and the offset
_DONT_FRAGMENT = 0x4000
_INTERNETWORK_CONTROL = 0xC0            # TOS

_HEADER = struct.Struct("!BxHxxHBBxxII")        # version + IHL, total length, fragment, TTL, protocol, ends
_HEADER_OUT = struct.Struct("!BBHHHBBHIII")     # all fields, and one option

_QUERY_COUNTERS = {1: ("query_v1",), 2: ("query_v2",), 3: ("query_v3",)}
_NO_ROUTER_ALERT = ("rx_no_router_alert",)


@dataclass(frozen=True, slots=True)
class Received:
    """An accepted message; `counters` are all to add: its type and what was tolerated or skipped (defects too)."""

    source: int
    destination: int
    message: Message
    counters: tuple[str, ...]


def receive(
    packet: bytes,
    link: Link,
    upstream: bool,
    rules: Rules,
    own: Collection[int] = (),
    access: AccessList = OPEN,
) -> Received:
    """The message in an IPv4 packet received on `link` as host (`upstream`) or router; raises Rejected only.

    `own` are our addresses on all links. Octets after the IP total length are frame padding and do not count. Version
    3 records that must not be used, impossible and duplicate sources and what `access` denies are already removed.
    """
    length, ttl, source, destination = _check_header(packet)
    # RFC 9776 4.2.14 c, 9.2 b, 9.3 b
    # RFC 4541 2.1.1 d
    if source:                                      # hosts may report before they have an address
        _check_source(source, link, own, upstream and not rules.strict_sources)
    if ttl != 1 and not rules.accept_any_ttl:
        raise Rejected("rx_bad_ttl")
    header = (packet[0] & 15) * 4
    data = packet[header:length]
    tolerated: tuple[str, ...] = ()
    try:
        verify(data)
        if not _has_router_alert(packet, header):
            # RFC 9776 9.1 b, 9.2 c, 9.3 c
            if rules.require_router_alert:
                raise Rejected("rx_no_router_alert")
            tolerated = _NO_ROUTER_ALERT
        message = parse(data)
        if isinstance(message, Report):
            message, counters = judge_report(
                message, destination, link, rules, OPEN if upstream else access, upstream
            )
        elif not source and not upstream:
            # RFC 4541 2.1.1 c
            raise Rejected("rx_query_zero_source")  # a snooping switch's: no election, no timers
        else:
            message, counters = judge_query(message, destination, link), _QUERY_COUNTERS[message.version]
    except (MalformedMessage, Rejected) as error:
        raise Rejected(error.counter, tolerated) from error
    return Received(source, destination, message, tolerated + counters)


def overhear(packet: bytes, link: Link, mac: int = 0) -> Report:
    """The report that our own kernel sends in an outgoing packet, of trackable groups; raises Rejected only.

    What has another address is of somebody behind us (a container, another link of ours), which routers tell from us.
    So is what has another Ethernet address (`mac`, 0: none): a macvlan on our link, other ports of a bridge that it is
    a port of. They may have our address, or none yet.
    """
    if mac != link.mac and mac:
        raise Rejected("host_ignored")
    try:
        length, _, source, _ = _check_header(packet)
        data = packet[(packet[0] & 15) * 4 : length]
        verify(data)
        message = parse(data)
    except (MalformedMessage, Rejected) as error:
        raise Rejected("host_ignored") from error
    if not isinstance(message, Report) or (source and not link.is_own(source)):
        raise Rejected("host_ignored")
    records = tuple(record for record in message.records if is_trackable(record.group))
    return Report(records, message.version, message.leave, message.defects)


# RFC 4541 2.1.1 h
def _check_header(packet: bytes) -> tuple[int, int, int, int]:
    """Total length, TTL, source and destination of a whole IGMP packet with a sound header (RFC 1122)."""
    if len(packet) < _MINIMUM_HEADER:
        raise Rejected("rx_bad_ip")
    first, length, fragment, ttl, protocol, source, destination = _HEADER.unpack_from(packet)
    header = (first & 15) * 4
    if first >> 4 != 4 or not _MINIMUM_HEADER <= header <= length <= len(packet) or protocol != PROTOCOL:
        raise Rejected("rx_bad_ip")
    if not is_intact(packet[:header]):
        raise Rejected("rx_bad_ip")
    if fragment & _FRAGMENT:
        raise Rejected("rx_fragment")
    return length, ttl, source, destination


# RFC 9776 9.2 a, 9.3 a
def _check_source(source: int, link: Link, own: Collection[int], anywhere: bool) -> None:
    """Raise Rejected unless `source` can be a neighbour's address; off-link ones only if `anywhere` is allowed."""
    if source in own or (not own and link.is_own(source)):
        raise Rejected("rx_own", (), source)
    for network in link.addresses:
        if network.contains(source):
            if not network.is_host(source):
                raise Rejected("rx_bad_source")
            anywhere = True
    if not is_unicast(source) or not (anywhere or link.believes(source)):
        raise Rejected("rx_bad_source")


def _has_router_alert(packet: bytes, header: int) -> bool:
    """Whether the options of an IPv4 header of `header` octets hold Router Alert with value 0 (RFC 2113)."""
    if packet[_MINIMUM_HEADER : _MINIMUM_HEADER + 4] == _ROUTER_ALERT_OPTION and header > _MINIMUM_HEADER:
        return True
    at = _MINIMUM_HEADER
    while at < header:
        if packet[at] == _OPTIONS_END:
            return False
        if packet[at] == _NO_OPERATION:
            at += 1
            continue
        size = packet[at + 1] if at + 1 < header else 0
        if size < 2 or at + size > header:
            return False                            # damaged options count as none
        if packet[at : at + size] == _ROUTER_ALERT_OPTION:
            return True
        at += size
    return False


# RFC 9776 4 b
def encode(source: int, destination: int, message: bytes) -> bytes:
    """The complete IPv4 packet of an IGMP message: TTL 1, internetwork control, Router Alert, DF, ID 0."""
    return _header(source, destination, IP_HEADER + len(message)) + message


@functools.lru_cache(maxsize=256)                   # most reports have the same few lengths
def _header(source: int, destination: int, length: int) -> bytes:
    head = (0x46, _INTERNETWORK_CONTROL, length, 0, _DONT_FRAGMENT, 1, PROTOCOL)
    ends = (source, destination, _ROUTER_ALERT)
    check = checksum(_HEADER_OUT.pack(*head, 0, *ends))
    return _HEADER_OUT.pack(*head, check, *ends)
