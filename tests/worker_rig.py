"""A worker over memory of its own: segments in memfds, rings that a test fills, links that are socket pairs.

Only the mapping of a ring is another than in life: a socket pair has none, so the worker is given another way to the
memfd that belongs to it. The worker runs in the test's thread and breathes when it is told to.
"""

import mmap
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace

from batches import Frame
from rings import Kernel

from forwarder.dataplane.worker import Worker
from forwarder.packet.tpacket import TP_STATUS_USER, RingLayout
from forwarder.process import control
from forwarder.process.child import Start
from forwarder.process.lending import loan
from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.membership import MembershipWriter
from forwarder.state.ports import Configuration, Port
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.settings import DataplaneSettings, InterfaceSettings, Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import WorkerReader

UP, D1, D2 = range(3)
LAYOUT = RingLayout(block_size=1 << 16, block_nr=4)


def port(index: int, assigned: int = 1, ifindex: int | None = None, **changes) -> Port:
    """A port that is up, upstream if its index is 0."""
    role = "downstream" if index else "upstream"
    settings = InterfaceSettings(name=f"port{index}", role=role)
    address = 0xC0A80001 | index * 10 << 8
    made = Port(index, assigned, settings.name, role, settings, ifindex or 10 + index, True,
                f"02:00:00:00:00:0{index}", addresses=((address, 24),))
    return replace(made, **changes)


class Link:
    """What the supervisor opens for a port: a ring, and a socket whose other end is the wire."""

    def __init__(self, maps: dict[int, int]) -> None:
        """`maps`: where `Rig._map` finds the memory of a ring, by the inode of its socket."""
        self._memory = segment.create("ring", LAYOUT.size // segment.WORD)
        self.kernel = Kernel(LAYOUT)
        self.kernel.buffer = mmap.mmap(self._memory, LAYOUT.size)
        self.bell, self.ring = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire, self.transmit = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (self.bell, self.ring, self.wire, self.transmit):
            sock.setblocking(False)
        maps[os.fstat(self.ring.fileno()).st_ino] = self._memory

    def fill(self, frames: Sequence[Frame]) -> None:
        """Frames come in."""
        self.kernel.fill(frames)
        self.bell.send(b"!")

    def settle(self) -> None:
        """The descriptor is readable no more, if the ring holds nothing."""
        blocks = range(0, LAYOUT.size, LAYOUT.block_size)
        if any(self.kernel.buffer[block + 8] & TP_STATUS_USER for block in blocks):
            return
        try:
            while self.ring.recv(1):
                pass
        except BlockingIOError:
            pass

    def sent(self) -> list[bytes]:
        """The IPv4 packets that left since the last call."""
        packets = []
        while True:
            try:
                packets.append(self.wire.recv(70_000)[24:])
            except BlockingIOError:
                return packets

    def close(self) -> None:
        for sock in (self.bell, self.ring, self.wire, self.transmit):
            sock.close()
        self.kernel.buffer.close()
        os.close(self._memory)


class Rig:
    """A worker, and everybody it has to do with."""

    def __init__(self, *ports: Port, dataplane: DataplaneSettings | None = None) -> None:
        self._maps: dict[int, int] = {}
        self._workers: list[Worker] = []
        self.descriptors = {
            "wake": os.eventfd(0, os.EFD_NONBLOCK), "segment": worker_segment.create(0, 64, 64),
            "configuration": snapshot.create("configuration"), "routes": routes.create(64, 64),
            "membership": membership.create(64),
        }
        self.routes, self.roles = (RouteWriter(self.descriptors["routes"]),
                                   MembershipWriter(self.descriptors["membership"]))
        self._configuration = SnapshotWriter(self.descriptors["configuration"])
        self.state = WorkerReader(self.descriptors["segment"])
        self.columns = WorkerSegment(self.descriptors["segment"])
        self.dataplane = dataplane or DataplaneSettings(gather_ms=0.0)
        self.generation, self.links, self.ports = 0, {}, ()
        self.configure(*ports)
        self.start()

    def _map(self, sock: socket.socket, layout: RingLayout) -> mmap.mmap:
        return mmap.mmap(self._maps[os.fstat(sock.fileno()).st_ino], layout.size)

    def start(self) -> None:
        """A worker starts, perhaps as the successor of another."""
        self.supervisor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor.setblocking(False)
        self.worker = Worker(Start(theirs, {}, self.descriptors), self._map)
        self._workers.append(self.worker)
        self.worker._configure()

    def configure(self, *ports: Port) -> None:
        """The supervisor publishes these ports."""
        self.generation, self.ports = self.generation + 1, ports
        for each in ports:
            self.roles.assign(each.index, each.assigned)
            self.roles.role(each.index, True, 0)
        configuration = Configuration(self.generation, Settings(dataplane=self.dataplane), ports)
        self._configuration.publish(configuration.to_json())

    def lend(self, *indexes: int) -> None:
        """Ports get sockets, all those published if none is named; the worker is told of each."""
        for each in [each for each in self.ports if each.index in indexes or not indexes]:
            link = self.links.setdefault(each.index, None) or Link(self._maps)
            self.links[each.index] = link
            sockets = {"ring": link.ring.fileno(), "transmit": link.transmit.fileno()}
            assert control.send(self.supervisor, *loan(each.key, self.generation, sockets, **asdict(LAYOUT)))

    def complete(self) -> None:
        """All ports there are were lent."""
        assert control.send(self.supervisor, {"type": "ports_sent"})

    def run(self, *ports: int) -> "Rig":
        """Lends all ports and lets the worker take them."""
        self.lend(*ports)
        self.complete()
        self.breathe()
        return self

    def ring_bell(self) -> None:
        """There are news in the segments."""
        os.eventfd_write(self.descriptors["wake"], 1)

    def join(self, *ports: int, group: int) -> None:
        """The agent says who wants a group, and rings."""
        key = RouteKey(group)
        self.routes.set(key, sum(1 << each for each in ports), "learned", self.generation)
        self.ring_bell()

    def breathe(self, most: int = 20) -> int:
        """Breathes until nothing is ready; how often it had to."""
        for count in range(most):
            ready = self.worker._poll.poll(0)
            if not ready:
                return count
            self.worker._breathe(ready)
            for link in self.links.values():
                link.settle()
        raise AssertionError(f"not through after {most} breaths")

    def answers(self) -> list[str]:
        """What the worker said to the supervisor."""
        said = []
        while True:
            try:
                message, _ = control.receive(self.supervisor)
            except BlockingIOError:
                return said
            said.append(message["type"])

    def close(self) -> None:
        for worker in self._workers:
            for attached in worker._berths.attached.values():
                attached.portions.clear()
                attached.close()
            for lent in worker._berths._loans:
                for descriptor in lent.descriptors.values():
                    os.close(descriptor)
            worker._control.close()
        for link in self.links.values():
            link.close()
        self.supervisor.close()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
