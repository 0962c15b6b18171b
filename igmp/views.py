"""What people ask of a proxy: its groups, hosts and roles; times in seconds from now.

Rules of this file: looks and does not touch; what is gone through one by one may change meanwhile.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from igmp.heard import NOBODY, Heard
from igmp.joining import Joining
from igmp.merging import Merging
from igmp.outputs import GroupStatus, HostStatus, QuerierStatus, QueryStatus, RefusalStatus, Route, UpstreamStatus
from igmp.ports import ProxyPorts
from igmp.status import host_status, hosts, joined, learned_group, refusals, static_group


class Views:
    """The side of a proxy that changes nothing."""

    def __init__(self, ports: ProxyPorts, merging: Merging, joining: Joining) -> None:
        self._ports, self._merging, self._joining = ports, merging, joining

    def is_up(self, port: int) -> bool:
        """Whether the port has a link."""
        return port in self._ports.links

    def groups(self, now: float) -> list[GroupStatus]:
        """Memberships of all downstream ports, and static ones of all ports."""
        return list(self.each_group(now))

    def each_group(self, now: float) -> Iterator[GroupStatus]:
        """`groups` one by one; they may change meanwhile."""
        for port in list(self._ports.options):
            for group in self._merging.groups_of(port):
                if (status := self._group_status(port, group, now)) is not None:
                    yield status

    def hosts(self, now: float) -> list[HostStatus]:
        """Which host on a downstream port wants what."""
        return list(self.each_host(now))

    def each_host(self, now: float) -> Iterator[HostStatus]:
        """`hosts` one by one; they may change meanwhile."""
        queriers = list(self._ports.queriers.items())
        return (status for port, querier in queriers for status in hosts(port, querier.members, now))

    def each_refusal(self, now: float) -> Iterator[RefusalStatus]:
        """The joins that downstream ports refused, one by one; they may change meanwhile."""
        queriers = list(self._ports.queriers.items())
        return (status for port, querier in queriers for status in refusals(port, querier.members.refusals, now))

    def upstream(self, now: float) -> list[UpstreamStatus]:
        """What is reported upstream now, and what we join ourselves elsewhere."""
        return list(self.each_upstream())

    def each_upstream(self) -> Iterator[UpstreamStatus]:
        """`upstream` one by one; they may change meanwhile."""
        return chain(self._merging.upstreams.status(), self._joining.status())

    # What is asked of one group: each costs by the number of ports, never by that of groups.

    def each_of_group(self, group: int, now: float) -> Iterator[GroupStatus]:
        """`each_group` of one group."""
        found = (self._group_status(port, group, now) for port in list(self._ports.options))
        return (status for status in found if status is not None)

    def each_wish_of(self, host: int, group: int, now: float) -> Iterator[HostStatus]:
        """What the host of that address wants of a group, by port; nothing where it is not tracked."""
        for port, querier in list(self._ports.queriers.items()):
            state = querier.members.get(group)
            if state is not None and (interest := state.hosts.interest(host, now)) is not None:
                yield host_status(port, group, host, interest, now)

    def each_refusal_of(self, group: int, now: float) -> Iterator[list[RefusalStatus]]:
        """The refused joins of a group, the least recent first; port by port, of all that refused anything."""
        for port, querier in list(self._ports.queriers.items()):
            if querier.members.refusals:
                yield list(refusals(port, querier.members.refusals.of(group), now))

    def each_upstream_of(self, group: int) -> Iterator[UpstreamStatus]:
        """`each_upstream` of one group."""
        return self._merging.upstreams.status(group)

    def each_query(self, now: float) -> Iterator[QueryStatus]:
        """The last queries that were heard on upstream ports."""
        heard = ((port, host.last_query) for port, host in list(self._ports.hosts.items()))
        return (QueryStatus(port, said[0], said[1], now - said[2]) for port, said in heard if said is not None)

    def heard(self, port: int) -> Heard:
        """What a successor must know of other queriers of a port; nothing of one that is no more."""
        return self._ports.core(port).heard if port in self._ports.options else NOBODY

    def querier(self, port: int) -> QuerierStatus | None:
        """The querier of a downstream port; None upstream."""
        querier = self._ports.queriers.get(port)
        return None if querier is None else querier.status

    def version(self, port: int) -> int:
        """The IGMP version spoken on `port`."""
        return self._ports.core(port).version

    def counters(self, port: int) -> Mapping[str, int]:
        """The counters of `port` by name; they only grow."""
        return self._ports.counters[port]

    def group_count(self, port: int) -> int:
        """How many groups are wanted on a port, by configuration too, or upstream reported there."""
        querier = self._ports.queriers.get(port)
        known = self._ports.hosts[port].reported if querier is None else querier.members.numbers
        return len(known) + sum(group not in known for group in self._merging.static_of(port))

    def is_held_doubtful(self, port: int) -> bool:
        """Whether something was left upstream to what may not be our own kernel: it should be asked."""
        host = self._ports.hosts.get(port)
        return host is not None and host.doubtful

    def held_count(self, port: int) -> int:
        """How many groups our own kernel holds on an upstream port."""
        host = self._ports.hosts.get(port)
        return 0 if host is None else len(host.held)

    def routes(self) -> list[Route]:
        """Every row that was put out and not deleted since."""
        return self._merging.database.routes()

    def _group_status(self, port: int, group: int, now: float) -> GroupStatus | None:
        querier = self._ports.queriers.get(port)
        learned = None if querier is None else learned_group(port, querier.members, group, now)
        static = self._merging.static.get(port, group)
        if static is None:
            return learned
        if learned is None:
            return static_group(static, port, group, self.version(port), now)
        return joined(learned, static)
