"""The ports that a worker holds: what the supervisor has lent, and what of it is attached.

Descriptors come first, tagged with whose they are; the configuration names the port. A port is attached when both
agree, and let go when they no longer do, in the order the kernel needs: its pending error read, its ring read out, its
descriptor out of the poll, its memory and its descriptors closed. Before all ports of the first hour were lent, no ring
is polled: a successor would lose what it reads before it can send it everywhere.
"""

import os
import select
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from forwarder.dataplane.admission import bitmap_of
from forwarder.dataplane.attachment import Attachment, MapMemory
from forwarder.packet.tpacket import RingLayout
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port

Key: TypeAlias = tuple[int, int, int]
"""Port index, assignment, ifindex."""


def key_of(port: Port) -> Key:
    """What is lent for a port is lent for this."""
    return port.index, port.assigned, port.ifindex


class Berths:
    """Attachments by port index in `attached`, and in `rings` by the descriptor that is polled; `poll` gets these."""

    def __init__(
        self,
        counters: Words,
        poll: select.poll,
        map_memory: MapMemory,
        drain: Callable[[Attachment], None],
        changed: Callable[[], None],
    ) -> None:
        """`counters`: rows of the worker's segment, shape (max_ports, BLOCK).

        `drain` reads a ring out at its end; `changed` is called when `attached` is another, before anything is closed,
        and when it is complete.
        """
        self._counters, self._poll, self._map_memory = counters, poll, map_memory
        self._drain, self._changed = drain, changed
        self.attached: dict[int, Attachment] = {}
        self.rings: dict[int, Attachment] = {}
        self.complete = False  # every port there was at the start has been lent
        self._lent: dict[Key, tuple[RingLayout, int, int, int]] = {}  # layout, ring, transmit, generation
        self._keys: dict[int, Key] = {}

    def missing(self, ports: Iterable[Port]) -> int:
        """Bitmap of the ports that are up and not attached."""
        return bitmap_of(port.index for port in ports if port.up and port.index not in self.attached)

    def lend(self, message: Mapping[str, int], descriptors: Mapping[str, int]) -> None:
        """Keep what is lent of a port, in place of what was."""
        key = (message["port"], message["assigned"], message["ifindex"])
        for former in [each for each in self._lent if each[0] == key[0]]:
            self._forget(former)
        layout = RingLayout(message["block_size"], message["block_nr"], message["retire_blk_tov"], message["version"])
        self._lent[key] = layout, descriptors["ring"], descriptors["transmit"], message["generation"]

    def all_lent(self) -> None:
        """Every port there was at the start has been lent: rings are read from now on."""
        self.complete = True
        for port in self.attached.values():
            self._poll.register(port.receiving(), select.POLLIN)
        self._changed()

    def let_go(self, ports: Mapping[int, Port], generation: int) -> None:
        """Let go of what was lent for others than these ports, which are those of `generation`."""
        for key in [key for key, (*_, lent_at) in self._lent.items() if lent_at <= generation]:
            if key[0] not in ports or key_of(ports[key[0]]) != key:
                self._forget(key)

    def attach(self, ports: Mapping[int, Port]) -> None:
        """Attach what is lent for these ports, and tell those that are what they are now."""
        for index, port in ports.items():
            if index in self.attached:
                self.attached[index].refresh(port)
            elif key_of(port) in self._lent:
                self._attach(port, key_of(port))
        self._changed()

    def _attach(self, port: Port, key: Key) -> None:
        layout, ring, transmit, _ = self._lent[key]
        made = Attachment(port, layout, ring, transmit, self._counters[port.index], self._map_memory)
        self.attached[port.index], self._keys[port.index] = made, key
        self.rings[made.receiving()] = made
        if self.complete:
            self._poll.register(made.receiving(), select.POLLIN)

    def _forget(self, key: Key) -> None:
        if self._keys.get(key[0]) == key:
            self._detach(key[0])
        _, ring, transmit, _ = self._lent.pop(key)
        os.close(ring)
        os.close(transmit)

    def _detach(self, index: int) -> None:
        port = self.attached[index]
        port.settle_error()
        if self.complete:
            self._drain(port)
            self._poll.unregister(port.receiving())
        del self.rings[port.receiving()], self.attached[index], self._keys[index]
        self._changed()  # the next ring that is drained sends nothing to this port, whose descriptor may be another's
        port.close()
