"""The index under the flow table: rows by source << 32 | group, for one ingress.

Two places for each pair (cuckoo hashing): a lookup is two gathers and a comparison at the first place, and the same
at the second for those few that are not there; so it takes no longer with many flows than with few. At most a quarter
of the slots is used, so nearly nine of ten pairs or more lie in their first place, and a pair that finds both taken
finds room by moving a few others. The rare one that does not goes into a small dict, and when that is full it is
refused: nothing grows because of which pairs there are, only with how many.

Keyed, and mixed well, so that nobody outside can aim at a slot. What depends on low bits of a product depends only on
low bits of its factors, and so do bits of two products however they are combined; therefore each place is the high bits
of a product (multiply-shift, Dietzfelbinger et al. 1997), of a number that has been through two rounds of multiplying
and folding before. With one round, evenly spaced sources stayed evenly spaced in the high bits, and one key of a
thousand left 264 of 4,096 without a place; with two no structure could be told from random pairs. The third
multiplication costs a lookup of 1,024 frames 2 microseconds.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions

Pairs: TypeAlias = npt.NDArray[np.uint64]
Key: TypeAlias = tuple[int, int]
"""Two random odd 64-bit integers."""

SMALLEST = 1024
SPARSE = 64
"""A table is laid out anew, smaller, when it has so many slots for each entry."""
MOVES = 32
"""Others moved to make room for one; a quarter full, two are rarely needed."""
OVERFLOW = 64
WORD = 0xFFFF_FFFF_FFFF_FFFF
EMPTY = 0  # a group outside 224/4: never an entry
FIRST, SECOND = 2, 3  # which of the multipliers
_HALF, _FOLD = np.uint64(32), np.uint64(29)


class PairIndex:
    """Rows by source << 32 | group; see the module."""

    def __init__(self, key: Key) -> None:
        self._key = _multipliers(key)
        self._multipliers = np.array(self._key, np.uint64)
        self._lay_out(np.empty(0, np.uint64), NONE, SMALLEST)

    def __len__(self) -> int:
        return self._live

    @property
    def slots(self) -> int:
        """How many slots the table has."""
        return len(self._pairs)

    def find(self, pairs: Pairs) -> Positions:
        """Row of each pair, -1 where it has none."""
        mixed = self._mix(pairs)
        slots = self._place(mixed, FIRST)
        rows: Positions = self._rows.take(slots)
        missed = self._pairs.take(slots) != pairs
        if np.count_nonzero(missed):
            (at,) = missed.nonzero()
            rows[at] = self._find_second(pairs.take(at), mixed.take(at))
        return rows

    def find_one(self, pair: int) -> int:
        """Row of one pair, -1 where it has none."""
        for slot in self._places_of(pair):
            if self._pair_at[slot] == pair:
                return self._row_at[slot]
        return self._overflow.get(pair, -1)

    def add(self, pairs: Pairs, rows: Positions) -> npt.NDArray[np.bool_]:
        """Enter pairs, each once, that have no entry yet; which of them found room."""
        live = self._live + len(pairs)
        if live * 4 > self.slots:
            self._lay_out(*self._entries(), self._size_for(live))
        return self._enter(pairs, rows)

    def remove(self, pairs: Pairs) -> None:
        """Forget these pairs; each must have an entry."""
        mixed = self._mix(pairs)
        for which in (FIRST, SECOND):
            slots = self._place(mixed, which)
            here = slots[self._pairs[slots] == pairs]
            self._pairs[here], self._rows[here] = EMPTY, -1
        for pair in pairs.tolist() if self._overflow else ():
            self._overflow.pop(pair, None)
        self._live -= len(pairs)
        if self._live * SPARSE < self.slots > SMALLEST:
            self._lay_out(*self._entries(), self._size_for(self._live))

    def load(self, pairs: Pairs, rows: Positions) -> None:
        """Replace all entries."""
        self._lay_out(pairs, rows, self._size_for(len(pairs)))

    def _mix(self, pairs: Pairs) -> Pairs:
        """Two rounds of multiplying and folding, in which no pair is lost: a number for each."""
        mixed: Pairs = pairs * self._multipliers[0]
        mixed ^= mixed >> _HALF
        mixed *= self._multipliers[1]
        mixed ^= mixed >> _FOLD
        return mixed

    def _place(self, mixed: Pairs, which: int) -> Positions:
        """The slot of each, in its FIRST or its SECOND place."""
        product = mixed * self._multipliers[which]
        product >>= self._shift
        slots: Positions = product.view(np.int64)
        return slots

    def _places_of(self, pair: int) -> tuple[int, int]:
        """Both slots of one pair."""
        first, second, third, fourth = self._key
        mixed = pair * first & WORD
        mixed = (mixed ^ mixed >> 32) * second & WORD
        mixed ^= mixed >> 29
        shift = int(self._shift)
        return (mixed * third & WORD) >> shift, (mixed * fourth & WORD) >> shift

    def _find_second(self, pairs: Pairs, mixed: Pairs) -> Positions:
        slots = self._place(mixed, SECOND)
        rows: Positions = self._rows.take(slots)
        missed = self._pairs.take(slots) != pairs
        if np.count_nonzero(missed):
            rows[missed] = -1
        if self._overflow:
            for at in np.flatnonzero(missed).tolist():
                rows[at] = self._overflow.get(int(pairs[at]), -1)
        return rows

    def _enter(self, pairs: Pairs, rows: Positions, overflow: int = OVERFLOW) -> npt.NDArray[np.bool_]:
        """Most pairs find a place empty, all at once; for the others room is made one by one."""
        entered = np.ones(len(pairs), np.bool_)
        left, mixed = np.arange(len(pairs)), self._mix(pairs)
        for which in (FIRST, SECOND):
            slots = self._place(mixed[left], which)
            free = self._pairs[slots] == EMPTY
            self._pairs[slots[free]] = pairs[left[free]]  # of several that want a slot, one stays
            placed = self._pairs[slots] == pairs[left]
            self._rows[slots[placed]] = rows[left[placed]]
            left = left[~placed]
            if not left.size:
                break
        for at in left.tolist():
            if len(self._overflow) < overflow:
                self._make_room(int(pairs[at]), int(rows[at]))
            else:
                entered[at] = False
        self._live += int(np.count_nonzero(entered))
        return entered

    def _make_room(self, pair: int, row: int) -> None:
        """Enter a pair whose places are taken, by moving who is there to its other place, and so on."""
        slot = self._places_of(pair)[0]
        for _ in range(MOVES):
            self._pair_at[slot], pair = pair, self._pair_at[slot]
            self._row_at[slot], row = row, self._row_at[slot]
            if pair == EMPTY:
                return
            first, second = self._places_of(pair)
            slot = second if slot == first else first
        self._overflow[pair] = row

    def _entries(self) -> tuple[Pairs, Positions]:
        kept = self._pairs != EMPTY
        pairs = np.fromiter(self._overflow.keys(), np.uint64, len(self._overflow))
        rows = np.fromiter(self._overflow.values(), np.int64, len(self._overflow))
        return np.concatenate((self._pairs[kept], pairs)), np.concatenate((self._rows[kept], rows))

    def _size_for(self, live: int) -> int:
        """Slots that leave room to double before the next layout."""
        return max(SMALLEST, 1 << (live * 8 - 1).bit_length())

    def _lay_out(self, pairs: Pairs, rows: Positions, size: int) -> None:
        """A fresh table of `size` slots, a power of two, with these entries."""
        self._shift = np.uint64(65 - size.bit_length())
        self._pairs, self._rows = np.zeros(size, np.uint64), np.full(size, -1)
        self._pair_at, self._row_at = self._pairs.data, self._rows.data
        self._overflow: dict[int, int] = {}
        self._live = 0
        self._enter(pairs, rows, overflow=len(pairs))


def _multipliers(key: Key) -> tuple[int, int, int, int]:
    """The two of the key, and two more."""
    first, second = key
    product = first * second & WORD
    return first, second, product ^ first >> 32 | 1, product * second & WORD ^ second >> 32 | 1
