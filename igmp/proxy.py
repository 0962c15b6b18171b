"""RFC 4605: routers downstream, hosts upstream, and the merged database between them.

Rules of this file: every input is finished before anything is worked out from it (`merging`). A group costs the same
whatever the number of others, and what concerns very many groups is done a few at a time, in the calls of `expire`
that follow. Any bytes may come in; bad ones are counted.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from igmp.access import OPEN
from igmp.filter import Filter
from igmp.heard import Heard, OlderHosts
from igmp.inheritance import Inheritance
from igmp.joining import OWN, Joining
from igmp.link import group_mac
from igmp.merging import STALE, Merging
from igmp.messages import Query
from igmp.objections import REFUSING, REFUSING_RECORDS, Judge, note
from igmp.outputs import Event, Notice, Output, Send
from igmp.packet import Link, Received, Rejected, overhear, receive
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

    def __init__(self, random: Callable[[], float], merge_only_querier: bool = False) -> None:
        self._timers: TimerQueue[int] = TimerQueue()            # by port
        self._inheritance = Inheritance()
        ports = ProxyPorts(random)
        self._joining = Joining(ports, self._timers, random)
        super().__init__(ports, Merging(ports, self._inheritance, self._timers), self._joining)
        self._upstreams = self._merging.upstreams
        self._upstreams.only_querier = merge_only_querier
        self._restoration = Restoration(ports, self._merging, self._inheritance, self._timers)

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    # Configuration

    def set_merge_only_querier(self, only_querier: bool, now: float) -> list[Output]:
        """Whether only members of ports where we are querier are told upstream."""
        if only_querier == self._upstreams.only_querier:
            return []
        self._upstreams.only_querier = only_querier
        return self._merging.tell_again(self._merging.database, now)

    def add_port(self, port: int, options: PortOptions) -> None:
        """A new port, down; ValueError for options that cannot work or a port that exists."""
        self._ports.add(port, options)
        self._merging.database.contribute(port, options.contribution)
        if port in self._ports.hosts:
            self._upstreams.add(port)
            if self._upstreams.is_behind:
                self._timers.set(STALE, -math.inf)

    def set_options(self, port: int, options: PortOptions, now: float) -> list[Output]:
        """The options of a port are others, not its role: what was learned stays as far as it is admitted."""
        before = self._ports.configure(port, options)
        outputs = self._finish(port, self._ports.core(port).configure(options, now), now)
        outputs += self._joining.configure(port, options, now)
        if options.access != before.access:
            merging = self._merging
            groups = merging.database if port in self._ports.hosts else merging.static.groups(port)
            outputs += merging.restate(port, groups, now)
        if options.contribution != before.contribution:
            self._merging.database.contribute(port, options.contribution)
            for host in self._ports.hosts:      # was told another thing of the groups that wait to be taken back
                self._inheritance.drop(host)
            outputs += self._merging.tell_again(self._merging.groups_of(port), now)
        return outputs

    def set_static(self, port: int, memberships: Memberships, now: float) -> list[Output]:
        """The (source, group) wanted on `port` without any receiver; source None: any. Upstream they are joined there.

        Groups that are never tracked are left out, and what the port's access list does not admit.
        """
        return self._merging.restate(port, self._merging.static.set(port, memberships, now), now)

    def set_joined(self, port: int, memberships: Memberships, now: float) -> list[Output]:
        """The (source, group) that we join ourselves on `port`, a downstream one, as a host there; source None: any."""
        return self._merging.notable(self._joining.set(port, memberships, now), now)

    def gather(self) -> None:
        """The calls up to `release` are one input: routes and reports are worked out once for all of them."""
        self._merging.gather()

    def release(self, now: float) -> list[Output]:
        """What came of the calls since `gather`."""
        return self._merging.release(now)

    # ProxyPorts and packets

    def remove_port(self, port: int, now: float) -> list[Output]:
        """The port is no longer ours: as `port_down`, and where we are a host its groups are left; to be sent by it."""
        outputs: list[Output] = [*self._joining.remove(port, now)]
        host = self._ports.hosts.pop(port, None)
        if host is not None:
            outputs += host.leave()
        else:
            outputs += self.port_down(port, now)
            outputs += self._merging.conclude([(port, self._ports.queriers.pop(port).purge())], now)
        self._inheritance.drop(port)
        self._merging.database.contribute(port, OPEN)
        self._merging.static.set(port, (), now)
        self._timers.cancel(port)
        self._ports.remove(port)
        return outputs

    def port_up(self, port: int, link: Link, now: float) -> list[Output]:
        """The port is up, or its link is another one; nothing happens when `link` is as before."""
        if link == self._ports.links.get(port):
            return []
        before, core = self._ports.up(port, link), self._ports.core(port)
        joined = self._joining.start(port, link, before, now)
        if before is not None and before.address == link.address:
            return self._finish(port, core.update(link, now), now) + joined
        if before is None or port in self._ports.hosts:
            self._inheritance.drop(port)
        outputs = self._finish(port, core.start(link, now), now)
        if before is None and port in self._ports.queriers:
            outputs += self._merging.restate(port, self._merging.static.groups(port), now)
        return outputs + joined

    def port_down(self, port: int, now: float) -> list[Output]:
        """The link is gone: downstream its memberships end, upstream they are kept for its return."""
        if not self._ports.down(port):
            return []
        self._inheritance.drop(port)
        self._joining.stop(port)
        if port in self._ports.hosts:
            self._ports.hosts[port].stop()
            return self._finish(port, (), now)
        outputs = self._finish(port, self._ports.queriers[port].stop(now), now)
        return outputs + self._merging.restate(port, self._merging.static.groups(port), now)

    def receive(self, port: int, packet: bytes, now: float, mac: int = 0, to: int = 0) -> list[Output]:
        """An IPv4 packet of protocol 2 heard on `port`, from one Ethernet address `to` another; bad ones are counted.

        0: the link has no such addresses.
        """
        ports = self._ports
        link, counters, upstream = ports.links.get(port), ports.counters[port], port in ports.hosts
        options = ports.options[port]
        if link is None:
            return []
        try:
            received = receive(packet, link, upstream, options.rules, ports.own, options.access)
        except Rejected as rejected:
            for name in rejected.counters:
                counters[name] += 1
            if rejected.counter in REFUSING and not upstream:
                self._note_refused(port, packet, rejected.counter, now, mac)
            answers = self._answer_switch(port, packet, now) if rejected.counter == "rx_query_zero_source" else ()
            notices = [Notice(port, "own_address", rejected.source)] if rejected.source else []
            if rejected.counter == "rx_query_zero_source" and ports.queriers[port].asks:
                notices.append(Notice(port, "querier_without_address", 0))
            return self._merging.notable([*notices, *answers], now)
        for name in received.counters:
            counters[name] += 1
        outputs = self._finish(port, self._heard(port, received, now, mac, to), now)
        if len(received.counters) > 1 and not upstream and not REFUSING_RECORDS.isdisjoint(received.counters):
            self._note_refused(port, packet, "", now, mac)
        return outputs

    def overhear(self, port: int, packet: bytes, now: float, mac: int = 0) -> list[Output]:
        """An outgoing IPv4 packet of protocol 2 that is none of ours, on an upstream port: our own kernel speaks.

        `mac`: the Ethernet address that it is from, 0 where there is none.
        """
        link, counters = self._ports.links.get(port), self._ports.counters[port]
        if link is None or port not in self._ports.hosts:
            return []
        try:
            report = overhear(packet, link, mac)
        except Rejected as rejected:
            counters[rejected.counter] += 1
            return []
        counters["host_report"] += 1
        if self._inheritance:
            self._restoration.prepare(report, now)
        return self._finish(port, self._ports.hosts[port].overhear(report, now), now)

    def learn_held(self, port: int, filters: Mapping[int, Filter], now: float) -> list[Output]:
        """What our own kernel holds on an upstream port that is up, as it says when it is asked: just these groups."""
        host = self._ports.hosts.get(port)
        return [] if host is None else self._finish(port, host.learn_held(filters, now), now)

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
            elif port >= OWN:
                events.append((port ^ OWN, self._joining.expire(port ^ OWN, now, share)))
            else:
                core = self._ports.core(port)
                events.append((port, self._joining.hear_us(port, core.expire(now, share), now)))
                self._arm(port)
        return outputs + self._merging.conclude(events, now)

    def query(self, port: int, now: float) -> list[Output]:
        """Ask on a downstream port at once what is wanted; nothing where another asks, or nobody can."""
        return self._finish(port, self._ports.queriers[port].ask_all(now), now)

    def forget(self, port: int, group: int | None, now: float) -> list[Output]:
        """Forget who wants `group` (None: anything) on a downstream port, and ask; what is configured stays."""
        return self._finish(port, self._ports.queriers[port].forget(group, now), now)

    def shutdown(self, now: float) -> list[Output]:
        """Leave all groups where we are a host, once; nothing is sent afterwards.

        What was inherited and not claimed by `restore` is nobody's: whose ports it speaks of was never said.
        """
        while self._restoration.has_begun and self.is_restoring:
            self._restoration.some(now)
        self._timers.clear()
        hosts = self._ports.hosts.values()
        return [*(said for host in hosts for said in host.leave()), *self._joining.leave()]

    # A restart

    def inherit(self, group: int, source: int | None, ports: int) -> None:
        """A route of a predecessor, which stands (see `Route`): all of them come before anything is heard."""
        self._restoration.inherit(group, source, ports)

    def inherit_older(self, port: int, older: OlderHosts) -> None:
        """A group of `port` that a predecessor heard older hosts of; as `inherit`."""
        self._restoration.inherit_older(port, older)

    def take_older(self, port: int, limit: int) -> list[OlderHosts]:
        """Of groups with older hosts what a successor must know, as far as it changed since it was last taken."""
        querier = self._ports.queriers.get(port)
        return [] if querier is None else querier.members.take_older(limit)

    def succeed(self, port: int, heard: Heard) -> None:
        """A predecessor heard this on `port`, which is new and down (see `Views.heard`)."""
        self._ports.core(port).succeed(heard)

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

    def _heard(self, port: int, received: Received, now: float, mac: int, to: int) -> Iterable[Event]:
        upstream = port in self._ports.hosts
        if self._inheritance:
            if upstream and self._restoration.postpones(port, received.message):
                return ()
            self._restoration.prepare(received.message, now)
        if upstream:
            return self._ports.hosts[port].receive(received.message, now, received.source)
        joined = self._joining.receive(port, received.message, now, received.source)
        if _is_private(received, to):
            self._ports.counters[port]["query_private"] += 1
            return joined
        events = self._ports.queriers[port].receive(received.source, received.message, now, mac)
        return [*events, *joined] if joined else events

    def _answer_switch(self, port: int, packet: bytes, now: float) -> Iterable[Send | Notice]:
        """A query from 0.0.0.0 is a snooping switch's, which hosts answer: it elects no querier."""
        options = self._ports.options[port]
        received = receive(packet, self._ports.links[port], True, options.rules, self._ports.own)
        return self._joining.receive(port, received.message, now, received.source)

    def _note_refused(self, port: int, packet: bytes, counter: str, now: float, mac: int) -> None:
        judge = Judge(self._ports.links[port], self._ports.options[port])
        note(self._ports.queriers[port].members.refusals, judge, packet, counter, mac, now)

    def _arm(self, port: int) -> None:
        self._timers.set(port, self._ports.core(port).deadline)

    def _finish(self, port: int, events: Iterable[Event], now: float) -> list[Output]:
        outputs = self._merging.conclude([(port, self._joining.hear_us(port, events, now))], now)
        self._arm(port)
        return outputs


def _is_private(received: Received, to: int) -> bool:
    """Whether this is a specific query that members cannot answer, since they did not hear it.

    One that was sent to us alone made a member lose its stream: we lowered its timers, and it kept silent.
    """
    message = received.message
    if not isinstance(message, Query) or not message.group:
        return False
    return received.destination != message.group or to not in (0, group_mac(message.group))
