"""Which groups have hosts of older versions, for the agent's successor alone: rows behind the ports of its segment.

Word 0 is how many rows were ever used, then rows of two words follow: port and group (group in the low half; 0: free),
then until when a version 1 host (high half) and a version 2 host (low half) are there, monotonic seconds rounded up.
The second word stands before the first says what it is of. What finds no room is not remembered: its group counts as
one of version 3 after a restart, until its next report.
"""

import math
from collections.abc import Iterator

ROWS = 65536                    # 1 MiB, of which only what was used is ever touched
WORDS = 1 + 2 * ROWS
_HALF = 0xFFFF_FFFF

Row = tuple[int, int, float, float]     # port, group, until when hosts of version 1 and 2 are there


class OlderHostRows:
    """The rows in `words`; `adopt` is gone through before anything is set."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._rows: dict[int, int] = {}                 # where the row of a key is
        self._free: list[int] = []

    def adopt(self) -> Iterator[Row | None]:
        """What a predecessor set, row by row, None for free ones."""
        for at in range(1, 1 + 2 * self._words[0], 2):
            key, until = self._words[at : at + 2]
            if not key:
                self._free.append(at)
                yield None
                continue
            self._rows[key] = at
            yield key >> 32, key & _HALF, float(until >> 32), float(until & _HALF)

    def set(self, port: int, group: int, v1_until: float, v2_until: float) -> None:
        """What is known of a group; -inf: no such host; twice that: the row is free."""
        key, until = port << 32 | group, _seconds(v1_until) << 32 | _seconds(v2_until)
        if not until:
            self._release(key)
            return
        at = self._rows.get(key) or self._place(key)
        if at:
            self._words[at + 1] = until
            self._words[at] = key

    def drop(self, port: int) -> None:
        """The port has another owner."""
        for key in [key for key in self._rows if key >> 32 == port]:
            self._release(key)

    def _place(self, key: int) -> int:
        """A free row, 0: there is none."""
        if self._free:
            at = self._free.pop()
        elif self._words[0] < ROWS:
            at = 1 + 2 * self._words[0]
            self._words[0] += 1
        else:
            return 0
        self._rows[key] = at
        return at

    def _release(self, key: int) -> None:
        at = self._rows.pop(key, 0)
        if at:
            self._words[at] = 0
            self._free.append(at)


def _seconds(until: float) -> int:
    return 0 if until == -math.inf else min(max(math.ceil(until), 0), _HALF)
