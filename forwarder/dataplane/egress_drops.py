"""The worker's side of the table of what flows lost at single ports (`state.egress_drops`).

Counting costs some microseconds a flow, port and batch, where something is dropped and nowhere else.
"""

import threading

import numpy as np

from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import Positions
from forwarder.dataplane.withheld import Count
from forwarder.state import fence
from forwarder.state.egress_drops import MOST, PACKETS, PAIR, SEEN, WHERE, WORDS, place
from forwarder.state.flow_columns import Words
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import FIRST_REASON

MOST_AT_ONCE = 64
"""Flows of a batch that are told apart: a flood of flows that are dropped must not cost more than it does already."""


class EgressDrops:
    """Rows of `flows` and ports -> packets that were dropped there; several threads may count.

    When the table is full the oldest row goes; the counters of ports are exact whatever becomes of it.
    """

    def __init__(self, flows: FlowTable, table: Words | None = None) -> None:
        """`table` (rows, WORDS) is taken over as a predecessor left it; None: one of its own."""
        self._flows = flows
        self._table = np.zeros((MOST, WORDS), np.uint64) if table is None else table
        self._lock = threading.Lock()
        used = np.flatnonzero(self._table[:, WHERE])
        self._rows = {(int(self._table[at, WHERE]), int(self._table[at, PAIR])): at for at in used.tolist()}
        self._next = int(used[-1] + 1) % len(self._table) if used.size else 0

    @property
    def table(self) -> Words:
        """The rows, (rows, WORDS)."""
        return self._table

    def count(self, egress: int, reason: Reason, rows: Positions, packets: Positions) -> None:
        """Count `packets` (n,) of the flows of `rows` (n,; -1: of none that is known)."""
        different, which = np.unique(rows, return_inverse=True)
        sums = np.bincount(which, packets).astype(np.uint64)
        with self._lock:
            for row, lost in zip(different[-MOST_AT_ONCE:].tolist(), sums[-MOST_AT_ONCE:], strict=True):
                if row >= 0 and lost:
                    ingress, source, group = self._flows.key(row)
                    at = self._row((place(ingress, egress, reason), source << 32 | group))
                    self._table[at, PACKETS] += lost
                    self._table[at, SEEN] = self._flows.last_seen(row)

    def forget(self, port: int) -> None:
        """The index is another's now, of which nothing was dropped yet."""
        if not self._rows:  # as when a worker begins, with thousands of ports
            return
        where = self._table[:, WHERE]
        of_port = (where >> np.uint64(32) == port) | (where >> np.uint64(16) & np.uint64(0xFFFF) == port)
        with self._lock:
            for at in np.flatnonzero(of_port & (where != 0)).tolist():
                self._rows.pop((int(self._table[at, WHERE]), int(self._table[at, PAIR])), None)
                self._table[at, WHERE] = 0

    def withheld(self, counters: Words) -> Count:
        """What ports are kept out of (`withheld`) counts at them, in the rows of `counters`, and here."""

        def count(egress: int, reason: Reason, rows: Positions, packets: Positions) -> None:
            counters[egress, FIRST_REASON + reason - 1] += np.uint64(packets.sum())
            self.count(egress, reason, rows, packets)

        return count

    def _row(self, key: tuple[int, int]) -> int:
        at = self._rows.get(key)
        return self._replace(key) if at is None else at

    def _replace(self, key: tuple[int, int]) -> int:
        at, table = self._next, self._table
        self._next = (at + 1) % len(table)
        self._rows.pop((int(table[at, WHERE]), int(table[at, PAIR])), None)
        table[at, WHERE] = 0
        fence.release()
        table[at, PAIR], table[at, PACKETS] = key[1], 0
        fence.release()
        table[at, WHERE] = key[0]
        self._rows[key] = at
        return at
