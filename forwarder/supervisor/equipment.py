"""What ports have: their sockets, from the memory that there is for rings; and what is said of those that lack some.

A port has its sockets, or they are being opened, or were refused and are asked for again.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from forwarder.process.lending import Key
from forwarder.state.ports import Port
from forwarder.state.settings import DataplaneSettings, ProfileName
from forwarder.supervisor.opener import PortOpener
from forwarder.supervisor.refusals import NO_ROOM, Refusals, words_of
from forwarder.supervisor.replacements import Replacements
from forwarder.supervisor.resizing import Resizing
from forwarder.supervisor.ring_lending import LET_GO, RingLending
from forwarder.supervisor.sockets import Demand, PortSockets

log = logging.getLogger(__name__)

OPENING = "its sockets are being opened"

MakeOpener: TypeAlias = Callable[[DataplaneSettings, int, bool], PortOpener]


class Equipment:
    """Sockets by port index in `sockets`; `replacements` of single rings among them."""

    def __init__(self, opener: PortOpener, sizes: DataplaneSettings, clock: Callable[[], float]) -> None:
        self._opener, self._clock = opener, clock
        self._memory = RingLending(sizes.ring_memory, sizes.workers)
        self.sockets: dict[int, PortSockets] = {}
        self.replacements = Replacements(opener, self._memory, self.sockets, clock)
        self.resizing = Resizing(opener, self._memory, self.sockets, clock)
        self._demand = Demand()
        self._refusals: Refusals[Key] = Refusals()
        self._changed = 0
        self._priorities: dict[int, int] = {}   # of the IGMP sockets, by index

    @property
    def changed(self) -> int:
        """Another number when something else is to be said."""
        return self._changed + self.replacements.changed

    @property
    def opening(self) -> bool:
        """Whether sockets of ports are being opened."""
        return self._opener.busy

    @property
    def lent(self) -> int:
        """Bytes of all receive rings."""
        return self._memory.lent

    def provide(self, demand: Demand) -> None:
        """These are all ports now: close what is no longer of use, begin to open what they lack."""
        self._demand = self.replacements.demand = self.resizing.demand = demand
        self._changed += 1
        for index in [index for index, each in self.sockets.items() if not demand.fits(each)]:
            self._close(self.sockets.pop(index))
        self._refusals.keep({port.key for port in demand.ports.values()})
        self.replacements.keep()
        for sockets in self.sockets.values():
            self._prioritise(sockets)
        self._open_missing(self._clock())

    def renew(self) -> list[str]:
        """Ports with sockets whose interface has gone, though it seems to be there: it came back from elsewhere.

        Theirs are closed, and opened again. Asking takes system calls for each port, so it is for when links change.
        """
        outlived = [index for index, each in self.sockets.items() if each.outlived()]
        if outlived:
            for index in outlived:
                self._close(self.sockets.pop(index))
            self.provide(self._demand)
        return [self._demand.ports[index].name for index in outlived]

    def opened(self) -> list[int]:
        """Indexes of the ports whose sockets were opened since the last call."""
        opened = []
        for sockets in self._opener.done(self._refused):
            self._memory.lend(sockets.key, sockets.blocks)
            if self._demand.fits(sockets) and not sockets.outlived():
                self._equip(sockets)
                opened.append(sockets.key[0])
            else:
                self._close(sockets)
        self._open_missing(self._clock())
        return opened

    def prefer(self, profile: ProfileName) -> None:
        """Have rings of the kinds that a profile has; those that are others are replaced."""
        if profile != self._opener.profile:
            self._opener.profile = profile
            self.replacements.convert_all()

    def resize(self, workers: int) -> None:
        """Have rings for so many workers."""
        self._opener.workers = self._memory.workers = workers
        self.resizing.wanted = workers

    def resized(self) -> list[int]:
        """Indexes of the ports that got rings for another number of workers since the last call."""
        taken = self.resizing.taken()
        self._changed += len(taken)
        return taken

    def retry(self, now: float) -> None:
        """Try again what was refused, and to enlarge what is small, when it is time."""
        if self._refusals.any_due(now):
            self._open_missing(now)
        for index in self.resizing.turn(self._unequipped(), now):
            self._close(self.sockets.pop(index))    # there is no room for both: what comes meanwhile is lost
            self._open_missing(now)
        if not self.resizing.pending:
            self.replacements.convert(now)
            self.replacements.enlarge(self._unequipped(), now)

    def ring_number(self, index: int, worker: int) -> int | None:
        """What tells a worker's ring at a port from all others."""
        sockets = self.sockets.get(index)
        return sockets.rings[worker].number if sockets and worker < len(sockets.rings) else None

    def degraded(self, index: int) -> str | None:
        """Why a port is not served although its interface exists; None when it has its sockets."""
        port = self._demand.ports[index]
        if index in self.sockets or not port.ifindex:
            return None
        return self._refusals.words(port.key) or OPENING

    def close(self) -> None:
        """Close all sockets; waits for what is being opened."""
        for sockets in self.sockets.values():
            self._opener.close(sockets)
        self._opener.shutdown()

    def _open_missing(self, now: float) -> None:
        """Begin to open the sockets of ports that exist and have none, in the memory that there is."""
        unequipped = self._unequipped()
        lacking = [port for port in unequipped if port.ifindex and self._refusals.due(port.key, now)]
        if not lacking:
            return
        parts = self._memory.parts(unequipped, self._demand.coming, now)
        for port in lacking:
            if blocks := parts[port.index]:
                self._opener.open(port, self._demand.promiscuous(port), blocks)
                self._memory.lend(port.key, blocks * self._opener.workers)  # now: where that failed nothing is lent
            else:
                self._refuse(port.key, NO_ROOM)

    def _unequipped(self) -> list[Port]:
        """Ports that have no sockets, and none are being opened; interfaces that do not exist yet, too."""
        return [port for port in self._demand.ports.values() if port.key not in self._memory]

    def _equip(self, sockets: PortSockets) -> None:
        self.sockets[sockets.key[0]] = sockets
        self._prioritise(sockets)
        self._changed += 1
        if self._refusals.granted(sockets.key):
            name = self._demand.ports[sockets.key[0]].name
            log.info("%s: its sockets are open, it is no longer degraded", name)
        self.replacements.opened(sockets)

    def _prioritise(self, sockets: PortSockets) -> None:
        """Only we may set a high one. A port that is refused it is served; it is tried again when ports change."""
        index = sockets.key[0]
        priority = self._demand.priorities.get(index)
        if priority is not None and priority != self._priorities.get(index):
            with suppress(OSError):
                sockets.prioritise(priority)
                self._priorities[index] = priority

    def _close(self, sockets: PortSockets) -> None:
        """Close a port's sockets; their memory is there for others once workers have let go of it."""
        now = self._clock()
        self._priorities.pop(sockets.key[0], None)
        self._memory.take_back(sockets.key, now)
        self._opener.close(sockets)
        self._refusals.hurry(NO_ROOM, now + LET_GO)
        self.replacements.hurry(now)

    def _refused(self, key: Key, error: Exception) -> None:
        """Sockets could not be opened."""
        self._memory.drop(key)
        self._refuse(key, words_of(error))

    def _refuse(self, key: Key, words: str) -> None:
        """A port does without sockets for now, which is said once for each reason."""
        port = self._demand.ports.get(key[0])
        if port is not None and port.key == key and self._refusals.refused(key, words, self._clock()):
            self._changed += 1
            log.error("%s is degraded: %s", port.name, words)
