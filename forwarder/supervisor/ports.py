"""Links in, ports out: which interface is which port, what the others are told of it, and the sockets it has.

The rule of the two ways: descriptors are lent first, then the snapshot names the port; a child uses a port when both
agree. What matters is published; our own memory of a port is its sockets.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

from forwarder.packet.packet_socket import PortError
from forwarder.packet.super_frames import super_frames_taken
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.supervisor.assignment import Assignment, Entries
from forwarder.supervisor.deafness import DeafRings
from forwarder.supervisor.link_watch import LinkWatch
from forwarder.supervisor.links import Link
from forwarder.supervisor.looks import Interest
from forwarder.supervisor.shared import Shared
from forwarder.supervisor.sockets import Key, PortOpener, PortSockets, key_of

log = logging.getLogger(__name__)

PORT_RETRY = 1.0        # seconds

MakeOpener: TypeAlias = Callable[[DataplaneSettings, int, bool], PortOpener]


class Loan(NamedTuple):
    """What a child is told when it is lent a port, and the descriptors that come with it."""

    message: dict[str, Any]
    descriptors: dict[str, int]


class Ports:
    """All ports; `fileno` is readable when sockets of some have been opened."""

    def __init__(
        self, settings: Settings, shared: Shared, watch: LinkWatch, opener: MakeOpener = PortOpener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.added = settings, Added()
        self._shared, self._watch, self._clock = shared, watch, clock
        self._snapshot = SnapshotWriter(shared.configuration)
        self._assignment = Assignment(settings.dataplane.max_ports)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._opener = opener(settings.dataplane, self._bell, super_frames_taken())
        self._deaf = DeafRings(shared.workers)
        self._sockets: dict[int, PortSockets] = {}
        self._failures: dict[Key, str] = {}
        self._retry = 0.0
        self.links: dict[str, Link] = {}
        self.ports: tuple[Port, ...] = ()

    def fileno(self) -> int:
        """The bell's number."""
        return self._bell

    @property
    def opening(self) -> bool:
        """Whether sockets are being opened."""
        return self._opener.busy

    @property
    def open(self) -> list[int]:
        """Indexes of the ports that have their sockets."""
        return list(self._sockets)

    def refresh(self) -> None:
        """Look at the links again; publish ports that differ. OSError, ValueError: what was published stays."""
        self.links = self._watch.snapshot()
        self._mind()
        generation = self._snapshot.sequence + 1
        assignment, ports = self._assignment.updated(self.settings, self.links, generation)
        if ports != self.ports or generation == 1:
            self._publish(Configuration(generation, self.settings, ports, self.added), assignment)
        elif self._close_sockets():
            self._open_sockets()

    def configure(self, settings: Settings, added: Added) -> None:
        """The settings, or what was added to them, are others now; ValueError (nothing changed) when it is too much."""
        generation = self._snapshot.sequence + 1
        assignment, ports = self._assignment.updated(settings, self.links, generation)
        self._publish(Configuration(generation, settings, ports, added), assignment)
        self._mind()

    def _mind(self) -> None:
        """Say which links matter from now on."""
        self._watch.concerns = Interest(Entries(self.settings), self.links.values()).concerns

    def _publish(self, configuration: Configuration, assignment: Assignment) -> None:
        """Say to all what has changed, and open or close sockets; ValueError before anything when it is too much."""
        self._snapshot.publish(configuration.to_json())
        self._assignment, self.settings, self.added = assignment, configuration.settings, configuration.added
        former, self.ports = {port.name: port for port in self.ports}, configuration.ports
        for port in self.ports:
            _tell(former.get(port.name), port)
        self._close_sockets()
        self._shared.ring()
        self._open_sockets()

    # sockets

    def opened(self) -> list[int]:
        """Indexes of the ports whose sockets were opened since the last call."""
        os.eventfd_read(self._bell)
        current = {port.index: port for port in self.ports}
        opened = []
        for sockets in self._opener.done(self._failed):
            port = current.get(sockets.key[0])
            if port is None or not sockets.fit(port) or sockets.outlived():
                self._opener.close(sockets)
                continue
            self._failures.pop(sockets.key, None)
            self._sockets[sockets.key[0]] = sockets
            opened.append(sockets.key[0])
        if not self._retry:
            self._open_sockets()
        return opened

    def replaced(self) -> list[tuple[int, int]]:
        """Index and worker of the rings that were replaced since the last call."""
        taken = []
        for key, worker, ring in self._opener.replaced():
            sockets = self._sockets.get(key[0])
            if sockets is None or sockets.key != key:
                self._opener.close_ring(ring)
                continue
            self._opener.close_ring(sockets.rings[worker])
            self._sockets[key[0]] = sockets.with_ring(worker, ring)
            taken.append((key[0], worker))
        return taken

    def replace_deaf(self, now: float) -> None:
        """Begin to replace the rings that are deaf, each port's when it is time."""
        for index, worker in self._deaf.due(now, self._ring_number):
            sockets = self._sockets[index]
            port = next(port for port in self.ports if key_of(port) == sockets.key)
            log.warning(
                "%s: the kernel fills the ring of worker %d no more, after a frame that it cannot describe there "
                "(such as one of a tap's user with UDP fragmentation offload); replacing the ring", port.name, worker,
            )
            self._opener.replace_ring(port, sockets.layout, self._promiscuous(port), worker)

    def retry(self, now: float) -> None:
        """Try again what could not be opened, when it is time."""
        if self._retry and now >= self._retry:
            self._retry = 0.0
            self._open_sockets()

    def loan(self, worker: int | None, index: int) -> Loan | None:
        """What a worker, or else the agent (None), is lent of a port; None when the port has no sockets."""
        sockets = self._sockets.get(index)
        if sockets is None:
            return None
        _, assigned, ifindex = sockets.key
        generation = self._snapshot.sequence
        message = {"type": "port", "port": index, "assigned": assigned, "ifindex": ifindex, "generation": generation}
        if worker is None:
            return Loan(message, {"igmp": sockets.igmp.fileno()})
        descriptors = {"ring": sockets.rings[worker].fileno(), "transmit": sockets.transmit.fileno()}
        return Loan({**message, **asdict(sockets.layout)}, descriptors)

    def close(self) -> None:
        """Close all sockets; waits for what is being opened."""
        for sockets in self._sockets.values():
            self._opener.close(sockets)
        self._opener.shutdown()

    def _close_sockets(self) -> bool:
        """Close those that no port wants any more, or whose link has gone; whether there were any."""
        current = {port.index: port for port in self.ports}
        unfit = [index for index, each in self._sockets.items()
                 if index not in current or not each.fit(current[index]) or each.outlived()]  # fmt: skip
        for index in unfit:
            self._opener.close(self._sockets.pop(index))
        there = {key_of(port) for port in self.ports}
        self._failures = {key: words for key, words in self._failures.items() if key in there}
        return bool(unfit)

    def _open_sockets(self) -> None:
        for port in self.ports:
            if port.name in self.links and port.ifindex and port.index not in self._sockets:
                self._opener.open(port, self._promiscuous(port))

    def _promiscuous(self, port: Port) -> bool:
        """Whether a port has to ask for everything to get all multicast."""
        link = self.links.get(port.name)
        return link is not None and link.kind == "bridge"

    def _ring_number(self, index: int, worker: int) -> int | None:
        sockets = self._sockets.get(index)
        return None if sockets is None else sockets.ring_number(worker)

    def _failed(self, key: Key, error: Exception) -> None:
        """Try again soon, but say only once what is wrong with a port."""
        self._retry = self._clock() + PORT_RETRY
        if self._failures.get(key) != str(error):
            self._failures[key] = str(error)
            log.error("%s", error if isinstance(error, PortError) else f"a port could not be opened: {error!r}")


def _tell(former: Port | None, port: Port) -> None:
    """One log line for a change of a port's state."""
    if former is None and port.state == "missing":
        log.info("%s does not exist yet; waiting for it", port.name)
    elif former is not None and (former.state, former.ifindex) != (port.state, port.ifindex):
        log.info("%s is %s (was %s)", port.name, port.state, former.state)
