"""Every turn of the supervisor's loop is taken here: what one of them raises ends that turn and nothing else.

A fault is counted (`faults` in `show stats`) and logged with what was being done; the same one again is only counted
for a minute, or a turn that is taken five times a second would fill the log. Nothing is undone here: who takes a turn
changes what lasts at its end, and has another turn later.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN = 60.0
"""Seconds until the same fault is logged again."""
REMEMBERED = 64
"""Faults that are told apart; then they are all new again."""


class Guard:
    """Takes turns; `faults`: how many failed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[tuple[str, str], float] = {}
        self.faults = 0

    def take(self, doing: str, turn: Callable[[], T]) -> T | None:
        """What `turn` gives; None when it failed. `doing` is for the log, as in "failed while {doing}"."""
        try:
            return turn()
        except Exception as fault:
            self.failed(doing, fault)
            return None

    def failed(self, doing: str, fault: Exception) -> None:
        """Count a fault that was caught elsewhere."""
        self.faults += 1
        self._say(doing, fault)

    def _say(self, doing: str, fault: Exception) -> None:
        now, same = self._clock(), (doing, repr(fault))
        if now - self._said.get(same, -AGAIN) < AGAIN:
            return
        if len(self._said) >= REMEMBERED:
            self._said.clear()
        self._said[same] = now
        where = log.isEnabledFor(logging.DEBUG)
        log.error("failed while %s: %s: %s", doing, type(fault).__name__, fault, exc_info=where)
