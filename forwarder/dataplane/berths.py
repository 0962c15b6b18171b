"""The ports that a worker holds: what the supervisor has lent, and what of it is attached.

A port is attached when its loan and the configuration agree (`process.lending`), and let go when they no longer do, in
the order the kernel needs: its pending error read, its ring read out, its descriptor out of the poll, its memory and
its descriptors closed. Before all ports of the first hour were lent, no ring is polled: a successor would lose what it
reads before it can send it everywhere.
"""

import select
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

from forwarder.dataplane.admission import bitmap_of
from forwarder.dataplane.attachment import Attachment, MapMemory
from forwarder.packet.tpacket import RingLayout
from forwarder.process.lending import Key, Loan, Loans
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port

LAYOUT = tuple(field.name for field in fields(RingLayout))


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
        self._loans = Loans(self._ended)
        self._keys: dict[int, Key] = {}

    def missing(self, ports: Iterable[Port]) -> int:
        """Bitmap of the ports that are up and not attached."""
        return bitmap_of(port.index for port in ports if port.up and port.index not in self.attached)

    def lend(self, lent: Loan) -> None:
        """Keep what is lent of a port, in place of what was: its `ring`, `transmit`, and the ring's layout."""
        self._loans.take(lent)

    def all_lent(self) -> None:
        """Every port there was at the start has been lent: rings are read from now on."""
        self.complete = True
        for port in self.attached.values():
            self._poll.register(port.receiving(), select.POLLIN)
        self._changed()

    def let_go(self, ports: Mapping[int, Port], generation: int) -> None:
        """Let go of what was lent for others than these ports, which are those of `generation`."""
        self._loans.keep({port.key for port in ports.values()}, generation)

    def attach(self, ports: Mapping[int, Port]) -> None:
        """Attach what is lent for these ports, and tell those that are what they are now."""
        for index, port in ports.items():
            if index in self.attached:
                self.attached[index].refresh(port)
            elif port.key in self._loans:
                self._attach(port, self._loans[port.key])
        self._changed()

    def _attach(self, port: Port, lent: Loan) -> None:
        layout = RingLayout(*(lent.message[name] for name in LAYOUT))
        ring, transmit = lent.descriptors["ring"], lent.descriptors["transmit"]
        made = Attachment(port, layout, ring, transmit, self._counters[port.index], self._map_memory)
        self.attached[port.index], self._keys[port.index] = made, lent.key
        self._loans.used_up(lent.key)   # a port must cost us no more of them than the supervisor, which has our limit
        self.rings[made.receiving()] = made
        if self.complete:
            self._poll.register(made.receiving(), select.POLLIN)

    def _ended(self, key: Key) -> None:
        if self._keys.get(key[0]) == key:
            self._detach(key[0])

    def _detach(self, index: int) -> None:
        port = self.attached[index]
        port.settle_error()
        if self.complete:
            self._drain(port)
            self._poll.unregister(port.receiving())
        del self.rings[port.receiving()], self.attached[index], self._keys[index]
        self._changed()  # the next ring that is drained sends nothing to this port, whose descriptor may be another's
        port.close()
