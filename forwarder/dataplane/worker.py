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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from forwarder.dataplane.attachment import Attachment, MapMemory
from forwarder.dataplane.berths import Berths
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.egress_drops import EgressDrops
from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.ledger import Ledger
from forwarder.dataplane.pace import MOST, Pace
from forwarder.dataplane.pipeline import Pipeline
from forwarder.dataplane.profiles import PROFILES, profile_of
from forwarder.dataplane.segmentation import MORE_SEGMENTS, SEGMENTS
from forwarder.dataplane.transmit import probe_gso
from forwarder.dataplane.transmitter import Transmitter
from forwarder.packet.packet_socket import map_ring
from forwarder.packet.tpacket import RingLayout
from forwarder.process import control
from forwarder.process.child import Start, bootstrap
from forwarder.process.lending import Loan
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.snapshot import SnapshotReader
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import (
    ASSIGNED,
    BATCHES,
    FRAMES,
    GSO,
    GSO_MORE,
    GSO_TAKEN,
    HEARTBEAT,
    PLAIN,
)

log = logging.getLogger(__name__)

TURN = 2                        # batches of one port before the others get their turn
BREATH = 0.010                  # seconds after which a breath begins no other batch; one takes pace.LONGEST at most
BEAT = 1.0                      # seconds between heartbeats
SOON = 0.02                     # seconds until a beat that asks for segmentation; till then streams cost ten times more
LAST_BREATH = 1.0               # seconds at most for what our rings hold when we end: a ring of 32 MiB is read in less
SPINS = 64                      # looks at all rings between two looks at the news, when they are polled busily
FD_SETSIZE = 1024               # descriptors from here on are too high for select
PAUSE = 0.00015                 # seconds between two bursts of a flow: receivers wake and take 64 datagrams in it
BUSY = 0.5                      # share of a processor that leaves us no time for pauses
SPENT = 0.8                     # the same of the time in which we had anything to do, processor or not
CROWDED = 0.02                  # share of a second in which we waited for a processor that others had
RETRY = 0.01                    # seconds until a row is looked at again that may have been in the middle of a change

SEGMENTS_OF = {0: 0, PLAIN: 0, GSO_TAKEN: SEGMENTS, GSO_MORE: MORE_SEGMENTS}


def main() -> None:
    """Be mcfwd-worker-N until the supervisor ends."""
    start = bootstrap("mcfwd-worker-spare")
    worker = Worker(start)
    gc.freeze()
    gc.disable()
    worker.run()


