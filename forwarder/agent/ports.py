"""The agent's ports: what configuration and lent descriptors together say of them, told to the protocol.

A port is attached when the snapshot names its interface and the descriptor of that same interface has come. Options,
lists and static groups change in place; only another owner, interface or role makes a port start over.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from forwarder.agent.attachment import Attachment
from forwarder.agent.listening import Listening
from forwarder.agent.options import link_of, options_of
from forwarder.agent.publisher import Publisher
from forwarder.agent.static import memberships_of
from forwarder.state.ports import Configuration, Port
from forwarder.state.settings import Settings
from igmp.outputs import Output
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

Key = tuple[int, int, int]      # port index, assignment, ifindex
Apply = Callable[[Iterable[Output]], None]


class Ports:
    """By index; what the protocol answers goes to `apply`; `clock` is monotonic seconds."""

    def __init__(
        self, proxy: Proxy, publisher: Publisher, listening: Listening, apply: Apply,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proxy, self._publisher, self._listening, self._apply = proxy, publisher, listening, apply
        self._clock = clock
        self._ports: dict[int, Port] = {}
        self._options: dict[int, PortOptions] = {}
        self._static: dict[int, tuple[str, ...]] = {}
        self._lent: dict[Key, tuple[int, int]] = {}     # descriptor, and the generation it was lent at
        self._attached: dict[int, tuple[Key, Attachment]] = {}
        self.restoring = True       # a predecessor's memberships are taken back as its ports come up

    def __iter__(self) -> Iterator[int]:
        return iter(self._ports)

    def __len__(self) -> int:
        return len(self._ports)

    def __getitem__(self, index: int) -> Port:
        return self._ports[index]

    @property
    def all(self) -> list[Port]:
        """Every port there is now."""
        return list(self._ports.values())

    def lend(self, key: Key, descriptor: int, generation: int) -> None:
        """The IGMP socket of an interface; it takes the place of another that its port had."""
        for former in [each for each in self._lent if each[0] == key[0]]:
            self._forget(former)
        self._lent[key] = descriptor, generation
        attached = self._attached.get(key[0])
        if attached is not None and attached[0] == key and not attached[1].uses(descriptor):
            self._detach(key[0])    # its link went, and came back under its name and index
        if key[0] in self._ports:
            self._attach(self._ports[key[0]])

    def configure(self, configuration: Configuration) -> None:
        """Take over what the supervisor says of all ports."""
        current: Mapping[int, Port] = {port.index: port for port in configuration.ports}
        for index in list(self._ports):
            if index not in current or current[index].assigned != self._ports[index].assigned:
                self._remove(index)
        self._publisher.generation = configuration.generation   # what was removed is in no row from here on
        self._ports = dict(current)
        for port in current.values():
            self._publisher.assign(port)
            self._set_options(port, configuration.settings)
            self._set_static(port, configuration.static_groups(port))
            self._attach(port)
        keys = {_key(port) for port in current.values()}
        for key in [key for key, (_, generation) in self._lent.items() if generation <= configuration.generation]:
            if key not in keys:
                self._forget(key)

    def lost(self, index: int) -> int:
        """Packets of a port that the kernel had no room for, since the last call."""
        attached = self._attached.get(index)
        return attached[1].lost() if attached is not None else 0

    def send(self, index: int, packet: bytes) -> None:
        """Send an IPv4 packet out of a port; what cannot be sent is counted."""
        attached = self._attached.get(index)
        if attached is not None and not attached[1].send(packet):
            self._publisher.failed(index)

    def _set_options(self, port: Port, settings: Settings) -> None:
        options, former = options_of(port, settings), self._options.get(port.index)
        if former == options:
            return
        self._options[port.index] = options
        if former is not None and former.role == options.role:
            self._apply(self._proxy.set_options(port.index, options, self._clock()))
            return
        if former is not None:
            self._detach(port.index)
            self._static.pop(port.index, None)
            self._apply(self._proxy.remove_port(port.index, self._clock()))
        self._proxy.add_port(port.index, options)

    def _set_static(self, port: Port, groups: tuple[str, ...]) -> None:
        if self._static.get(port.index, ()) != groups:
            self._static[port.index] = groups
            self._apply(self._proxy.set_static(port.index, memberships_of(groups), self._clock()))

    def _attach(self, port: Port) -> None:
        key = _key(port)
        if port.index in self._attached and self._attached[port.index][0] != key:
            self._detach(port.index)
        if port.index not in self._attached and key in self._lent:
            attachment = Attachment(os.dup(self._lent[key][0]), port)
            self._attached[port.index] = (key, attachment)
            self._listening.add(attachment)
        self._set_link(port)

    def _set_link(self, port: Port) -> None:
        now = self._clock()
        if port.index not in self._attached or not port.up:
            self._apply(self._proxy.port_down(port.index, now))
            return
        self._attached[port.index][1].refresh(port)
        self._apply(self._proxy.port_up(port.index, link_of(port), now))
        if self.restoring:
            static = memberships_of(self._static.get(port.index, ()))
            self._publisher.restore(self._proxy, port.index, static, now)
            self._apply(())

    def _forget(self, key: Key) -> None:
        descriptor, _ = self._lent.pop(key)
        os.close(descriptor)

    def _detach(self, index: int) -> None:
        if index not in self._attached:
            return
        _, attachment = self._attached.pop(index)
        self._listening.remove(attachment)
        attachment.close()
        self._apply(self._proxy.port_down(index, self._clock()))

    def _remove(self, index: int) -> None:
        self._detach(index)
        self._apply(self._proxy.remove_port(index, self._clock()))
        del self._ports[index], self._options[index]
        self._static.pop(index, None)


def _key(port: Port) -> Key:
    return port.index, port.assigned, port.ifindex
