"""Opens the sockets of ports beside the supervisor's loop: setting up a ring takes the kernel about 100 ms.

A ring for which the kernel has no memory is tried smaller. A single ring can be replaced: one that its worker finds
deaf (`dataplane.slot_ring`), or one that is smaller than it should be.
"""

import errno
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from socket import socket
from threading import Barrier, Event
from typing import TypeAlias, TypeVar

from forwarder.packet.bpf import Share
from forwarder.packet.packet_socket import (
    PortError,
    RingLayout,
    link_header_length,
    open_igmp,
    open_receive_ring,
    open_transmit,
    stop_receiving,
)
from forwarder.process.lending import Key
from forwarder.state.ports import Port
from forwarder.state.ring_memory import BLOCK, LEAST, smaller
from forwarder.state.settings import DataplaneSettings
from forwarder.supervisor.refusals import of_memory
from forwarder.supervisor.sockets import NewRing, NewRings, PortSockets, Replacing, WorkerRing, ring_version

THREADS = 4     # that open ports, most of the time waiting for the kernel
RETIRED = 0.02  # seconds until the block that was being filled is shown: a millisecond, in jiffies of up to 10 ms
HELD = 0.5
"""Seconds that what is closed is held, until children have closed theirs, which takes them a breath.

The last to close a packet socket waits for all processors to be through with it (synchronize_net), 10 to 25 ms, twice a
port: a worker from which sixty ports were taken at once read no ring for two seconds.
"""
SPARED = 32     # descriptors that ports leave to children, or none could be started again: ten each for a moment

K = TypeVar("K")
T = TypeVar("T")
OpenRing: TypeAlias = Callable[[int, str, RingLayout, bool, Share], socket]


class PortOpener:
    """Opens ports in threads and reports them through `done`, after ringing `bell` (an eventfd)."""

    def __init__(
        self, sizes: DataplaneSettings, bell: int, super_frames: bool, open_ring: OpenRing = open_receive_ring
    ) -> None:
        """`super_frames`: whether the kernel takes UDP super-frames into rings."""
        self.workers, self.profile = sizes.workers, sizes.profile   # of what is opened from now on
        self._super_frames = super_frames
        self._bell, self._open_ring = bell, open_ring
        self._pool, self._closers, self._ending = _threads("open-port"), _threads("close-port"), Event()
        self._opening: dict[Key, Future[PortSockets]] = {}
        self._replacing: dict[Replacing, Future[NewRing]] = {}
        self._resizing: dict[Key, Future[NewRings]] = {}

    @property
    def busy(self) -> bool:
        """Whether ports are being opened."""
        return bool(self._opening)

    @property
    def under_way(self) -> bool:
        """Whether anything is being opened, of the profile that there was when that began."""
        return bool(self._opening or self._replacing or self._resizing)

    def version(self, role: str) -> int:
        """What kind of ring a port of this role has."""
        return ring_version(role, self.profile, self._super_frames)

    def open(self, port: Port, promiscuous: bool, blocks: int) -> None:
        """Begin to open `port` with rings of so many blocks, or of fewer if the kernel has no memory for these."""
        workers = self.workers
        self._opening[port.key] = self._submit(lambda: self._opened(port, promiscuous, workers, blocks))

    def replace_rings(self, port: Port, promiscuous: bool, blocks: int, former: Sequence[WorkerRing]) -> None:
        """Begin to open rings of so many blocks, or of fewer, for as many workers as there are now.

        They take the place of `former` as in `replace_ring`. OSError when there is no descriptor to be had.
        """
        workers, held = self.workers, list[socket]()
        try:
            held += (ring.socket.dup() for ring in former)
        except OSError:
            for each in held:
                each.close()
            raise

        def opened() -> NewRings:
            rings, refused = _with_fewer(blocks, LEAST, lambda fewer: self._rings_of(port, promiscuous, workers, fewer))
            for each in held:
                with suppress(OSError):
                    stop_receiving(each, port.ifindex)
            time.sleep(RETIRED)
            return NewRings(port.key, port.role, rings, refused)

        future = self._resizing[port.key] = self._submit(opened)
        for each in held:
            future.add_done_callback(partial(_close, each))

    def replace_ring(
        self, port: Port, promiscuous: bool, worker: int, blocks: int, least: int, former: WorkerRing
    ) -> None:
        """Begin to open another ring for a worker, to which frames come from then on instead of to `former`.

        It has `blocks`, or fewer if the kernel has no memory for these, but `least` in any case. Some few frames may
        come to both rings, none is lost; who is lent the new one reads the former one out. OSError when there is no
        descriptor to be had.
        """
        held = former.socket.dup()  # or its number might be that of another by the time it is told to stop
        share = Share(worker, self.workers)

        def open_ring(blocks: int) -> WorkerRing:
            return self._ring_of(port, promiscuous, blocks, share)

        def opened() -> NewRing:
            with held:
                ring, refused = _with_fewer(blocks, least, open_ring)
                with suppress(OSError):
                    stop_receiving(held, port.ifindex)
            time.sleep(RETIRED)
            return NewRing(place, ring, refused)

        place = Replacing(port.key, port.role, worker)
        self._replacing[place] = self._submit(opened)

    def done(self, failed: Callable[[Key, Exception], None]) -> list[PortSockets]:
        """Ports that were opened since the last call; failures, whatever they are, go to `failed`."""
        return [sockets for _, sockets in _finished(self._opening, failed)]

    def replaced(self, failed: Callable[[Replacing, Exception], None]) -> list[NewRing]:
        """Rings that were opened to take another's place since the last call; failures go to `failed`."""
        return [ring for _, ring in _finished(self._replacing, failed)]

    def resized(self, failed: Callable[[Key, Exception], None]) -> list[NewRings]:
        """Rings that were opened to take the place of all of a port's; failures go to `failed`."""
        return [rings for _, rings in _finished(self._resizing, failed)]

    def close_ring(self, ring: WorkerRing) -> None:
        """Close a single ring in a while, beside the loop."""
        self._retire(ring.socket.close)

    def close(self, sockets: PortSockets) -> None:
        """Close a port's sockets in a while, beside the loop."""
        self._retire(sockets.close)

    def shutdown(self) -> None:
        """Wait for what is under way; what is still held is closed now."""
        self._ending.set()
        self._pool.shutdown(wait=True)
        self._closers.shutdown(wait=True)

    def _retire(self, close: Callable[[], None]) -> None:
        until = time.monotonic() + HELD

        def wait_and_close() -> None:   # all wait equally long, so nobody waits behind one who waits longer
            self._ending.wait(until - time.monotonic())
            close()

        self._closers.submit(wait_and_close)

    def _submit(self, work: Callable[[], T]) -> "Future[T]":
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: os.eventfd_write(self._bell, 1))
        return future

    def _opened(self, port: Port, promiscuous: bool, workers: int, blocks: int) -> PortSockets:
        link_header_length(port.link_type, port.name)   # what children go by; its interface may be another type by now
        with ExitStack() as opened:
            rings, refused = _with_fewer(blocks, LEAST, lambda fewer: self._rings_of(port, promiscuous, workers, fewer))
            for ring in rings:
                opened.enter_context(ring.socket)
            transmit = opened.enter_context(open_transmit(port.ifindex, port.name))
            igmp = open_igmp(port.ifindex, port.name, promiscuous, _overhears(port))
            opened.pop_all()
        return PortSockets(port.key, port.role, rings, transmit, igmp, refused)

    def _rings_of(self, port: Port, promiscuous: bool, workers: int, blocks: int) -> tuple[WorkerRing, ...]:
        """One for each worker."""
        with ExitStack() as opened:
            rings = []
            for worker in range(workers):
                rings.append(self._ring_of(port, promiscuous, blocks, Share(worker, workers)))
                opened.enter_context(rings[-1].socket)
            opened.pop_all()
        return tuple(rings)

    def _ring_of(self, port: Port, promiscuous: bool, blocks: int, share: Share) -> WorkerRing:
        layout = RingLayout(block_size=BLOCK, block_nr=blocks, version=self.version(port.role))
        ring = WorkerRing(self._open_ring(port.ifindex, port.name, layout, promiscuous, share), layout)
        if ring.socket.fileno() >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARED:  # the lowest that was free
            ring.socket.close()
            raise PortError("receive ring", "socket", port.name, errno.EMFILE)
        return ring