class Worker:
    """See the module; `run` is its life."""

    def __init__(self, start: Start, map_memory: MapMemory = map_ring) -> None:
        descriptors = start.descriptors
        self._control, self._wake = start.control, descriptors["wake"]
        self._control.setblocking(False)
        self._segment = WorkerSegment(descriptors["segment"], writable=True)
        self._header = self._segment.header.data
        self._configuration = SnapshotReader(descriptors["configuration"])
        self._ports: dict[int, Port] = {}
        self._generation = 0
        self._poll = select.poll()
        self._news = (self._control.fileno(), self._wake)
        self._heralds = select.poll()
        for descriptor in self._news:
            self._poll.register(descriptor, select.POLLIN)
            self._heralds.register(descriptor, select.POLLIN)
        self._berths = Berths(self._segment.ports, self._poll, map_memory, self._drain, self._changed)
        flows = FlowTable(self._segment.flows, _random_key())
        self._routes = RouteReader(descriptors["routes"])
        self._decisions = Decisions(flows, self._routes, MembershipReader(descriptors["membership"]))
        fanout = self._fanout = Fanout(parallel=len(os.sched_getaffinity(0)) > 1)
        others = [WorkerSegment(fd).ports for name, fd in descriptors.items() if name.startswith("worker-")]
        ledger = Ledger(self._segment.ports, others)
        capacity = max(MOST, RingLayout().most_frames)
        drops = self._drops = EgressDrops(flows, self._segment.drops)
        flows.withheld.count = drops.withheld(self._segment.ports)
        self._transmitter = Transmitter(self._berths.attached, fanout, capacity, self._segment.ports, ledger, drops)
        self._pipeline = Pipeline(self._decisions, self._transmitter, _random_key())
        self._next: int | None = None   # the descriptor that is first in the next breath
        self._spun = 0                  # the port that is looked at first when rings are polled busily
        self._profile = PROFILES["balanced"]
        self._pace = Pace(self._profile.gather)
        self._next_beat = 0.0
        self._began = self._worked = 0.0    # the last breath: when, and our processor time till then
        self._spent = self._paused = 0.0    # the time it took, without that of its pauses
        self._drain_until = 0.0             # processor time at which rings of ports that are let go are read no more
        self._waited = 0                # nanoseconds for a processor, till the last beat

    def run(self) -> None:
        """Breathe until the supervisor is gone."""
        self._configure()
        while True:
            now = time.monotonic()
            if now >= self._next_beat:
                self._next_beat = now + BEAT
                self._beat(now)
            if self._profile.spin:
                self._spin(self._next_beat)
            self._breathe(self._await(now, self._next_beat))

    def _await(self, now: float, next_beat: float) -> list[tuple[int, int]]:
        """What is ready: at once, or under load when the next batch is due or there are news, whichever is sooner."""
        behind = self._routes.pending
        if behind:
            self._decisions.refresh()
        if self._profile.spin:
            return self._poll.poll(0)
        if (wait := self._pace.wait(now)) and not any(port.portions for port in self._berths.rings.values()):
            self._doze(wait)
            return self._poll.poll(0)
        return self._poll.poll((RETRY if behind else next_beat - now) * 1000)

    def _spin(self, until: float) -> None:
        """Look at all rings again and again; now and then, and when `until` has come, it is time for the news.

        No longer than a breath, and then on where it ended.
        """
        ports = deque(self._berths.attached.values() if self._berths.complete else ())
        ports.rotate(-self._spun)
        until = min(until, time.monotonic() + BREATH)
        for _ in range(SPINS):
            for number, port in enumerate(ports, 1):
                if port.ring.ready() and self._carry(port) and time.monotonic() >= until:
                    self._spun = (self._spun + number) % len(ports)
                    return
            if time.monotonic() >= until:
                return

    def _breathe(self, ready: list[tuple[int, int]]) -> None:
        """Attend to what is ready, news first: they were registered first. Who had no turn is first the next time."""
        began, before = time.monotonic(), self._header[FRAMES]
        worked = time.process_time()
        apart = began - self._began
        behind = worked - self._worked > BUSY * apart or self._spent > SPENT * apart  # others may have our processor
        self._transmitter.pause = None if behind else self._pause
        self._began, self._worked, self._paused = began, worked, 0.0
        if self._next is not None:
            ready = self._in_turn(ready)
        for at, (descriptor, events) in enumerate(ready):
            self._attend(descriptor, events)
            if time.monotonic() - began > BREATH:
                self._next = ready[at + 1][0] if at + 1 < len(ready) else None
                break
        self._spent = time.monotonic() - began - self._paused
        if frames := self._header[FRAMES] - before:
            self._pace.took(frames, began)

    def _doze(self, seconds: float) -> None:
        """Until there are news, or so long.

        Only select waits for parts of a millisecond; it takes no descriptor from FD_SETSIZE on, and we may get one.
        """
        if max(self._news) < FD_SETSIZE:
            select.select(self._news, (), (), seconds)
        else:
            self._heralds.poll(seconds * 1000)

    def _pause(self) -> bool:
        """Let receivers take what they got, where there is time before the next batch is due; whether there was."""
        if time.monotonic() + PAUSE > self._began + self._pace.gather:
            return False
        self._doze(PAUSE)
        self._paused += PAUSE
        return True

    def _in_turn(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """`ready` with what the last breath had no time for before the other rings."""
        descriptors, first = [each[0] for each in ready], self._next
        self._next = None
        news = sum(each in self._news for each in descriptors)
        at = max(descriptors.index(first), news) if first in descriptors else news
        return ready[:news] + ready[at:] + ready[news:at]

    def _attend(self, descriptor: int, events: int) -> None:
        if (port := self._berths.rings.get(descriptor)) is not None:
            if events & (select.POLLERR | select.POLLNVAL):
                port.settle_error()
            for _ in range(TURN):
                few = 2 * self._carry(port) < self._pace.limit and not port.portions
                if few or time.monotonic() - self._began > BREATH:
                    return
        elif descriptor == self._wake:
            with suppress(BlockingIOError):  # woken for nothing
                os.eventfd_read(self._wake)
            self._configure()
            self._decisions.refresh()
        elif descriptor == self._control.fileno():
            self._instructed()

    # frames

    def _carry(self, port: Attachment) -> int:
        """Carry one batch, or a portion of one; how many frames that were."""
        began = time.monotonic()
        carried = self._pipeline.carry(port, self._pace.limit, self._pace.reach, self._profile.few, began)
        if carried.frames:
            self._header[BATCHES] += 1
            self._header[FRAMES] += carried.frames
            self._pace.fit(*carried, time.monotonic() - began, done=not port.portions)
        return carried.frames

    # news

    def _instructed(self) -> None:
        try:
            received = control.receive(self._control)
        except BlockingIOError:     # woken for nothing
            return
        if received is None:    # the supervisor is gone, or another is to take our place, and reads our rings on
            self._finish(lambda port: bool(port.portions))
        message, descriptors = received
        match message["type"]:
            case "leave":       # nobody takes our place: our rings get nothing more
                self._finish(lambda _: True)
            case "port":
                self._drain_until = time.thread_time() + BREATH
                self._berths.lend(Loan(message, descriptors))
                self._configure()
                self._berths.attach({index: self._ports[index] for index in (message["port"],) if index in self._ports})
            case "ports_sent":
                self._berths.all_lent()
                control.send(self._control, {"type": "ready"})

    def _finish(self, goes_on: Callable[[Attachment], bool]) -> NoReturn:
        """End, once rings have been read as long as one `goes_on`, and no longer than LAST_BREATH."""
        until = time.monotonic() + LAST_BREATH
        for port in list(self._berths.rings.values()):
            while goes_on(port) and time.monotonic() < until and self._carry(port):
                pass
        raise SystemExit(0)

    def _configure(self) -> None:
        published = self._configuration.poll()
        if published is None:
            return
        configuration = Configuration.from_json(published)
        self._generation = configuration.generation
        self._profile = profile_of(configuration.settings.dataplane)
        self._pace.gather = self._profile.gather
        self._transmitter.burst = self._profile.burst
        self._ports = {port.index: port for port in configuration.ports}
        self._pace.bound(len(self._ports) - 1)
        self._drain_until = time.thread_time() + BREATH
        self._berths.let_go(self._ports, self._generation)
        for index, port in self._ports.items():
            self._assign(index, port)
        self._berths.attach(self._ports)
        self._decisions.configure(configuration)

    def _assign(self, index: int, port: Port) -> None:
        """Counters and flows of a port index start over with a new owner: what the former one brought was not its."""
        row = self._segment.ports[index]
        if row[ASSIGNED] != port.assigned:
            row[:] = 0
            self._drops.forget(index)
            self._decisions.flows.forget(index)
            row[ASSIGNED] = port.assigned

    def _changed(self) -> None:
        """Other ports are attached, or what we know of them is another."""
        self._pipeline.ports_changed(self._berths.missing(self._ports.values()))
        if self._berths.complete and not self._header[GSO]:
            self._next_beat = min(self._next_beat, time.monotonic() + SOON)

    def _drain(self, port: Attachment) -> None:
        """What the ring still holds goes out, as far as others can wait for it; more may come in as fast as we read.

        The time is that of all ports that are let go together, and our own: on a busy machine a ring that is replaced
        lost what 10 ms of others' work left in it.
        """
        while time.thread_time() < self._drain_until and self._carry(port):
            pass
        port.give_up()

    # once a second

    def _beat(self, now: float) -> None:
        self._segment.header[HEARTBEAT] = time.monotonic_ns()
        for port in self._berths.attached.values():
            port.beat()
        self._decisions.tidy(now)
        if not self._pipeline.segments:
            self._ask_for_segmentation()
        waited = _waited_for_processors()
        self._fanout.crowded = waited - self._waited > CROWDED * BEAT * 1e9
        self._waited = waited

    def _ask_for_segmentation(self) -> None:
        """Ask once whether the kernel takes segmentation offload; who is not asked yet may answer at the next beat."""
        for port in [] if self._header[GSO] else self._respondents():
            with suppress(OSError):
                self._header[GSO] = _segmentation(port)
                break
        self._pipeline.use_segments(SEGMENTS_OF[self._header[GSO]])

    def _respondents(self) -> list[Attachment]:
        """Ethernet ports that are up, upstream first to spare receivers; none before upstream is attached."""
        upstream = [index for index, port in self._ports.items() if port.up and port.role == "upstream"]
        if not self._berths.attached.keys() >= set(upstream):
            return []
        ready = [port for port in self._berths.attached.values() if port.port.up and port.link_header]
        return sorted(ready, key=lambda port: port.port.role != "upstream")


def _segmentation(port: Attachment) -> int:
    """What the kernel takes, as the segment says it."""
    address = port.port.addresses[0][0] if port.port.addresses else 0
    if not probe_gso(port.sending(), port.mac, address):
        return PLAIN
    return GSO_MORE if probe_gso(port.sending(), port.mac, address, MORE_SEGMENTS) else GSO_TAKEN


def _waited_for_processors() -> int:
    """Nanoseconds that this thread was ready to run and did not (schedstats); 0 where the kernel does not say."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _random_key() -> tuple[int, int]:
    """Two odd 64-bit numbers that nobody outside can know."""
    random = os.urandom(16)
    return int.from_bytes(random[:8]) | 1, int.from_bytes(random[8:]) | 1


if __name__ == "__main__":
    main()
