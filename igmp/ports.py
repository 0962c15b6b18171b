"""The ports of a proxy: their options, counters and cores, the links of those that are up, and our addresses there."""

from collections.abc import Callable, Collection

from igmp.counters import COUNTERS
from igmp.host import Host
from igmp.link import Link
from igmp.parameters import DOWNSTREAM, UPSTREAM, PortOptions
from igmp.querier import Querier


class ProxyPorts:
    """By number; a port costs the same whatever the number of others. `random` gives numbers in (0, 1]."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._sound: PortOptions | None = None              # those checked last: thousands of ports may share them
        self._addresses: dict[int, frozenset[int]] = {}     # ours, by port
        self._own: dict[int, int] = {}                      # ours, and on how many ports
        self.options: dict[int, PortOptions] = {}
        self.counters: dict[int, dict[str, int]] = {}
        self.queriers: dict[int, Querier] = {}              # downstream
        self.hosts: dict[int, Host] = {}                    # upstream, and where we are a host only
        self.links: dict[int, Link] = {}                    # of the ports that are up

    @property
    def own(self) -> Collection[int]:
        """Our addresses on all ports that are up."""
        return self._own

    # RFC 9776 5 a, 6 a
    # RFC 4605 3 b c
    def add(self, port: int, options: PortOptions) -> None:
        """A new port, down; ValueError for options that cannot work or a port that exists."""
        self._check(options)
        if port in self.options:
            raise ValueError(f"port {port} exists")
        self.options[port] = options
        counters = self.counters[port] = dict.fromkeys(COUNTERS, 0)
        if options.role == DOWNSTREAM:
            self.queriers[port] = Querier(port, options, counters)
        else:
            self.hosts[port] = Host(port, options, counters, self._random)

    def remove(self, port: int) -> None:
        """The port is no longer ours."""
        self.down(port)
        self.queriers.pop(port, None)
        self.hosts.pop(port, None)
        del self.counters[port], self.options[port]

    def configure(self, port: int, options: PortOptions) -> PortOptions:
        """Other options, not another role (ValueError); those from before."""
        self._check(options)
        before = self.options[port]
        if options.role != before.role:
            raise ValueError(f"port {port} is {before.role}")
        self.options[port] = options
        if options.querier_address != before.querier_address:
            self._learn_own(port)
        return before

    def up(self, port: int, link: Link) -> Link | None:
        """The port is up with `link`; the one from before, None: it was down."""
        before = self.links.get(port)
        self.links[port] = link
        self._learn_own(port)
        return before

    def down(self, port: int) -> bool:
        """The link is gone; False: it was before."""
        was_up = self.links.pop(port, None) is not None
        self._learn_own(port)
        return was_up

    def is_upstream(self, port: int) -> bool:
        """Whether what downstream ports want is told on `port`."""
        return self.options[port].role == UPSTREAM

    def core(self, port: int) -> Querier | Host:
        """What speaks on a port."""
        return self.queriers[port] if port in self.queriers else self.hosts[port]

    def _check(self, options: PortOptions) -> None:
        if options is not self._sound:
            options.check()
            self._sound = options

    def _learn_own(self, port: int) -> None:
        """Count the addresses of one port anew."""
        for address in self._addresses.pop(port, ()):
            self._own[address] -= 1
            if not self._own[address]:
                del self._own[address]
        link = self.links.get(port)
        if link is None:
            return
        ours = {network.address for network in link.addresses} | {self.options[port].querier_address or 0}
        self._addresses[port] = frozenset(ours - {0})
        for address in self._addresses[port]:
            self._own[address] = self._own.get(address, 0) + 1
