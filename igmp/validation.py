"""What of a decoded message a core may use: the rules by type of message (RFC 9776, RFC 4604, RFC 2365).

Rules of this file: pure; the first rule that fails decides; what a core gets has possible sources and trackable,
admitted groups only, so cores never look again.
"""

from dataclasses import dataclass

from igmp.access import AccessList
from igmp.link import Link, Network, is_multicast, is_unicast
from igmp.messages import GroupRecord, Query, RecordType, Report

ALL_SYSTEMS = 0xE0000001                # 224.0.0.1
ALL_ROUTERS = 0xE0000002                # 224.0.0.2
V3_ROUTERS = 0xE0000016                 # 224.0.0.22
SSM_RANGE = Network(0xE8000000, 8)      # 232.0.0.0/8 (RFC 4607)

_LINK_LOCAL_BLOCK = 0xE00000            # 224.0.0.0/24
_EXCLUDING = (RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE)
_ROUTERS = frozenset((ALL_SYSTEMS, ALL_ROUTERS, V3_ROUTERS))    # a router's interface has these addresses too
_LEAVE_COUNTERS = ("leave",)
_REPORT_COUNTERS = {1: ("report_v1",), 2: ("report_v2",), 3: ("report_v3",)}


class Rejected(Exception):
    """The packet must be dropped; `counter` is the reason, `counters` adds what was tolerated before it."""

    def __init__(self, counter: str, tolerated: tuple[str, ...] = (), source: int = 0) -> None:
        super().__init__(counter)
        self.counter = counter
        self.counters = (*tolerated, counter)
        self.source = source                        # where the packet came from, if that is the reason


@dataclass(frozen=True, slots=True)
class Rules:
    """How strict we are with what standards and practice leave open."""

    require_router_alert: bool = False      # drop what is without it: version 1, which is older, could be forged too
    accept_any_ttl: bool = False            # some old hosts do not send TTL 1
    strict_sources: bool = False            # upstream: believe only sources on the link or in its altnets
    ssm_range: tuple[Network, ...] = (SSM_RANGE,)

    def widens(self, before: "Rules") -> bool:
        """Whether reports may be heard that `before` refused."""
        if self is before:      # as nearly always: ports share them
            return False
        heard = before.require_router_alert > self.require_router_alert or self.accept_any_ttl > before.accept_any_ttl
        return heard or not set(before.ssm_range) <= set(self.ssm_range)

    def is_ssm(self, group: int) -> bool:
        """Whether `group` can be joined by source only (RFC 4604)."""
        return any(network.contains(group) for network in self.ssm_range)


# RFC 9776 5 b
def is_trackable(group: int) -> bool:
    """Whether `group` is ever reported or forwarded: a group, and not in 224.0.0.0/24."""
    return is_multicast(group) and group >> 8 != _LINK_LOCAL_BLOCK


# RFC 9776 4.1.12 c, 9.1 c
def judge_query(query: Query, destination: int, link: Link) -> Query:
    """The part of a query a core may use; raises Rejected."""
    group = query.group
    if destination != ALL_SYSTEMS and not (group and destination == group) and not link.is_own(destination):
        raise Rejected("rx_bad_query_dst")
    if not group:
        return query
    _check_trackable(group)
    # RFC 9776 4.1.9 a
    sources = _possible(query.sources)
    if len(sources) == len(query.sources):
        return query
    if not sources:
        raise Rejected("rx_malformed")              # without sources it would ask for the whole group
    return Query(group, sources, query.max_response_time, query.suppress, query.robustness, query.interval)


