"""What is told where we are a host: upstream the merged database, as far as the port admits it (RFC 4605 section 4.1),
and everywhere what the configuration of the port itself joins.

Rules of this file: a group is merged when something of it changed, once for each port; what concerns very many groups
is put on a list and told a few at a time.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from igmp.database import Database, restrict
from igmp.filter import Filter
from igmp.host import EVENTS
from igmp.inheritance import Inheritance
from igmp.outputs import UpstreamStatus
from igmp.ports import ProxyPorts
from igmp.speaker import Said
from igmp.static import StaticMemberships


class Upstreams:
    """What the hosts of all upstream ports say; everything it looks at is the proxy's."""

    def __init__(
        self, database: Database, static: StaticMemberships, ports: ProxyPorts, inheritance: Inheritance
    ) -> None:
        self._database, self._static, self._ports, self._inheritance = database, static, ports, inheritance
        self._stale: dict[int, None] = {}               # groups to be told again
        self.only_querier = False                       # leave out members of ports where we are not querier

    @property
    def is_behind(self) -> bool:
        """Whether `tell_some` has something to do."""
        return bool(self._stale)

    def add(self, port: int) -> None:
        """A new port, down: upstream it takes over what is wanted, of very many groups in `tell_some`."""
        if not self._ports.is_upstream(port):
            return
        some = self._inheritance.hold(list(itertools.islice(self._database, EVENTS)))
        counted = self._counted()
        for group in some:
            self._ports.hosts[port].adopt(group, self._wanted(port, group, counted))
        if len(self._database) > EVENTS:
            self._stale |= dict.fromkeys(self._database)

    def adopt(self, wants: Mapping[int, Mapping[int, Filter]], told: int) -> bool:
        """Routers know already what is wanted by group and port, those on the ports of `told` (a bitmap); False: some.
        """
        counted = self._counted()
        for port, host in self._ports.hosts.items() if told else ():
            access = self._ports.options[port].access
            if told >> port & 1 and self._ports.is_upstream(port):
                for group, filters in wants.items():
                    host.adopt(group, self._database.joint(filters, group, access, counted))
        return all(told >> port & 1 or not self._ports.is_upstream(port) for port in self._ports.hosts)

    # RFC 4605 3 e, 4.1 h
    def tell(self, groups: Collection[int], now: float) -> list[Said]:
        """Something else may be wanted of `groups`."""
        groups, counted = self._inheritance.hold(groups), self._counted()
        said: list[Said] = []
        for port, host in self._ports.hosts.items():
            said += host.change({group: self._wanted(port, group, counted) for group in groups}, now)
        return said

    def tell_again(self, groups: Iterable[int], now: float) -> list[Said]:
        """The same of very many groups: some are told now, the others in `tell_some`."""
        self._stale |= dict.fromkeys(groups)
        return self.tell_some(EVENTS, now)

    def tell_some(self, limit: int, now: float) -> list[Said]:
        """Tell `limit` more of the groups that wait."""
        return self.tell([self._stale.popitem()[0] for _ in range(min(limit, len(self._stale)))], now)

    def status(self, group: int | None = None) -> Iterator[UpstreamStatus]:
        """What is reported on all of them, of one group or of all, and whence it comes; it may change meanwhile."""
        counted = self._counted()
        for port, host in list(self._ports.hosts.items()):
            access = self._ports.options[port].access
            for each in host.status(group):
                static = bool(restrict(self._static.filter(port, each.group), each.group, access))
                upstream = self._ports.is_upstream(port)
                origins = self._database.origins(each.group, access, counted) if upstream else ()
                yield replace(each, origins=origins, static=static)

    def _counted(self) -> Collection[int] | None:
        """The ports whose members count, None: all."""
        if not self.only_querier:
            return None
        return {port for port, querier in self._ports.queriers.items() if querier.is_querier}

    def _wanted(self, port: int, group: int, counted: Collection[int] | None) -> Filter:
        access, static = self._ports.options[port].access, self._static.filter(port, group)
        if not self._ports.is_upstream(port):
            return restrict(static, group, access)
        return self._database.admitted(group, access, counted, static)
