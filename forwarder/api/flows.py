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

from forwarder.api.pages import Page
from forwarder.api.views import Row, port_names
from forwarder.diagnosis.losses import Flow, Situation, by_flow, dropped
from forwarder.diagnosis.unwanted import Unwanted
from forwarder.diagnosis.verdicts import Verdicts, pair_of, reason_of
from forwarder.state import fence
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.segment import join_bitmap
from igmp.link import Network, format_address

Rows = npt.NDArray[np.intp]

LAST_REASON = max(Reason)
NOTHING_KNOWN = Situation()
GOOD, QUIET = (Reason.FORWARD,), (Reason.NO_MEMBERS, Reason.STANDBY_DUPLICATE)


@dataclass(frozen=True, slots=True)
class WorkerFlows:
    """The flows of one worker; `stopped`: it has not lived for a while."""

    columns: FlowColumns
    drops: Sequence[FlowDrop] = ()
    stopped: bool = False


def page(
    tables: Sequence[WorkerFlows], ports: Sequence[Port], asked: Page, now_ns: int, situation: Situation = NOTHING_KNOWN
) -> list[Row]:
    """The flows asked for, over the tables of all workers in their order."""
    rows: list[Row] = []
    columns = [table.columns for table in tables]
    by_index = {port.index: port for port in ports}
    names = {port.index: port.name for port in ports}
    names_of = cache(lambda bitmap: port_names(bitmap, names))
    unwanted = Unwanted(ports, situation.routes, situation.degraded)
    for worker, wanted in _chosen(columns, asked):
        table = tables[worker]
        copies = list(_copies(table.columns, wanted))
        wrong = [pair_of(flow) for flow in copies if flow["reason"] == Reason.WRONG_INTERFACE]
        served, losses = _served(columns, wrong), by_flow(table.drops)
        verdicts = Verdicts(by_index, situation, unwanted, served)
        view = _View(by_index, names, names_of, losses, verdicts, table.stopped, now_ns)
        rows += [view.row(flow) for flow in copies]
    return rows


def _served(tables: Iterable[FlowColumns], pairs: Sequence[int]) -> dict[int, int]:
    """To which ports the flows source << 32 | group are forwarded, from wherever they come in; bitmaps."""
    found: dict[int, int] = {}
    for table in tables if pairs else ():
        asked = table.source << np.uint64(32) | table.group
        forwarded = (table.used != 0) & (table.reason == Reason.FORWARD)
        at = np.flatnonzero(forwarded & np.isin(asked, np.array(pairs, np.uint64)))
        for pair, ports in zip(asked[at].tolist(), table.ports[at].tolist(), strict=True):
            found[pair] = found.get(pair, 0) | join_bitmap(ports)
    return found


def total(tables: Iterable[FlowColumns], groups: Network | None) -> int:
    """How many flows there are of the groups in `groups` (None: all)."""
    return sum(len(_matching(table, groups)) for table in tables)


def _chosen(tables: Sequence[FlowColumns], asked: Page) -> Iterable[tuple[int, Rows]]:
    """The numbers of tables, each with those of its rows that are asked for, in the order of the answer."""
    found = [_matching(table, asked.groups) for table in tables]
    if asked.worst:
        yield from _worst(tables, found, asked)
        return
    skip, left = asked.offset, asked.limit
    for number, rows in enumerate(found):
        wanted = rows[skip : skip + left]
        skip, left = max(skip - len(rows), 0), left - len(wanted)
        yield number, wanted


def _worst(tables: Sequence[FlowColumns], found: Sequence[Rows], asked: Page) -> Iterable[tuple[int, Rows]]:
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
            yield int(owner[piece[0]]), rows[piece]


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


def of_group(table: FlowColumns, group: int, source: int | None, most: int) -> list[dict[str, Any]]:
    """The rows of one group, `most` of them: those of `source` first, then what is forwarded, then the newest."""
    rows = _matching(table, Network(group, 32))
    if len(rows) > most:
        seen, forwarded = table.last_seen[rows].astype(np.int64), table.reason[rows] == Reason.FORWARD
        other = table.source[rows] != (source or 0)
        rows = rows[np.lexsort((-seen, ~forwarded, other))[:most]]
    return list(_copies(table, rows))


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


@dataclass(frozen=True, slots=True)
class _View:
    """What makes a row of a flow's copy."""

    ports: Mapping[int, Port]
    names: Mapping[int, str]
    names_of: Callable[[int], list[str]]  # of the ports of a bitmap
    losses: Mapping[Flow, Sequence[FlowDrop]]
    verdicts: Verdicts
    stopped: bool
    now_ns: int

    def row(self, flow: Mapping[str, Any]) -> Row:
        reason, ingress = reason_of(flow), self.ports.get(flow["ingress"])
        drops = self.losses.get((flow["ingress"], pair_of(flow)), ())
        verdict, hint = self.verdicts.of(flow, drops, self.stopped)
        return {
            "group": format_address(flow["group"]),
            "source": format_address(flow["source"]),
            "upstream": ingress.name if ingress else None,
            "downstreams": self.names_of(flow["ports"]),
            "packets": flow["dropped"] if reason is Reason.TTL_EXPIRED else flow["packets"],
            "bytes": flow["bytes"],
            "wrong_packets": flow["packets"] if reason is Reason.WRONG_INTERFACE else 0,
            "idle": round(max(self.now_ns - flow["last_seen"], 0) / 1e9, 3),
            "verdict": verdict,
            "hint": hint,
            "dropped": dropped(drops, self.names),
        }
