"""What we join ourselves on downstream ports: a router may be a member too, and then does a host's part beside its own.

Rules of this file: a port on which nothing was ever joined has no host, and costs nothing. The host hears the queries
of other routers and of snooping switches, and ours, which never come back to us: who listens on the link must not take
it for gone. What it joins is no member of the router on the same port: nothing is sent there for it, nor told upstream.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from igmp.database import restrict
from igmp.host import Host
from igmp.link import Link
from igmp.messages import IP_HEADER, Message, decode
from igmp.outputs import Event, Send, UpstreamStatus
from igmp.parameters import PortOptions
from igmp.ports import ProxyPorts
from igmp.speaker import Said
from igmp.static import Memberships, StaticMemberships
from igmp.timers import TimerQueue

OWN = 1 << 16                           # beside a port: the timer of our host there


class Joining:
    """By downstream port; `random` gives numbers in (0, 1]."""

    def __init__(self, ports: ProxyPorts, timers: TimerQueue[int], random: Callable[[], float]) -> None:
        self._ports, self._timers, self._random = ports, timers, random
        self._joined = StaticMemberships()
        self._hosts: dict[int, Host] = {}

    def set(self, port: int, memberships: Memberships, now: float) -> list[Said]:
        """From now on these (source, group) are joined on `port`; source None: any."""
        changed = self._joined.set(port, memberships, now)
        if not changed:
            return []
        host = self._hosts.get(port) or self._make(port, now)
        return self._tell(port, host, changed, now)

    def configure(self, port: int, options: PortOptions, now: float) -> list[Said]:
        """The options of the port are others."""
        host = self._hosts.get(port)
        if host is None:
            return []
        said = host.configure(options, now) + self._tell(port, host, self._joined.groups(port), now)
        self._arm(port, host)
        return said

    def start(self, port: int, link: Link, before: Link | None, now: float) -> list[Said]:
        """The port is up with `link`, where it had another one `before` or none."""
        host = self._hosts.get(port)
        if host is None:
            return []
        same = before is not None and before.address == link.address
        said = host.update(link, now) if same else host.start(link, now)
        self._arm(port, host)
        return said

    def stop(self, port: int) -> None:
        """The port is down."""
        if host := self._hosts.get(port):
            host.stop()
            self._arm(port, host)

    def remove(self, port: int, now: float) -> list[Said]:
        """The port is no longer ours: what is joined there is left."""
        self._joined.set(port, (), now)
        host = self._hosts.pop(port, None)
        self._timers.cancel(OWN | port)
        return [] if host is None else host.leave()

    def leave(self) -> list[Said]:
        """Leave everything, everywhere."""
        return [said for host in self._hosts.values() for said in host.leave()]

    def receive(self, port: int, message: Message, now: float, source: int = 0) -> list[Said]:
        """What another system says on the link."""
        host = self._hosts.get(port)
        if host is None:
            return []
        said = host.receive(message, now, source)
        self._arm(port, host)
        return said

    def hear_us(self, port: int, events: Iterable[Event], now: float) -> Iterable[Event]:
        """`events` of the querier on `port`, and what its host says to the queries among them."""
        if port not in self._hosts:
            return events
        told: list[Event] = list(events)
        queries = [each.packet for each in told if isinstance(each, Send)]
        for packet in queries:
            told += self.receive(port, decode(packet[IP_HEADER:]), now, self._ports.links[port].address)
        return told

    def expire(self, port: int, now: float, limit: int) -> list[Said]:
        """Do about `limit` of what is due on `port`."""
        host = self._hosts.get(port)
        if host is None:
            return []
        said = host.expire(now, limit)
        self._arm(port, host)
        return said

    def status(self) -> Iterator[UpstreamStatus]:
        """What is joined, one by one; it may change meanwhile."""
        for host in list(self._hosts.values()):
            yield from (replace(each, static=True) for each in host.status())

    def _make(self, port: int, now: float) -> Host:
        host = Host(port, self._ports.options[port], self._ports.counters[port], self._random)
        self._hosts[port] = host
        if link := self._ports.links.get(port):
            host.start(link, now)
        return host

    def _tell(self, port: int, host: Host, groups: Iterable[int], now: float) -> list[Said]:
        access, joined = self._ports.options[port].access, self._joined
        said = host.change({each: restrict(joined.filter(port, each), each, access) for each in groups}, now)
        self._arm(port, host)
        return said

    def _arm(self, port: int, host: Host) -> None:
        self._timers.set(OWN | port, host.deadline)
