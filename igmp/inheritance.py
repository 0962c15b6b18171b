"""What a proxy inherits: the groups of a predecessor's routes that wait to be taken back, and the ports they are for.

Rules of this file: pure bookkeeping. Of a group that waits nothing is put out and nothing told, whatever happens to it
meanwhile: that is settled when all groups were taken back.
"""

from collections.abc import Collection, Iterator


class Inheritance:
    """Empty unless there was a predecessor, and again when all is settled."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._order: list[int] = []                     # of the groups as they were added
        self._next: Iterator[int] = iter(())
        self._unsettled: dict[int, None] = {}           # may want other routes or reports than there are
        self.heirs = 0                                  # bitmap of downstream ports: they get back what was theirs
        self.told = 0                                   # of upstream ports: their routers know what was wanted

    def __bool__(self) -> bool:
        return bool(self._waiting or self._unsettled)

    @property
    def is_waiting(self) -> bool:
        """Whether a group is still to be taken back."""
        return bool(self._waiting)

    def add(self, group: int) -> None:
        """There are routes of `group`."""
        if group not in self._waiting:
            self._waiting.add(group)
            self._order.append(group)

    def begin(self, heirs: int, told: int) -> None:
        """All groups were added; what waits is for these ports."""
        self._next, self._order = iter(self._order), []
        self.heirs, self.told = heirs, told

    def drop(self, port: int) -> None:
        """The port is not what it was: it gets nothing back, and its routers know nothing."""
        self.heirs &= ~(1 << port)
        self.told &= ~(1 << port)

    def hold(self, groups: Collection[int]) -> Collection[int]:
        """Those of `groups` that do not wait; the others are settled later."""
        if not self._waiting:
            return groups
        self._unsettled.update((group, None) for group in groups if group in self._waiting)
        return [group for group in groups if group not in self._waiting]

    def take(self, group: int) -> bool:
        """Whether `group` waited; it does no longer."""
        waited = group in self._waiting
        self._waiting.discard(group)
        return waited

    def next(self) -> int | None:
        """The first that waited, in the order they were added; None: no more."""
        for group in self._next:
            if self.take(group):
                return group
        return None

    def unsettle(self, group: int) -> None:
        """Settle `group` when nothing waits any more."""
        self._unsettled[group] = None

    def settle(self, most: int) -> list[int]:
        """Some that are to be settled now."""
        return [self._unsettled.popitem()[0] for _ in range(min(most, len(self._unsettled)))]
