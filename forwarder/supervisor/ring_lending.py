"""What of `ring_memory` is lent, to whom, and what parts the others get (`state.ring_memory` divides). Pure.

Bound is what the supervisor has opened for ports, workers and replacements, together with what it has closed and
workers may still have mapped.
"""

from collections.abc import Hashable, Iterable

from forwarder.state.ports import Port
from forwarder.state.ring_memory import divide, free_blocks, kept_back, octets
from forwarder.state.settings import Settings, is_wildcard

LET_GO = 1.0
"""Seconds until a worker has let go of a ring that is closed: it hears of it within a breath, of 10 ms."""


def ports_that_may_come(settings: Settings, ports: int) -> int:
    """Ports that wildcards may bring besides these `ports`.

    At least one: a ring is replaced by one that is beside it for a while.
    """
    wildcards = any(is_wildcard(each.name) and each.role != "disabled" for each in settings.interface)
    return max(settings.dataplane.ports - ports if wildcards else 0, 1)


class RingLending:
    """Blocks by borrower, whatever tells one from the others."""

    def __init__(self, memory: int, workers: int) -> None:
        """`memory` in bytes."""
        self._memory, self.workers = memory, workers
        self._lent: dict[Hashable, int] = {}
        self._leaving: list[tuple[float, int]] = []  # until when, blocks

    def __contains__(self, borrower: Hashable) -> bool:
        return borrower in self._lent

    @property
    def lent(self) -> int:
        """Bytes of all rings that are open, or about to be."""
        return octets(sum(self._lent.values()))

    def leaving(self, now: float) -> bool:
        """Whether something is closed that is not there for others yet."""
        self._leave(0, now)
        return bool(self._leaving)

    def parts(self, claims: Iterable[Port], coming: int, now: float) -> dict[int, int]:
        """Blocks for one ring of each of these ports, by index; `coming`: others that there may be yet."""
        self._leave(0, now)
        taken = sum(self._lent.values()) + sum(blocks for _, blocks in self._leaving)
        kept = kept_back(coming, self._memory, self.workers)
        roles = {port.index: port.role for port in claims}
        return divide(free_blocks(self._memory, taken, self.workers), roles, kept)

    def lend(self, borrower: Hashable, blocks: int) -> None:
        """So many blocks are what `borrower` has now, in all."""
        self._lent[borrower] = blocks

    def drop(self, borrower: Hashable) -> None:
        """What was lent has not been used."""
        self._lent.pop(borrower, None)

    def take_back(self, borrower: Hashable, now: float) -> None:
        """What was lent is closed."""
        self._leave(self._lent.pop(borrower, 0), now)

    def swap(self, newcomer: Hashable, borrower: Hashable, former: int, now: float) -> None:
        """What was lent to `newcomer` is that of `borrower` now, in place of `former` blocks, which are closed."""
        self._lent[borrower] += self._lent.pop(newcomer, 0) - former
        self._leave(former, now)

    def _leave(self, blocks: int, now: float) -> None:
        still = [each for each in self._leaving if now < each[0]]
        self._leaving = [*still, (now + LET_GO, blocks)] if blocks else still
