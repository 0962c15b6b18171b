"""Links in, ports out: which interface is which port, what the others are told of it, and the sockets it has.

The rule of the two ways: descriptors are lent first, then the snapshot names the port; a child uses a port when both
agree. What matters is published; our own memory of a port is its sockets.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from forwarder.packet.super_frames import super_frames_taken
from forwarder.process.lending import Loan, loan
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.ring_memory import octets
from forwarder.state.roles import is_outward
from forwarder.state.settings import Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.state.standing import Standing
from forwarder.supervisor.assignment import Assignment, Entries
from forwarder.supervisor.claims import Claims
from forwarder.supervisor.deafness import DeafRings
from forwarder.supervisor.doubts import Surroundings
from forwarder.supervisor.equipment import Equipment, MakeOpener
from forwarder.supervisor.link_watch import LinkWatch
from forwarder.supervisor.links import KernelLink, enslaved
from forwarder.supervisor.looks import Concern
from forwarder.supervisor.opener import PortOpener
from forwarder.supervisor.ring_lending import ports_that_may_come
from forwarder.supervisor.shared import Shared
from forwarder.supervisor.sockets import Demand
from forwarder.supervisor.surroundings import surroundings
from forwarder.supervisor.telling import Telling
from forwarder.units import count, listed

log = logging.getLogger(__name__)


class Ports:
    """All ports; `fileno` is readable when sockets of some have been opened."""

    def __init__(
        self, settings: Settings, shared: Shared, watch: LinkWatch, opener: MakeOpener = PortOpener,
        clock: Callable[[], float] = time.monotonic, around: Callable[[], Surroundings] = surroundings,
        claims: Claims | None = None,
    ) -> None:
        """`around`: asked for what there is beside the links; `claims`: for what another instance serves too."""
        self.settings, self.added = settings, Added()
        self._shared, self._watch = shared, watch
        self._snapshot = SnapshotWriter(shared.configuration)
        self._assignment = Assignment(settings.dataplane.ports)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._equipment = Equipment(
            opener(settings.dataplane, self._bell, super_frames_taken()), settings.dataplane, clock
        )
        self._deaf = DeafRings(shared.workers)
        self.links: dict[str, KernelLink] = {}
        self._followed: dict[str, KernelLink] | None = None     # the ports are those of these links
        self.ports: tuple[Port, ...] = ()
        self._enslaved: dict[str, str] = {}     # by name: why a port hears nothing
        self._news = 0
        self._claims = claims or Claims()
        self._twins = frozenset[int]()          # by ifindex: what another instance served when that was looked at
        self._telling = Telling(lambda: around()._replace(twins=self._look_for_twins()))

    def fileno(self) -> int:
        """The bell's number."""
        return self._bell

    @property
    def generation(self) -> int:
        """The number of the configuration that is published."""
        return self._snapshot.sequence

    @property
    def opening(self) -> bool:
        """Whether sockets are being opened."""
        return self._equipment.opening

    @property
    def open(self) -> list[int]:
        """Indexes of the ports that have their sockets."""
        return list(self._equipment.sockets)

    def refresh(self) -> None:
        """Look at the links again; publish ports that differ. OSError, ValueError: what was published stays."""
        self.links = self._watch.snapshot()
        if self.links != self._followed:
            self._follow()
        if renewed := self._equipment.renew():
            log.info("%s went away and came back; opening sockets again", listed(renewed))

    def _follow(self) -> None:
        """Publish the ports that follow from the links, where they are others than before."""
        self._mind()
        generation = self._snapshot.sequence + 1
        assignment, ports = self._assignment.updated(self.settings, self.links, generation)
        if ports != self.ports or generation == 1:
            self._publish(Configuration(generation, self.settings, ports, self.added), assignment)
        self._followed = self.links
        self._note_enslaved()
        self._tell_doubts(everything=generation == 1)

    def configure(self, settings: Settings, added: Added, *, reloaded: bool = False) -> None:
        """The settings, or what was added to them, are others now; ValueError (nothing changed) when it is too much.

        `reloaded`: say again all that is doubtful about them.
        """
        generation = self._snapshot.sequence + 1
        assignment, ports = self._assignment.updated(settings, self.links, generation)
        self._publish(Configuration(generation, settings, ports, added), assignment)
        self._followed = self.links
        self._mind()
        self._note_enslaved()
        self._tell_doubts(everything=reloaded)
        self._equipment.prefer(settings.dataplane.profile)

    def _mind(self) -> None:
        """Say which links matter from now on."""
        self._watch.concerns = Concern(Entries(self.settings), self.links.values()).concerns

    def _tell_doubts(self, everything: bool) -> None:
        configuration = Configuration(self._snapshot.sequence, self.settings, self.ports, self.added)
        (self._telling.tell_all if everything else self._telling.tell_news)(configuration, self.links)

    def look_around(self, now: float) -> None:
        """Say which other forwarder has come to the same links meanwhile."""
        self._telling.tell_others(self.ports, now)

    def _look_for_twins(self) -> frozenset[int]:
        """Claim the interfaces that we send to; the indexes of those that another instance has."""
        ours = {port.ifindex for port in self.ports if port.ifindex and is_outward(port.role)}
        before, self._twins = self._twins, self._claims.hold(ours)
        self._news += self._twins != before
        return self._twins

    def _note_enslaved(self) -> None:
        """Note which ports hear nothing since another interface takes what comes in; say when that is over."""
        there = ((port, self.links[port.name]) for port in self.ports if port.ifindex)
        found = {port.name: words for port, link in there if (words := enslaved(link))}
        for name in self._enslaved.keys() - found:
            log.info("%s is no longer a port of another interface", name)
        self._news += found != self._enslaved
        self._enslaved = found

    def _publish(self, configuration: Configuration, assignment: Assignment) -> None:
        """Say to all what has changed, and open or close sockets; ValueError before anything when it is too much."""
        self._snapshot.publish(configuration.to_json())
        self._assignment, self.settings, self.added = assignment, configuration.settings, configuration.added
        former, self.ports = {port.name: port for port in self.ports}, configuration.ports
        for port in self.ports:
            _tell(former.get(port.name), port, first=not former)
        for name in sorted(former.keys() - {port.name for port in self.ports}):
            log.info("%s is no longer one of our interfaces", name)
        self._shared.ring()
        self._provide()

    def _provide(self) -> None:
        """See that ports have the sockets they need, and no others."""
        ports = {port.index: port for port in self.ports}
        bridges = frozenset(port.index for port in self.ports if self._is_bridge(port))
        common, own = self.settings.igmp.igmp_priority, {port.index: port.settings.igmp_priority for port in self.ports}
        priorities = {index: common if each is None else each for index, each in own.items()}
        self._equipment.provide(Demand(ports, bridges, ports_that_may_come(self.settings, len(ports)), priorities))

    # sockets

    def opened(self) -> list[int]:
        """Indexes of the ports whose sockets were opened since the last call."""
        os.eventfd_read(self._bell)
        return self._equipment.opened()

    def replaced(self) -> list[tuple[int, int]]:
        """Index and worker of the rings that were replaced since the last call."""
        return self._equipment.replacements.replaced()

    def resize(self, workers: int) -> None:
        """Begin to open rings for so many workers."""
        self._equipment.resize(workers)

    @property
    def resizing(self) -> bool:
        """Whether some port has not got them yet."""
        return self._equipment.resizing.pending

    def resized(self) -> list[int]:
        """Indexes of the ports that got them since the last call."""
        return self._equipment.resized()

    def read_segments(self, workers: Sequence[int]) -> None:
        """These are the segments of the workers now."""
        self._deaf.read(workers)

    def replace_deaf(self, now: float) -> None:
        """Begin to replace the rings that are deaf, each port's when it is time; not while all rings are replaced."""
        if self.resizing:
            return
        names = {port.index: port.name for port in self.ports}
        for index, worker in self._deaf.due(now, self._equipment.ring_number):
            if self._equipment.replacements.replace(index, worker, now):
                log.warning(
                    "%s: the kernel fills the ring of worker %d no more, after a frame that it cannot describe there "
                    "(such as one of a tap's user with UDP fragmentation offload); replacing the ring",
                    names[index], worker,
                )  # fmt: skip

    def retry(self, now: float) -> None:
        """Try again what could not be opened, or not as large as it should be, when it is time."""
        self._equipment.retry(now)

    # what is said of them

    @property
    def changed(self) -> int:
        """Another number when something else is to be said of some."""
        return self._equipment.changed + self._news

    @property
    def ring_memory(self) -> int:
        """Bytes of all receive rings."""
        return self._equipment.lent

    def describe(self, port: Port) -> str:
        """A port in a few words."""
        degraded = ", degraded" if self._degraded(port) else ""
        return f"{port.name} ({port.role}, {port.state}{degraded})"

    def summary(self) -> str:
        """All ports in a few words."""
        degraded = [port.name for port in self.ports if self._degraded(port)]
        there = sum(port.ifindex > 0 for port in self.ports)
        served = f"{count(there - len(degraded))} of {count(there)} interfaces served"
        return f"{served}, degraded: {listed(degraded)}" if degraded else served

    def standings(self, waiting: Mapping[str, frozenset[int]]) -> list[Standing]:
        """What is to be said of each; `waiting`: by the names of children, the ports that they have not been lent."""
        lacking = {name: ports for name, ports in waiting.items() if ports}
        return [self._standing(port, lacking) for port in self.ports]

    def _standing(self, port: Port, waiting: Mapping[str, frozenset[int]]) -> Standing:
        sockets = self._equipment.sockets.get(port.index)
        enslaved, twin = self._enslaved.get(port.name), bool(port.ifindex) and port.ifindex in self._twins
        if sockets is None:
            return Standing(port.index, port.assigned, 0, None, self._degraded(port), enslaved, twin)
        names = [name for name, ports in waiting.items() if port.index in ports]
        degraded = f"not lent yet to {listed(names)}" if names else self._degraded(port)
        short = self._equipment.replacements.short(port.index)
        return Standing(port.index, port.assigned, octets(sockets.blocks), short, degraded, enslaved, twin)

    def _degraded(self, port: Port) -> str | None:
        """Why it is not served, or hears nothing."""
        return self._equipment.degraded(port.index) or self._enslaved.get(port.name)

    # what is lent

    def loan(self, worker: int | None, index: int) -> Loan | None:
        """What a worker, or else the agent (None), is lent of a port; None when the port has no sockets."""
        sockets = self._equipment.sockets.get(index)
        if sockets is None or (worker or 0) >= len(sockets.rings):
            return None
        generation = self._snapshot.sequence
        if worker is None:
            return loan(sockets.key, generation, {"igmp": sockets.igmp.fileno()})
        ring = sockets.rings[worker]
        descriptors = {"ring": ring.socket.fileno(), "transmit": sockets.transmit.fileno()}
        return loan(sockets.key, generation, descriptors, **asdict(ring.layout))

    def close(self) -> None:
        """Close all sockets; waits for what is being opened."""
        self._equipment.close()
        self._claims.close()

    def _is_bridge(self, port: Port) -> bool:
        """Whether a port has to ask for everything to get all multicast."""
        link = self.links.get(port.name)
        return link is not None and link.kind == "bridge"


def _tell(former: Port | None, port: Port, first: bool) -> None:
    """One log line for a change of a port's state; at `first` all that exist are in the line that says we are ready."""
    if former is not None and (former.state, former.ifindex) != (port.state, port.ifindex):
        log.info("%s is %s (was %s)", port.name, port.state, former.state)
    elif former is None and not first:
        log.info("%s is %s (%s)", port.name, port.state, port.role)
    if former is not None and port.ifindex and (told := list(_changed(former, port))):
        log.info("%s: %s", port.name, "; ".join(told))


def _changed(former: Port, port: Port) -> Iterator[str]:
    """What else is another of a link that exists."""
    if former.addresses != port.addresses:
        yield f"addresses {_addresses(port)} (were {_addresses(former)})"
    if former.ifindex and former.mtu != port.mtu:
        yield f"MTU {port.mtu} (was {former.mtu})"
    if former.ifindex and former.mac != port.mac:
        yield f"hardware address {port.mac} (was {former.mac})"


def _addresses(port: Port) -> str:
    texts = [f"{socket.inet_ntoa(address.to_bytes(4))}/{prefix}" for address, prefix in port.addresses]
    return listed(texts, empty="none")
