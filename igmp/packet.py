"""The IPv4 envelope of IGMP: what a received packet must pass before a core sees it, and how a message is sent.

Rules of this file: `receive` raises `Rejected` and nothing else for any bytes, for the first check that fails in
the order written there; what a core gets has possible sources and trackable groups only, so cores never look
again. No state is kept: the same packet on the same link always gets the same answer.
"""

import struct
from dataclasses import dataclass

from igmp.link import Link, Network, format_address, group_mac, is_multicast, is_unicast, parse_address
from igmp.messages import (
    IP_HEADER,
    GroupRecord,
    MalformedMessage,
    Message,
    MessageType,
    Query,
    RecordType,
    Report,
    checksum,
    is_intact,
    parse,
    verify,
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
    "parse_address",
    "receive",
]

PROTOCOL = 2                            # IPPROTO_IGMP
ALL_SYSTEMS = 0xE0000001                # 224.0.0.1
ALL_ROUTERS = 0xE0000002                # 224.0.0.2
V3_ROUTERS = 0xE0000016                 # 224.0.0.22
SSM_RANGE = Network(0xE8000000, 8)      # 232.0.0.0/8 (RFC 4607)

_MINIMUM_HEADER = 20
_ROUTER_ALERT = 0x94040000              # RFC 2113: copied, option 20, length 4, value 0
_ROUTER_ALERT_OPTION = _ROUTER_ALERT.to_bytes(4, "big")
_OPTIONS_END, _NO_OPERATION = 0, 1
_LINK_LOCAL_BLOCK = 0xE00000            # 224.0.0.0/24
_FRAGMENT = 0x3FFF                      # MF and the offset
_DONT_FRAGMENT = 0x4000
_INTERNETWORK_CONTROL = 0xC0            # TOS

_HEADER = struct.Struct("!BxHxxHBBxxII")        # version + IHL, total length, fragment, TTL, protocol, ends
_HEADER_OUT = struct.Struct("!BBHHHBBHIII")     # all fields, and one option

_QUERY_COUNTERS = {1: ("query_v1",), 2: ("query_v2",), 3: ("query_v3",)}
_REPORT_COUNTERS = {1: ("report_v1",), 2: ("report_v2",), 3: ("report_v3",)}
_LEAVE_COUNTERS = ("leave",)
_NO_ROUTER_ALERT = ("rx_no_router_alert",)


class Rejected(Exception):
    """The packet must be dropped; `counter` is the reason, `counters` adds what was tolerated before it."""

    def __init__(self, counter: str, tolerated: tuple[str, ...] = ()) -> None:
        super().__init__(counter)
        self.counter = counter
        self.counters = (*tolerated, counter)


@dataclass(frozen=True, slots=True)
class Rules:
    """How strict we are with what standards and practice leave open."""

    require_router_alert: bool = False      # drop version 2 and 3 messages without it
    accept_any_ttl: bool = False            # some old hosts do not send TTL 1
    strict_sources: bool = False            # upstream: believe only sources on the link or in its altnets
    ssm_range: Network = SSM_RANGE


@dataclass(frozen=True, slots=True)
class Received:
    """An accepted message; `counters` are all to add: its type and what was tolerated or skipped (defects too)."""

    source: int
    destination: int
    message: Message
    counters: tuple[str, ...]


def receive(packet: bytes, link: Link, upstream: bool, rules: Rules) -> Received:
    """The message in an IPv4 packet received on `link` as host (`upstream`) or router; raises Rejected only.

    Octets after the IP total length are frame padding and do not count. Version 3 records that must not be
    used, impossible and duplicate sources are already removed.
    """
    length, ttl, source, destination = _check_header(packet)
    if source:                                      # hosts may report before they have an address
        _check_source(source, link, upstream and not rules.strict_sources)
    if ttl != 1 and not rules.accept_any_ttl:
        raise Rejected("rx_bad_ttl")
    header = (packet[0] & 15) * 4
    data = packet[header:length]
    tolerated: tuple[str, ...] = ()
    try:
        verify(data)
        if not _has_router_alert(packet, header) and not _is_version_1(data):
            if rules.require_router_alert:
                raise Rejected("rx_no_router_alert")
            tolerated = _NO_ROUTER_ALERT
        message = parse(data)
        if isinstance(message, Report):
            message, counters = _judge_report(message, destination, link, rules)
        elif not source and not upstream:
            raise Rejected("rx_query_zero_source")  # a snooping switch's: no election, no timers
        else:
            message, counters = _judge_query(message, destination, link), _QUERY_COUNTERS[message.version]
    except (MalformedMessage, Rejected) as error:
        raise Rejected(error.counter, tolerated) from error
    return Received(source, destination, message, tolerated + counters)


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


