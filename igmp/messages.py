"""The IGMP codec: bytes of versions 1, 2 and 3 to `Query` and `Report`, and back (RFC 9776 section 4, RFC 2236).

Rules of this file: tenths of seconds, floating-point codes and checksums exist here and nowhere else; version 1
and 2 reports and leaves become version 3 records here; decoding raises `MalformedMessage` and nothing else for
any bytes; what a group or source *means* on a link (link-local, SSM, boundary) is judged in packet.py, not here.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from igmp.checksum import checksum, is_intact
from igmp.octets import decode8, encode8

MINIMUM_MTU = 68                        # RFC 791: what every link must carry
MAXIMUM_PACKET = 65535                  # the total length field has 16 bits; the loopback's MTU is larger
IP_HEADER = 24                          # with Router Alert
QUERY_HEADER = 12
REPORT_HEADER = 8
RECORD_HEADER = 8
# RFC 9776 7.2.1 f
V1_MAX_RESPONSE_TIME = 10.0             # seconds; a v1 query says 0 and means this (RFC 9776 section 7.2.1)

_SHORT = struct.Struct("!BBHI")         # type, code, checksum, group
_QUERY = struct.Struct("!BBHIBBH")      # ..., flags + S + QRV, QQIC, number of sources
_REPORT = struct.Struct("!BBHHH")       # type, reserved, checksum, flags, number of group records
_RECORD = struct.Struct("!BBHI")        # type, auxiliary words, number of sources, group
_CHECKSUM = struct.Struct("!H")


class MalformedMessage(ValueError):
    """The peer sent a message that cannot be used; `counter` names the receive counter it belongs to."""

    def __init__(self, counter: str, reason: str) -> None:
        super().__init__(f"{counter}: {reason}")
        self.counter = counter


class MessageType(IntEnum):
    """IGMP message types this program speaks (RFC 9776 section 4)."""

    MEMBERSHIP_QUERY = 0x11
    V1_MEMBERSHIP_REPORT = 0x12
    V2_MEMBERSHIP_REPORT = 0x16
    V2_LEAVE_GROUP = 0x17
    V3_MEMBERSHIP_REPORT = 0x22


# RFC 9776 4.2.6 a
class RecordType(IntEnum):
    """Group record types (RFC 9776 section 4.2.13)."""

    MODE_IS_INCLUDE = 1
    MODE_IS_EXCLUDE = 2
    CHANGE_TO_INCLUDE = 3
    CHANGE_TO_EXCLUDE = 4
    ALLOW_NEW_SOURCES = 5
    BLOCK_OLD_SOURCES = 6


_RECORD_TYPES = {int(kind): kind for kind in RecordType}
_EXCLUDE_TYPES = frozenset({RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE})


# RFC 9776 4.2.5 a
@dataclass(frozen=True, slots=True)
class GroupRecord:
    """One group record of a report (RFC 9776 section 4.2.5); sources in the order of the wire."""

    type: RecordType
    group: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A Membership Query: General with group 0, Group-Specific without sources (RFC 9776 section 4.1)."""

    group: int = 0
    sources: tuple[int, ...] = ()
    max_response_time: float = 10.0     # seconds
    suppress: bool = False              # S flag: other routers keep their timers
    robustness: int = 2                 # QRV; decoded 0: not told (always in v1 and v2), use your own
    interval: float = 125.0             # QQIC in seconds; decoded 0: not told, use your own
    version: int = 3


@dataclass(frozen=True, slots=True)
class Report:
    """A report or leave of any version as group records (RFC 9776 section 7.3.2 for versions 1 and 2)."""

    records: tuple[GroupRecord, ...]
    version: int = 3
    leave: bool = False                 # came as a version 2 Leave Group
    defects: tuple[str, ...] = ()       # receive counters of what had to be skipped, one entry for each count


Message = Query | Report


def decode(data: bytes) -> Message:
    """The message in an IP payload of any IGMP version; raises MalformedMessage and nothing else."""
    verify(data)
    return parse(data)


# RFC 9776 4.1.2 b, 4.1.10 a, 4.2.2 b, 4.2.12 a
# RFC 4541 2.1.1 h
def verify(data: bytes) -> None:
    """Raise MalformedMessage when `data` is shorter than any message or its checksum is wrong."""
    if len(data) < _SHORT.size:
        raise MalformedMessage("rx_bad_length", f"{len(data)} octets")
    if not is_intact(data):
        raise MalformedMessage("rx_bad_checksum", "checksum does not match")


