"""`GET /v1/flows`: pages of flow rows, each row consistent in itself.

A row is copied between two looks at its version; what is odd or changed meanwhile is tried once more and then left
out of this answer: it is being replaced by another flow. Counters are whatever they were at the moment of the copy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from forwarder.api.views import Row, port_names
from forwarder.state import fence
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.segment import join_bitmap
from igmp.link import Network, format_address

Rows = npt.NDArray[np.intp]
TTL_HINT = "sender uses TTL 1; raise it (IP_MULTICAST_TTL)"


LAST_REASON = max(Reason)
GOOD, QUIET = (Reason.FORWARD,), (Reason.NO_MEMBERS, Reason.STANDBY_DUPLICATE)


@dataclass(frozen=True, slots=True)
class Page:
    """Which flows are asked for: `limit` of them from `offset` on, of the groups in `groups` (None: all).

    `worst`: those that are kept from somebody first, and of the same kind those of most packets.
    """

    offset: int = 0
    limit: int = 1000
    groups: Network | None = None
    worst: bool = False


def live(flows: FlowColumns) -> int:
    """How many rows are in use."""
    return int(np.count_nonzero(flows.used))


def page(tables: Iterable[FlowColumns], ports: Sequence[Port], asked: Page, now_ns: int) -> list[Row]:
    """The flows asked for, over the tables of all workers in their order."""
    rows: list[Row] = []
    by_index = {port.index: port for port in ports}
    names = {port.index: port.name for port in ports}
    names_of = cache(lambda bitmap: port_names(bitmap, names))
    for table, wanted in _chosen(list(tables), asked):
        rows += [_flow(flow, by_index, names_of, now_ns) for flow in _copies(table, wanted)]
    return rows


def total(tables: Iterable[FlowColumns], groups: Network | None) -> int:
    """How many flows there are of the groups in `groups` (None: all)."""
    return sum(len(_matching(table, groups)) for table in tables)


def _chosen(tables: Sequence[FlowColumns], asked: Page) -> Iterable[tuple[FlowColumns, Rows]]:
    """The tables, each with those of its rows that are asked for, in the order of the answer."""
    found = [_matching(table, asked.groups) for table in tables]
    if asked.worst:
        yield from _worst(tables, found, asked)
        return
    skip, left = asked.offset, asked.limit
    for table, rows in zip(tables, found, strict=True):
        wanted = rows[skip : skip + left]
        skip, left = max(skip - len(rows), 0), left - len(wanted)
        yield table, wanted


def _worst(tables: Sequence[FlowColumns], found: Sequence[Rows], asked: Page) -> Iterable[tuple[FlowColumns, Rows]]:
    """As `_chosen`, over all tables in one order; neighbours of one table are a piece."""
    if not tables:
        return
    owner = np.repeat(np.arange(len(tables)), [len(rows) for rows in found])
    rows = np.concatenate(found)
    parts = [_badness(table, each) for table, each in zip(tables, found, strict=True)]
    kind, packets = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.lexsort((-packets, kind))[asked.offset : asked.offset + asked.limit]
    for piece in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        if piece.size:
            yield tables[owner[piece[0]]], rows[piece]


def _badness(table: FlowColumns, rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """0 for what somebody does not get, 1 for what nobody wants, 2 for what is forwarded; and packets."""
    reason, packets = table.reason[rows], table.packets[rows].astype(np.int64)
    kind = np.select([np.isin(reason, GOOD), np.isin(reason, QUIET)], [2, 1], 0)
    expired = (table.ttl_expired[rows] > 0) & (packets == 0)
    return np.where(expired, 0, kind), packets + table.dropped[rows].astype(np.int64)


def _matching(table: FlowColumns, groups: Network | None) -> Rows:
    rows: Rows = np.flatnonzero(table.used.copy())  # numpy raises when what it counts changes meanwhile
    if groups is None:
        return rows
    shift = np.uint64(32 - groups.prefix)
    inside = table.group[rows] >> shift == np.uint64(groups.network_address) >> shift
    return np.compress(inside, rows)


def _copies(table: FlowColumns, rows: Rows) -> Iterable[dict[str, Any]]:
    """The rows as dicts of ints in their order, `ports` as one bitmap; rows that do not hold still are missing."""
    copies: dict[int, dict[str, Any]] = {}
    for _ in range(2):
        missing = np.array([row for row in rows.tolist() if row not in copies], np.intp)
        if missing.size:
            copies.update(_stable_copies(table, missing))
    return (copies[row] for row in rows.tolist() if row in copies)


def _stable_copies(table: FlowColumns, rows: Rows) -> Iterable[tuple[int, dict[str, Any]]]:
    before = table.version[rows]
    fence.acquire()
    columns = {field.name: getattr(table, field.name)[rows].tolist() for field in fields(table)}
    fence.acquire()
    stable = (table.version[rows] == before) & (before & np.uint64(1) == 0)
    for at in np.flatnonzero(stable).tolist():
        copy = {name: column[at] for name, column in columns.items()}
        if copy["used"] and copy["reason"] <= LAST_REASON:
            copy["ports"] = join_bitmap(copy["ports"])
            yield int(rows[at]), copy


def _flow(
    flow: Mapping[str, Any], ports: Mapping[int, Port], names_of: Callable[[int], list[str]], now_ns: int
) -> Row:
    """`ports` by index; `names_of`: the names of a bitmap's ports."""
    verdict = _verdict(flow)
    ingress = ports.get(flow["ingress"])
    return {
        "group": format_address(flow["group"]),
        "source": format_address(flow["source"]),
        "upstream": ingress.name if ingress else None,
        "downstreams": names_of(flow["ports"]),
        "packets": flow["dropped"] if verdict is Reason.TTL_EXPIRED else flow["packets"],
        "bytes": flow["bytes"],
        "wrong_packets": flow["packets"] if verdict is Reason.WRONG_INTERFACE else 0,
        "idle": round(max(now_ns - flow["last_seen"], 0) / 1e9, 3),
        "verdict": verdict.name.lower(),
        "hint": _hint(verdict, flow, ingress),
    }


def _verdict(flow: Mapping[str, Any]) -> Reason:
    """The flow's verdict, or ttl_expired where that is why none of its frames goes anywhere."""
    reason = Reason(flow["reason"])
    expired = flow["ttl_expired"] and not flow["packets"]
    return Reason.TTL_EXPIRED if expired and reason in (Reason.FORWARD, Reason.NO_MEMBERS) else reason


def _hint(verdict: Reason, flow: Mapping[str, Any], ingress: Port | None) -> str | None:
    if verdict is Reason.TTL_EXPIRED:
        return TTL_HINT
    if flow["ttl_expired"]:
        return f"{flow['ttl_expired']} packets more came with TTL 1 and were dropped"
    where = ingress.name if ingress else "the interface"
    match verdict:
        case Reason.SOURCE_NOT_ALLOWED:
            return f"source is in no subnet of {where}; add its network to altnets there"
        case Reason.WRONG_INTERFACE:
            return f"the source's subnet, or a static route, says that it comes by another interface than {where}"
        case Reason.BOUNDARY:
            return f"lists (allow, deny, boundary) of {where} or of every port that wants it keep it out"
        case Reason.STANDBY_DUPLICATE:
            return "the flow is taken from another upstream"
        case Reason.TTL_THRESHOLD:
            return f"TTL is below the threshold of {where}; raise it at the sender (IP_MULTICAST_TTL)"
        case Reason.NO_MEMBERS:
            return "nobody has joined"
        case Reason.FLOW_TABLE_FULL:
            return "raise max_flows in [dataplane]"
    return None

