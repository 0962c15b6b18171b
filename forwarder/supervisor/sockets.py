"""The sockets of a port: opened here, held here, lent to the children.

Setting up a ring takes the kernel about 100 ms, so ports are opened in a few threads beside the supervisor's loop.
Because the supervisor keeps every socket, the ring of a killed worker goes on filling until its successor maps it.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from socket import socket

from forwarder.packet.bpf import Share
from forwarder.packet.packet_socket import PortError, RingLayout, open_igmp, open_receive_ring, open_transmit
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.state.ports import Port
from forwarder.state.settings import DataplaneSettings

log = logging.getLogger(__name__)

UPSTREAM_BLOCKS = 512
DOWNSTREAM_BLOCKS = 32
LEAST_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class PortSockets:
    """What one port needs, with a ring for each worker; `key` says for which owner and interface it was opened."""

    key: tuple[int, int, int]
    layout: RingLayout
    rings: tuple[socket, ...]
    transmit: socket
    igmp: socket

    def close(self) -> None:
        """Close the supervisor's copies."""
        for each in (*self.rings, self.transmit, self.igmp):
            each.close()


def key_of(port: Port) -> tuple[int, int, int]:
    """Index, assignment and interface: sockets fit a port while all three agree."""
    return port.index, port.assigned, port.ifindex


class PortOpener:
    """Opens ports in threads and reports them through `done`, after ringing `bell` (an eventfd)."""

    def __init__(self, sizes: DataplaneSettings, bell: int) -> None:
        self._workers = sizes.workers
        self._slots_only = sizes.profile == "latency"
        self._budget = sizes.ring_memory // RingLayout().block_size
        self._lent: dict[tuple[int, int, int], int] = {}
        self._bell = bell
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="open-port")
        self._pending: dict[tuple[int, int, int], Future[PortSockets]] = {}

    @property
    def busy(self) -> bool:
        """Whether ports are being opened."""
        return bool(self._pending)

    def open(self, port: Port, promiscuous: bool) -> None:
        """Begin to open `port`; does nothing while that is under way."""
        key = key_of(port)
        if key in self._pending:
            return
        layout = RingLayout(block_nr=self._blocks(port), version=self._ring_version(port))
        self._lent[key] = layout.block_nr * self._workers
        future = self._pool.submit(_open, port, layout, promiscuous, self._workers)
        self._pending[key] = future
        future.add_done_callback(lambda _: os.eventfd_write(self._bell, 1))

    def done(self, failed: Callable[[PortError], None]) -> list[PortSockets]:
        """Ports that were opened since the last call; failures go to `failed`."""
        finished = {key: future for key, future in self._pending.items() if future.done()}
        opened = []
        for key, future in finished.items():
            del self._pending[key]
            try:
                opened.append(future.result())
            except PortError as error:
                del self._lent[key]
                failed(error)
        return opened

    def close(self, sockets: PortSockets) -> None:
        """Close a port's sockets beside the loop and give its ring back to the budget."""
        self._lent.pop(sockets.key, None)
        self._pool.submit(sockets.close)

    def shutdown(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)

    def _ring_version(self, port: Port) -> int:
        """Blocks where streams come in. Each such ring has a timer that never rests, even when nothing flows."""
        return TPACKET_V3 if port.role == "upstream" and not self._slots_only else TPACKET_V2

    def _blocks(self, port: Port) -> int:
        """Of one ring: upstream at least 500 ms of one-millisecond blocks, downstream little, within the budget."""
        free = (self._budget - sum(self._lent.values())) // self._workers
        wanted = UPSTREAM_BLOCKS if port.role == "upstream" else min(DOWNSTREAM_BLOCKS, free // 2)
        return max(LEAST_BLOCKS, min(wanted, free))


def _open(port: Port, layout: RingLayout, promiscuous: bool, workers: int) -> PortSockets:
    opened: list[socket] = []
    try:
        for worker in range(workers):
            share = Share(worker, workers)
            opened.append(open_receive_ring(port.ifindex, port.name, layout, promiscuous, share))
        opened.append(open_transmit(port.ifindex, port.name))
        opened.append(open_igmp(port.ifindex, port.name, promiscuous))
    except PortError:
        for each in opened:
            each.close()
        raise
    *rings, transmit, igmp = opened
    return PortSockets(key_of(port), layout, tuple(rings), transmit, igmp)
