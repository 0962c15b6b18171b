"""mcfwd-worker: the loop ("breath") of the data plane.

A breath waits for frames or news, takes over the news, and carries what every ring has to where it is wanted; once
a second it shows life. Nothing in it waits for another process. A worker that is killed leaves its rings, counters
and flows to its successor, which reads no ring before it can send to every port.
"""

import gc
import logging
import os
import select
import time
from contextlib import suppress

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.pace import LARGEST, Pace
from forwarder.dataplane.pipeline import Pipeline
from forwarder.dataplane.profiles import PROFILES, profile_of
from forwarder.dataplane.transmit import probe_gso
from forwarder.dataplane.transmitter import Transmitter
from forwarder.packet.tpacket import RingLayout
from forwarder.process import control
from forwarder.process.child import Start, bootstrap
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.worker_segment import ASSIGNED, BATCHES, FRAMES, GSO, HEARTBEAT, WorkerSegment

log = logging.getLogger(__name__)

TURN = 2                        # batches of one port before the others get their turn
BEAT = 1.0                      # seconds between heartbeats
SPINS = 64                      # looks at all rings between two looks at the news, when they are polled busily
RETRY = 0.01                    # seconds until a row is looked at again that was being written

Key = tuple[int, int, int]      # port index, assignment, ifindex


def main() -> None:
    """Be mcfwd-worker-N until the supervisor ends."""
    start = bootstrap("mcfwd-worker-spare")
    worker = Worker(start)
    gc.freeze()
    gc.disable()
    worker.run()