def parse(data: bytes) -> Message:
    """The message in an IP payload that `verify` has accepted; raises MalformedMessage."""
    kind = data[0]
    if kind == MessageType.V3_MEMBERSHIP_REPORT:
        return _parse_report(data)
    if kind == MessageType.MEMBERSHIP_QUERY:
        return _parse_query(data)
    group = _SHORT.unpack_from(data)[3]
    # RFC 9776 4 c, 7.3.2 d
    # RFC 4605 4.1 d
    if kind == MessageType.V2_MEMBERSHIP_REPORT:
        return Report((GroupRecord(RecordType.MODE_IS_EXCLUDE, group),), 2)
    if kind == MessageType.V2_LEAVE_GROUP:
        return Report((GroupRecord(RecordType.CHANGE_TO_INCLUDE, group),), 2, True)
    if kind == MessageType.V1_MEMBERSHIP_REPORT:
        return Report((GroupRecord(RecordType.MODE_IS_EXCLUDE, group),), 1)
    # RFC 9776 4 d
    raise MalformedMessage("rx_unknown_type", f"type {kind:#04x}")


# RFC 9776 7.1 a
def _parse_query(data: bytes) -> Query:
    if len(data) >= QUERY_HEADER:
        return _parse_query_v3(data)
    if len(data) != _SHORT.size:
        # RFC 9776 7.1 b
        raise MalformedMessage("rx_bad_length", f"query of {len(data)} octets")
    _, tenths, _, group = _SHORT.unpack_from(data)
    if tenths:
        # RFC 9776 7.2.1 g
        return Query(group, max_response_time=tenths / 10, robustness=0, interval=0.0, version=2)
    return Query(max_response_time=V1_MAX_RESPONSE_TIME, robustness=0, interval=0.0, version=1)


# RFC 9776 4.1 a, 4.1.4 b, 4.1.10 b
def _parse_query_v3(data: bytes) -> Query:
    _, code, _, group, flags, qqic, count = _QUERY.unpack_from(data)
    if QUERY_HEADER + 4 * count > len(data):
        raise MalformedMessage("rx_malformed", f"query claims {count} sources")
    # RFC 9776 4.1.8 a
    if count and not group:
        raise MalformedMessage("rx_malformed", "general query with sources")
    sources = struct.unpack_from(f"!{count}I", data, QUERY_HEADER)
    return Query(group, sources, decode8(code) / 10, bool(flags & 8), flags & 7, float(decode8(qqic)))


# RFC 9776 4.2 a, 4.2.1 a, 4.2.3 a, 4.2.12 b
def _parse_report(data: bytes) -> Report:
    """The known records up to the first damage; `defects` tells what was skipped (RFC 9776 section 4.2.12)."""
    records: list[GroupRecord] = []
    defects: list[str] = []
    end, at = len(data), REPORT_HEADER
    # RFC 9776 4.2.4 a
    for _ in range(data[6] << 8 | data[7]):
        if at + RECORD_HEADER > end:
            defects.append("rx_malformed")
            break
        number, words, count, group = _RECORD.unpack_from(data, at)
        start = at + RECORD_HEADER
        # RFC 9776 4.2.7 a, 4.2.11 b
        at = start + 4 * (count + words)                                # advance before any skip
        if at > end:
            defects.append("rx_malformed")
            break
        kind = _RECORD_TYPES.get(number)
        if kind is None:
            # RFC 9776 4.2.13 d
            defects.append("rx_unknown_record")
        else:
            # RFC 9776 4.2.8 a
            sources = struct.unpack_from(f"!{count}I", data, start) if count else ()
            records.append(GroupRecord(kind, group, sources))
    return Report(tuple(records), 3, False, tuple(defects))


# RFC 9776 7.3.1 f
def encode_query(query: Query) -> bytes:
    """The octets of `query`: 8 in versions 1 and 2, which carry no sources, else 12 and 4 for each source.

    Times are rounded down to what the codes can say (RFC 9776 section 4.1); raises ValueError for negative
    ones and for sources in an old version.
    """
    if query.version >= 3:
        return _encode_query_v3(query)
    if query.sources:
        raise ValueError(f"sources in a version {query.version} query")
    if query.version == 1:
        # RFC 9776 7.3.1 c
        return _short(MessageType.MEMBERSHIP_QUERY, 0, 0)
    # RFC 9776 7.3.1 g
    tenths = min(max(_tenths(query.max_response_time), 1), 255)         # 0 would make it a version 1 query
    return _short(MessageType.MEMBERSHIP_QUERY, tenths, query.group)


