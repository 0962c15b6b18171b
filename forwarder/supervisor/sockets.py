"""The sockets of a port: opened here, held here, lent to the children.

Setting up a ring takes the kernel about 100 ms, so ports are opened in a few threads beside the supervisor's loop.
Because the supervisor keeps every socket, the ring of a killed worker goes on filling until its successor maps it.
A single ring can be replaced: a worker that finds it deaf (`dataplane.slot_ring`) says so in its segment.
"""

import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from socket import socket
from threading import Barrier
from typing import NamedTuple, TypeAlias

from forwarder.packet.bpf import Share
from forwarder.packet.packet_socket import RingLayout, is_bound, open_igmp, open_receive_ring, open_transmit
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.state.ports import Port
from forwarder.state.settings import DataplaneSettings, ProfileName

log = logging.getLogger(__name__)

UPSTREAM_BLOCKS = 512
DOWNSTREAM_BLOCKS = 32
LEAST_BLOCKS = 4
THREADS = 4     # that open ports, most of the time waiting for the kernel


Key: TypeAlias = tuple[int, int, int]  # port index, assignment, ifindex


@dataclass(frozen=True, slots=True)
class PortSockets:
    """What one port needs, with a ring for each worker; `key` and `role` say for what they were opened."""

    key: Key
    role: str
    layout: RingLayout
    rings: tuple[socket, ...]
    transmit: socket
    igmp: socket

    def fit(self, port: Port) -> bool:
        """Whether this port is what they were opened for; another role has another ring."""
        return (self.key, self.role) == (key_of(port), port.role)

    def outlived(self) -> bool:
        """Whether their interface has gone, even if one of its name and index is there: it came back from elsewhere."""
        return not all(map(is_bound, (*self.rings, self.transmit, self.igmp)))

    def ring_number(self, worker: int) -> int:
        """What tells a worker's ring from all others: its inode."""
        return os.fstat(self.rings[worker].fileno()).st_ino

    def with_ring(self, worker: int, ring: socket) -> "PortSockets":
        """The same with another ring for a worker."""
        return replace(self, rings=(*self.rings[:worker], ring, *self.rings[worker + 1 :]))

    def close(self) -> None:
        """Close the supervisor's copies."""
        for each in (*self.rings, self.transmit, self.igmp):
            each.close()


class NewRing(NamedTuple):
    """A ring that takes the place of a worker's ring."""

    key: Key
    worker: int
    ring: socket


def key_of(port: Port) -> Key:
    """Index, assignment and interface: sockets fit a port while all three agree."""
    return port.index, port.assigned, port.ifindex


def ring_version(role: str, profile: ProfileName, super_frames: bool) -> int:
    """Blocks (TPACKET_V3) where streams come in; slots elsewhere, and in profile `latency`.

    Each ring of blocks has a timer that never rests, even when nothing flows. But where the kernel takes no UDP
    super-frames, each of them makes a ring of slots deaf, and costs a ring of blocks no more than itself.
    """
    if not super_frames:
        return TPACKET_V3
    return TPACKET_V3 if role == "upstream" and profile != "latency" else TPACKET_V2


class PortOpener:
    """Opens ports in threads and reports them through `done`, after ringing `bell` (an eventfd)."""

    def __init__(self, sizes: DataplaneSettings, bell: int, super_frames: bool) -> None:
        """`super_frames`: whether the kernel takes UDP super-frames into rings."""
        self._workers, self._profile, self._super_frames = sizes.workers, sizes.profile, super_frames
        self._budget = sizes.ring_memory // RingLayout().block_size
        self._lent: dict[Key, int] = {}
        self._bell = bell
        self._pool = _threads()
        self._pending: dict[Key, Future[PortSockets]] = {}
        self._replacing: list[Future[NewRing]] = []

    @property
    def busy(self) -> bool:
        """Whether ports are being opened."""
        return bool(self._pending)

    def open(self, port: Port, promiscuous: bool) -> None:
        """Begin to open `port`; does nothing while that is under way."""
        key = key_of(port)
        if key in self._pending:
            return
        version = ring_version(port.role, self._profile, self._super_frames)
        layout = RingLayout(block_nr=self._blocks(port), version=version)
        self._lent[key] = layout.block_nr * self._workers
        future = self._pool.submit(_open, port, layout, promiscuous, self._workers)
        self._pending[key] = future
        future.add_done_callback(self._ring)

    def replace_ring(self, port: Port, layout: RingLayout, promiscuous: bool, worker: int) -> None:
        """Begin to open another ring for a worker."""
        share = Share(worker, self._workers)

        def opened() -> NewRing:
            ring = open_receive_ring(port.ifindex, port.name, layout, promiscuous, share)
            return NewRing(key_of(port), worker, ring)

        self._replacing.append(self._pool.submit(opened))
        self._replacing[-1].add_done_callback(self._ring)

    def done(self, failed: Callable[[Key, Exception], None]) -> list[PortSockets]:
        """Ports that were opened since the last call; failures, whatever they are, go to `failed`."""
        finished = {key: future for key, future in self._pending.items() if future.done()}
        opened = []
        for key, future in finished.items():
            del self._pending[key]
            try:
                opened.append(future.result())
            except Exception as error:
                self._lent.pop(key, None)
                failed(key, error)
        return opened

    def replaced(self) -> list[NewRing]:
        """Rings that were opened to take another's place since the last call; failures are logged."""
        finished = [future for future in self._replacing if future.done()]
        self._replacing = [future for future in self._replacing if future not in finished]
        opened = []
        for future in finished:
            try:
                opened.append(future.result())
            except Exception as error:
                log.error("a ring could not be replaced: %s", error)
        return opened

    def close_ring(self, ring: socket) -> None:
        """Close a single ring beside the loop."""
        self._pool.submit(ring.close)

    def close(self, sockets: PortSockets) -> None:
        """Close a port's sockets beside the loop and give its ring back to the budget."""
        self._lent.pop(sockets.key, None)
        self._pool.submit(sockets.close)

    def shutdown(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)

    def _ring(self, _: object) -> None:
        os.eventfd_write(self._bell, 1)

    def _blocks(self, port: Port) -> int:
        """Of one ring: upstream at least 500 ms of one-millisecond blocks, downstream little, within the budget."""
        free = (self._budget - sum(self._lent.values())) // self._workers
        wanted = UPSTREAM_BLOCKS if port.role == "upstream" else min(DOWNSTREAM_BLOCKS, free // 2)
        return max(LEAST_BLOCKS, min(wanted, free))


def _threads() -> ThreadPoolExecutor:
    """Threads that are there from now on: later there may be none to be had, and what was handed over would be lost."""
    for count in range(THREADS, 0, -1):
        pool, together = ThreadPoolExecutor(count, thread_name_prefix="open-port"), Barrier(count)
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


def _open(port: Port, layout: RingLayout, promiscuous: bool, workers: int) -> PortSockets:
    opened: list[socket] = []
    try:
        for worker in range(workers):
            share = Share(worker, workers)
            opened.append(open_receive_ring(port.ifindex, port.name, layout, promiscuous, share))
        opened.append(open_transmit(port.ifindex, port.name))
        opened.append(open_igmp(port.ifindex, port.name, promiscuous))
    except BaseException:
        for each in opened:
            each.close()
        raise
    *rings, transmit, igmp = opened
    return PortSockets(key_of(port), port.role, layout, tuple(rings), transmit, igmp)
