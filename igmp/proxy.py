"""RFC 4605: routers downstream, hosts upstream, and the merged database between them.

Rules of this file: every input is finished before anything is worked out from it: each group that changed is merged
once, told upstream once, and only its routes that differ are put out. A group costs the same whatever the number of
others. Any bytes may come in; bad ones are counted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from igmp.counters import COUNTERS
from igmp.filter import Filter, exclude, include, merge, rows
from igmp.host import Host
from igmp.outputs import Changed, Event, GroupStatus, Output, QuerierStatus, Route, UpstreamStatus
from igmp.packet import Link, Rejected, Rules, receive
from igmp.parameters import DOWNSTREAM, PortOptions
from igmp.querier import Querier
from igmp.timers import TimerQueue

__all__ = ["PortOptions", "Proxy"]


class Proxy:
    """All ports; `random` gives numbers in (0, 1]. Every input returns what the shell must do, in order."""

    def __init__(self, random: Callable[[], float], rules: Rules | None = None) -> None:
        self._random, self._rules = random, rules or Rules()
        self._hosts: dict[int, Host] = {}
        self._queriers: dict[int, Querier] = {}
        self._links: dict[int, Link] = {}               # of the ports that are up
        self._counters: dict[int, dict[str, int]] = {}
        self._rows: dict[int, dict[int | None, int]] = {}       # routes as put out, by group
        self._timers: TimerQueue[int] = TimerQueue()            # by port

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    def set_rules(self, rules: Rules) -> None:
        """What is accepted from now on."""
        self._rules = rules

    def add_port(self, port: int, options: PortOptions) -> None:
        """A new port, down; ValueError for options that cannot work or a port that exists."""
        options.check()
        if port in self._counters:
            raise ValueError(f"port {port} exists")
        self._counters[port] = dict.fromkeys(COUNTERS, 0)
        if options.role == DOWNSTREAM:
            self._queriers[port] = Querier(port, options, self._counters[port])
            return
        self._hosts[port] = host = Host(port, options, self._counters[port], self._random)
        for group in self._rows:
            host.adopt(group, merge(self._filters(group).values()))

    def remove_port(self, port: int, now: float) -> list[Output]:
        """The port is no longer ours: downstream as `port_down`, upstream its groups are left."""
        host = self._hosts.pop(port, None)
        outputs: list[Output] = list(host.leave()) if host is not None else self.port_down(port, now)
        self._queriers.pop(port, None)
        self._links.pop(port, None)
        self._timers.cancel(port)
        del self._counters[port]
        return outputs

    def port_up(self, port: int, link: Link, now: float) -> list[Output]:
        """The port is up, or its link is another one; nothing happens when `link` is as before."""
        before = self._links.get(port)
        self._links[port] = link
        if link == before:
            return []
        core = self._core(port)
        if before is not None and before.address == link.address:
            core.update(link)
            return []
        return self._finish(port, core.start(link, now), now)

    def port_down(self, port: int, now: float) -> list[Output]:
        """The link is gone: downstream its memberships end, upstream they are kept for its return."""
        if self._links.pop(port, None) is None:
            return []
        return self._finish(port, self._core(port).stop() or (), now)

    def receive(self, port: int, packet: bytes, now: float, mac: int = 0) -> list[Output]:
        """An IPv4 packet of protocol 2 heard on `port`; bad ones are counted."""
        link, counters, host = self._links.get(port), self._counters[port], self._hosts.get(port)
        if link is None:
            return []
        try:
            received = receive(packet, link, host is not None, self._rules)
        except Rejected as rejected:
            _count(counters, rejected.counters)
            return []
        _count(counters, received.counters)
        if host is not None:
            return self._finish(port, host.receive(received.message, now), now)
        return self._finish(port, self._queriers[port].receive(received.source, received.message, now), now)

    def expire(self, now: float) -> list[Output]:
        """Do everything due at `now`."""
        due = sorted(self._timers.expire(now), key=lambda port: port not in self._hosts)    # answers before expiries
        events: list[Event] = []
        for port in due:
            events += self._core(port).expire(now)
            self._arm(port)
        return self._conclude(events, now)

    def shutdown(self, now: float) -> list[Output]:
        """Leave all groups upstream, once; nothing is sent afterwards."""
        self._timers.clear()
        return [send for host in self._hosts.values() for send in host.leave()]

    def restore(
        self, port: int, group: int, mode: str, sources: Collection[int], excluded: Collection[int], now: float
    ) -> None:
        """A membership from before a restart: full timers, nothing told, its routes exist; the port must be up."""
        state = include(sources) if mode == "include" else exclude(excluded)
        if port not in self._queriers or port not in self._links or not state:
            return
        self._queriers[port].restore(group, state, sources, now)
        filters = self._filters(group)
        for host in self._hosts.values():
            host.adopt(group, merge(filters.values()))
        self._rows[group] = rows(filters)
        self._arm(port)

    # What people ask

    def groups(self, now: float) -> list[GroupStatus]:
        """Memberships of all downstream ports."""
        return [status for querier in self._queriers.values() for status in querier.groups(now)]

    def upstream(self, now: float) -> list[UpstreamStatus]:
        """What is reported upstream now."""
        return [status for host in self._hosts.values() for status in host.status()]

    def querier(self, port: int) -> QuerierStatus | None:
        """The querier of a downstream port; None upstream."""
        querier = self._queriers.get(port)
        return None if querier is None else querier.status

    def version(self, port: int) -> int:
        """The IGMP version spoken on `port`."""
        host = self._hosts.get(port)
        return self._queriers[port].status.igmp_version if host is None else host.version

    def counters(self, port: int) -> Mapping[str, int]:
        """The counters of `port` by name; they only grow."""
        return self._counters[port]

    def group_count(self, port: int) -> int:
        """How many groups have members on a downstream port; 0 upstream."""
        return self._queriers[port].group_count if port in self._queriers else 0

    def routes(self) -> list[Route]:
        """Every row that was put out and not deleted since."""
        return [Route(group, source, ports) for group, rows in self._rows.items() for source, ports in rows.items()]

    # Between the ports

    def _core(self, port: int) -> Querier | Host:
        return self._queriers[port] if port in self._queriers else self._hosts[port]

    def _arm(self, port: int) -> None:
        self._timers.set(port, self._core(port).deadline)

    def _finish(self, port: int, events: Iterable[Event], now: float) -> list[Output]:
        outputs = self._conclude(events, now)
        self._arm(port)
        return outputs

    def _conclude(self, events: Iterable[Event], now: float) -> list[Output]:
        """What goes out of one input, changed groups merged: queries and roles, routes, reports."""
        changed: dict[int, None] = {}
        outputs: list[Output] = []
        for event in events:
            if isinstance(event, Changed):
                changed[event.group] = None
            else:
                outputs.append(event)
        wants: dict[int, Filter] = {}
        for group in changed:
            filters = self._filters(group)
            wants[group] = merge(filters.values())
            outputs += self._routes(group, rows(filters))
        return outputs + self._report(wants, now) if wants else outputs

    def _report(self, wants: Mapping[int, Filter], now: float) -> list[Output]:
        sends: list[Output] = []
        for port, host in self._hosts.items():
            sends += host.change(wants, now)
            self._arm(port)
        return sends

    def _filters(self, group: int) -> dict[int, Filter]:
        """What each downstream port wants, also where we are not querier (RFC 4605 section 4.1)."""
        return {port: state for port, querier in self._queriers.items() if (state := querier.filter(group))}

    def _routes(self, group: int, after: dict[int | None, int]) -> list[Output]:
        """The rows of `group` that differ from those put out before."""
        before = self._rows.pop(group, {})
        if after:
            self._rows[group] = after
        routes: list[Output] = [Route(group, source, ports) for source, ports in after.items()
                                if before.get(source) != ports]
        routes += [Route(group, source, 0, False) for source in before if source not in after]
        return routes


def _count(counters: dict[str, int], names: Iterable[str]) -> None:
    for name in names:
        counters[name] += 1
