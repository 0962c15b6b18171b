"""The agent's ports: what configuration and lent descriptors together say of them, told to the protocol.

A port is attached when the snapshot names its interface and the descriptor of that same interface has come. Options,
lists and static groups change in place; only another owner, interface or role makes a port start over. A port of which
nothing changed costs no more than finding that out.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter

from forwarder.agent.igmp_socket import IgmpSocket, SharedSocket
from forwarder.agent.kernel_groups import held_groups
from forwarder.agent.listening import Listening
from forwarder.agent.options import Options, link_of
from forwarder.agent.publisher import Publisher
from forwarder.agent.static import memberships_of
from forwarder.process.lending import Key, Loan, Loans
from forwarder.state.ports import Configuration, Port
from forwarder.state.roles import is_inward
from igmp.filter import Filter
from igmp.outputs import Output
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

Apply = Callable[[Iterable[Output]], None]
Said = tuple[tuple[str, ...], tuple[str, ...]]      # of a port: static groups, and those to join
NOTHING: Said = (), ()
CONFIRMED = 30      # seconds: less than most query intervals; 10,000 groups of the host take 25 ms
AskKernel = Callable[[int], Mapping[int, Filter] | None]
_linked = attrgetter("key", "name", "role", "up", "mac", "mtu", "addresses", "peers", "settings.altnets")
"""What the socket and the protocol's link of a port follow from."""


