"""Between the ports: what changed on one of them becomes routes, and reports on the upstream ones (RFC 4605).

Rules of this file: each group that changed is merged once, told upstream once, and only its routes that differ are put
out; what concerns very many groups is told a few at a time.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

from igmp.database import Database, restrict
from igmp.filter import Filter, merge
from igmp.inheritance import Inheritance
from igmp.outputs import Changed, Event, Notice, Output, Role, Send
from igmp.ports import ProxyPorts
from igmp.speaker import Said
from igmp.static import StaticMemberships
from igmp.timers import TimerQueue
from igmp.upstreams import Upstreams

NOTICE_GAP = 60.0                       # seconds between two notices of a kind on a port
STALE = -1                              # the timer of no port: groups whose reports must be worked out again


class Merging:
    """The merged database, and who must hear of what changes in it."""

    def __init__(self, ports: ProxyPorts, inheritance: Inheritance, timers: TimerQueue[int]) -> None:
        self._ports, self._inheritance, self._timers = ports, inheritance, timers
        self._noticed: dict[tuple[object, ...], list[float]] = {}   # until when, and how many not given, by event
        self._gathered: dict[int, None] | None = None   # groups to be worked out together, None: each at once
        self.database = Database()
        self.static = StaticMemberships()
        self.upstreams = Upstreams(self.database, self.static, ports, inheritance)

    def conclude(self, inputs: Iterable[tuple[int, Iterable[Event]]], now: float) -> list[Output]:
        """What goes out of one input, changed groups merged: queries, roles and notices, then routes, then reports."""
        changed: dict[int, None] = {}
        outputs: list[Output] = []
        for port, events in inputs:
            for event in events:
                if isinstance(event, Changed):
                    group, wanted = event.group, event.filter
                    self.database.set(port, group, self.effective(port, group, wanted) if self.static else wanted)
                    changed[group] = None
                    continue
                outputs += self.notable((event,), now)
                if self.upstreams.only_querier and isinstance(event, Role):
                    outputs += self.tell_again(self.groups_of(port), now)
        return outputs + self.work_out(changed, now) if changed else outputs

    def gather(self) -> None:
        """From now on groups are worked out in `release`: many ports change that may all have the same groups."""
        self._gathered = {}

    def release(self, now: float) -> list[Output]:
        """Work out what was gathered."""
        gathered, self._gathered = self._gathered, None
        return self.work_out(gathered, now) if gathered else []

    # RFC 4605 4.2 d
    def work_out(self, groups: Collection[int], now: float) -> list[Output]:
        """The routes that differ now, and what is to be told upstream."""
        if self._gathered is not None:
            self._gathered.update(dict.fromkeys(groups))
            return []
        groups = self._inheritance.hold(groups)
        outputs: list[Output] = []
        for group in groups:
            outputs += self.database.changes(group)
        outputs += self._told(self.upstreams.tell(groups, now), now)
        return outputs

    def restate(self, port: int, groups: Iterable[int], now: float) -> list[Output]:
        """What is configured of `groups` on `port` may be another thing now."""
        if port in self._ports.hosts:
            return self.tell_again(groups, now)
        querier = self._ports.queriers[port]
        return self.conclude([(port, [Changed(group, querier.filter(group)) for group in groups])], now)

    def tell_again(self, groups: Iterable[int], now: float) -> list[Output]:
        """Something else may have to be told upstream of `groups`, very many perhaps."""
        return self._told(self.upstreams.tell_again(groups, now), now)

    def tell_some(self, limit: int, now: float) -> list[Output]:
        """Tell `limit` more of those that `tell_again` left."""
        return self._told(self.upstreams.tell_some(limit, now), now)

    def groups_of(self, port: int) -> list[int]:
        """What is wanted of a port by members, and by configuration while that counts."""
        querier = self._ports.queriers.get(port)
        static = dict.fromkeys(self.static_of(port))
        return list(static if querier is None else dict.fromkeys(querier.members.numbers) | static)

    def static_of(self, port: int) -> Iterable[int]:
        """What is wanted of a port by configuration, while that counts."""
        return self.static.groups(port) if port in self._ports.hosts or port in self._ports.links else ()

    def effective(self, port: int, group: int, learned: Filter) -> Filter:
        """What a downstream port wants of a group, by its members and by configuration."""
        if port not in self._ports.links:
            return learned
        static = restrict(self.static.filter(port, group), group, self._ports.options[port].access)
        return merge([learned, static]) if static else learned

    def notable(self, events: Iterable[Send | Role | Notice], now: float) -> list[Output]:
        """`events` without the notices that were given a short while ago."""
        known = (self._news(event, now) if isinstance(event, Notice) else event for event in events)
        return [event for event in known if event is not None]

    def _told(self, said: Iterable[Said], now: float) -> list[Output]:
        for port, host in self._ports.hosts.items():
            self._timers.set(port, host.deadline)
        if self.upstreams.is_behind:
            self._timers.set(STALE, now)
        return self.notable(said, now)

    # RFC 9776 7.3.1 j
    def _news(self, notice: Notice, now: float) -> Notice | None:
        """The notice, with how many were not given before it; None where it is to be counted only."""
        noticed = self._noticed.setdefault((notice.port, notice.kind, notice.version, notice.limit), [-math.inf, 0])
        if now < noticed[0]:
            noticed[1] += 1
            return None
        missed, noticed[:] = int(noticed[1]), [now + NOTICE_GAP, 0]
        return replace(notice, missed=missed) if missed else notice
