"""What all upstream ports are told: the merged database, as far as each of them admits it (RFC 4605 section 4.1).

Rules of this file: a group is merged when something of it changed, once for each port; what concerns very many groups
is put on a list and told a few at a time.
"""

import itertools
from collections.abc import Iterable, Mapping

from igmp.database import Database
from igmp.filter import Filter
from igmp.host import EVENTS, Host
from igmp.parameters import PortOptions
from igmp.querier import Querier
from igmp.speaker import Said
from igmp.static import StaticMemberships


class Upstreams:
    """The hosts on all upstream ports; the database, options and queriers are the proxy's."""

    def __init__(
        self,
        database: Database,
        static: StaticMemberships,
        options: Mapping[int, PortOptions],
        queriers: Mapping[int, Querier],
    ) -> None:
        self._database, self._static, self._options, self._queriers = database, static, options, queriers
        self._stale: dict[int, None] = {}               # groups to be told again
        self.hosts: dict[int, Host] = {}                # by port
        self.only_querier = False                       # leave out members of ports where we are not querier

    @property
    def is_behind(self) -> bool:
        """Whether `tell_some` has something to do."""
        return bool(self._stale)

    def add(self, port: int, host: Host) -> None:
        """A new port, down: it takes over what is wanted, of very many groups in `tell_some`."""
        self.hosts[port] = host
        for group in itertools.islice(self._database, EVENTS):
            host.adopt(group, self._wanted(port, group))
        if len(self._database) > EVENTS:
            self._stale |= dict.fromkeys(self._database)

    def adopt(self, group: int) -> None:
        """Routers know already what is wanted of `group`."""
        for port, host in self.hosts.items():
            host.adopt(group, self._wanted(port, group))

    def tell(self, groups: Iterable[int], now: float) -> list[Said]:
        """Something else may be wanted of `groups`."""
        said: list[Said] = []
        for port, host in self.hosts.items():
            said += host.change({group: self._wanted(port, group) for group in groups}, now)
        return said

    def tell_again(self, groups: Iterable[int], now: float) -> list[Said]:
        """The same of very many groups: some are told now, the others in `tell_some`."""
        self._stale |= dict.fromkeys(groups)
        return self.tell_some(EVENTS, now)

    def tell_some(self, limit: int, now: float) -> list[Said]:
        """Tell `limit` more of the groups that wait."""
        return self.tell([self._stale.popitem()[0] for _ in range(min(limit, len(self._stale)))], now)

    def _wanted(self, port: int, group: int) -> Filter:
        ports = None
        if self.only_querier:
            ports = {port for port, querier in self._queriers.items() if querier.is_querier}
        access = self._options[port].access
        if not self._static and access.is_open:
            return self._database.merged(group, ports)
        return self._database.admitted(group, access, ports, self._static.filter(port, group))