# RFC 9776 4.2.15 c
def judge_report(
    report: Report, destination: int, link: Link, rules: Rules, access: AccessList, upstream: bool = False
) -> tuple[Report, tuple[str, ...]]:
    """The part of a report a core may use, and what to count for it; raises Rejected.

    A router hears what is sent to any address of its interface (RFC 9776 section 4.2.15), which are the groups too. A
    host (`upstream`) keeps silent for a report of another only if that went to the group, where every router hears it.
    """
    if report.version < 3:
        _check_old_report(report, destination, link, rules, access, upstream)
        return report, _LEAVE_COUNTERS if report.leave else _REPORT_COUNTERS[report.version]
    if not _to_routers(destination, link) and all(record.group != destination for record in report.records):
        raise Rejected("rx_bad_dst")
    skipped = list(report.defects)
    usable = [_judge_record(record, rules, access, skipped) for record in report.records]
    records = tuple([record for record in usable if record is not None])
    if records != report.records:
        report = Report(records, 3, False, report.defects)
    return report, (*_REPORT_COUNTERS[3], *skipped) if skipped else _REPORT_COUNTERS[3]


def _to_routers(destination: int, link: Link) -> bool:
    return destination in _ROUTERS or link.is_own(destination)


# RFC 4605 4.3 c
def _check_old_report(
    report: Report, destination: int, link: Link, rules: Rules, access: AccessList, upstream: bool
) -> None:
    """Versions 1 and 2 name one group, and are sent to it; a leave usually to all routers."""
    group = report.records[0].group
    if not is_multicast(group):
        raise Rejected("rx_bad_group")
    if destination != group and (upstream or not _to_routers(destination, link)):
        raise Rejected("rx_bad_dst")
    _check_trackable(group)
    # RFC 4605 4.3 b
    if rules.is_ssm(group):
        raise Rejected("rx_ssm_legacy")             # RFC 4604 section 2.2.4
    if not access.is_open and not access.admits(None, group):
        raise Rejected("rx_boundary")


def _check_trackable(group: int) -> None:
    if not is_multicast(group):
        raise Rejected("rx_bad_group")
    if group >> 8 == _LINK_LOCAL_BLOCK:
        raise Rejected("rx_link_local")


# RFC 9776 4.2.9 a
def _judge_record(
    record: GroupRecord, rules: Rules, access: AccessList, skipped: list[str]
) -> GroupRecord | None:
    """The part of a record to use; None and a counter in `skipped` when there is none."""
    group = record.group
    if not is_multicast(group):
        _count_packet("rx_bad_group", skipped)
        return None
    # RFC 9776 5 b
    if group >> 8 == _LINK_LOCAL_BLOCK:
        skipped.append("rx_link_local")
        return None
    # RFC 4605 4.3 a
    if record.type in _EXCLUDING and rules.is_ssm(group):
        skipped.append("rx_ssm_exclude")            # RFC 4604 section 2.2.5
        return None
    if record.sources:
        record = _without_impossible(record, skipped)
    return record if access.is_open else _admitted(record, access, skipped)


# RFC 9776 4.2.10 a
def _without_impossible(record: GroupRecord, skipped: list[str]) -> GroupRecord:
    sources = _possible(record.sources)
    if len(sources) == len(record.sources):
        return record
    skipped.extend("rx_bad_record_source" for source in record.sources if not is_unicast(source))
    return GroupRecord(record.type, record.group, sources)


def _admitted(record: GroupRecord, access: AccessList, skipped: list[str]) -> GroupRecord | None:
    """What an access list leaves of a record; what is left of a leave is a leave."""
    group, kind = record.group, record.type
    if access.bounds(group) or (kind in _EXCLUDING and not access.admits(None, group)):
        _count_packet("rx_boundary", skipped)
        return None
    if kind in _EXCLUDING or kind is RecordType.BLOCK_OLD_SOURCES:
        return record                               # these sources are not wanted, whoever admits them
    sources = tuple([source for source in record.sources if access.admits(source, group)])
    if len(sources) == len(record.sources):
        return record
    _count_packet("rx_boundary", skipped)
    return GroupRecord(kind, group, sources)


def _count_packet(counter: str, skipped: list[str]) -> None:
    """Once for all records: it counts packets, the others records."""
    if counter not in skipped:
        skipped.append(counter)


def _possible(sources: tuple[int, ...]) -> tuple[int, ...]:
    """Sources that can exist, each once, in their order."""
    return tuple(dict.fromkeys(filter(is_unicast, sources)))


