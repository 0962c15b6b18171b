"""The flow table: what was decided for one ingress, source and group, and how much it has carried.

Rows live in shared columns (one writer, this worker; any reader). A row is rewritten under an odd `version`; counters
just grow. Everything else is private: the index from (ingress, source, group) to row, the free rows, and which rows are
stale, that is must be decided again when their next frame comes. There is one index (`PairIndex`) per ingress, since a
batch comes from one.

A batch's new flows get their rows together, and the batch holds the rows of those it knows. So no row is given away
while a frame in hand refers to it. Who leaves a full table is the matter of `room`; at most MOST_AT_ONCE rows go
together, and a search that found fewer is not repeated for SEARCH_PAUSE seconds.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from heapq import heapify, heappop

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.fib import Decided, Decision
from forwarder.dataplane.frame import NONE, Positions
from forwarder.dataplane.lists import contains
from forwarder.dataplane.pair_index import Key, PairIndex, Pairs
from forwarder.dataplane.room import IDLE, leaving
from forwarder.dataplane.withheld import Withheld
from forwarder.state import fence
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

SEARCH_PAUSE = 0.1
MOST_AT_ONCE = 4096
_ONE, _HALF = np.uint64(1), np.uint64(32)


# RFC 4605 4.2 c
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

    def are_stale(self, rows: Positions) -> npt.NDArray[np.bool_]:
        """Which of `rows` have a decision that must be made again; not -1."""
        return self._stale[rows]

    def decided_as(self, reason: Reason) -> Positions:
        """The rows of this reason, in use or stale."""
        return np.flatnonzero((self._reason[: self._high] == reason) & (self._columns.used[: self._high] != 0))

    def forwarded_by(self, ingresses: Collection[int], pairs: Pairs) -> npt.NDArray[np.bool_]:
        """Which of the flows source << 32 | group come in by one of these ports too, and are forwarded from there."""
        found = np.zeros(len(pairs), np.bool_)
        for ingress in ingresses if len(pairs) else ():
            rows = self.lookup_pairs(ingress, pairs)
            found |= (rows >= 0) & (self._reason[rows] == Reason.FORWARD)
        return found

    def ingresses(self, rows: Positions) -> npt.NDArray[np.uint64]:
        """By which port the flow of each row comes in."""
        return self._columns.ingress[rows]

    def pairs(self, rows: Positions) -> Pairs:
        """Source << 32 | group of each row."""
        return self._columns.source[rows] << _HALF | self._columns.group[rows]

    def key(self, row: int) -> tuple[int, int, int]:
        """(ingress, source, group) of a row."""
        columns = self._columns
        return int(columns.ingress[row]), int(columns.source[row]), int(columns.group[row])

    def last_seen(self, row: int) -> np.uint64:
        """When a frame of a row's flow came last, monotonic nanoseconds."""
        seen: np.uint64 = self._columns.last_seen[row]
        return seen

    def live(self) -> Iterator[tuple[int, int, int, Reason, float]]:
        """Row, ingress, source << 32 | group, reason and time last seen of every flow."""
        rows = np.flatnonzero(self._columns.used[: self._high])
        columns = self._columns.ingress[rows], self.pairs(rows), self._reason[rows], self._columns.last_seen[rows]
        for row, ingress, pair, reason, seen in zip(rows.tolist(), *(each.tolist() for each in columns), strict=True):
            yield row, ingress, pair, Reason(reason), seen / 1e9

    def insert(self, ingress: int, source: int, group: int, decision: Decision, now: float) -> int:
        """A row for a flow that has none; -1 when the table is full of flows that must stay."""
        pairs = np.array([source << 32 | group], np.uint64)
        return int(self.insert_all(ingress, pairs, Decided.alike(decision, 1), now)[0])

    def insert_all(self, ingress: int, pairs: Pairs, decided: Decided, now: float, held: Positions = NONE) -> Positions:
        """Rows for different flows that have none, -1 from where on there are no more.

        `held`: the rows that the batch in hand refers to, and -1; they stay what they are.
        """
        rows = np.full(len(pairs), -1)
        free = self._allocate(len(pairs), held, now)
        if ingress not in self._indexes:
            self._indexes[ingress] = PairIndex(self._key)
        entered = self._indexes[ingress].add(pairs[: len(free)], free)
        rows[: len(free)][entered] = free[entered]
        if not entered.all():
            self._give_back(free[~entered])
        self._fill(rows[rows >= 0], ingress, pairs[rows >= 0], now)
        self._write(rows[rows >= 0], decided.take(rows >= 0))
        return rows

    def describe(self, rows: Positions, ttl: npt.NDArray[np.uint8], length: Positions) -> None:
        """Note what packets that flows are decided for look like, for people; rows of -1 are passed over.

        At a decision only: whoever is known and forwarded pays nothing for it.
        """
        known = rows >= 0
        self._columns.frame[rows[known]] = length[known].astype(np.uint64) << np.uint64(8) | ttl[known]

    def decide(self, row: int, decision: Decision) -> None:
        """Replace the decision of a row, which is then no longer stale."""
        self.decide_all(np.array([row]), Decided.alike(decision, 1))

    def decide_all(self, rows: Positions, decided: Decided) -> None:
        """Replace the decisions of `rows`, each named once, which are then no longer stale."""
        self._columns.version[rows] += _ONE
        fence.release()
        self._write(rows, decided)

    def mark_group(self, group: int, plen: int = 32) -> None:
        """Flows of this group, or of the groups under this prefix, become stale."""
        self.mark_groups([(group, plen)])

    def mark_groups(self, prefixes: Iterable[tuple[int, int]]) -> None:
        """Flows of the groups under these prefixes, (group, prefix length), become stale."""
        by_length: dict[int, set[int]] = {}
        for group, plen in prefixes:
            by_length.setdefault(plen, set()).add(group >> 32 - plen)
        touched = np.zeros(self._high, np.bool_)
        for plen, heads in by_length.items():
            table = np.array(sorted(heads), np.uint64)
            touched |= contains(table, self._columns.group[: self._high] >> np.uint64(32 - plen))
        touched &= self._columns.used[: self._high] != 0
        self._mark(np.flatnonzero(touched))

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

    def forget(self, ingress: int) -> None:
        """Its flows came in by a port that has no longer this index: MOST_AT_ONCE go at once, others with `expire`."""
        if ingress not in self._indexes:    # as of each of hundreds that come: the table is not searched for them
            return
        columns = self._columns
        rows = np.flatnonzero((columns.ingress[: self._high] == ingress) & (columns.used[: self._high] != 0))
        columns.last_seen[rows] = 0
        self._release(rows[:MOST_AT_ONCE])

    def rebuild(self) -> None:
        """Take over the rows a predecessor left: repair half-written ones, index the others, all of them stale."""
        columns = self._columns
        torn = np.flatnonzero(columns.version & np.uint64(1) | (columns.reason > max(Reason)))
        columns.used[torn] = 0
        columns.version[torn] += columns.version[torn] & np.uint64(1)
        live = np.flatnonzero(columns.used)
        self._high = int(live[-1]) + 1 if live.size else 0
        self._free = np.flatnonzero(columns.used[: self._high] == 0).tolist()
        self._search_after = 0.0
        self._stale = np.zeros(self.capacity + 1, np.bool_)  # one more: what -1 finds
        self._reason = np.full(self.capacity + 1, Reason.FLOW_LIMIT, np.uint8)
        self._stale_rows = 0
        self.withheld = Withheld(columns.packets)
        self._index_rows(live)
        self._mark(live)

    def _index_rows(self, live: Positions) -> None:
        columns = self._columns
        self._reason[live] = columns.reason[live]
        self._indexes: dict[int, PairIndex] = {}
        for ingress in np.unique(columns.ingress[live]).tolist():
            rows = live[columns.ingress[live] == ingress]
            self._indexes[ingress] = PairIndex(self._key)
            self._indexes[ingress].load(self.pairs(rows), rows)

    def _fill(self, rows: Positions, ingress: int, pairs: Pairs, now: float) -> None:
        """Open rows and make them those of new flows."""
        columns = self._columns
        columns.version[rows] += _ONE
        fence.release()
        columns.ingress[rows] = ingress
        columns.source[rows], columns.group[rows] = pairs >> _HALF, pairs & np.uint64(0xFFFF_FFFF)
        for counter in (columns.packets, columns.bytes, columns.dropped, columns.ttl_expired, columns.frame):
            counter[rows] = 0
        columns.last_seen[rows] = columns.first_seen[rows] = _nanoseconds(now)  # after the counters: see api/samples.py
        columns.used[rows] = 1

    def _write(self, rows: Positions, decided: Decided) -> None:
        """Write the decisions of open rows, and close them."""
        self.changes += 1
        columns = self._columns
        columns.reason[rows] = self._reason[rows] = decided.reasons
        columns.ports[rows] = decided.bitmaps(self.words)
        self.withheld.decided(rows, [choice.withheld for choice in decided.choices], decided.which)
        fence.release()
        columns.version[rows] += _ONE
        self._unmark(rows)

    def _mark(self, rows: Positions) -> None:
        self.changes += 1
        self._stale_rows += len(rows) - int(np.count_nonzero(self._stale[rows]))
        self._stale[rows] = True

    def _unmark(self, rows: Positions) -> None:
        self._stale_rows -= int(np.count_nonzero(self._stale[rows]))
        self._stale[rows] = False

    def _allocate(self, count: int, held: Positions, now: float) -> Positions:
        """The lowest free rows, so that readers have little to read; fewer than `count` if there are no more."""
        if count > len(self._free) + self.capacity - self._high and now >= self._search_after:
            gone = leaving(self._columns, self._high, held, now, MOST_AT_ONCE)
            self._release(gone)
            if len(gone) < MOST_AT_ONCE:
                self._search_after = now + SEARCH_PAUSE
        rows = [heappop(self._free) for _ in range(min(count, len(self._free)))]
        more = min(count - len(rows), self.capacity - self._high)
        rows.extend(range(self._high, self._high + more))
        self._high += more
        return np.array(rows, np.int64)

    def _give_back(self, rows: Positions) -> None:
        self._free.extend(rows.tolist())
        heapify(self._free)

    def _release(self, rows: Positions) -> None:
        if not len(rows):
            return
        self.changes += 1
        self.withheld.forget(rows)
        columns = self._columns
        for ingress in np.unique(columns.ingress[rows]).tolist():
            index = self._indexes[ingress]
            index.remove(self.pairs(rows[columns.ingress[rows] == ingress]))
            if not len(index):
                del self._indexes[ingress]
        columns.version[rows] += _ONE
        fence.release()
        columns.used[rows] = 0
        fence.release()
        columns.version[rows] += _ONE
        self._unmark(rows)
        self._give_back(rows)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _nanoseconds_before(now: float, seconds: float) -> np.uint64:
    return np.uint64(max(_nanoseconds(now - seconds), 0))
