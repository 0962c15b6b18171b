"""Ports whose rings are those of another number of workers: all of a port's are replaced together.

Each ring takes its share of what comes (`packet.bpf.Share`), so one that is opened for another number of workers goes
with the others of that number alone.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace

from forwarder.process.lending import Key
from forwarder.state.ports import Port
from forwarder.supervisor.opener import PortOpener
from forwarder.supervisor.ring_lending import RingLending
from forwarder.supervisor.sockets import Demand, NewRings, PortSockets, Replacing


class Resizing:
    """Of ports in `sockets`, which it changes; `wanted` workers, None before another number was ever asked for."""

    def __init__(
        self, opener: PortOpener, memory: RingLending, sockets: MutableMapping[int, PortSockets],
        clock: Callable[[], float],
    ) -> None:
        self._opener, self._memory, self._sockets, self._clock = opener, memory, sockets, clock
        self.demand = Demand()
        self.wanted: int | None = None
        self._refused: set[Key] = set()

    @property
    def pending(self) -> bool:
        """Whether some port has rings for another number."""
        return self.wanted is not None and (self._opener.busy or any(map(self._is_odd, self._sockets.values())))

    def turn(self, unequipped: Sequence[Port], now: float) -> list[int]:
        """Begin to open other rings where ports need them; indexes of ports that cannot have both.

        `unequipped` are ports that have a right to their parts, too. Where there is no memory for both, what others
        give back is waited for; if nothing comes any more, one port has to do without for as long as its memory takes
        to be given back (LET_GO), in which the others have theirs.
        """
        waiting = [sockets for sockets in self._sockets.values() if self._waits(sockets)]
        if not waiting:
            return []
        ports = [self.demand.ports[sockets.key[0]] for sockets in waiting]
        parts = self._memory.parts([*unequipped, *ports], 0, now)
        fitting = [(port, sockets) for port, sockets in zip(ports, waiting, strict=True)
                   if parts[port.index] or port.key in self._refused]  # fmt: skip
        without = [port.index for port, sockets in fitting if not self._begin(port, sockets, parts[port.index])]
        if fitting or self._memory.leaving(now) or self._opening():
            return without
        return [ports[0].index]

    def _opening(self) -> bool:
        return any(_borrower(sockets.key) in self._memory for sockets in self._sockets.values())

    def _waits(self, sockets: PortSockets) -> bool:
        """Whether a port needs other rings, of which none are being opened."""
        if self.wanted is None or not self._is_odd(sockets) or _borrower(sockets.key) in self._memory:
            return False
        single = (Replacing(sockets.key, sockets.role, worker) for worker in range(len(sockets.rings)))
        return not any(place in self._memory for place in single)

    def taken(self) -> list[int]:
        """Indexes of the ports whose rings were replaced since the last call."""
        taken = []
        for made in self._opener.resized(self._failed):
            sockets = self._sockets.get(made.key[0])
            if sockets is not None and made.fit(sockets):
                self._put_in_place(made, sockets)
                taken.append(made.key[0])
            else:
                self._memory.take_back(_borrower(made.key), self._clock())
                for ring in made.rings:
                    self._opener.close_ring(ring)
        return taken

    def _begin(self, port: Port, sockets: PortSockets, blocks: int) -> bool:
        """Whether there are descriptors for other rings beside those that there are, and they were not refused."""
        if sockets.key in self._refused:
            self._refused.discard(sockets.key)
            return False
        try:
            self._opener.replace_rings(port, self.demand.promiscuous(port), blocks, sockets.rings)
        except OSError:
            return False
        self._memory.lend(_borrower(sockets.key), blocks * self._opener.workers)
        return True

    def _is_odd(self, sockets: PortSockets) -> bool:
        return len(sockets.rings) != self.wanted

    def _put_in_place(self, made: NewRings, sockets: PortSockets) -> None:
        self._memory.lend(_borrower(made.key), made.blocks)
        self._memory.swap(_borrower(made.key), made.key, sockets.blocks, self._clock())
        for ring in sockets.rings:
            self._opener.close_ring(ring)
        self._sockets[made.key[0]] = replace(sockets, rings=made.rings, refused=made.refused)

    def _failed(self, key: Key, _: Exception) -> None:
        """There is no way to have both: in the next turn the port is closed, and opened in the ordinary way."""
        self._memory.drop(_borrower(key))
        self._refused.add(key)


def _borrower(key: Key) -> tuple[Key, str]:
    """Whoever has what is lent until the new rings are in place."""
    return key, "all rings"
