"""What a memory limit means for the children: whether there is room for a spare worker, and who was killed by it."""

import logging
import signal

from forwarder.supervisor.memory_limit import MemoryLimit
from forwarder.units import size

log = logging.getLogger(__name__)

SPARE = 20 << 20    # octets that a spare worker is charged with
GROWTH = 16 << 20   # octets that shall be left beside it: what the others grow by with 1,000 flows
SHORT = 8 << 20     # octets below which a spare that waits is given up, before somebody is killed who works
REMEDY = "raise it, or lower [dataplane] workers or max_flows, or max_groups of interfaces (docs/operating.md, Memory)"


class Thrift:
    """`left_out`: why no spare worker waits, in words; None where one may."""

    def __init__(self, limit: MemoryLimit) -> None:
        self._limit = limit
        self.left_out: str | None = None

    def has_room(self) -> bool:
        """Whether a spare worker may be started; says so when it may not, and when it may again."""
        room = self._limit.room
        if room is None or room >= SPARE + GROWTH:
            if self.left_out:
                log.info("there is memory for a spare worker again")
            self.left_out = None
            return True
        if not self.left_out:
            self.left_out = f"the memory limit ({self._words}) leaves {size(max(room, 0))}, one takes {size(SPARE)}"
            log.warning("no spare worker waits, so another one takes longer to be replaced: %s, and %s are to be left",
                        self.left_out, size(GROWTH))  # fmt: skip
        return False

    def is_short(self) -> bool:
        """Whether a spare that waits is to be given up."""
        room = self._limit.room
        return room is not None and room < SHORT

    def explain(self, name: str, status: int) -> None:
        """Say so if it was the memory limit by which a process ended that was not killed by us."""
        if status == -signal.SIGKILL and self._limit.has_killed():
            log.error("%s was killed by the memory limit (%s): %s", name, self._words, REMEDY)

    @property
    def _words(self) -> str:
        smallest = self._limit.smallest
        return "of the system" if smallest is None else size(smallest)