def _overhears(port: Port) -> bool:
    """Whether our own kernel's reports are heard on a port, which costs all that leaves there (`open_igmp`).

    Where it is both, streams leave, so only if we report something too. If that comes by a later reload, the agent asks
    the kernel what it holds every now and then (`AgentPorts.confirm`), as it does anyway.
    """
    return port.role == "upstream" or (port.role == "both" and port.joins)


def _with_fewer(blocks: int, least: int, open_rings: Callable[[int], T]) -> tuple[T, Exception | None]:
    """What is opened with so many blocks, or fewer but `least` where memory for more is refused; and that refusal."""
    refused = None
    while True:
        try:
            return open_rings(blocks), refused
        except OSError as error:
            fewer = smaller(blocks)
            if not of_memory(error) or fewer is None or fewer < least:
                raise
            blocks, refused = fewer, error


def _finished(futures: "dict[K, Future[T]]", failed: Callable[[K, Exception], None]) -> Iterator[tuple[K, T]]:
    """What has come of those that are done, which are taken out; failures go to `failed`."""
    for key in [key for key, future in futures.items() if future.done()]:
        try:
            made = futures.pop(key).result()
        except Exception as error:
            failed(key, error)
        else:
            yield key, made


def _close(held: socket, _: object) -> None:
    held.close()


def _threads(name: str) -> ThreadPoolExecutor:
    """Threads that are there from now on: later there may be none to be had, and what was handed over would be lost."""
    for count in range(THREADS, 0, -1):
        pool, together = ThreadPoolExecutor(count, thread_name_prefix=name), Barrier(count)
        try:
            waiting = [pool.submit(together.wait) for _ in range(count)]
        except RuntimeError:
            together.abort()
            pool.shutdown(wait=False, cancel_futures=True)
            continue
        for each in waiting:
            each.result()
        return pool
    raise OSError(errno.EAGAIN, "no thread to be had for opening sockets")
