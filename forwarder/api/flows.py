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

from forwarder.api.losses import Flow, Situation, by_flow, dropped, hint
from forwarder.api.pages import Page
from forwarder.api.unwanted import Unwanted
from forwarder.api.views import Row, port_names
from forwarder.state import fence
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.segment import join_bitmap
from igmp.link import Network, format_address

Rows = npt.NDArray[np.intp]
TWICE = "we send it to {0}, and it comes in there: another forwarder sends it there too, or a loop brings it back"
TTL_HINT = "sender uses TTL 1; raise it (IP_MULTICAST_TTL)"


LAST_REASON = max(Reason)
NOTHING_KNOWN = Situation()
NOT_UP = {"down": "interface_down", "missing": "interface_missing"}
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
        wrong = [_pair(flow) for flow in copies if flow["reason"] == Reason.WRONG_INTERFACE]
        served, losses = _served(columns, wrong), by_flow(table.drops)
        view = _View(by_index, names, names_of, losses, situation, unwanted, table.stopped, now_ns, served)
        rows += [view.row(flow) for flow in copies]
    return rows


def _pair(flow: Mapping[str, Any]) -> int:
    pair: int = flow["source"] << 32 | flow["group"]
    return pair


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
    situation: Situation
    unwanted: Unwanted
    stopped: bool
    now_ns: int
    served: Mapping[int, int]  # to which ports what came by the wrong interface is forwarded

    def row(self, flow: Mapping[str, Any]) -> Row:
        reason, ingress = _reason(flow), self.ports.get(flow["ingress"])
        drops = self.losses.get((flow["ingress"], _pair(flow)), ())
        verdict, hint = self._judged(flow, reason, ingress, drops)
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

    def _judged(
        self, flow: Mapping[str, Any], reason: Reason, ingress: Port | None, drops: Sequence[FlowDrop]
    ) -> tuple[str, str | None]:
        """What becomes of the flow now, and why: first what stops all flows, then what was decided of this one."""
        if self.stopped:
            return "worker_stopped", "the worker that has this flow has stopped; another is being started (see the log)"
        if ingress is None or ingress.state != "up":
            state = ingress.state if ingress else "missing"
            name = ingress.name if ingress else "the interface that it came by"
            return NOT_UP[state], f"{name} is {state}: nothing comes in there"
        if reason is Reason.WRONG_INTERFACE and self.served.get(_pair(flow), 0) >> ingress.index & 1:
            return reason.name.lower(), TWICE.format(ingress.name)
        if reason is Reason.NO_MEMBERS and not flow["ttl_expired"]:
            return reason.name.lower(), self.unwanted.hint(flow["source"], flow["group"], ingress)
        lost = hint(drops, self.ports, self.situation, flow["last_seen"])
        where_it_leaves = reason in (Reason.FORWARD, Reason.NOT_QUERIER, Reason.BOUNDARY)
        return reason.name.lower(), (lost if lost and where_it_leaves else _hint(reason, flow, ingress))


def _reason(flow: Mapping[str, Any]) -> Reason:
    """The flow's verdict, or ttl_expired where that is why none of its frames goes anywhere."""
    reason = Reason(flow["reason"])
    expired = flow["ttl_expired"] and not flow["packets"]
    return Reason.TTL_EXPIRED if expired and reason in (Reason.FORWARD, Reason.NO_MEMBERS) else reason


def _hint(verdict: Reason, flow: Mapping[str, Any], ingress: Port | None) -> str | None:
    if verdict is Reason.TTL_EXPIRED:
        return TTL_HINT
    if flow["ttl_expired"]:
        return f"{flow['ttl_expired']} more packets came with TTL 1 and were dropped"
    where = ingress.name if ingress else "the interface"
    match verdict:
        case Reason.SOURCE_NOT_ALLOWED:
            words = f"source is in no subnet of {where}; add its network to altnets there"
            downstream = ingress is not None and ingress.role == "downstream"
            return f"{words}, or make {where} upstream if it leads to the sources" if downstream else words
        case Reason.WRONG_INTERFACE:
            words = f"the source's subnet, or a static route, says that it comes by another interface than {where}"
            return f"{words}, or it does already" if ingress is not None and ingress.role == "both" else words
        case Reason.BOUNDARY:
            return f"lists (allow, deny, boundary) of {where} or of every interface that wants it keep it out"
        case Reason.STANDBY_DUPLICATE:
            return "the flow is taken from another upstream"
        case Reason.TTL_THRESHOLD:
            return f"TTL is below the threshold of {where}; raise it at the sender (IP_MULTICAST_TTL)"
        case Reason.NOT_QUERIER:
            return "another router is the querier where it is wanted, so we do not forward (forward_when_not_querier)"
        case Reason.RESERVED:
            return "link-local groups (224.0.0.0/24) and 232.0.0.0 are never forwarded"
        case Reason.FLOW_TABLE_FULL:
            return "raise max_flows in [dataplane]"
    return None

