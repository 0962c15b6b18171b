"""Which flows an answer has, and in which order: whole columns are looked at, not row after row. Pure.

So one group of 65,536 flows, or the ten that carry most, cost a client and this process little more than those rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from forwarder.api.flow_order import ORDERS, Mask, Rows, WorkerFlows, badness, order_of, pairs_of
from forwarder.api.pages import Page
from forwarder.diagnosis.losses import CURRENT, Flow
from forwarder.state.flow_columns import FlowColumns, Words
from forwarder.state.ports import Port
from igmp.link import Network


@dataclass(frozen=True, slots=True)
class Choice:
    """A page: for each of its rows the number of its table and its own there; `total`: how many were to choose from."""

    owners: Rows
    rows: Rows
    total: int


def choose(
    tables: Sequence[WorkerFlows], ports: Sequence[Port], asked: Page, now_ns: int, vain: Iterable[int] = ()
) -> Choice:
    """The rows that are asked for, in their order.

    `vain`: source << 32 | group of what somebody has asked for and was refused.
    """
    if not tables:
        return Choice(np.zeros(0, np.intp), np.zeros(0, np.intp), 0)
    pairs = np.fromiter(vain, np.uint64)
    found = [_matching(table, ports, asked, pairs) for table in tables]
    owners, rows = np.repeat(np.arange(len(tables)), [*map(len, found)]), np.concatenate(found)
    part = slice(asked.offset, asked.offset + asked.limit)
    if asked.worst:
        parts = [badness(table.columns, each) for table, each in zip(tables, found, strict=True)]
        kind, packets = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.lexsort((-packets, kind))[part]
        return Choice(owners[order], rows[order], len(rows))
    if asked.key in ORDERS:
        order = order_of(tables, found, ports, asked, now_ns)[part]
        return Choice(owners[order], rows[order], len(rows))
    return Choice(owners[part], rows[part], len(rows))


def _matching(table: WorkerFlows, ports: Sequence[Port], asked: Page, vain: Words) -> Rows:
    columns = table.columns
    rows: Rows = np.flatnonzero(columns.used.copy())    # numpy raises when what it counts changes meanwhile
    for networks, column in ((asked.groups, columns.group), (asked.sources, columns.source)):
        if networks:
            rows = rows[_inside(column[rows], networks)]
    if asked.interfaces:
        rows = rows[_touching(columns, rows, [port.index for port in ports if asked.means(port.name)])]
    return rows[_ailing(table, rows, ports, vain)] if asked.problems else rows


def _inside(addresses: Words, networks: Sequence[Network]) -> Mask:
    inside = np.zeros(len(addresses), np.bool_)
    for network in networks:
        shift = np.uint64(32 - network.prefix)
        inside |= addresses >> shift == np.uint64(network.network_address) >> shift
    return inside


def _touching(columns: FlowColumns, rows: Rows, indexes: Sequence[int]) -> Mask:
    """Which flows come in by one of these ports, or leave there."""
    touching = np.isin(columns.ingress[rows], np.array(indexes, np.uint64))
    for index in indexes:
        word, bit = divmod(index, 64)
        touching |= columns.ports[rows, word] >> np.uint64(bit) & np.uint64(1) != 0
    return touching


def _ailing(table: WorkerFlows, rows: Rows, ports: Sequence[Port], vain: Words) -> Mask:
    """Which flows somebody does not get: all packets, those of one egress, or those that he was refused."""
    if table.stopped:
        return np.ones(len(rows), np.bool_)
    kind, _ = badness(table.columns, rows)
    up = [port.index for port in ports if port.state == "up"]
    ailing: Mask = (kind == 0) | ~np.isin(table.columns.ingress[rows], np.array(up, np.uint64))
    ailing |= np.isin(pairs_of(table.columns, rows), vain)
    ailing |= _losing(table, rows, {port.index for port in ports})
    return ailing


def _losing(table: WorkerFlows, rows: Rows, ports: set[int]) -> Mask:
    """Which flows lose something at an egress now."""
    seen: dict[Flow, int] = {}
    for drop in table.drops:
        if drop.egress in ports:
            seen[drop.ingress, drop.pair] = max(seen.get((drop.ingress, drop.pair), 0), drop.seen)
    losing = np.zeros(len(rows), np.bool_)
    pairs, columns = pairs_of(table.columns, rows), table.columns
    for at in np.flatnonzero(np.isin(pairs, np.array([pair for _, pair in seen], np.uint64))).tolist():
        last = seen.get((int(columns.ingress[rows[at]]), int(pairs[at])))
        losing[at] = last is not None and int(columns.last_seen[rows[at]]) - last <= CURRENT
    return losing
