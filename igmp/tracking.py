"""Which host asked for what of one group: explicit tracking, the ground of a quick leave (RFC 6636 section 4.3).

Rules of this file: an entry is what a host said last; it lapses when the host has not repeated it for a group
membership interval, and lapsed entries want nothing even while they are still there. Hosts without an address are
told apart by MAC and never trusted: a switch may speak for many (RFC 4541). What cannot be tracked makes the group
blind until it is deleted.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from igmp.filter import NO_SOURCES, Mode
from igmp.messages import RecordType
from igmp.tables import ALLOW, BLOCK, IS_EX, TO_EX, TO_IN, Sources

SWEEP_GAP = 30.0                        # seconds between searches for lapsed entries of a group
SOURCES_PER_HOST = 16                   # a group keeps this many for each host it may have, on average
HOSTS_PER_GROUP = 64                    # a port keeps this many for each group it may have, on average

_NO_TIMERS: Mapping[int, float] = MappingProxyType({})
_EXCLUDING = (IS_EX, TO_EX)


def key_of(address: int, mac: int) -> int:
    """What a host is known by: its address, or below zero its MAC where it has none."""
    return address or -1 - mac


class Room:
    """How many hosts and sources of theirs one port may still track."""

    __slots__ = ("free",)

    def __init__(self, max_hosts: int, max_groups: int) -> None:
        self.free = max_hosts + HOSTS_PER_GROUP * max_groups


class Interest:
    """What one host wants of a group: all but `excluded` before `until`, and the sources of `timers`.

    A host that excludes may have timers as well: they are what it answered to queries for sources.
    """

    __slots__ = ("excluded", "mac", "timers", "until")

    def __init__(self) -> None:
        self.excluded: Sources | None = None            # None: not in EXCLUDE mode
        self.until = -math.inf
        self.timers: Mapping[int, float] = _NO_TIMERS   # replaced, never changed
        self.mac = 0

    @property
    def size(self) -> int:
        """How many sources it lists."""
        return len(self.excluded or ()) + len(self.timers)

    def take(self, kind: RecordType, sources: Sources, now: float, until: float) -> None:
        """The host sent a record; what it wants by it lasts until `until`."""
        if kind in _EXCLUDING:
            self.excluded, self.until, self.timers = sources, until, _NO_TIMERS
            return
        if kind is TO_IN or (self.excluded is None and not self.timers and kind is not BLOCK):
            self.excluded, self.timers = None, dict.fromkeys(sources, until)
            return
        excluded = self.excluded if self.until > now else None
        timers = {each: end for each, end in self.timers.items() if end > now}
        if kind is BLOCK:
            timers = {each: end for each, end in timers.items() if each not in sources}
            self.excluded = None if excluded is None else excluded | sources
        else:
            if kind is not ALLOW or excluded is None:   # who excludes and allows wants everything else already
                timers.update(dict.fromkeys(sources, until))
            self.excluded = None if excluded is None else excluded - sources
        self.timers = timers

    def repeats(self, excluded: Sources) -> bool:
        """Whether it says nothing new with `excluded`."""
        return self.excluded == excluded and not self.timers

    def excludes(self, now: float) -> bool:
        """Whether it is in EXCLUDE mode."""
        return self.excluded is not None and self.until > now

    def wants(self, source: int, now: float) -> bool:
        """Whether it lets `source` through."""
        if self.excluded is not None and self.until > now and source not in self.excluded:
            return True
        return self.timers.get(source, now) > now

    def ends(self, now: float) -> float:
        """When it wants nothing any more; `now` or earlier: it does already."""
        last = max(self.timers.values(), default=-math.inf)
        return last if self.excluded is None else max(last, self.until)


class Hosts:
    """The tracked hosts of one group on one port."""

    __slots__ = ("_blind", "_entries", "_left", "_size", "_sweep_at")

    def __init__(self) -> None:
        self._entries: dict[int, Interest] = {}
        self._size = 0                                  # sources listed by all of them
        self._blind = False                             # somebody wants something that is not in `_entries`
        self._left = 0                                  # who left last: it says so several times
        self._sweep_at = -math.inf

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """How much room of the port they take."""
        return len(self._entries) + self._size

    def items(self, now: float) -> Iterator[tuple[int, Interest]]:
        """Key and interest of every host that wants something."""
        return ((host, each) for host, each in self._entries.items() if each.ends(now) > now)

    def interest(self, host: int, now: float) -> Interest | None:
        """What one host wants; None: nothing, or it is not tracked."""
        entry = self._entries.get(host)
        return None if entry is None or entry.ends(now) <= now else entry

    def hear(
        self, host: int, mac: int, kind: RecordType, sources: Sources, now: float, until: float, limit: int, room: Room
    ) -> bool:
        """Take a record of `host`; False: it was refused, more than `limit` hosts or what belongs to them."""
        entry = self._entries.get(host)
        if entry is not None and kind in _EXCLUDING and entry.repeats(sources):
            entry.mac, entry.until = mac, until
            return True
        if entry is None:
            if kind is BLOCK or not (sources or kind in _EXCLUDING):
                return True                             # nothing is wanted that was not before
            if not self._admit(len(sources), now, limit, room):
                return False
            entry = self._entries[host] = Interest()
            room.free -= 1
        entry.mac = mac
        before = entry.size
        entry.take(kind, sources, now, until)
        grown = entry.size - before
        if grown:
            room.free -= grown
            self._size += grown
        if entry.excluded is None and not entry.timers:
            self._forget(host, room)
            self._left = host
        elif grown > 0 and (self._size > limit * SOURCES_PER_HOST or room.free < 0):
            self._forget(host, room)
            self._blind = True
            return False
        return True

    def blind(self) -> None:
        """Not everybody who wants something is known."""
        self._blind = True

    def knows(self, host: int, now: float) -> bool:
        """Whether `host` wants something, or did until it left last of all."""
        entry = self._entries.get(host)
        return host == self._left if entry is None else entry.ends(now) > now

    # RFC 4541 2.1.1 e
    def is_complete(self, now: float) -> bool:
        """Whether everybody who wants something is known by address."""
        return not self._blind and all(host >= 0 or each.ends(now) <= now for host, each in self._entries.items())

    def want_group(self, now: float) -> bool:
        """Whether somebody known by address is in EXCLUDE mode."""
        return any(each.excludes(now) for host, each in self._entries.items() if host >= 0)

    def unwanted(self, sources: Sources, now: float) -> Sources:
        """Those of `sources` that nobody known by address lets through."""
        left = sources
        for host, each in self._entries.items():
            if not left:
                break
            if host >= 0:
                left = frozenset([source for source in left if not each.wants(source, now)])
        return left

    def merged(self, now: float) -> tuple[Mode, dict[int, float], Sources, float]:
        """Mode, source timers, blocked sources and group timer of a group with just these hosts."""
        timers: dict[int, float] = {}
        excluded: Sources | None = None
        timer = -math.inf
        for each in self._entries.values():
            for source, until in each.timers.items():
                if until > now:
                    timers[source] = max(until, timers.get(source, until))
            if each.excludes(now):
                listed = each.excluded or NO_SOURCES
                excluded = listed if excluded is None else excluded & listed
                timer = max(timer, each.until)
        if excluded is None:
            return Mode.INCLUDE, timers, NO_SOURCES, math.inf
        return Mode.EXCLUDE, timers, excluded.difference(timers), timer

    def _admit(self, sources: int, now: float, limit: int, room: Room) -> bool:
        """Whether there is room for one more host; otherwise the group is blind."""
        if self._entries and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_GAP
            for host in [host for host, each in self._entries.items() if each.ends(now) <= now]:
                self._forget(host, room)
        if len(self._entries) < limit and room.free > sources:
            return True
        self._blind = True
        return False

    def _forget(self, host: int, room: Room) -> None:
        entry = self._entries.pop(host)
        self._size -= entry.size
        room.free += 1 + entry.size
