"""Specific queries on their way: what is still to be transmitted for a group, and how many a port may send.

Rules of this file: pure counting; when something is transmitted is the querier's affair.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

_ONE = 1.0 - 1e-6                       # what a moment brings must be later than the moment: floats are short


class Checking:
    """Specific queries still to be transmitted for one group, on one clock (RFC 9776 section 6.6.3)."""

    __slots__ = ("group", "sources")

    def __init__(self) -> None:
        self.group = 0                                  # transmissions of Q(G) to come
        self.sources: dict[int, int] = {}               # transmissions of Q(G,S) to come, by source

    def __bool__(self) -> bool:
        return self.group > 0 or bool(self.sources)

    def transmitted(self) -> None:
        """One transmission of everything is done."""
        self.group = max(self.group - 1, 0)
        self.sources = {source: left - 1 for source, left in self.sources.items() if left > 1}


@dataclass(frozen=True, slots=True)
class Ask:
    """One specific query to transmit now; no sources: Q(G)."""

    sources: tuple[int, ...]
    suppress: bool                      # S flag


@dataclass(slots=True)
class Wish:
    """What records want to know of a group: whether somebody still wants `sources`, or the `group` itself."""

    sources: set[int] = field(default_factory=set)
    group: bool = False

    def add(self, sources: Iterable[int], group: bool) -> None:
        """Want to know this as well."""
        self.sources.update(sources)
        self.group = self.group or group

    def answered(self, sources: Iterable[int], group: bool) -> None:
        """A later record tells: these are wanted."""
        self.sources.difference_update(sources)
        self.group = self.group and not group


class Rate:
    """At most `rate` a second, and `burst` at once after a silence."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left = burst
        self._since = -math.inf

    def spend(self, count: int, now: float) -> None:
        """`count` are done, whether they were allowed or not."""
        self._refill(now)
        self._left -= count

    def allows(self, now: float) -> bool:
        """Whether one more may be done now."""
        self._refill(now)
        return self._left >= _ONE

    def next(self, now: float) -> float:
        """When one more may be done."""
        self._refill(now)
        return now + max(1.0 - self._left, 0.0) / self._rate

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