def _check_source(source: int, link: Link, anywhere: bool) -> None:
    """Raise Rejected unless `source` can be a neighbour's address; off-link ones only if `anywhere` is allowed."""
    on_link = broadcast = False
    for network in link.addresses:
        if network.address == source:
            raise Rejected("rx_own")
        if network.contains(source):
            on_link = True
            broadcast = broadcast or not network.is_host(source)
    if broadcast or not is_unicast(source) or not (on_link or anywhere or link.believes(source)):
        raise Rejected("rx_bad_source")


def _has_router_alert(packet: bytes, header: int) -> bool:
    """Whether the options of an IPv4 header of `header` octets hold Router Alert with value 0 (RFC 2113)."""
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


def _is_version_1(data: bytes) -> bool:
    """Version 1 is older than Router Alert and exempt; its query has 8 octets and no response time."""
    kind = data[0]
    if kind == MessageType.MEMBERSHIP_QUERY:
        return len(data) == 8 and data[1] == 0
    return kind == MessageType.V1_MEMBERSHIP_REPORT


def _judge_query(query: Query, destination: int, link: Link) -> Query:
    group = query.group
    if destination not in (ALL_SYSTEMS, group) and not link.is_own(destination):
        raise Rejected("rx_bad_query_dst")
    if not group:
        return query
    _check_trackable(group)
    sources = _possible(query.sources)
    if len(sources) == len(query.sources):
        return query
    if not sources:
        raise Rejected("rx_malformed")              # without sources it would ask for the whole group
    return Query(group, sources, query.max_response_time, query.suppress, query.robustness, query.interval)


def _check_trackable(group: int) -> None:
    if not is_multicast(group):
        raise Rejected("rx_bad_group")
    if group >> 8 == _LINK_LOCAL_BLOCK:
        raise Rejected("rx_link_local")


def _judge_report(
    report: Report, destination: int, link: Link, rules: Rules
) -> tuple[Report, tuple[str, ...]]:
    """The part of a report a core may use, and what to count for it."""
    if report.version < 3:
        _check_old_report(report, destination, link, rules)
        return report, _LEAVE_COUNTERS if report.leave else _REPORT_COUNTERS[report.version]
    if destination != V3_ROUTERS and not link.is_own(destination):
        raise Rejected("rx_bad_dst")
    skipped = list(report.defects)
    records = tuple([usable for record in report.records if (usable := _judge_record(record, rules, skipped))])
    if records != report.records:
        report = Report(records, 3, False, report.defects)
    return report, (*_REPORT_COUNTERS[3], *skipped) if skipped else _REPORT_COUNTERS[3]


def _check_old_report(report: Report, destination: int, link: Link, rules: Rules) -> None:
    """Versions 1 and 2 name one group, and are sent to it; a leave usually to all routers."""
    group = report.records[0].group
    if not is_multicast(group):
        raise Rejected("rx_bad_group")
    expected = (group, ALL_ROUTERS) if report.leave else (group,)
    if destination not in expected and not link.is_own(destination):
        raise Rejected("rx_bad_dst")
    _check_trackable(group)
    if rules.ssm_range.contains(group):
        raise Rejected("rx_ssm_legacy")             # RFC 4604 section 2.2.4


def _judge_record(record: GroupRecord, rules: Rules, skipped: list[str]) -> GroupRecord | None:
    """The record without impossible sources; None and a counter in `skipped` when it must not be used."""
    group, kind = record.group, record.type
    if not is_multicast(group):
        if skipped[:1] != ["rx_bad_group"]:
            skipped.insert(0, "rx_bad_group")       # once: it counts packets, the others records
        return None
    if group >> 8 == _LINK_LOCAL_BLOCK:
        skipped.append("rx_link_local")
        return None
    exclude = kind is RecordType.MODE_IS_EXCLUDE or kind is RecordType.CHANGE_TO_EXCLUDE
    if exclude and rules.ssm_range.contains(group):
        skipped.append("rx_ssm_exclude")            # RFC 4604 section 2.2.5
        return None
    return _without_impossible(record, skipped) if record.sources else record


def _without_impossible(record: GroupRecord, skipped: list[str]) -> GroupRecord:
    sources = _possible(record.sources)
    if len(sources) == len(record.sources):
        return record
    skipped.extend("rx_bad_record_source" for source in record.sources if not is_unicast(source))
    return GroupRecord(record.type, record.group, sources)


def _possible(sources: tuple[int, ...]) -> tuple[int, ...]:
    """Sources that can exist, each once, in their order."""
    return tuple(dict.fromkeys(filter(is_unicast, sources)))


def encode(source: int, destination: int, message: bytes) -> bytes:
    """The complete IPv4 packet of an IGMP message: TTL 1, internetwork control, Router Alert, DF, ID 0."""
    head = (0x46, _INTERNETWORK_CONTROL, IP_HEADER + len(message), 0, _DONT_FRAGMENT, 1, PROTOCOL)
    ends = (source, destination, _ROUTER_ALERT)
    check = checksum(_HEADER_OUT.pack(*head, 0, *ends))
    return _HEADER_OUT.pack(*head, check, *ends) + message