class AgentPorts:
    """By index; what the protocol answers goes to `apply`; `clock` is monotonic seconds.

    `ask_kernel`: which groups this host itself has joined on an interface, None where nobody can tell.
    """

    def __init__(
        self, proxy: Proxy, publisher: Publisher, listening: Listening, apply: Apply,
        clock: Callable[[], float] = time.monotonic, ask_kernel: AskKernel = held_groups,
    ) -> None:
        self._proxy, self._publisher, self._listening, self._apply = proxy, publisher, listening, apply
        self._clock, self._ask_kernel = clock, ask_kernel
        self._ports: dict[int, Port] = {}
        self._said: Options | None = None
        self._options: dict[int, PortOptions] = {}
        self._static: dict[int, Said] = {}
        self._loans = Loans()
        self._attached: dict[int, tuple[Key, IgmpSocket]] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._ports)

    def __len__(self) -> int:
        return len(self._ports)

    def __getitem__(self, index: int) -> Port:
        return self._ports[index]

    def get(self, index: int) -> Port | None:
        """A port, None where there is none (any more)."""
        return self._ports.get(index)

    def name(self, index: int) -> str:
        """What a port is called, its number where it is gone."""
        return self._ports[index].name if index in self._ports else str(index)

    @property
    def all(self) -> list[Port]:
        """Every port there is now."""
        return list(self._ports.values())

    def lend(self, lent: Loan) -> None:
        """The IGMP socket of an interface, `igmp`; it takes the place of another that its port had."""
        index, attached = lent.key[0], self._attached.get(lent.key[0])
        if attached is not None and attached[0] == lent.key and not attached[1].uses(lent.descriptors["igmp"]):
            self._detach(index)     # its link went, and came back under its name and index
        self._loans.take(lent)
        if index in self._ports:
            self._attach(self._ports[index])

    def configure(self, configuration: Configuration) -> None:
        """Take over what the supervisor says of all ports."""
        current: Mapping[int, Port] = {port.index: port for port in configuration.ports}
        with self._together():
            for index in list(self._ports):
                if index not in current or current[index].assigned != self._ports[index].assigned:
                    self._remove(index)
        self._publisher.generation = configuration.generation   # what was removed is in no row from here on
        former, self._ports = self._ports, dict(current)
        self._said = Options(configuration.settings, self._said)
        with self._together():
            for index, port in current.items():
                before = former.get(index)
                self._publisher.assign(port)
                self._set_options(port, self._said.of(port))
                self._set_static(port, configuration)
                if before is None or _linked(port) != _linked(before):
                    self._attach(port)
        self._loans.keep({port.key for port in current.values()}, configuration.generation)

    def confirm(self, turn: int) -> None:
        """Ask the kernel again what it holds upstream: each port once in CONFIRMED calls, of which this is one.

        What was overheard may be another forwarder's on this host, which tells what we both want. If each of two
        believed that for ever, what nobody wants any more would stay. A port that left something to it asks each time.
        """
        for index, (_, sock) in self._attached.items():
            due = index % CONFIRMED == turn % CONFIRMED or self._proxy.is_held_doubtful(index)
            if due and isinstance(sock, SharedSocket):
                self._confirm(self._ports[index])

    def lost(self, index: int) -> int:
        """Packets of a port that the kernel had no room for, since the last call."""
        attached = self._attached.get(index)
        return attached[1].lost() if attached is not None else 0

    def send(self, index: int, packet: bytes) -> None:
        """Send an IPv4 packet out of a port; what cannot be sent is counted."""
        attached = self._attached.get(index)
        if attached is not None and not attached[1].send(packet):
            self._publisher.failed(index)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What many ports have in common is worked out once."""
        self._proxy.gather()
        try:
            yield
        finally:
            self._apply(self._proxy.release(self._clock()))

    def _set_options(self, port: Port, options: PortOptions) -> None:
        former = self._options.get(port.index)
        if former == options:
            return
        self._options[port.index] = options
        if former is not None and former.role == options.role:
            self._apply(self._proxy.set_options(port.index, options, self._clock()))
            return
        if former is not None:
            self._end(port.index)
        self._proxy.add_port(port.index, options)
        if former is None:
            self._proxy.succeed(port.index, self._publisher.heard(port.index))

    def _set_static(self, port: Port, configuration: Configuration) -> None:
        """What is configured of groups: where we are a host anyway, all of it is joined; downstream apart from it."""
        said = configuration.static_groups(port), port.settings.join
        if self._static.get(port.index, NOTHING) == said:
            return
        self._static[port.index] = said
        (groups, joined), now = map(memberships_of, said), self._clock()
        if is_inward(port.role):
            self._apply(self._proxy.set_static(port.index, groups | joined, now))
        else:
            self._apply(self._proxy.set_static(port.index, groups, now))
            self._apply(self._proxy.set_joined(port.index, joined, now))

    def _attach(self, port: Port) -> None:
        key = port.key
        if port.index in self._attached and self._attached[port.index][0] != key:
            self._detach(port.index)
        if port.index not in self._attached and key in self._loans:
            descriptor = os.dup(self._loans[key].descriptors["igmp"])
            sock = (SharedSocket if is_inward(port.role) else IgmpSocket)(descriptor, port)
            self._attached[port.index] = (key, sock)
            self._listening.add(sock)
        self._set_link(port)

    def _set_link(self, port: Port) -> None:
        now = self._clock()
        if port.index not in self._attached or not port.up:
            self._apply(self._proxy.port_down(port.index, now))
            return
        self._attached[port.index][1].refresh(port)
        self._apply(self._proxy.port_up(port.index, link_of(port), now))
        self._confirm(port)

    def _confirm(self, port: Port) -> None:
        if is_inward(port.role) and (held := self._ask_kernel(port.ifindex)) is not None:
            self._apply(self._proxy.learn_held(port.index, held, self._clock()))

    def _detach(self, index: int) -> None:
        if index in self._attached:
            self._close(index)
            self._apply(self._proxy.port_down(index, self._clock()))

    def _close(self, index: int) -> None:
        if index in self._attached:
            _, sock = self._attached.pop(index)
            self._listening.remove(sock)
            sock.close()

    def _end(self, index: int) -> None:
        """The protocol ends on a port: what is left there is said by the socket, which is closed behind that."""
        self._apply(self._proxy.remove_port(index, self._clock()))
        self._close(index)
        self._static.pop(index, None)

    def _remove(self, index: int) -> None:
        self._end(index)
        del self._ports[index], self._options[index]
