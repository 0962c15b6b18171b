"""`GET /v1/flows`: pages of flow rows, each row consistent in itself.

A row is copied between two looks at its version; what is odd or changed meanwhile is tried once more and then left
out of this answer: it is being replaced by another flow. Counters are whatever they were at the moment of the copy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from math import isnan
from typing import Any

import numpy as np

from forwarder.api import flow_rates
from forwarder.api.flow_choice import Choice, choose
from forwarder.api.flow_order import BITS, LAST_REASON, Rows, WorkerFlows
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
from igmp.link import format_address

NOTHING_KNOWN = Situation()
PORTION = 500           # rows that are made at a time, in some 8 ms


def page(
    tables: Sequence[WorkerFlows], ports: Sequence[Port], asked: Page, now_ns: int, situation: Situation = NOTHING_KNOWN
) -> list[Row]:
    """The flows asked for, over the tables of all workers in their order."""
    choice = choose(tables, ports, asked, now_ns)
    return list(chain.from_iterable(portions(tables, ports, choice, now_ns, situation)))


def portions(
    tables: Sequence[WorkerFlows], ports: Sequence[Port], choice: Choice, now_ns: int, situation: Situation
) -> Iterator[list[Row]]:
    """The rows of `choice`, so many at a time that whoever makes an answer of them can do something else between."""
    by_index = {port.index: port for port in ports}
    names = {port.index: port.name for port in ports}
    names_of = cache(lambda bitmap: port_names(bitmap, names))
    unwanted = Unwanted(ports, situation.routes, situation.degraded)
    columns, losses = [table.columns for table in tables], [by_flow(table.drops) for table in tables]
    for start in range(0, len(choice.rows), PORTION):
        owners, rows = choice.owners[start : start + PORTION], choice.rows[start : start + PORTION]
        made: dict[int, Row] = {}
        for worker in np.unique(owners).tolist():
            places = np.flatnonzero(owners == worker)
            copies = _copies(tables[worker], rows[places], now_ns)
            wrong = [pair_of(flow) for flow in copies.values() if flow["reason"] == Reason.WRONG_INTERFACE]
            verdicts = Verdicts(by_index, situation, unwanted, _served(columns, wrong))
            view = _View(by_index, names, names_of, losses[worker], verdicts, tables[worker].stopped, now_ns)
            of_row = dict(zip(rows[places].tolist(), places.tolist(), strict=True))
            made |= {of_row[row]: view.row(flow) for row, flow in copies.items()}
        yield [made[place] for place in sorted(made)]


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


def of_group(table: FlowColumns, group: int, source: int | None, most: int) -> list[dict[str, Any]]:
    """The rows of one group, `most` of them: those of `source` first, then what is forwarded, then the newest."""
    rows: Rows = np.flatnonzero((table.used != 0) & (table.group == group))
    if len(rows) > most:
        seen, forwarded = table.last_seen[rows].astype(np.int64), table.reason[rows] == Reason.FORWARD
        other = table.source[rows] != (source or 0)
        rows = rows[np.lexsort((-seen, ~forwarded, other))[:most]]
    copies = _copies(WorkerFlows(table), rows)
    return [copies[row] for row in rows.tolist() if row in copies]


def _copies(table: WorkerFlows, rows: Rows, now_ns: int | None = None) -> dict[int, dict[str, Any]]:
    """The rows as dicts of ints, `ports` as one bitmap, by their numbers; those that do not hold still are missing.

    With what they count a second, as of `now_ns`, where that is given.
    """
    copies: dict[int, dict[str, Any]] = {}
    for _ in range(2):
        missing = np.array([row for row in rows.tolist() if row not in copies], np.intp)
        if missing.size:
            copies.update(_stable_copies(table, missing, now_ns))
    return copies


def _stable_copies(table: WorkerFlows, rows: Rows, now_ns: int | None) -> Iterable[tuple[int, dict[str, Any]]]:
    columns = table.columns
    before = columns.version[rows]
    fence.acquire()
    cells = {field.name: getattr(columns, field.name)[rows] for field in fields(columns)}
    fence.acquire()
    stable = (columns.version[rows] == before) & (before & np.uint64(1) == 0)
    lists = {name: column.tolist() for name, column in cells.items()}
    if now_ns is not None:
        counted = [("packets", cells["packets"]), ("dropped", cells["dropped"]), ("octets", cells["bytes"])]
        a_second = flow_rates.of_flows(table.before, now_ns, rows, cells["first_seen"], counted)
        lists |= {f"{name}_a_second": rate.tolist() for (name, _), rate in zip(counted, a_second, strict=True)}
    right = stable & (cells["used"] != 0) & (cells["reason"] <= LAST_REASON)
    for row, keep, values in zip(rows.tolist(), right.tolist(), zip(*lists.values(), strict=True), strict=True):
        if keep:
            copy = dict(zip(lists, values, strict=True))
            copy["ports"] = join_bitmap(copy["ports"])
            yield row, copy


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
        expired = reason is Reason.TTL_EXPIRED
        return {
            "group": format_address(flow["group"]),
            "source": format_address(flow["source"]),
            "upstream": ingress.name if ingress else None,
            "downstreams": self.names_of(flow["ports"]),
            "packets": flow["dropped"] if expired else flow["packets"],
            "bytes": flow["bytes"],
            "wrong_packets": flow["packets"] if reason is Reason.WRONG_INTERFACE else 0,
            "idle": round(max(self.now_ns - flow["last_seen"], 0) / 1e9, 3),
            "verdict": verdict,
            "hint": hint,
            "dropped": dropped(drops, self.names),
            "packets_per_second": _rounded(flow["dropped_a_second" if expired else "packets_a_second"], 1),
            "bits_per_second": _rounded(flow["octets_a_second"] * BITS),
            "since": round(max(self.now_ns - flow["first_seen"], 0) / 1e9, 3) if flow["first_seen"] else None,
        }


def _rounded(rate: float, digits: int | None = None) -> float | None:
    """As a row says it; None where it is not known."""
    return None if isnan(rate) else round(rate, digits)
