"""Leaves that wait for another join: who zaps comes back to a group, and its stream need not begin anew upstream.

Rules of this file: pure bookkeeping. What is told upstream loses nothing before its time; that time is counted from the
first thing that nobody wants any more, so sources that come and go do not add up.
"""

from collections.abc import Iterator

from igmp.access import AccessList
from igmp.database import restrict
from igmp.filter import NOTHING, Filter, merge

MOST = 4096                             # groups that linger; who leaves more of them leaves these at once


class Lingering:
    """By group: what is wanted of it, and when nothing more than that is told."""

    def __init__(self) -> None:
        self._groups: dict[int, tuple[Filter, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __contains__(self, group: int) -> bool:
        return group in self._groups

    def deadlines(self) -> Iterator[tuple[int, float]]:
        """Each group, and when it has lingered long enough."""
        return ((group, until) for group, (_, until) in self._groups.items())

    def tell(self, group: int, told: Filter, wanted: Filter, access: AccessList, until: float) -> Filter:
        """What to tell now that `wanted` is wanted where `told` was told: as much of both as `access` admits."""
        both = restrict(merge([told, wanted]), group, access)
        known = self._groups.pop(group, None)
        if both == wanted or (known is None and len(self._groups) >= MOST):
            return wanted
        self._groups[group] = wanted, until if known is None else known[1]
        return both

    def end(self, group: int) -> Filter:
        """What is wanted of a group that has lingered long enough."""
        return self._groups.pop(group, (NOTHING, 0.0))[0]

    def end_all(self) -> dict[int, Filter]:
        """What is wanted of all of them, which linger no longer."""
        ended = {group: wanted for group, (wanted, _) in self._groups.items()}
        self._groups.clear()
        return ended
