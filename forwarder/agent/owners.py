"""Since when each port index has its owner: what was said before speaks of somebody else. Pure."""

from bisect import bisect_right
from itertools import accumulate
from operator import or_


class Owners:
    """By index; the generation at which it was assigned."""

    def __init__(self) -> None:
        self._assigned: dict[int, int] = {}
        self._generations: list[int] | None = None      # of assignments, ascending; None: to be made
        self._since: list[int] = []                     # bitmap of the ports assigned at each of them or later

    def assign(self, index: int, assigned: int) -> bool:
        """Whether that is another owner than before."""
        if self._assigned.get(index) == assigned:
            return False
        self._assigned[index] = assigned
        self._generations = None
        return True

    def since(self, stamp: int) -> int:
        """Bitmap of the ports that got their owner after `stamp`."""
        if self._generations is None:
            self._generations = self._index()
        at = bisect_right(self._generations, stamp)
        return self._since[at] if at < len(self._since) else 0

    def _index(self) -> list[int]:
        ports: dict[int, int] = {}
        for index, assigned in self._assigned.items():
            ports[assigned] = ports.get(assigned, 0) | 1 << index
        generations = sorted(ports)
        self._since = list(accumulate((ports[each] for each in reversed(generations)), or_))[::-1]
        return generations
