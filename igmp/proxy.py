"""RFC 4605: routers downstream, hosts upstream, and the merged database between them.

Rules of this file: every input is finished before anything is worked out from it: each group that changed is merged
once, told upstream once, and only its routes that differ are put out. A group costs the same whatever the number of
others, and what concerns very many groups is done a few at a time, in the calls of `expire` that follow. Any bytes
may come in; bad ones are counted.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from igmp.counters import COUNTERS
from igmp.database import Database, restrict
from igmp.filter import Filter, exclude, include, merge
from igmp.host import Host
from igmp.outputs import (
    Changed,
    Event,
    GroupStatus,
    HostStatus,
    Notice,
    Output,
    QuerierStatus,
    Role,
    Route,
    Send,
    UpstreamStatus,
)
from igmp.packet import Link, Rejected, Rules, receive
from igmp.parameters import DOWNSTREAM, PortOptions
from igmp.querier import EVENTS, Querier
from igmp.speaker import Said
from igmp.static import Memberships, StaticMemberships
from igmp.status import hosts, joined, learned_group, static_group
from igmp.timers import TimerQueue
from igmp.upstreams import Upstreams

__all__ = ["PortOptions", "Proxy"]

NOTICE_GAP = 60.0                       # seconds between two notices of a kind on a port
_STALE = -1                             # the timer of no port: groups whose reports must be worked out again


class Proxy:
    """All ports; `random` gives numbers in (0, 1]. Every input returns what the shell must do, in order."""

    def __init__(
        self, random: Callable[[], float], rules: Rules | None = None, merge_only_querier: bool = False
    ) -> None:
        self._random, self._rules = random, rules or Rules()
        self._options: dict[int, PortOptions] = {}
        self._queriers: dict[int, Querier] = {}
        self._links: dict[int, Link] = {}               # of the ports that are up
        self._own: frozenset[int] = frozenset()         # our addresses on them
        self._counters: dict[int, dict[str, int]] = {}
        self._database = Database()
        self._static = StaticMemberships()
        self._upstreams = Upstreams(self._database, self._static, self._options, self._queriers)
        self._upstreams.only_querier = merge_only_querier
        self._hosts = self._upstreams.hosts
        self._noticed: dict[tuple[int, str], float] = {}
        self._timers: TimerQueue[int] = TimerQueue()            # by port

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    # Configuration

    def set_rules(self, rules: Rules) -> None:
        """What is accepted from now on."""
        self._rules = rules

    def set_merge_only_querier(self, only_querier: bool, now: float) -> list[Output]:
        """Whether only members of ports where we are querier are told upstream."""
        if only_querier == self._upstreams.only_querier:
            return []
        self._upstreams.only_querier = only_querier
        return self._tell(self._upstreams.tell_again(self._database, now), now)

    def add_port(self, port: int, options: PortOptions) -> None:
        """A new port, down; ValueError for options that cannot work or a port that exists."""
        options.check()
        if port in self._options:
            raise ValueError(f"port {port} exists")
        self._options[port] = options
        self._counters[port] = dict.fromkeys(COUNTERS, 0)
        if options.role == DOWNSTREAM:
            self._queriers[port] = Querier(port, options, self._counters[port])
            return
        self._upstreams.add(port, Host(port, options, self._counters[port], self._random))
        if self._upstreams.is_behind:
            self._timers.set(_STALE, -math.inf)

    def set_options(self, port: int, options: PortOptions, now: float) -> list[Output]:
        """The options of a port are others, not its role; memberships stay as far as they are admitted."""
        options.check()
        before = self._options[port]
        if options.role != before.role:
            raise ValueError(f"port {port} is {before.role}")
        self._options[port] = options
        events: list[Event] = []
        if port in self._queriers:
            events += self._queriers[port].configure(options)
        else:
            self._hosts[port].configure(options)
        if port in self._links and options.voice != before.voice:
            events += self._core(port).start(self._links[port], now)
        outputs = self._finish(port, events, now)
        if options.access != before.access:
            outputs += self._restate(port, self._database if port in self._hosts else self._static.groups(port), now)
        return outputs

    def set_static(self, port: int, memberships: Memberships, now: float) -> list[Output]:
        """The (source, group) wanted on `port` without any receiver; source None: any. Upstream they are joined there.

        Groups that are never tracked are left out, and what the port's access list does not admit.
        """
        return self._restate(port, self._static.set(port, memberships, now), now)

    # Ports and packets

    def remove_port(self, port: int, now: float) -> list[Output]:
        """The port is no longer ours: downstream as `port_down`, upstream its groups are left."""
        outputs: list[Output] = []
        if port in self._hosts:
            outputs += self._hosts.pop(port).leave()
            self._links.pop(port, None)
        else:
            outputs += self.port_down(port, now)
            outputs += self._conclude([(port, self._queriers.pop(port).purge())], now)
        self._static.set(port, (), now)
        self._timers.cancel(port)
        self._learn_own()
        del self._counters[port], self._options[port]
        return outputs

    def port_up(self, port: int, link: Link, now: float) -> list[Output]:
        """The port is up, or its link is another one; nothing happens when `link` is as before."""
        before = self._links.get(port)
        if link == before:
            return []
        self._links[port] = link
        self._learn_own()
        core = self._core(port)
        if before is not None and before.address == link.address:
            core.update(link)
            return []
        outputs = self._finish(port, core.start(link, now), now)
        if before is None and port in self._queriers:
            outputs += self._restate(port, self._static.groups(port), now)
        return outputs

    def port_down(self, port: int, now: float) -> list[Output]:
        """The link is gone: downstream its memberships end, upstream they are kept for its return."""
        if self._links.pop(port, None) is None:
            return []
        self._learn_own()
        if port in self._hosts:
            self._hosts[port].stop()
            return self._finish(port, (), now)
        outputs = self._finish(port, self._queriers[port].stop(now), now)
        return outputs + self._restate(port, self._static.groups(port), now)

    def receive(self, port: int, packet: bytes, now: float, mac: int = 0) -> list[Output]:
        """An IPv4 packet of protocol 2 heard on `port`, from an Ethernet address; bad ones are counted."""
        link, counters, host = self._links.get(port), self._counters[port], self._hosts.get(port)
        if link is None:
            return []
        try:
            received = receive(packet, link, host is not None, self._rules, self._own, self._options[port].access)
        except Rejected as rejected:
            for name in rejected.counters:
                counters[name] += 1
            return self._notable([Notice(port, "own_address", rejected.source)], now) if rejected.source else []
        for name in received.counters:
            counters[name] += 1
        if host is not None:
            events: Iterable[Event] = host.receive(received.message, now)
        else:
            events = self._queriers[port].receive(received.source, received.message, now, mac)
        return self._finish(port, events, now)

    def expire(self, now: float, limit: int = EVENTS) -> list[Output]:
        """Do about `limit` of the events due at `now`; `deadline` is not later than `now` while there are more."""
        due = sorted(self._timers.expire(now), key=lambda port: port not in self._hosts)    # answers before expiries
        share = max(limit // max(len(due), 1), 1)
        outputs: list[Output] = []
        events: list[tuple[int, Iterable[Event]]] = []
        for port in due:
            if port == _STALE:
                outputs += self._tell(self._upstreams.tell_some(share, now), now)
            else:
                events.append((port, self._core(port).expire(now, share)))
                self._arm(port)
        return outputs + self._conclude(events, now)

    def shutdown(self, now: float) -> list[Output]:
        """Leave all groups upstream, once; nothing is sent afterwards."""
        self._timers.clear()
        return [said for host in self._hosts.values() for said in host.leave()]

    def restore(
        self, port: int, group: int, mode: str, sources: Collection[int], excluded: Collection[int], now: float
    ) -> None:
        """A membership from before a restart: full timers, nothing told, its routes exist; the port must be up.

        Its hosts are unknown; they are heard while the startup queries are answered, until then nobody leaves quickly.
        """
        state = include(sources) if mode == "include" else exclude(excluded)
        if port not in self._queriers or port not in self._links or not state:
            return
        self._queriers[port].restore(group, state, sources, now)
        self._database.set(port, group, self._effective(port, group, state))
        self._database.changes(group)
        self._upstreams.adopt(group)
        self._arm(port)

    # What people ask

    def groups(self, now: float) -> list[GroupStatus]:
        """Memberships of all downstream ports, and static ones of all ports."""
        return list(self.each_group(now))

    def each_group(self, now: float) -> Iterator[GroupStatus]:
        """`groups` one by one; they may change meanwhile."""
        for port in list(self._options):
            for group in self._groups_of(port):
                if (status := self._group_status(port, group, now)) is not None:
                    yield status

    def hosts(self, now: float) -> list[HostStatus]:
        """Which host on a downstream port wants what."""
        return list(self.each_host(now))

    def each_host(self, now: float) -> Iterator[HostStatus]:
        """`hosts` one by one; they may change meanwhile."""
        queriers = list(self._queriers.items())
        return (status for port, querier in queriers for status in hosts(port, querier.members, now))

    def upstream(self, now: float) -> list[UpstreamStatus]:
        """What is reported upstream now."""
        return list(self.each_upstream())

    def each_upstream(self) -> Iterator[UpstreamStatus]:
        """`upstream` one by one; they may change meanwhile."""
        return (status for host in list(self._hosts.values()) for status in host.status())

    def querier(self, port: int) -> QuerierStatus | None:
        """The querier of a downstream port; None upstream."""
        querier = self._queriers.get(port)
        return None if querier is None else querier.status

    def version(self, port: int) -> int:
        """The IGMP version spoken on `port`."""
        return self._core(port).version

    def counters(self, port: int) -> Mapping[str, int]:
        """The counters of `port` by name; they only grow."""
        return self._counters[port]

    def group_count(self, port: int) -> int:
        """How many groups have members on a downstream port; 0 upstream."""
        return len(self._queriers[port].members) if port in self._queriers else 0

    def routes(self) -> list[Route]:
        """Every row that was put out and not deleted since."""
        return self._database.routes()

    def _group_status(self, port: int, group: int, now: float) -> GroupStatus | None:
        querier = self._queriers.get(port)
        learned = None if querier is None else learned_group(port, querier.members, group, now)
        static = self._static.get(port, group)
        if static is None:
            return learned
        if learned is None:
            return static_group(static, port, group, self.version(port), now)
        return joined(learned, static)

    # Between the ports

    def _core(self, port: int) -> Querier | Host:
        return self._queriers[port] if port in self._queriers else self._hosts[port]

    def _arm(self, port: int) -> None:
        self._timers.set(port, self._core(port).deadline)

    def _groups_of(self, port: int) -> list[int]:
        """What is wanted of a port by members, and by configuration while that counts."""
        querier = self._queriers.get(port)
        static = dict.fromkeys(self._static.groups(port) if querier is None or port in self._links else ())
        return list(static if querier is None else dict.fromkeys(querier.members.numbers) | static)

    def _learn_own(self) -> None:
        ours = {network.address for link in self._links.values() for network in link.addresses}
        self._own = frozenset(ours.union(self._options[port].querier_address or 0 for port in self._links)) - {0}

    def _finish(self, port: int, events: Iterable[Event], now: float) -> list[Output]:
        outputs = self._conclude([(port, events)], now)
        self._arm(port)
        return outputs

    def _conclude(self, inputs: Iterable[tuple[int, Iterable[Event]]], now: float) -> list[Output]:
        """What goes out of one input, changed groups merged: queries, roles and notices, then routes, then reports."""
        changed: dict[int, None] = {}
        outputs: list[Output] = []
        for port, events in inputs:
            for event in events:
                if isinstance(event, Changed):
                    group, wanted = event.group, event.filter
                    self._database.set(port, group, self._effective(port, group, wanted) if self._static else wanted)
                    changed[group] = None
                    continue
                if not isinstance(event, Notice) or self._is_news(event, now):
                    outputs.append(event)
                if self._upstreams.only_querier and isinstance(event, Role):
                    outputs += self._tell(self._upstreams.tell_again(self._groups_of(port), now), now)
        return outputs + self._work_out(changed, now) if changed else outputs

    def _work_out(self, groups: Collection[int], now: float) -> list[Output]:
        """The routes that differ now, and what is to be told upstream."""
        outputs: list[Output] = []
        for group in groups:
            outputs += self._database.changes(group)
        outputs += self._tell(self._upstreams.tell(groups, now), now)
        return outputs

    def _tell(self, said: Iterable[Said], now: float) -> list[Output]:
        for port, host in self._hosts.items():
            self._timers.set(port, host.deadline)
        if self._upstreams.is_behind:
            self._timers.set(_STALE, now)
        return self._notable(said, now)

    def _restate(self, port: int, groups: Iterable[int], now: float) -> list[Output]:
        """What is configured of `groups` on `port` may be another thing now."""
        if port in self._hosts:
            return self._tell(self._upstreams.tell_again(groups, now), now)
        querier = self._queriers[port]
        changed = [Changed(group, querier.filter(group)) for group in groups]
        return self._conclude([(port, changed)], now)

    def _effective(self, port: int, group: int, learned: Filter) -> Filter:
        """What a downstream port wants of a group, by its members and by configuration."""
        if port not in self._links:
            return learned
        static = restrict(self._static.filter(port, group), group, self._options[port].access)
        return merge([learned, static]) if static else learned

    def _notable(self, events: Iterable[Send | Role | Notice], now: float) -> list[Output]:
        """`events` without the notices that were given a short while ago."""
        return [event for event in events if not isinstance(event, Notice) or self._is_news(event, now)]

    def _is_news(self, notice: Notice, now: float) -> bool:
        key = notice.port, notice.kind
        if now < self._noticed.get(key, -math.inf):
            return False
        self._noticed[key] = now + NOTICE_GAP
        return True
