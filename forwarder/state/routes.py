"""Routes: rows of who wants a group, written by the agent, read by workers and the API.

A row is rewritten in place under an odd `version`; its number then goes into a ring of changes and `sequence` counts
it. A reader copies and checks the version again; what is odd or changed underneath is tried again at the next breath.
A reader that was lapped by the ring looks for rows whose version is not the one it saw.

A writer can be killed between any two stores: `writing` names the row it was at, from before the first store until the
change was counted. Its successor, which takes over all rows before it sets any, empties that row if it is odd, and
announces it again in any case.

Order of memory (see `segment`): a version for each row, and `sequence` for the ring. Of the ring a reader trusts only
what `sequence`, looked at again behind the entries, says was not overwritten meanwhile.
"""

from collections.abc import Iterator
from typing import NamedTuple

from forwarder.state import fence, segment

HEADER = 8
CAPACITY, WORDS, HIGH_WATER, SEQUENCE, REFUSED, RING, WRITING = range(7)
CHANGES = 1 << 14
VERSION, GROUP, SOURCE, INGRESS, KIND, STAMP, BITMAP = 0, 1, 2, 3, 4, 5, 6
ANY = 0xFFFF_FFFF_FFFF_FFFF
LEARNED = "learned"
KINDS = ("unused", LEARNED, "static", "block")


class RouteKey(NamedTuple):
    """What a route speaks of; `source` and `ingress` None for any. A static route has its row beside a learned one.

    A tuple, since a table of them is made whenever somebody opens the segment: a dataclass takes three times as long.
    """

    group: int
    plen: int = 32
    source: int | None = None
    slen: int = 32
    ingress: int | None = None
    static: bool = False


class RouteRow(NamedTuple):
    """A route: bit p of `ports` is port p; rows with a `stamp` before a port's assignment say nothing of it."""

    key: RouteKey
    ports: int
    kind: str
    stamp: int


def create(capacity: int, max_ports: int, changes: int = CHANGES) -> int:
    """A new, empty, sparse route segment of `capacity` rows, whose ring holds the last `changes`."""
    words = segment.bitmap_words(max_ports)
    fd = segment.create("mcfwd-routes", HEADER + changes + capacity * (BITMAP + words))
    header = segment.Segment(fd, writable=True)
    header.words[CAPACITY], header.words[WORDS], header.words[RING] = capacity, words, changes
    header.close()
    return fd


class Rows:
    """What writer and readers have in common: where rows lie, and what they say."""

    def __init__(self, fd: int, writable: bool) -> None:
        self._segment = segment.Segment(fd, writable)
        self._memory = self._segment.words
        self._ring, self._capacity, self._bitmap_words = (self._memory[word] for word in (RING, CAPACITY, WORDS))
        self._row_words = BITMAP + self._bitmap_words
        if not self._ring or HEADER + self._ring + self._capacity * self._row_words > len(self._memory):
            raise ValueError("a segment of routes is larger than it is")

    @property
    def high_water(self) -> int:
        """How many rows were ever in use."""
        return min(self._memory[HIGH_WATER], self._capacity)

    def at(self, row: int) -> int:
        """The word where a row begins."""
        return HEADER + self._ring + row * self._row_words

    def copy(self, row: int) -> list[int] | None:
        """The words of a row, or None while it is being rewritten."""
        at = self.at(row)
        version = self._memory[at]
        if version & 1:
            return None
        fence.acquire()
        copy = self._memory[at : at + self._row_words].tolist()
        fence.acquire()
        return copy if self._memory[at] == version else None

    @staticmethod
    def decode(copy: list[int]) -> RouteRow | None:
        """What the words of a row say, None where it is not in use, or says what no writer writes."""
        if not 0 < copy[KIND] < len(KINDS):
            return None
        group, plen = _network(copy[GROUP])
        source, slen = (None, 32) if copy[SOURCE] == ANY else _network(copy[SOURCE])
        ingress = None if copy[INGRESS] == ANY else copy[INGRESS]
        kind = KINDS[copy[KIND]]
        key = RouteKey(group, plen, source, slen, ingress, kind != LEARNED)
        return RouteRow(key, segment.join_bitmap(copy[BITMAP:]), kind, copy[STAMP])


def _network(word: int) -> tuple[int, int]:
    """Address and prefix length."""
    return word >> 8 & 0xFFFF_FFFF, min(word & 0xFF, 32)


class RouteWriter(Rows):
    """The agent's side. What a killed predecessor left is taken over by `adopt`, to its end, before anything is set."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, writable=True)
        self._row_of: dict[RouteKey, int] = {}
        self._free: list[int] = []
        self._inherited = range(self.high_water)

    def adopt(self) -> Iterator[RouteRow | None]:
        """Every row there was, repaired where it was left half written; None: it is free. A break may be long."""
        left = self._memory[WRITING] - 1
        for row in self._inherited:
            yield self._adopt(row, row == left)
        self._inherited = range(0)

    def _adopt(self, row: int, left: bool) -> RouteRow | None:
        """Take a row over; `left` is the one that a predecessor may have changed without saying so."""
        at = self.at(row)
        copy = self._memory[at : at + self._row_words].tolist()
        odd = copy[VERSION] & 1
        if odd:
            self._memory[at + KIND] = copy[KIND] = 0
        if left or odd:
            self._commit(row)
        content = self.decode(copy)
        if content is None:
            self._free.append(row)
        else:
            self._row_of[content.key] = row
        return content

    @property
    def refused(self) -> int:
        """How many routes found no free row."""
        return self._memory[REFUSED]

    def set(self, key: RouteKey, ports: int, kind: str, stamp: int) -> bool:
        """Write the row of `key`, which says whether `kind` is learned; False when the table is full (counted)."""
        assert key.static == (kind != LEARNED)
        assert not self._inherited
        row = self._row_of.get(key)
        if row is None:
            row = self._allocate()
            if row is None:
                self._memory[REFUSED] += 1
                return False
            self._row_of[key] = row
        source = ANY if key.source is None else key.source << 8 | key.slen
        ingress = ANY if key.ingress is None else key.ingress
        fields = [key.group << 8 | key.plen, source, ingress, KINDS.index(kind), stamp]
        self._write(row, fields + segment.split_bitmap(ports, self._bitmap_words))
        return True

    def delete(self, key: RouteKey) -> None:
        """Give the row of `key` back; nothing happens when there is none."""
        row = self._row_of.pop(key, None)
        if row is None:
            return
        self._open(row)
        self._memory[self.at(row) + KIND] = 0
        self._commit(row)
        self._free.append(row)

    def _allocate(self) -> int | None:
        if self._free:
            return self._free.pop()
        row = self._memory[HIGH_WATER]
        if row >= self._memory[CAPACITY]:
            return None
        self._memory[HIGH_WATER] = row + 1
        return row

    def _write(self, row: int, fields: list[int]) -> None:
        self._open(row)
        for offset, value in enumerate(fields, start=self.at(row) + GROUP):
            self._memory[offset] = value
        self._commit(row)

    def _open(self, row: int) -> None:
        self._memory[WRITING] = row + 1
        self._memory[self.at(row)] |= 1
        fence.release()

    def _commit(self, row: int) -> None:
        """Close a row and announce it."""
        at = self.at(row)
        fence.release()
        self._memory[at] = (self._memory[at] | 1) + 1
        sequence = self._memory[SEQUENCE]
        self._memory[HEADER + sequence % self._ring] = row
        fence.release()
        self._memory[SEQUENCE] = sequence + 1
        self._memory[WRITING] = 0
