"""The index under the flow table: rows by source << 32 | group, for one ingress.

Hash and displace: a pair's keyed hash names a bucket and a slot; the bucket's displacement is chosen so that every pair
of it gets a slot of its own. So a lookup is two gathers and a comparison whatever it looks for, known or not, and takes
no longer with many flows than with one. Keyed, so that nobody outside can aim at a bucket. At most a quarter of the
slots is used. Lookups and layouts are vectors, one entry is added at a time.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions

Pairs: TypeAlias = npt.NDArray[np.uint64]
Key: TypeAlias = tuple[int, int]
"""Two random odd 64-bit integers."""

DISPLACEMENTS = 256
SMALLEST = 1024
WORD = 0xFFFF_FFFF_FFFF_FFFF
EMPTY = 0  # a group outside 224/4: never an entry


class PairIndex:
    """Rows by source << 32 | group; see the module."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._multipliers = np.array(key, np.uint64)
        self._half = np.uint64(32)
        self._lay_out(np.empty(0, np.uint64), NONE, SMALLEST)

    def __len__(self) -> int:
        return self._live

    def find(self, pairs: Pairs) -> Positions:
        """Row of each pair, -1 where it has none."""
        slots = self._locate(pairs)
        rows: Positions = self._rows[slots]
        missed = self._pairs[slots] != pairs
        if np.count_nonzero(missed):
            rows[missed] = -1
        return rows

    def find_one(self, pair: int) -> int:
        """Row of one pair, -1 where it has none."""
        bucket, slot = self._home_of(pair)
        slot = slot + int(self._displaced[bucket]) & self._size - 1
        return int(self._rows[slot]) if self._pairs[slot] == pair else -1

    def add(self, pair: int, row: int) -> None:
        """Enter a pair that has no entry yet."""
        if (self._live + 1) * 4 > self._size:
            self._grow(self._size_for(self._live + 1))
        while not self._enter(pair, row):
            self._grow(self._size * 2)

    def remove(self, pairs: Pairs) -> None:
        """Forget these pairs; each must have an entry."""
        slots = self._locate(pairs)
        self._pairs[slots] = EMPTY
        self._rows[slots] = -1
        self._live -= len(pairs)
        for pair in pairs.tolist():
            bucket, _ = self._home_of(pair)
            self._members[bucket].remove(pair)
            if not self._members[bucket]:
                del self._members[bucket]

    def load(self, pairs: Pairs, rows: Positions) -> None:
        """Replace all entries."""
        self._lay_out(pairs, rows, self._size_for(len(pairs)))

    def _hash(self, pairs: Pairs) -> Pairs:
        """Two rounds of multiply-shift; the high bits name a bucket, the low ones a slot."""
        mixed: Pairs = pairs * self._multipliers[0]
        mixed ^= mixed >> self._half
        mixed *= self._multipliers[1]
        return mixed

    def _locate(self, pairs: Pairs) -> Positions:
        """The slot where each pair is, if it is."""
        mixed = self._hash(pairs)
        displaced = self._displaced[(mixed >> self._bucket_shift).view(np.int64)]
        slots: Positions = mixed.view(np.int64)
        slots += displaced
        slots &= self._size - 1
        return slots

    def _home_of(self, pair: int) -> tuple[int, int]:
        """Bucket and slot of a pair; the slot before displacement."""
        multiplier, other = self._key
        mixed = pair * multiplier & WORD
        mixed = (mixed ^ mixed >> 32) * other & WORD
        return mixed >> int(self._bucket_shift), mixed & self._size - 1

    def _enter(self, pair: int, row: int) -> bool:
        """Enter a pair, displacing its bucket where it must be; False when no displacement will do."""
        bucket, slot = self._home_of(pair)
        slot = slot + int(self._displaced[bucket]) & self._size - 1
        if self._pairs[slot] == EMPTY:
            self._pairs[slot], self._rows[slot] = pair, row
        elif not self._displace(bucket, pair, row):
            return False
        self._members.setdefault(bucket, []).append(pair)
        self._live += 1
        return True

    def _displace(self, bucket: int, pair: int, row: int) -> bool:
        """Find room for all of a bucket and one more."""
        mask, former = self._size - 1, int(self._displaced[bucket])
        members = self._members.get(bucket, [])
        homes = [self._home_of(each)[1] for each in members]
        taken = [home + former & mask for home in homes]
        rows = [int(self._rows[slot]) for slot in taken]
        homes, rows = [*homes, self._home_of(pair)[1]], [*rows, row]
        for displacement in range(DISPLACEMENTS):
            slots = [home + displacement & mask for home in homes]
            if len(set(slots)) == len(slots) and all(self._pairs[each] == EMPTY or each in taken for each in slots):
                break
        else:
            return False
        self._pairs[taken], self._rows[taken] = EMPTY, -1
        self._pairs[slots], self._rows[slots] = np.array([*members, pair], np.uint64), rows
        self._displaced[bucket] = displacement
        return True

    def _size_for(self, live: int) -> int:
        """Slots that leave room to double before the next layout."""
        return max(SMALLEST, 1 << (live * 8 - 1).bit_length())

    def _grow(self, size: int) -> None:
        kept = self._pairs != EMPTY
        self._lay_out(self._pairs[kept], self._rows[kept], size)

    def _lay_out(self, pairs: Pairs, rows: Positions, size: int) -> None:
        """A fresh table; twice as large as long as some bucket finds no room."""
        while True:
            self._size = size
            self._bucket_shift = np.uint64(65 - size.bit_length())
            self._displaced = np.zeros(size, np.uint8)
            self._pairs, self._rows = np.zeros(size, np.uint64), np.full(size, -1)
            self._members: dict[int, list[int]] = {}
            self._live = 0
            if self._place(pairs, rows):
                return
            size *= 2

    def _place(self, pairs: Pairs, rows: Positions) -> bool:
        """Most pairs find their slots empty, all at once; the others are entered one by one."""
        slots = self._locate(pairs)
        self._pairs[slots], self._rows[slots] = pairs, rows  # of several that want a slot, one stays
        placed = self._pairs[slots] == pairs
        self._rows[slots[placed]] = rows[placed]
        buckets = (self._hash(pairs[placed]) >> self._bucket_shift).tolist()
        for bucket, pair in zip(buckets, pairs[placed].tolist(), strict=True):
            self._members.setdefault(bucket, []).append(pair)
        self._live = len(buckets)
        left = zip(pairs[~placed].tolist(), rows[~placed].tolist(), strict=True)
        return all(self._enter(pair, row) for pair, row in left)
