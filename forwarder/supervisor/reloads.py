"""Reloads: what is read by a process of its own is taken over once that has ended, and all go on meanwhile.

Whoever asks while one is being read asks for another: the file may have been written after it was read. Those who ask
meanwhile have the next one together, so a storm of signals is two reloads.
"""

import logging
import selectors
from collections.abc import Callable
from typing import Any, Protocol

from forwarder.state.settings import Settings
from forwarder.supervisor.changes import Cause, ChangeError

log = logging.getLogger(__name__)

PATIENCE = 10.0     # seconds for a file to be understood; 2,000 interfaces take 0.5

Reply = Callable[[dict[str, Any]], None]    # is told `ignored`, or else `refusal` and `words`


class Underway(Protocol):
    """A configuration that is being read; readable when it was, or when there is a step to take."""

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def step(self) -> bool:
        """Take what has come; whether it was read."""

    def settings(self) -> Settings:
        """What was read; raises ConfigurationError."""

    def kill(self) -> None:
        """It takes too long; readable soon."""

    def close(self) -> None:
        """Nobody wants it any more."""


class Reloads:
    """One at a time; `begin` reads, and raises what keeps it from that, `take_over` raises ChangeError."""

    def __init__(
        self, begin: Callable[[], Underway], take_over: Callable[[Settings], list[str]],
        failed: Callable[[str, Exception], None], selector: selectors.BaseSelector, clock: Callable[[], float],
    ) -> None:
        """`failed` is told faults of ours; what is under way is registered at `selector`; `clock`: seconds."""
        self._begin, self._take_over, self._failed = begin, take_over, failed
        self._selector, self._clock = selector, clock
        self._reading: Underway | None = None
        self._until, self._is_late = 0.0, False
        self._asked: list[Reply] = []       # who has what is being read
        self._next: list[Reply] = []

    @property
    def under_way(self) -> bool:
        """Whether something is being read."""
        return self._reading is not None

    def ask(self, reply: Reply) -> None:
        """Read it again, or once more if that is under way."""
        self._next.append(reply)
        if self._reading is None:
            self._start()

    def turn(self) -> None:
        """What takes too long is given up."""
        if self._reading is not None and not self._is_late and self._clock() >= self._until:
            self._is_late = True
            self._reading.kill()

    def close(self) -> None:
        """We end; nobody is answered."""
        if self._reading is not None:
            self._forget(self._reading)

    def _start(self) -> None:
        self._asked, self._next = self._next, []
        try:
            self._wait_for(self._begin())
        except Exception as error:  # whatever is wrong with the file, the running configuration stays
            self._tell(refused(str(error)))

    def _wait_for(self, reading: Underway) -> None:
        try:
            self._selector.register(reading, selectors.EVENT_READ, ("taking over a configuration", self._finish))
        except OSError:     # no memory for it: nobody would hear of its end
            reading.close()
            raise
        self._reading, self._until, self._is_late = reading, self._clock() + PATIENCE, False

    def _finish(self) -> None:
        reading = self._reading
        assert reading is not None
        if not reading.step():
            return
        try:
            answer = self._outcome(reading)
        finally:
            self._forget(reading)
        self._tell(answer)
        if self._next:
            self._start()

    def _outcome(self, reading: Underway) -> dict[str, Any]:
        try:
            settings = reading.settings()
        except Exception as error:
            return refused(f"it was not understood within {PATIENCE:g} s" if self._is_late else str(error))
        try:
            return {"ignored": self._take_over(settings)}
        except ChangeError as error:
            return refused(str(error), error.reason)
        except Exception as fault:
            self._failed("taking over a configuration", fault)
            return refused(f"internal error: {type(fault).__name__}", Cause.FAULT)

    def _forget(self, reading: Underway) -> None:
        self._reading = None
        self._selector.unregister(reading)
        reading.close()

    def _tell(self, answer: dict[str, Any]) -> None:
        if "words" in answer:
            log.error("reload refused, the running configuration stays: %s", answer["words"])
        for reply in self._asked:
            reply(answer)
        self._asked = []


def refused(words: str, cause: Cause = Cause.CONFIGURATION) -> dict[str, Any]:
    """The part of an answer that says so."""
    return {"refusal": cause.value, "words": words}
