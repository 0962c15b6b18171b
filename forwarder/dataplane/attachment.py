"""One port as a worker holds it: its ring, its transmit socket, its row of counters."""

import logging
import mmap
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from forwarder.dataplane.frame import source_word
from forwarder.dataplane.long_frames import LONGEST
from forwarder.dataplane.ring import Batch, ReceiveRing, Ring
from forwarder.dataplane.slot_ring import SlotRing
from forwarder.dataplane.transmit import Sent
from forwarder.packet.packet_socket import link_header_length, map_ring, take_error, take_statistics
from forwarder.packet.tpacket import TPACKET_V2, RingLayout
from forwarder.state.flow_columns import Words
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.roles import arriving_threshold
from forwarder.state.worker_segment import (
    DEAF,
    FIRST_REASON,
    KIND,
    POSITION,
    REPLACED,
    RING,
    TX_BYTES,
    TX_PACKETS,
)

log = logging.getLogger(__name__)

MapMemory: TypeAlias = Callable[[socket.socket, RingLayout], mmap.mmap]


class Attachment:
    """Open from `__init__` to `close`; `counters` is the port's row in the worker's segment.

    `portions`: what of the frames that the ring has lent is still to be carried, where that takes several breaths.
    `threshold`: the least TTL of what comes in.
    """

    def __init__(
        self,
        port: Port,
        layout: RingLayout,
        ring: int,
        transmit: int,
        counters: Words,
        map_memory: MapMemory = map_ring,
    ) -> None:
        """Takes copies of the descriptors, which stay the caller's; `map_memory` maps the ring of a socket."""
        self.link_header = link_header_length(port.link_type, port.name)
        self.counters = counters
        self._receive = socket.socket(fileno=os.dup(ring))
        self._transmit = socket.socket(fileno=os.dup(transmit))
        self._memory = map_memory(self._receive, layout)
        self._take_over(layout)
        self.ring: Ring
        if layout.version == TPACKET_V2:
            self.ring = SlotRing(self._memory, layout, counters[POSITION : POSITION + 1], self._queued)
        else:
            self.ring = ReceiveRing(self._memory, layout, int(counters[POSITION]) % layout.units)
        self.portions: deque[Batch] = deque()
        self.refresh(port)

    def refresh(self, port: Port) -> None:
        """Take over what may change while a port stays: name, MAC, MTU, addresses, threshold."""
        self.port, self.limited = port, port.limited
        self.threshold = arriving_threshold(port.role, port.settings.threshold)
        self.mac = bytes.fromhex(port.mac.replace(":", "")) if self.link_header else bytes(6)
        self.source = source_word(self.mac)

    def receiving(self) -> int:
        """The descriptor to poll."""
        return self._receive.fileno()

    def sending(self) -> int:
        """The descriptor to send on."""
        return self._transmit.fileno()

    def count(self, reason: Reason, frames: int = 1) -> None:
        """Count dropped frames."""
        self.counters[FIRST_REASON + reason - 1] += frames

    def count_sent(self, sent: Sent) -> None:
        """Count what became of messages."""
        self.counters[TX_PACKETS] += sent.sent
        self.counters[TX_BYTES] += sent.bytes
        if sent.failed:
            self.count(Reason.TRANSMIT_FAILED, sent.failed)

    def give_up(self) -> None:
        """Count what will not be carried any more: the rest of what is lent, and what the ring has besides."""
        if self.portions:
            self.count(Reason.RING_FULL, sum(len(portion.frame) for portion in self.portions))
            self.portions.clear()
            self.ring.release()
        self.count(Reason.RING_FULL, self.ring.left())

    def beat(self) -> None:
        """Note where we are in the ring, what the kernel dropped, and whether it fills the ring no more."""
        self.counters[POSITION] = self.ring.position
        with suppress(OSError):
            accepted, dropped = take_statistics(self._receive)
            self.count(Reason.RING_FULL, dropped)
            if isinstance(self.ring, SlotRing) and self.ring.deaf(accepted, dropped):
                self.counters[DEAF] = self.counters[RING]

    def settle_error(self) -> None:
        """Read the pending error of a link that went down, or poll would report it for ever."""
        error = take_error(self._receive)
        if error:
            log.info("%s: %s", self.port.name, os.strerror(error))

    def _take_over(self, layout: RingLayout) -> None:
        """What the row says of another ring is not so of this one, where the kernel begins at the beginning."""
        ring, row = os.fstat(self._receive.fileno()).st_ino, self.counters
        if row[RING] != ring:
            row[REPLACED] += np.uint64(row[RING] != 0 and row[RING] == row[DEAF])
            row[POSITION], row[RING] = 0, ring
        row[KIND] = layout.version

    def _queued(self) -> bytes:
        """The next frame that did not fit its slot, behind its vnet header; nothing where the queue was full."""
        for _ in range(2):  # that a link went down is said once, ahead of what is queued
            try:
                return self._receive.recv(LONGEST)
            except BlockingIOError:
                break
            except OSError:
                continue
        return b""

    def close(self) -> None:
        """Drop views, map and descriptors; no batch may be lent."""
        self.beat()
        self.ring.close()
        try:
            self._memory.close()
        except BufferError:
            log.warning("%s: its ring is still referred to", self.port.name)
        self._receive.close()
        self._transmit.close()
