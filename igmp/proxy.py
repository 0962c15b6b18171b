"""RFC 4605: routers downstream, hosts upstream, and the merged database between them.

Rules of this file: every input is finished before anything is worked out from it (`merging`). A group costs the same
whatever the number of others, and what concerns very many groups is done a few at a time, in the calls of `expire`
that follow. Any bytes may come in; bad ones are counted.
"""

import math
from collections.abc import Callable, Iterable

from igmp.inheritance import Inheritance
from igmp.merging import STALE, Merging
from igmp.outputs import Event, Notice, Output
from igmp.packet import Link, Received, Rejected, Rules, receive
from igmp.parameters import PortOptions
from igmp.ports import ProxyPorts
from igmp.querier import EVENTS
from igmp.restoration import RESTORING, Restoration
from igmp.static import Memberships
from igmp.timers import TimerQueue
from igmp.views import Views

__all__ = ["PortOptions", "Proxy"]


class Proxy(Views):
    """All ports; `random` gives numbers in (0, 1]. Every input returns what the shell must do, in order."""

    def __init__(
        self, random: Callable[[], float], rules: Rules | None = None, merge_only_querier: bool = False
    ) -> None:
        self._rules = rules or Rules()
        self._timers: TimerQueue[int] = TimerQueue()            # by port
        self._inheritance = Inheritance()
        ports = ProxyPorts(random)
        super().__init__(ports, Merging(ports, self._inheritance, self._timers))
        self._upstreams = self._merging.upstreams
        self._upstreams.only_querier = merge_only_querier
        self._restoration = Restoration(ports, self._merging, self._inheritance, self._timers)

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
        return self._merging.tell_again(self._merging.database, now)

    def add_port(self, port: int, options: PortOptions) -> None:
        """A new port, down; ValueError for options that cannot work or a port that exists."""
        self._ports.add(port, options)
        if port in self._ports.hosts:
            self._upstreams.add(port)
            if self._upstreams.is_behind:
                self._timers.set(STALE, -math.inf)

    def set_options(self, port: int, options: PortOptions, now: float) -> list[Output]:
        """The options of a port are others, not its role: what was learned stays as far as it is admitted."""
        before = self._ports.configure(port, options)
        outputs = self._finish(port, self._ports.core(port).configure(options, now), now)
        if options.access != before.access:
            merging = self._merging
            groups = merging.database if port in self._ports.hosts else merging.static.groups(port)
            outputs += merging.restate(port, groups, now)
        return outputs

    def set_static(self, port: int, memberships: Memberships, now: float) -> list[Output]:
        """The (source, group) wanted on `port` without any receiver; source None: any. Upstream they are joined there.

        Groups that are never tracked are left out, and what the port's access list does not admit.
        """
        return self._merging.restate(port, self._merging.static.set(port, memberships, now), now)

    def gather(self) -> None:
        """The calls up to `release` are one input: routes and reports are worked out once for all of them."""
        self._merging.gather()

    def release(self, now: float) -> list[Output]:
        """What came of the calls since `gather`."""
        return self._merging.release(now)

    # ProxyPorts and packets

    def remove_port(self, port: int, now: float) -> list[Output]:
        """The port is no longer ours: downstream as `port_down`, upstream its groups are left."""
        outputs: list[Output] = []
        host = self._ports.hosts.pop(port, None)
        if host is not None:
            outputs += host.leave()
        else:
            outputs += self.port_down(port, now)
            outputs += self._merging.conclude([(port, self._ports.queriers.pop(port).purge())], now)
        self._inheritance.drop(port)
        self._merging.static.set(port, (), now)
        self._timers.cancel(port)
        self._ports.remove(port)
        return outputs

    def port_up(self, port: int, link: Link, now: float) -> list[Output]:
        """The port is up, or its link is another one; nothing happens when `link` is as before."""
        if link == self._ports.links.get(port):
            return []
        before, core = self._ports.up(port, link), self._ports.core(port)
        if before is not None and before.address == link.address:
            core.update(link)
            return []
        if before is None or port in self._ports.hosts:
            self._inheritance.drop(port)
        outputs = self._finish(port, core.start(link, now), now)
        if before is None and port in self._ports.queriers:
            outputs += self._merging.restate(port, self._merging.static.groups(port), now)
        return outputs

    def port_down(self, port: int, now: float) -> list[Output]:
        """The link is gone: downstream its memberships end, upstream they are kept for its return."""
        if not self._ports.down(port):
            return []
        self._inheritance.drop(port)
        if port in self._ports.hosts:
            self._ports.hosts[port].stop()
            return self._finish(port, (), now)
        outputs = self._finish(port, self._ports.queriers[port].stop(now), now)
        return outputs + self._merging.restate(port, self._merging.static.groups(port), now)

    def receive(self, port: int, packet: bytes, now: float, mac: int = 0) -> list[Output]:
        """An IPv4 packet of protocol 2 heard on `port`, from an Ethernet address; bad ones are counted."""
        ports = self._ports
        link, counters, upstream = ports.links.get(port), ports.counters[port], port in ports.hosts
        if link is None:
            return []
        try:
            received = receive(packet, link, upstream, self._rules, ports.own, ports.options[port].access)
        except Rejected as rejected:
            for name in rejected.counters:
                counters[name] += 1
            notices = [Notice(port, "own_address", rejected.source)] if rejected.source else []
            return self._merging.notable(notices, now)
        for name in received.counters:
            counters[name] += 1
        return self._finish(port, self._heard(port, received, now, mac), now)

    def expire(self, now: float, limit: int = EVENTS) -> list[Output]:
        """Do about `limit` of the events due at `now`; `deadline` is not later than `now` while there are more."""
        hosts = self._ports.hosts
        due = sorted(self._timers.expire(now), key=lambda port: port not in hosts)  # answers before expiries
        share = max(limit // max(len(due), 1), 1)
        outputs: list[Output] = []
        events: list[tuple[int, Iterable[Event]]] = []
        for port in due:
            if port == STALE:
                outputs += self._merging.tell_some(share, now)
            elif port == RESTORING:
                outputs += self._restoration.some(now)
            else:
                events.append((port, self._ports.core(port).expire(now, share)))
                self._arm(port)
        return outputs + self._merging.conclude(events, now)

    def shutdown(self, now: float) -> list[Output]:
        """Leave all groups upstream, once; nothing is sent afterwards.

        What was inherited and not claimed by `restore` is nobody's: whose ports it speaks of was never said.
        """
        while self._restoration.has_begun and self.is_restoring:
            self._restoration.some(now)
        self._timers.clear()
        return [said for host in self._ports.hosts.values() for said in host.leave()]

    # A restart

    def inherit(self, group: int, source: int | None, ports: int) -> None:
        """A route of a predecessor, which stands (see `Route`): all of them come before anything is heard."""
        self._restoration.inherit(group, source, ports)

    def restore(self, ports: int, now: float) -> None:
        """All ports are there: those of `ports` (a bitmap) that are up get back what the inherited routes say of them.

        That is done in the calls of `expire` that follow, with full timers. Its hosts are unknown; they are heard while
        the startup queries are answered, until then nobody leaves quickly.
        """
        self._restoration.begin(ports, now)

    @property
    def is_restoring(self) -> bool:
        """Whether something that was inherited is still to be taken back, or the routes made equal to what is."""
        return bool(self._restoration)

    def _heard(self, port: int, received: Received, now: float, mac: int) -> Iterable[Event]:
        upstream = port in self._ports.hosts
        if self._inheritance:
            if upstream and self._restoration.postpones(port, received.message):
                return ()
            self._restoration.prepare(received.message, now)
        if upstream:
            return self._ports.hosts[port].receive(received.message, now, received.source)
        return self._ports.queriers[port].receive(received.source, received.message, now, mac)

    def _arm(self, port: int) -> None:
        self._timers.set(port, self._ports.core(port).deadline)

    def _finish(self, port: int, events: Iterable[Event], now: float) -> list[Output]:
        outputs = self._merging.conclude([(port, events)], now)
        self._arm(port)
        return outputs
