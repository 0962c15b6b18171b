"""A worker's or the API's side of the routes: what changed since the last look, and which keys are gone.

A key has one row at a time, but not always the same one: deleted and set again it may come back in another. So the
reader keeps the row of each key, and what it is told of rows it tells of keys.
"""

from forwarder.state import fence
from forwarder.state.routes import GROUP, HEADER, SEQUENCE, VERSION, RouteKey, RouteRow, Rows


class RouteReader(Rows):
    """A worker's or the API's side.

    Rows are looked at in rounds: all that had changed when the round began. A key that left its row is gone only if at
    the end of the round no row holds it; and where more had changed by then, at the end of the next, since its new row
    may be among that. So a key that moved is never missing in between, whichever of its rows is looked at first, also
    when a round takes several calls; and a row that cannot be read yet takes nothing from anybody when it is looked at
    later.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, writable=False)
        self._seen = 0
        self._versions: list[int] = []
        self._key_of: dict[int, RouteKey] = {}
        self._row_of: dict[RouteKey, int] = {}
        self._round: list[int] = []
        self._retry: set[int] = set()
        self._lost: set[RouteKey] = set()
        self._doubtful: set[RouteKey] = set()

    @property
    def pending(self) -> bool:
        """Whether `changes` has to come again: rows changed since, or could not be read yet, or were too many."""
        return bool(self._round or self._retry) or self._memory[SEQUENCE] != self._seen

    def rows(self) -> list[RouteRow]:
        """All rows in use now; rows in the middle of a change are left out."""
        copies = (self.copy(row) for row in range(self.high_water))
        return [row for copy in copies if copy for row in [self.decode(copy)] if row]

    def rows_of(self, group: int) -> list[RouteRow]:
        """Those of one group, whatever the number of others; rows in the middle of a change are left out."""
        begin = self.at(0) + GROUP
        named = self._memory[begin : begin + self.high_water * self._row_words : self._row_words].tolist()
        copies = [self.copy(row) for row, word in enumerate(named) if word == group << 8 | 32]
        return [row for copy in copies if copy for row in [self.decode(copy)] if row and row.key.group == group]

    def changes(self, most: int | None = None) -> list[tuple[RouteKey, RouteRow | None]]:
        """What changed since the last call: the new row of a key, or None where it is gone.

        `most` rows are looked at, the others wait for the next call (`pending`).
        """
        if not self._round:
            self._round = self._changed_rows()
        first = 0 if most is None else max(len(self._round) - most, 0)
        looked_at = self._round[first:]
        del self._round[first:]
        found = [content for content in map(self._look, looked_at) if content is not None]
        return [*((key, None) for key in self._gone()), *((content.key, content) for content in found)]

    def _look(self, row: int) -> RouteRow | None:
        """What a row holds now, and who has left it."""
        copy = self.copy(row)
        if copy is None:
            self._retry.add(row)
            return None
        self._versions[row] = copy[VERSION]
        content = self.decode(copy)
        former = self._key_of.pop(row, None)
        if content is not None:
            self._key_of[row] = content.key
            self._row_of[content.key] = row
            self._lost.discard(content.key)
            self._doubtful.discard(content.key)  # or it would be gone at once when it leaves this row, and once more
        if former is not None and (content is None or content.key != former) and self._row_of.get(former) == row:
            del self._row_of[former]
            self._lost.add(former)
        return content

    def _gone(self) -> list[RouteKey]:
        """Keys that no row holds any more; none before the round is over."""
        if self._round:
            return []
        lost, self._lost = self._lost, set()
        if self._retry:  # the row that could not be read may be where one of them is now
            self._doubtful |= lost
            return []
        gone, self._doubtful = self._doubtful, set()
        if self._memory[SEQUENCE] == self._seen:
            gone |= lost
        else:
            self._doubtful = lost
        return [key for key in gone if key not in self._row_of]

    def _changed_rows(self) -> list[int]:
        retry, self._retry = self._retry, set()
        sequence = self._memory[SEQUENCE]
        fence.acquire()
        self._versions += [0] * (self.high_water - len(self._versions))
        named = self._named(sequence)
        retry.update(self._moved_on() if named is None else named)
        self._seen = sequence
        return list(retry)

    def _named(self, sequence: int) -> set[int] | None:
        """The rows that the ring names since the last look; None where it may have gone round."""
        if not 0 <= sequence - self._seen <= self._ring // 2:
            return None
        rows = {self._memory[HEADER + at % self._ring] for at in range(self._seen, sequence)}
        rows.intersection_update(range(len(self._versions)))
        fence.acquire()
        lapped = self._memory[SEQUENCE] - self._seen >= self._ring  # at equality the oldest entry is being replaced
        return None if lapped else rows

    def _moved_on(self) -> list[int]:
        """The rows whose version is not the one that was seen."""
        start = self.at(0)
        now = self._memory[start : self.at(len(self._versions)) : self._row_words].tolist()
        return [row for row, (found, seen) in enumerate(zip(now, self._versions, strict=True)) if found != seen]