# RFC 9776 4.1 a, 4.1.3 a, 4.1.4 a, 4.1.8 a, 4.1.10 c
def _encode_query_v3(query: Query) -> bytes:
    # RFC 9776 4.1.6 a
    flags = (8 if query.suppress else 0) | (query.robustness if query.robustness <= 7 else 0)
    # RFC 9776 4.1.7 a
    interval = max(int(query.interval), 1) if query.interval else 0     # 0 would make peers use their default
    code, qqic, count = encode8(_tenths(query.max_response_time)), encode8(interval), len(query.sources)
    head = _QUERY.pack(MessageType.MEMBERSHIP_QUERY, code, 0, query.group, flags, qqic, count)
    return _sealed(head + _addresses(query.sources))


# RFC 9776 4.2 a, 4.2.1 a, 4.2.3 a, 4.2.12 c
def encode_report(records: Sequence[GroupRecord]) -> bytes:
    """One version 3 report with just these records, which must fit one packet: see `pack_records`."""
    parts = [_REPORT.pack(MessageType.V3_MEMBERSHIP_REPORT, 0, 0, 0, len(records))]
    for record in records:
        # RFC 9776 4.2.11 a
        parts.append(_RECORD.pack(record.type, 0, len(record.sources), record.group))
        if record.sources:
            parts.append(_addresses(record.sources))
    return _sealed(b"".join(parts))


def encode_v1_report(group: int) -> bytes:
    """A Version 1 Membership Report (RFC 1112 appendix I)."""
    return _short(MessageType.V1_MEMBERSHIP_REPORT, 0, group)


def encode_v2_report(group: int) -> bytes:
    """A Version 2 Membership Report (RFC 2236 section 2)."""
    return _short(MessageType.V2_MEMBERSHIP_REPORT, 0, group)


def encode_v2_leave(group: int) -> bytes:
    """A Leave Group message (RFC 2236 section 2); it is sent to 224.0.0.2."""
    return _short(MessageType.V2_LEAVE_GROUP, 0, group)


def _tenths(seconds: float) -> int:
    return int(seconds * 10 + 1e-6)                                     # 2.3 * 10 is a little below 23


def _addresses(sources: Sequence[int]) -> bytes:
    return struct.pack(f"!{len(sources)}I", *sources)


def _short(kind: MessageType, code: int, group: int) -> bytes:
    return _sealed(_SHORT.pack(kind, code, 0, group))


# RFC 9776 4.1.2 a, 4.2.2 a
def _sealed(message: bytes) -> bytes:
    return message[:2] + _CHECKSUM.pack(checksum(message)) + message[4:]


# RFC 9776 4.1.8 b
def split_sources(sources: Sequence[int], mtu: int) -> list[tuple[int, ...]]:
    """Source lists of the queries that ask for `sources` on a link of `mtu` octets; none for no sources."""
    return _chunks(sources, (_packet_size(mtu) - IP_HEADER - QUERY_HEADER) // 4)


# RFC 9776 4.2.17 a
def pack_records(records: Iterable[GroupRecord], mtu: int) -> list[list[GroupRecord]]:
    """Records, in order, of each report that a link of `mtu` octets can carry (RFC 9776 section 4.2.17).

    A record too long for one report is spread over several; an EXCLUDE record is cut instead, always to its
    lowest sources, because two of them would contradict each other.
    """
    room = _packet_size(mtu) - IP_HEADER - REPORT_HEADER
    records = list(records)
    if records and sum([RECORD_HEADER + 4 * len(record.sources) for record in records]) <= room:
        return [records]
    reports: list[list[GroupRecord]] = []
    free = 0
    for record in records:
        for piece in _pieces(record, (room - RECORD_HEADER) // 4):
            size = RECORD_HEADER + 4 * len(piece.sources)
            if size > free:
                reports.append([])
                free = room
            reports[-1].append(piece)
            free -= size
    return reports


# RFC 9776 4.2.17 b c
def _pieces(record: GroupRecord, limit: int) -> list[GroupRecord]:
    if len(record.sources) <= limit:
        return [record]
    if record.type in _EXCLUDE_TYPES:
        return [GroupRecord(record.type, record.group, tuple(sorted(record.sources)[:limit]))]
    return [GroupRecord(record.type, record.group, part) for part in _chunks(record.sources, limit)]


def _chunks(sources: Sequence[int], limit: int) -> list[tuple[int, ...]]:
    return [tuple(sources[at : at + limit]) for at in range(0, len(sources), limit)]


def _packet_size(mtu: int) -> int:
    return min(max(mtu, MINIMUM_MTU), MAXIMUM_PACKET)
