"""The index under the flow table: rows by source << 32 | group, for one ingress.

Open addressing with linear probes, at most PROBES of them, in a table at most a quarter full; keyed, so that nobody
outside can aim at its chains. A deleted entry leaves a tombstone, so chains stay whole; tombstones go when the table
is laid out anew. Lookups and layouts are vectors, one entry is added at a time.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions

Pairs: TypeAlias = npt.NDArray[np.uint64]
Key: TypeAlias = tuple[int, int]
"""Two random odd 64-bit integers."""

PROBES = 32
WINDOW = 8
SMALLEST = 1024
WORD = 0xFFFF_FFFF_FFFF_FFFF
EMPTY, TOMBSTONE = 0, 1  # pairs with a group outside 224/4: never entries
_WINDOW = np.arange(WINDOW)


class PairIndex:
    """Rows by source << 32 | group: linear probes in a table that is at most a quarter full."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._multipliers = np.array(key, np.uint64)
        self._half = np.uint64(32)
        self._lay_out(np.empty(0, np.uint64), NONE, SMALLEST)

    def __len__(self) -> int:
        return self._live

    def find(self, pairs: Pairs) -> Positions:
        """Row of each pair, -1 where it has none."""
        return self._rows[self._locate(pairs)]

    def find_one(self, pair: int) -> int:
        """Row of one pair, -1 where it has none."""
        home = self._home_of(pair)
        for slot in range(home, home + PROBES):
            found = self._pairs[slot]
            if found == pair:
                return int(self._rows[slot])
            if found == EMPTY:
                return -1
        return -1

    def add(self, pair: int, row: int) -> None:
        """Enter a pair that has no entry yet."""
        if (self._used + 1) * 4 > self._size:
            self._grow(self._size_for(self._live + 1))
        while not self._enter(pair, row):
            self._grow(self._size * 2)
        self._live += 1

    def remove(self, pairs: Pairs) -> None:
        """Forget these pairs; each must have an entry."""
        slots = self._locate(pairs)
        self._pairs[slots] = TOMBSTONE
        self._rows[slots] = -1
        self._live -= len(pairs)

    def load(self, pairs: Pairs, rows: Positions) -> None:
        """Replace all entries."""
        self._lay_out(pairs, rows, self._size_for(len(pairs)))

    def _home(self, pairs: Pairs) -> Positions:
        """First slot of each pair: two rounds of multiply-shift."""
        mixed = pairs * self._multipliers[0]
        mixed ^= mixed >> self._half
        mixed *= self._multipliers[1]
        mixed >>= self._shift
        slots: Positions = mixed.view(np.int64)
        return slots

    def _locate(self, pairs: Pairs) -> Positions:
        """Slot of each pair; -1, the slot that is always empty, where it has none."""
        slots = self._home(pairs)
        missed = self._pairs[slots] != pairs
        if np.count_nonzero(missed):
            left = np.flatnonzero(missed)
            slots[left] = self._probe(pairs[left], slots[left])
        return slots

    def _probe(self, pairs: Pairs, slots: Positions) -> Positions:
        """Slots of pairs that are not in their first slot, -1 for those in none; looks at WINDOW slots at once."""
        result = np.full(len(pairs), -1)
        left = np.arange(len(pairs))
        for start in range(0, PROBES, WINDOW):
            found = self._pairs[(slots[left] + start)[:, None] + _WINDOW]
            hit, column = np.nonzero(found == pairs[left, None])
            result[left[hit]] = slots[left[hit]] + (start + column)
            left = left[(found != EMPTY).all(axis=1) & (result[left] < 0)]
            if not left.size:
                break
        return result

    def _home_of(self, pair: int) -> int:
        multiplier, other = self._key
        mixed = pair * multiplier & WORD
        mixed = (mixed ^ mixed >> 32) * other & WORD
        return mixed >> int(self._shift)

    def _enter(self, pair: int, row: int) -> bool:
        home = self._home_of(pair)
        for slot, found in enumerate(self._pairs[home : home + PROBES].tolist(), home):
            if found in (EMPTY, TOMBSTONE):
                self._pairs[slot], self._rows[slot] = pair, row
                self._used += found == EMPTY
                return True
        return False

    def _size_for(self, live: int) -> int:
        """Slots that leave room to double before the next layout."""
        return max(SMALLEST, 1 << (live * 8 - 1).bit_length())

    def _grow(self, size: int) -> None:
        kept = self._pairs > TOMBSTONE
        self._lay_out(self._pairs[kept], self._rows[kept], size)

    def _lay_out(self, pairs: Pairs, rows: Positions, size: int) -> None:
        """A fresh table; twice as large as long as some pair finds no slot within its probes."""
        while True:
            self._size, self._shift = size, np.uint64(65 - size.bit_length())
            self._pairs = np.zeros(size + PROBES + 1, np.uint64)  # so probes need not wrap, and the last stays empty
            self._rows = np.full(size + PROBES + 1, -1)
            self._live = self._used = len(pairs)
            if self._place(pairs, rows):
                return
            size *= 2

    def _place(self, pairs: Pairs, rows: Positions) -> bool:
        slots, left = self._home(pairs), np.arange(len(pairs))
        for _ in range(PROBES):
            free = self._pairs[slots] == EMPTY
            self._pairs[slots[free]] = pairs[left[free]]  # of several that want a slot, one stays
            done = self._pairs[slots] == pairs[left]
            self._rows[slots[done]] = rows[left[done]]
            left, slots = left[~done], slots[~done] + 1
            if not left.size:
                return True
        return False
