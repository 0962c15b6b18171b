"""Ports that flows should have left by and do not, since we are not querier there or lists keep them out.

Nothing is counted when a packet comes: whoever is kept out of a flow lost what the flow has carried since that was
decided. That is worked out once a second, and when something else is decided.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import Positions
from forwarder.state.flow_columns import Words
from forwarder.state.reasons import Reason

Kept: TypeAlias = tuple[tuple[Reason, int], ...]
"""Reasons, and the bitmap of the ports that each keeps out."""
Count: TypeAlias = Callable[[int, Reason, Positions, Positions], None]
"""Egress, reason, rows (n,) and packets (n,) of each."""

MOST_KINDS = 4096
"""Until it is looked at which of them are still in use: every set of ports that is kept out is one."""


class Withheld:
    """By row of the flow table, whose counters `packets` are; `count` is told what was lost.

    `which` is not 0 where a flow is kept out of something.
    """

    most = MOST_KINDS

    def __init__(self, packets: Words, count: Count | None = None) -> None:
        self._packets, self.count = packets, count
        self.which = np.zeros(len(packets) + 1, np.int32)  # one more: what -1 finds
        self._counted = np.zeros(len(packets), np.uint64)
        self._kinds: list[Kept] = [()]
        self._numbers: dict[Kept, int] = {(): 0}

    def decided(self, rows: Positions, choices: Sequence[Kept], chosen: Positions) -> None:
        """Rows, each named once, are kept out of what the choice with their number says."""
        if len(self._kinds) + len(choices) > self.most:
            self._renumber()
        kinds = np.array([self._number(kept) for kept in choices], np.int32)
        if not kinds.any() and not self.which[rows].any():
            return
        self.settle(rows)
        self._counted[rows] = self._packets[rows]
        self.which[rows] = kinds[chosen]

    def forget(self, rows: Positions) -> None:
        """These rows are of no flow any more."""
        if self.which[rows].any():
            self.settle(rows)
            self.which[rows] = 0

    def settle(self, rows: Positions | None = None) -> None:
        """Count what these rows, or all, have lost since they were looked at last."""
        rows = np.flatnonzero(self.which[:-1]) if rows is None else rows[self.which[rows] != 0]
        lost = self._packets[rows] - self._counted[rows]
        rows, lost = rows[lost != 0], lost[lost != 0]
        self._counted[rows] += lost
        kinds: npt.NDArray[np.int32] = self.which[rows]
        for kind in np.unique(kinds).tolist():
            self._tell(self._kinds[kind], rows[kinds == kind], lost[kinds == kind].astype(np.int64))

    def _tell(self, kept: Kept, rows: Positions, lost: Positions) -> None:
        for reason, ports in kept:
            while ports and self.count is not None:
                lowest = ports & -ports
                self.count(lowest.bit_length() - 1, reason, rows, lost)
                ports ^= lowest

    def _number(self, kept: Kept) -> int:
        number = self._numbers.setdefault(kept, len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append(kept)
        return number

    def _renumber(self) -> None:
        """Forget the kinds that no row has any more."""
        alive, again = np.unique(self.which, return_inverse=True)   # 0 is always among them, as what -1 finds
        self._kinds, self.which = [self._kinds[kind] for kind in alive.tolist()], again.astype(np.int32)
        self._numbers = {kept: number for number, kept in enumerate(self._kinds)}
