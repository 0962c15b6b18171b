"""The flow table: what was decided for one ingress, source and group, and how much it has carried.

Rows live in shared columns (one writer, this worker; any reader). A row is rewritten under an odd `version`; counters
just grow. Everything else is private: the index from (ingress, source, group) to row, the rows of each group, the
free rows, and which rows are stale, that is must be decided again when their next frame comes. There is one index
(`PairIndex`) per ingress, since a batch comes from one.

Room: rows idle for IDLE seconds, and unwanted ones (any reason but FORWARD) idle for UNWANTED_IDLE, go when a new flow
finds no row; if none can go it gets none. To keep the worker's breath short at most MOST_AT_ONCE rows go together,
and a search that found fewer is not repeated for SEARCH_PAUSE seconds.
"""

from collections.abc import Iterator
from dataclasses import fields
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.fib import Decision
from forwarder.dataplane.frame import NONE, Positions
from forwarder.dataplane.pair_index import WORD, Key, PairIndex, Pairs
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

IDLE = 60.0
UNWANTED_IDLE = 2.0
SEARCH_PAUSE = 0.1
MOST_AT_ONCE = 4096
COUNTERS = ("packets", "bytes", "dropped", "ttl_expired")


class FlowTable:
    """At most `capacity` flows over `columns`; what they hold already is taken over (see `rebuild`)."""

    def __init__(self, columns: FlowColumns, key: Key) -> None:
        self._columns = columns
        self.capacity, self.words = int(columns.ports.shape[0]), int(columns.ports.shape[1])
        self._cells = {field.name: memoryview(getattr(columns, field.name)) for field in fields(columns)}
        self._key = key
        self.changes = 0  # how often something was decided or forgotten
        self.rebuild()

    def __len__(self) -> int:
        return sum(map(len, self._indexes.values()))

    def lookup(
        self, ingress: int, sources: npt.NDArray[np.uint32], groups: npt.NDArray[np.uint32]
    ) -> Positions:
        """Row of each (ingress, source, group), -1 where unknown."""
        return self.lookup_pairs(ingress, sources.astype(np.uint64) << np.uint64(32) | groups)

    def lookup_pairs(self, ingress: int, pairs: Pairs) -> Positions:
        """Row of each (ingress, source << 32 | group), -1 where unknown."""
        index = self._indexes.get(ingress)
        return np.full(len(pairs), -1) if index is None else index.find(pairs)

    def forwarded(self, ingress: int, pair: int) -> tuple[int, int]:
        """Row of one flow and the ports it goes to; no ports where it is not simply forwarded, or not known."""
        index = self._indexes.get(ingress)
        row = -1 if index is None else index.find_one(pair)
        if row < 0 or self._reason[row] or self._stale[row]:
            return row, 0
        cell = self._cells["ports"]
        return row, sum(cell[row, word] << 64 * word for word in range(self.words))

    def account_one(self, row: int, packets: int, octets: int, now: float) -> None:
        """Count packets of one flow, and the bytes of all of them."""
        cells = self._cells
        cells["packets"][row] += packets
        cells["bytes"][row] += octets
        cells["last_seen"][row] = int(now * 1e9)

    def stale(self, rows: Positions) -> Positions:
        """Those of `rows`, each once, whose decision must be made again (`decide`) before it is used."""
        if not self._stale_rows:
            return NONE
        marked = self._stale[rows]
        return np.unique(rows[marked]) if np.count_nonzero(marked) else NONE

    def all_stale(self) -> Positions:
        """Every row whose decision must be made again."""
        return np.flatnonzero(self._stale[: self._high]) if self._stale_rows else NONE

    def count_unwanted(self) -> int:
        """How many rows belong to flows that are not forwarded; those that stand by are as good as forwarded."""
        unwanted = self._columns.used[: self._high] != 0
        unwanted &= self._reason[: self._high] != Reason.FORWARD
        unwanted &= self._reason[: self._high] != Reason.STANDBY_DUPLICATE
        return int(np.count_nonzero(unwanted))

    def reasons(self, rows: Positions) -> npt.NDArray[np.uint8]:
        """Reason decided for each row; FLOW_LIMIT for -1, which the caller may know better."""
        return self._reason[rows]

    def ports(self, rows: Positions) -> npt.NDArray[np.uint64]:
        """Egress bitmaps, (n, words), of rows that are not -1."""
        return self._columns.ports[rows]

    def key(self, row: int) -> tuple[int, int, int]:
        """(ingress, source, group) of a row."""
        columns = self._columns
        return int(columns.ingress[row]), int(columns.source[row]), int(columns.group[row])

    def live(self) -> Iterator[tuple[int, int, int, Reason, float]]:
        """Row, ingress, source << 32 | group, reason and time last seen of every flow."""
        rows = np.flatnonzero(self._columns.used[: self._high])
        columns = self._columns.ingress[rows], self._pairs_of(rows), self._reason[rows], self._columns.last_seen[rows]
        for row, ingress, pair, reason, seen in zip(rows.tolist(), *(each.tolist() for each in columns), strict=True):
            yield row, ingress, pair, Reason(reason), seen / 1e9

    def insert(self, ingress: int, source: int, group: int, decision: Decision, now: float) -> int:
        """A row for a flow that has none; -1 when the table is full of flows that must stay."""
        row = self._allocate(now)
        if row < 0:
            return -1
        cells = self._cells
        cells["version"][row] += 1
        cells["ingress"][row], cells["source"][row], cells["group"][row] = ingress, source, group
        for counter in COUNTERS:
            cells[counter][row] = 0
        cells["last_seen"][row] = _nanoseconds(now)
        self._write_decision(row, decision)
        cells["used"][row] = 1
        cells["version"][row] += 1
        if ingress not in self._indexes:
            self._indexes[ingress] = PairIndex(self._key)
        self._indexes[ingress].add(source << 32 | group, row)
        self._rows_of.setdefault(group, set()).add(row)
        return row

    def decide(self, row: int, decision: Decision) -> None:
        """Replace the decision of a row, which is then no longer stale."""
        version = self._cells["version"]
        version[row] += 1
        self._write_decision(row, decision)
        version[row] += 1
        self._stale_rows -= int(self._stale[row])
        self._stale[row] = False

    def mark_group(self, group: int, plen: int = 32) -> None:
        """Flows of this group, or of the groups under this prefix, become stale."""
        if plen == 32:
            rows = np.fromiter(self._rows_of.get(group, ()), np.int64)
        else:
            host_bits = np.uint64(32 - plen)
            under = self._columns.group[: self._high] >> host_bits == np.uint64(group) >> host_bits
            rows = np.flatnonzero(under & (self._columns.used[: self._high] != 0))
        self._mark(rows)

    def mark(self, rows: Positions) -> None:
        """Those of `rows`, each named once, that are in use become stale."""
        self._mark(rows[self._columns.used[rows] != 0])

    def mark_all(self) -> None:
        """Every flow becomes stale: ports, roles or policies changed."""
        self._mark(np.flatnonzero(self._columns.used[: self._high]))

    def account(self, rows: Positions, lengths: Positions, now: float, packets: Positions | None = None) -> None:
        """Count `packets` (None: one) of `lengths` bytes together for each row; rows of -1 are passed over."""
        if np.count_nonzero(rows < 0):
            known = rows >= 0
            rows, lengths = rows[known], lengths[known]
            packets = None if packets is None else packets[known]
        np.add.at(self._columns.packets, rows, np.uint64(1) if packets is None else packets.view(np.uint64))
        np.add.at(self._columns.bytes, rows, lengths.view(np.uint64))
        self._columns.last_seen[rows] = _nanoseconds(now)

    def account_drops(
        self, rows: Positions, reasons: npt.NDArray[np.uint8], now: float, packets: Positions | None = None
    ) -> None:
        """Count `packets` (None: one) that per-frame checks dropped for each row, with reasons; rows of -1 are not."""
        counts = np.ones(len(rows), np.uint64) if packets is None else packets.view(np.uint64)
        known = rows >= 0
        np.add.at(self._columns.dropped, rows[known], counts[known])
        expired = known & (reasons == Reason.TTL_EXPIRED)
        np.add.at(self._columns.ttl_expired, rows[expired], counts[expired])
        self._columns.last_seen[rows[known]] = _nanoseconds(now)

    def expire(self, now: float) -> Positions:
        """Free rows idle for more than IDLE seconds, whatever was decided, MOST_AT_ONCE at most; which these were."""
        idle = self._columns.last_seen[: self._high] < _nanoseconds_before(now, IDLE)
        rows = np.flatnonzero(idle & (self._columns.used[: self._high] != 0))[:MOST_AT_ONCE]
        self._release(rows)
        return rows

    def rebuild(self) -> None:
        """Take over the rows a predecessor left: repair half-written ones, index the others, all of them stale."""
        columns = self._columns
        torn = np.flatnonzero(columns.version & np.uint64(1))
        columns.used[torn] = 0
        columns.version[torn] += np.uint64(1)
        live = np.flatnonzero(columns.used)
        self._high = int(live[-1]) + 1 if live.size else 0
        self._free = np.flatnonzero(columns.used[: self._high] == 0).tolist()
        self._search_after = 0.0
        self._stale = np.zeros(self.capacity + 1, np.bool_)  # one more: what -1 finds
        self._reason = np.full(self.capacity + 1, Reason.FLOW_LIMIT, np.uint8)
        self._stale_rows = 0
        self._index_rows(live)
        self._mark(live)

    def _index_rows(self, live: Positions) -> None:
        columns = self._columns
        self._reason[live] = columns.reason[live]
        self._rows_of: dict[int, set[int]] = {}
        for row, group in zip(live.tolist(), columns.group[live].tolist(), strict=True):
            self._rows_of.setdefault(group, set()).add(row)
        self._indexes: dict[int, PairIndex] = {}
        for ingress in np.unique(columns.ingress[live]).tolist():
            rows = live[columns.ingress[live] == ingress]
            self._indexes[ingress] = PairIndex(self._key)
            self._indexes[ingress].load(self._pairs_of(rows), rows)

    def _pairs_of(self, rows: Positions) -> Pairs:
        return self._columns.source[rows] << np.uint64(32) | self._columns.group[rows]

    def _write_decision(self, row: int, decision: Decision) -> None:
        self.changes += 1
        self._cells["reason"][row] = self._reason[row] = decision.reason
        for word in range(self.words):
            self._cells["ports"][row, word] = decision.ports >> 64 * word & WORD

    def _mark(self, rows: Positions) -> None:
        self.changes += 1
        self._stale_rows += len(rows) - int(np.count_nonzero(self._stale[rows]))
        self._stale[rows] = True

    def _allocate(self, now: float) -> int:
        """The lowest free row, so that readers have little to read; -1 if there is none."""
        if not self._free and self._high == self.capacity:
            self._make_room(now)
        if self._free:
            return heappop(self._free)
        if self._high == self.capacity:
            return -1
        self._high += 1
        return self._high - 1

    def _make_room(self, now: float) -> None:
        if now < self._search_after:
            return
        idle = self._columns.last_seen[: self._high] < _nanoseconds_before(now, IDLE)
        unwanted = self._columns.last_seen[: self._high] < _nanoseconds_before(now, UNWANTED_IDLE)
        unwanted &= self._reason[: self._high] != Reason.FORWARD
        rows = np.flatnonzero(idle | unwanted)[:MOST_AT_ONCE]
        self._release(rows)
        if len(rows) < MOST_AT_ONCE:
            self._search_after = now + SEARCH_PAUSE

    def _release(self, rows: Positions) -> None:
        if not len(rows):
            return
        self.changes += 1
        columns = self._columns
        for ingress in np.unique(columns.ingress[rows]).tolist():
            self._indexes[ingress].remove(self._pairs_of(rows[columns.ingress[rows] == ingress]))
        for row, group in zip(rows.tolist(), columns.group[rows].tolist(), strict=True):
            self._rows_of[group].discard(row)
            if not self._rows_of[group]:
                del self._rows_of[group]
            heappush(self._free, row)
        columns.version[rows] += np.uint64(1)
        columns.used[rows] = 0
        columns.version[rows] += np.uint64(1)
        self._stale_rows -= int(np.count_nonzero(self._stale[rows]))
        self._stale[rows] = False


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _nanoseconds_before(now: float, seconds: float) -> np.uint64:
    return np.uint64(max(_nanoseconds(now - seconds), 0))
