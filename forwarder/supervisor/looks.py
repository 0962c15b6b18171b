"""When the links are looked at: after which notifications, and how soon. `now` is monotonic seconds."""

import math
from collections.abc import Callable, Iterable

from forwarder.packet.rtnetlink import LinkNotice
from forwarder.supervisor.assignment import Entries
from forwarder.supervisor.guard import Guard
from forwarder.supervisor.links import KernelLink, printable

GATHERING = 0.05
"""Seconds after the first change of a burst: setting up one link takes half a dozen notifications and some 10 ms."""
RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds until the links are looked at again after that failed."""


class Concern:
    """What may matter after a look that found `links`: what was called as an entry says, or is now.

    Every notification before that look was of something that the look has seen. One of those after it that makes a link
    matter says so by its name; where it is not the last word, the look that it leads to comes later than that.
    """

    def __init__(self, entries: Entries, links: Iterable[KernelLink]) -> None:
        self._entries = entries
        self._indexes = {link.ifindex for link in links if entries.of(link.name)}

    def concerns(self, notice: LinkNotice) -> bool:
        """Whether a notification may change a port, or make or end one."""
        return notice.ifindex in self._indexes or any(self._entries.of(printable(name)) for name in notice.names)


class Looks:
    """Takes them when it is time: soon after the first change of a burst, which the others do not postpone.

    Where a look fails, what was published stays, and there is another by itself, each time later. Changes lead to
    others beside that; what fails then puts nothing off, or changes without end would put it off for long.
    """

    def __init__(self, guard: Guard, rang: Callable[[], bool], look: Callable[[], None]) -> None:
        """`rang`: whether something that was told may matter; `look` looks, and acts on what it sees."""
        self._guard, self._rang, self._look = guard, rang, look
        self._gathered = self._again = math.inf
        self._retry = RETRY

    def hear(self, now: float) -> None:
        """The bell rings."""
        if self._guard.take("hearing of links", self._rang) is not False:   # None: it failed, so who knows
            self._gathered = min(self._gathered, now + GATHERING)

    def wait(self, now: float, longest: float) -> float:
        """Seconds that may be slept until the next look, at most `longest`."""
        return max(0.0, min(longest, self._gathered - now, self._again - now))

    def turn(self, now: float) -> None:
        """Look, if it is time."""
        if now >= min(self._gathered, self._again):
            self.look(now)

    def look(self, now: float) -> None:
        """Look, which answers all changes so far."""
        faults, self._gathered = self._guard.faults, math.inf
        self._guard.take("looking at the links", self._look)
        if faults == self._guard.faults:
            self._again, self._retry = math.inf, RETRY
        elif self._again == math.inf or now >= self._again:
            self._again = now + self._retry
            self._retry = min(2 * self._retry, LONGEST_RETRY)
