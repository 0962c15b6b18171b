"""Rings that take the place of others: those that are smaller than they should be, as soon as there is memory, and
those that are of no use any more. What a ring holds is not lost: whoever is lent another reads the former one out.
"""

import logging
from collections.abc import Callable, Iterable

from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.state.ports import Port
from forwarder.state.ring_memory import LEAST, full, worthwhile
from forwarder.supervisor.opener import PortOpener
from forwarder.supervisor.refusals import LONGEST_RETRY, NO_ROOM, Refusals, words_of
from forwarder.supervisor.ring_lending import LET_GO, RingLending
from forwarder.supervisor.sockets import Demand, NewRing, PortSockets, Replacing
from forwarder.units import size

log = logging.getLogger(__name__)

SHARED = "ring_memory is divided among all ports"
KINDS = {TPACKET_V2: "slots", TPACKET_V3: "blocks"}


class Replacements:
    """Of rings in `sockets`, which it changes; `changed` counts what is different of what is said."""

    def __init__(
        self, opener: PortOpener, memory: RingLending, sockets: dict[int, PortSockets], clock: Callable[[], float]
    ) -> None:
        self._opener, self._memory, self._sockets, self._clock = opener, memory, sockets, clock
        self._refusals: Refusals[Replacing] = Refusals()
        self._enlarge_at = 0.0
        self._odd = False       # some may be of another kind than the profile has
        self.demand = Demand()
        self.changed = 0

    def replace(self, index: int, worker: int, now: float) -> bool:
        """Begin to replace a ring that is of no use any more; False where there is no memory for another."""
        port, sockets = self.demand.ports[index], self._sockets[index]
        blocks = min(sockets.rings[worker].layout.block_nr, self._memory.parts([port], 0, now)[index])
        if blocks:
            self._begin(port, worker, blocks, LEAST)
        else:
            self._refuse(_places(sockets)[worker], NO_ROOM)
        return bool(blocks)

    def convert_all(self) -> None:
        """The profile has other kinds of rings."""
        self._odd = True

    def convert(self, now: float) -> None:
        """Begin to replace rings of another kind than their ports should have, as long as there are such."""
        if not self._odd:
            return
        odd = [place for sockets in self._sockets.values() for place in self._odd_places(sockets)]
        for place in odd:
            if place not in self._memory and self._refusals.due(place, now):
                self.replace(place.key[0], place.worker, now)
        self._odd = bool(odd) or self._opener.under_way     # which may be odd when it comes

    def _odd_places(self, sockets: PortSockets) -> list[Replacing]:
        version = self._opener.version(sockets.role)
        return [place for place, ring in zip(_places(sockets), sockets.rings, strict=True)
                if ring.layout.version != version]  # fmt: skip

    def enlarge(self, unequipped: Iterable[Port], now: float) -> None:
        """Begin to replace rings that are smaller than they should be, when it is time, where it is worthwhile.

        `unequipped` are ports that have a right to their parts, too.
        """
        if now < self._enlarge_at:
            return
        self._enlarge_at = now + LONGEST_RETRY
        small = [self.demand.ports[index] for index, each in self._sockets.items() if _is_short(each)]
        if not small:
            return
        parts = self._memory.parts([*unequipped, *small], self.demand.coming, now)
        for port in small:
            self._enlarge(port, parts[port.index], now)

    def hurry(self, now: float) -> None:
        """Memory was given back."""
        self._enlarge_at = min(self._enlarge_at, now + LET_GO)

    def keep(self) -> None:
        """Forget what was refused of rings that are no more."""
        if not self._refusals:      # as nearly always: naming all rings of 2,000 ports takes 8 ms
            return
        self._refusals.keep({place for each in self._sockets.values() for place in _places(each)})

    def replaced(self) -> list[tuple[int, int]]:
        """Index and worker of the rings that were replaced since the last call.

        A link that went and came back while its ring was opened may have other sockets by now, of the same key.
        """
        taken = []
        for made in self._opener.replaced(self._refused):
            sockets = self._sockets.get(made.place.key[0])
            if sockets is None or not made.fits(sockets):
                self._memory.take_back(made.place, self._clock())
                self._opener.close_ring(made.ring)
                continue
            self._put_in_place(made, sockets)
            taken.append((made.place.key[0], made.place.worker))
        return taken

    def opened(self, sockets: PortSockets) -> None:
        """A port has its sockets; where the kernel had no memory for larger rings, that is said."""
        if sockets.refused is None:
            return
        words, now = words_of(sockets.refused), self._clock()
        news = [self._refusals.refused(place, words, now) for place in _places(sockets)]
        if any(news):
            name, octets = self.demand.ports[sockets.key[0]].name, sockets.rings[0].layout.size
            log.warning("%s: rings of %s only: %s", name, size(octets), words)

    def short(self, index: int) -> str | None:
        """Why a port's rings are not what they should be; None when they are."""
        sockets = self._sockets.get(index)
        if sockets is None:
            return None
        words = next(filter(None, map(self._refusals.words, _places(sockets))), None) if self._refusals else None
        return words or (SHARED if _is_short(sockets) else None)

    def _enlarge(self, port: Port, blocks: int, now: float) -> None:
        for place, ring in zip(_places(self._sockets[port.index]), self._sockets[port.index].rings, strict=True):
            smaller = ring.layout.block_nr
            if worthwhile(smaller, blocks, port.role) and self._refusals.due(place, now):
                self._begin(port, place.worker, blocks, smaller + 1)

    def _begin(self, port: Port, worker: int, blocks: int, least: int) -> None:
        """Begin to replace a ring by one of so many blocks, which there are, or fewer; once at a time."""
        place, former = Replacing(port.key, port.role, worker), self._sockets[port.index].rings[worker]
        if place in self._memory:
            return
        try:
            self._opener.replace_ring(port, self.demand.promiscuous(port), worker, blocks, least, former)
            self._memory.lend(place, blocks)
        except OSError as error:
            self._refused(place, error)

    def _put_in_place(self, made: NewRing, sockets: PortSockets) -> None:
        (key, _, worker), former, now = made.place, sockets.rings[made.place.worker], self._clock()
        self._memory.lend(made.place, made.ring.layout.block_nr)
        self._memory.swap(made.place, key, former.layout.block_nr, now)
        self._opener.close_ring(former)
        self._sockets[key[0]] = sockets.with_ring(worker, made.ring)
        self.changed += 1
        self._refusals.granted(made.place)
        if made.refused is not None:
            self._refusals.refused(made.place, words_of(made.refused), now)
        words = [f"{size(each.layout.size)} of {KINDS[each.layout.version]}" for each in (made.ring, former)]
        log.info("%s: the ring of worker %d has %s now, after %s", self.demand.ports[key[0]].name, worker, *words)

    def _refused(self, place: Replacing, error: Exception) -> None:
        """What was there stays."""
        self._memory.drop(place)
        self._refuse(place, words_of(error))

    def _refuse(self, place: Replacing, words: str) -> None:
        """A ring stays as it is for now, which is said once for each reason."""
        port = self.demand.ports.get(place.key[0])
        if port is not None and self._refusals.refused(place, words, self._clock()):
            self.changed += 1
            log.error("%s: the ring of worker %d cannot be replaced: %s", port.name, place.worker, words)


def _places(sockets: PortSockets) -> list[Replacing]:
    return [Replacing(sockets.key, sockets.role, worker) for worker in range(len(sockets.rings))]


def _is_short(sockets: PortSockets) -> bool:
    """Whether some ring is smaller than it should be."""
    return any(ring.layout.block_nr < full(sockets.role) for ring in sockets.rings)
