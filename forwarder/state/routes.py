"""Routes: rows of who wants a group, written by the agent, read by workers and the API.

A row is rewritten in place under an odd `version`; its number then goes into a ring of changes and `sequence` counts
it. A reader copies and checks the version again; what is odd or changed underneath is tried again at the next breath.
A reader that was lapped by the ring, or a new one, reads all rows up to the high-water mark.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from forwarder.state import segment

HEADER = 8
CAPACITY, WORDS, HIGH_WATER, SEQUENCE, REFUSED = 0, 1, 2, 3, 4
CHANGES = 1 << 14
VERSION, GROUP, SOURCE, INGRESS, KIND, STAMP, BITMAP = 0, 1, 2, 3, 4, 5, 6
ANY = 0xFFFF_FFFF_FFFF_FFFF
LEARNED = "learned"
KINDS = ("unused", LEARNED, "static", "block")


@dataclass(frozen=True, slots=True)
class RouteKey:
    """What a route speaks of; `source` and `ingress` None for any. A static route has its row beside a learned one."""

    group: int
    plen: int = 32
    source: int | None = None
    slen: int = 32
    ingress: int | None = None
    static: bool = False


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route: bit p of `ports` is port p; rows with a `stamp` before a port's assignment say nothing of it."""

    key: RouteKey
    ports: int
    kind: str
    stamp: int


def create(capacity: int, max_ports: int) -> int:
    """A new, empty, sparse route segment of `capacity` rows."""
    words = segment.bitmap_words(max_ports)
    fd = segment.create("mcfwd-routes", HEADER + CHANGES + capacity * (BITMAP + words))
    header = segment.Segment(fd, writable=True)
    header.words[CAPACITY], header.words[WORDS] = capacity, words
    header.close()
    return fd


class _Rows:
    def __init__(self, fd: int, writable: bool) -> None:
        self._segment = segment.Segment(fd, writable)
        self._memory = self._segment.words
        self._bitmap_words = self._memory[WORDS]
        self._row_words = BITMAP + self._bitmap_words

    def _at(self, row: int) -> int:
        return HEADER + CHANGES + row * self._row_words

    def _copy(self, row: int) -> list[int] | None:
        """The words of a row, or None while it is being rewritten."""
        at = self._at(row)
        version = self._memory[at]
        if version & 1:
            return None
        copy = self._memory[at : at + self._row_words].tolist()
        return copy if self._memory[at] == version else None

    @staticmethod
    def _decode(copy: list[int]) -> RouteRow | None:
        if copy[KIND] == 0:
            return None
        source = None if copy[SOURCE] == ANY else copy[SOURCE] >> 8
        slen = 32 if source is None else copy[SOURCE] & 0xFF
        ingress = None if copy[INGRESS] == ANY else copy[INGRESS]
        kind = KINDS[copy[KIND]]
        key = RouteKey(copy[GROUP] >> 8, copy[GROUP] & 0xFF, source, slen, ingress, kind != LEARNED)
        return RouteRow(key, segment.join_bitmap(copy[BITMAP:]), kind, copy[STAMP])


class RouteWriter(_Rows):
    """The agent's side. Opening it repairs rows that a killed predecessor left half written."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, writable=True)
        self._row_of: dict[RouteKey, int] = {}
        self._free: list[int] = []
        for row in range(self._memory[HIGH_WATER]):
            self._adopt(row)

    def _adopt(self, row: int) -> None:
        at = self._at(row)
        if self._memory[at] & 1:
            self._memory[at + KIND] = 0
            self._commit(row)
        content = self._decode(self._memory[at : at + self._row_words].tolist())
        if content is None:
            self._free.append(row)
        else:
            self._row_of[content.key] = row

    @property
    def refused(self) -> int:
        """How many routes found no free row."""
        return self._memory[REFUSED]

    def rows(self) -> list[RouteRow]:
        """All rows in use."""
        starts = (self._at(row) for row in self._row_of.values())
        copies = (self._memory[at : at + self._row_words].tolist() for at in starts)
        return [row for row in map(self._decode, copies) if row]

    def set(self, key: RouteKey, ports: int, kind: str, stamp: int) -> bool:
        """Write the row of `key`, which says whether `kind` is learned; False when the table is full (counted)."""
        assert key.static == (kind != LEARNED)
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
        self._memory[self._at(row)] |= 1
        self._memory[self._at(row) + KIND] = 0
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
        at = self._at(row)
        self._memory[at] |= 1
        for offset, value in enumerate(fields, start=at + GROUP):
            self._memory[offset] = value
        self._commit(row)

    def _commit(self, row: int) -> None:
        at = self._at(row)
        self._memory[at] = (self._memory[at] | 1) + 1
        sequence = self._memory[SEQUENCE]
        self._memory[HEADER + sequence % CHANGES] = row
        self._memory[SEQUENCE] = sequence + 1


class RouteReader(_Rows):
    """A worker's or the API's side."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, writable=False)
        self._seen = 0
        self._key_of: dict[int, RouteKey] = {}
        self._retry: set[int] = set()

    @property
    def pending(self) -> bool:
        """Whether `changes` has to come again: rows changed since, or one was being written when it came by."""
        return bool(self._retry) or self._memory[SEQUENCE] != self._seen

    def rows(self) -> list[RouteRow]:
        """All rows in use now; rows in the middle of a change are left out."""
        copies = (self._copy(row) for row in range(self._memory[HIGH_WATER]))
        return [row for copy in copies if copy for row in [self._decode(copy)] if row]

    def changes(self) -> Iterator[tuple[RouteKey, RouteRow | None]]:
        """What changed since the last call: the new row of a key, or None where it is gone."""
        for row in self._changed_rows():
            copy = self._copy(row)
            if copy is None:
                self._retry.add(row)
                continue
            content = self._decode(copy)
            former = self._key_of.pop(row, None)
            if former is not None and (content is None or content.key != former):
                yield former, None
            if content is not None:
                self._key_of[row] = content.key
                yield content.key, content

    def _changed_rows(self) -> list[int]:
        sequence = self._memory[SEQUENCE]
        retry, self._retry = self._retry, set()
        if sequence - self._seen > CHANGES // 2:
            rows = set(range(self._memory[HIGH_WATER]))
        else:
            rows = {self._memory[HEADER + at % CHANGES] for at in range(self._seen, sequence)}
        self._seen = sequence
        return sorted(rows | retry)
