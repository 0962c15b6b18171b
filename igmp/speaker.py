"""What a host has whichever version it speaks: its port, its wishes, its timers, and how a message goes out."""

import math
from collections.abc import Callable, MutableMapping

from igmp.filter import NOTHING, Filter, merge
from igmp.kernel import KernelMemberships
from igmp.link import Link
from igmp.outputs import Notice, Send
from igmp.packet import encode
from igmp.parameters import Parameters, PortOptions
from igmp.timers import TimerQueue

Said = Send | Notice

# Timers of an upstream port, with the group or version in the low bits; at the same instant the lower goes first.
STATE_CHANGE = 0 << 32                  # of a group, version 3
ANNOUNCE = 1 << 32                      # groups that routers do not know of yet
GENERAL_ANSWER = 2 << 32
GROUP_ANSWER = 3 << 32                  # of a group, version 3
REPORT = 4 << 32                        # of a group, versions 1 and 2: answer or repetition
OLDER_QUERIER = 5 << 32                 # of a version
LINGER = 6 << 32                        # of a group that nobody wants any more
REPEAT = 7 << 32                        # of everything, unasked
KERNEL = 8 << 32                        # the time in which our own kernel answers a query is over
KIND = ~0xFFFFFFFF

CHUNK = 512                             # groups told of in one call, so that none takes long
ANSWER_GAP = 0.1                        # seconds between answers that are wanted at once: the shortest other time


class Speaker:
    """State of one upstream port shared by the ways to speak; `random` gives numbers in (0, 1]."""

    __slots__ = ("_at_once", "_counters", "_port", "kernel", "link", "parameters", "random", "timers", "wanted")

    def __init__(
        self, port: int, options: PortOptions, counters: MutableMapping[str, int], random: Callable[[], float]
    ) -> None:
        self._port, self._counters, self.random = port, counters, random
        self.link = Link()
        self.kernel = KernelMemberships(options, counters)
        self.parameters: Parameters = options.parameters
        self.wanted: dict[int, Filter] = {}
        self.timers: TimerQueue[int] = TimerQueue()
        self._at_once = -math.inf                       # when what is wanted at once is answered

    def wants(self, group: int) -> Filter:
        """What routers are told of `group`: what is wanted of us, and with it what our kernel wants for others."""
        wanted, held = self.wanted.get(group, NOTHING), self.kernel.filters.get(group)
        return wanted if held is None else merge([wanted, held])

    # RFC 9776 5.2 a j
    def answer_at(self, window: float, now: float) -> float:
        """When to answer a query that leaves `window` seconds: at a time of ours within it.

        What is wanted at once is told at once; what a flood of such queries wants is told together, once in ANSWER_GAP.
        So nothing is later than it could be if the least time that can be said had been left.
        """
        if window > 0.0:
            return now + self.random() * window
        if now > self._at_once:
            self._at_once = max(now, self._at_once + ANSWER_GAP)
        return self._at_once

    # RFC 9776 4.2.14 a b
    def send(self, destination: int, message: bytes, counter: str) -> Send:
        """A message as it goes out, counted."""
        self._counters[counter] += 1
        return Send(self._port, encode(self.link.address, destination, message))

    def notice(self, kind: str, group: int) -> Notice:
        """Something people should know of a group."""
        return Notice(self._port, kind, group)