class Worker:
    """See the module; `run` is its life."""

    def __init__(self, start: Start) -> None:
        descriptors = start.descriptors
        self._control, self._wake = start.control, descriptors["wake"]
        self._control.setblocking(False)
        self._segment = WorkerSegment(descriptors["segment"], writable=True)
        self._configuration = SnapshotReader(descriptors["configuration"])
        self._ports: dict[int, Port] = {}
        self._generation = 0
        self._lent: dict[Key, tuple[RingLayout, int, int]] = {}
        self._lent_at: dict[Key, int] = {}
        self._attached: dict[int, Attachment] = {}
        self._keys: dict[int, Key] = {}
        flows = FlowTable(self._segment.flows, _random_key())
        routes, membership = RouteReader(descriptors["routes"]), MembershipReader(descriptors["membership"])
        self._decisions = Decisions(flows, routes, membership)
        fanout = Fanout(parallel=len(os.sched_getaffinity(0)) > 1)
        self._transmitter = Transmitter(self._attached, fanout, max(LARGEST, RingLayout().most_frames))
        self._pipeline = Pipeline(self._decisions, self._transmitter)
        self._poll = select.poll()
        self._news = (self._control.fileno(), self._wake)
        for descriptor in self._news:
            self._poll.register(descriptor, select.POLLIN)
        self._by_descriptor: dict[int, int] = {}
        self._profile = PROFILES["balanced"]
        self._pace = Pace(self._profile.gather)
        self._complete = False      # every port there was at the start has been lent

    def run(self) -> None:
        """Breathe until the supervisor is gone."""
        self._configure()
        next_beat = 0.0
        while True:
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT
                self._beat(now)
            pause = RETRY if self._decisions.behind else next_beat - now
            if self._profile.spin:
                self._spin(next_beat)
            self._breathe(self._poll.poll(0 if self._profile.spin else pause * 1000))
            if self._decisions.behind:
                self._decisions.refresh()

    def _spin(self, until: float) -> None:
        """Look at all rings again and again; now and then, and when `until` has come, it is time for the news."""
        ports = list(self._attached.values()) if self._complete else []
        for _ in range(SPINS):
            for port in ports:
                if port.ring.ready():
                    self._carry(port)
            if time.monotonic() >= until:
                return

    def _breathe(self, ready: list[tuple[int, int]]) -> None:
        """Attend to what is ready; when there are frames, in their own time or with the news, whichever is sooner."""
        if not self._pace.gather:
            for descriptor, events in ready:
                self._attend(descriptor, events)
            return
        rings = [each for each in ready if each[0] in self._by_descriptor]
        if rings and (wait := self._pace.wait(time.monotonic())):
            select.select(self._news, (), (), wait)
            ready = self._poll.poll(0)  # news come first: they were registered first
        began, before = time.monotonic(), int(self._segment.header[FRAMES])
        for descriptor, events in ready:
            self._attend(descriptor, events)
        if rings:
            self._pace.took(int(self._segment.header[FRAMES]) - before, began)

    def _attend(self, descriptor: int, events: int) -> None:
        if (index := self._by_descriptor.get(descriptor)) is not None:
            self._receive(self._attached[index], events)
        elif descriptor == self._wake:
            os.eventfd_read(self._wake)
            self._configure()
            self._decisions.refresh()
        elif descriptor == self._control.fileno():
            self._instructed()

    # frames

    def _receive(self, port: Attachment, events: int) -> None:
        if events & (select.POLLERR | select.POLLNVAL):
            port.settle_error()
        for _ in range(TURN):
            if 2 * self._carry(port) < self._pace.limit:
                return

    def _carry(self, port: Attachment) -> int:
        """Carry one batch; how many frames the ring had."""
        few = port.ring.few(self._profile.few)
        if few is not None and not few:
            return 0
        if few and self._pipeline.forward_few(port, few, time.monotonic()):
            port.ring.release_few()
            self._count(len(few))
            return len(few)
        batch = port.ring.receive(self._pace.limit)
        if batch is None:
            return 0
        try:
            carried = self._pipeline.forward(port, batch, time.monotonic())
        finally:
            port.ring.release()
        self._count(carried.frames)
        self._pace.fit(*carried)
        return carried.frames

    def _count(self, frames: int) -> None:
        header = self._segment.header
        header[BATCHES] += 1
        header[FRAMES] += frames

    # news

    def _instructed(self) -> None:
        try:
            received = control.receive(self._control)
        except BlockingIOError:     # woken for nothing
            return
        if received is None:
            raise SystemExit(0)
        message, descriptors = received
        match message["type"]:
            case "port":
                self._lend(message, descriptors)
            case "ports_sent":
                self._complete = True
                for port in self._attached.values():
                    self._poll.register(port.receiving(), select.POLLIN)
                control.send(self._control, {"type": "ready"})

    def _lend(self, message: dict[str, int], descriptors: dict[str, int]) -> None:
        key = (message["port"], message["assigned"], message["ifindex"])
        for former in [each for each in self._lent if each[0] == key[0]]:
            self._forget(former)
        layout = RingLayout(message["block_size"], message["block_nr"], message["retire_blk_tov"], message["version"])
        self._lent[key] = (layout, descriptors["ring"], descriptors["transmit"])
        self._lent_at[key] = message["generation"]
        self._configure()
        self._attach()

    def _forget(self, key: Key) -> None:
        if self._keys.get(key[0]) == key:
            self._detach(key[0])
        _, ring, transmit = self._lent.pop(key)
        del self._lent_at[key]
        os.close(ring)
        os.close(transmit)

    def _configure(self) -> None:
        published = self._configuration.poll()
        if published is None:
            return
        configuration = Configuration.from_json(published)
        self._generation = configuration.generation
        self._profile = profile_of(configuration.settings.dataplane)
        self._pace.gather = self._profile.gather
        self._ports = {port.index: port for port in configuration.ports}
        for index, port in self._ports.items():
            self._assign(index, port)
        self._attach()
        self._decisions.configure(configuration)

    def _assign(self, index: int, port: Port) -> None:
        """Counters of a port index start over with a new owner."""
        row = self._segment.ports[index]
        if row[ASSIGNED] != port.assigned:
            row[:] = 0
            row[ASSIGNED] = port.assigned

    def _attach(self) -> None:
        """Attach every port that configuration and descriptors agree on; let go of what was lent for an older one."""
        self._pipeline.ports_changed()
        current = {port.index: (port.index, port.assigned, port.ifindex) for port in self._ports.values()}
        for key in [key for key, lent_at in self._lent_at.items() if lent_at <= self._generation]:
            if current.get(key[0]) != key:
                self._forget(key)
        for index, key in current.items():
            if index in self._attached:
                self._attached[index].refresh(self._ports[index])
            elif key in self._lent:
                self._open(index, key)

    def _open(self, index: int, key: Key) -> None:
        layout, ring, transmit = self._lent[key]
        port = Attachment(self._ports[index], layout, ring, transmit, self._segment.ports[index])
        self._attached[index], self._keys[index] = port, key
        self._by_descriptor[port.receiving()] = index
        if self._complete:
            self._poll.register(port.receiving(), select.POLLIN)

    def _detach(self, index: int) -> None:
        """A link went: take what its ring still holds, then let go in the order the kernel needs."""
        port = self._attached[index]
        port.settle_error()
        if self._complete:
            while self._carry(port):
                pass
            self._poll.unregister(port.receiving())
        del self._by_descriptor[port.receiving()], self._attached[index], self._keys[index]
        self._pipeline.ports_changed()
        port.close()

    # once a second

    def _beat(self, now: float) -> None:
        self._segment.header[HEARTBEAT] = time.monotonic_ns()
        for port in self._attached.values():
            port.beat()
        self._decisions.tidy(now)
        if not self._segment.header[GSO] or not self._transmitter.segmentation:
            self._ask_for_segmentation()

    def _ask_for_segmentation(self) -> None:
        """Ask once whether the kernel takes segmentation offload; who is not asked yet may answer at the next beat."""
        header = self._segment.header
        for port in [] if header[GSO] else self._respondents():
            address = port.port.addresses[0][0] if port.port.addresses else 0
            with suppress(OSError):
                header[GSO] = 2 if probe_gso(port.sending(), port.mac, address) else 1
                break
        self._transmitter.segmentation = int(header[GSO]) == 2

    def _respondents(self) -> list[Attachment]:
        """Ethernet ports that are up, upstream first to spare receivers; none before upstream is attached."""
        upstream = [index for index, port in self._ports.items() if port.up and port.role == "upstream"]
        if not self._attached.keys() >= set(upstream):
            return []
        ready = [port for port in self._attached.values() if port.port.up and port.link_header]
        return sorted(ready, key=lambda port: port.port.role != "upstream")


def _random_key() -> tuple[int, int]:
    """Two odd 64-bit numbers that nobody outside can know."""
    random = os.urandom(16)
    return int.from_bytes(random[:8]) | 1, int.from_bytes(random[8:]) | 1


if __name__ == "__main__":
    main()
