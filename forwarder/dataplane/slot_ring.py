"""A TPACKET_V2 receive ring over any writable buffer: slots of a fixed size, each shown as soon as it is filled.

The same loan as in `ring`: slots are read and given back in order. Frames that do not fit a slot (super-frames, jumbo
frames) are queued whole at the socket too, in the order of their slots; such a frame is a batch of its own, over a
private buffer. Where the queue was full there is only the beginning of the frame, and it counts as truncated.
"""

import mmap
import struct
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.ring import Batch, Bytes, Frame, Offsets, Words
from forwarder.packet.tpacket import (
    FRAME_SIZE,
    NET_V2,
    TP_STATUS_COPY,
    TP_STATUS_KERNEL,
    TP_STATUS_USER,
    TPACKET2_HDR,
    VNET_HDR_LENGTH,
    RingLayout,
)

HEADER = struct.Struct("=3I2H")  # status, len, snaplen, mac, net of a tpacket2_hdr
LONGEST = 65536 + 64
STRIDE = FRAME_SIZE // 4


class SlotRing:
    """The reader of one V2 ring; at most one batch lent at a time."""

    def __init__(
        self,
        buffer: bytearray | mmap.mmap,
        layout: RingLayout,
        position: int | None = None,
        queued: Callable[[], bytes] = bytes,
    ) -> None:
        """`position`: where to read on when the ring is empty; `queued`: the next frame of the socket's queue."""
        self.view = memoryview(buffer)
        self._slots = layout.frame_nr
        self._fields = self.view.cast("I")
        self._buffer: Bytes = np.frombuffer(buffer, np.uint8)
        self._words: Words = self._buffer.view(np.uint64)
        slots = self._buffer[: self._slots * FRAME_SIZE].reshape(self._slots, FRAME_SIZE)
        self._headers: npt.NDArray[np.void] = slots[:, : TPACKET2_HDR.itemsize].view(TPACKET2_HDR)[:, 0]
        self._status: npt.NDArray[np.uint32] = self._headers["status"]
        self._queued = queued
        self._fence = threading.Lock()
        self._held = self._seen = 0
        self.position = self._find_position(position or 0)

    def ready(self) -> bool:
        """Whether there is a filled slot to be had."""
        return bool(self._fields[self.position * STRIDE] & TP_STATUS_USER)

    def receive(self, limit: int = 1024) -> Batch | None:
        """Lends up to `limit` ready frames, as far as they lie in a row; None if none is ready."""
        if self._held:
            raise RuntimeError("the last batch was not released")
        end = min(self.position + limit, self._slots)
        with self._fence:
            status = self._status[self.position : end].copy()
        usable = status & (TP_STATUS_USER | TP_STATUS_COPY) == TP_STATUS_USER
        ready = len(status) if usable.all() else int(usable.argmin())
        if ready:
            self._held = ready
            return self._batch(self.position, ready)
        if not status[0] & TP_STATUS_USER:
            return None
        self._held = 1
        return self._long(self.position, self._queued())

    def release(self) -> None:
        """Gives the slots of the last batch back; the batch is dead."""
        with self._fence:
            self._status[self.position : self.position + self._held] = TP_STATUS_KERNEL
            self.position = (self.position + self._held) % self._slots
        self._held = 0

    def few(self, most: int) -> list[Frame] | None:
        """All frames that are ready, where these are at most `most` and fit their slots; None otherwise."""
        frames: list[Frame] = []
        slot = self.position
        while (status := self._fields[slot * STRIDE]) & TP_STATUS_USER:
            if status & TP_STATUS_COPY or len(frames) == most or (frames and slot == 0):
                return None
            with self._fence:
                at = slot * FRAME_SIZE
            _, length, snaplen, mac, net = HEADER.unpack_from(self.view, at)
            frames.append(Frame(at + mac, at + net, snaplen, length))
            slot = (slot + 1) % self._slots
        self._seen = len(frames)
        return frames

    def release_few(self) -> None:
        """Gives the slots of the last call of `few` back."""
        self._held = self._seen
        self.release()

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self._words = self._buffer.view(np.uint64)
        self._headers = np.empty(0, TPACKET2_HDR)
        self._status = self._headers["status"]
        self._fields.release()
        self.view.release()

    def _batch(self, first: int, count: int) -> Batch:
        frame: Offsets = np.arange(first, first + count) * FRAME_SIZE
        header = self._headers[first : first + count].copy()
        return Batch(
            buffer=self._buffer,
            words=self._words,
            frame=frame,
            mac=frame + header["mac"],
            net=frame + header["net"],
            snaplen=header["snaplen"].astype(np.int64),
            length=header["len"].astype(np.int64),
            status=header["status"],
        )

    def _long(self, slot: int, queued: bytes) -> Batch:
        """The frame of a slot that was too short for it, from the socket's queue; truncated when it is not there."""
        header = self._headers[slot]
        length, link_header = int(header["len"]), int(header["net"]) - int(header["mac"])
        if len(queued) != VNET_HDR_LENGTH + length:
            return self._batch(slot, 1)
        buffer = np.zeros(LONGEST // 8, np.uint64)
        start = NET_V2 - link_header - VNET_HDR_LENGTH
        octets = buffer.view(np.uint8)
        octets[start : start + len(queued)] = np.frombuffer(queued, np.uint8)
        return Batch(
            buffer=octets,
            words=buffer,
            frame=np.array([0]),
            mac=np.array([NET_V2 - link_header]),
            net=np.array([NET_V2]),
            snaplen=np.array([length]),
            length=np.array([length]),
            status=np.array([header["status"]], np.uint32),
        )

    def _find_position(self, otherwise: int) -> int:
        """The slot to read next: the oldest filled one; in an empty ring the one after that which was filled last."""
        filled = self._status & TP_STATUS_USER != 0
        age = self._headers["sec"].astype(np.uint64) << np.uint64(32) | self._headers["nsec"]
        if filled.any():
            ready = np.flatnonzero(filled)
            return int(ready[age[ready].argmin()])
        return (int(age.argmax()) + 1) % self._slots if age.any() else otherwise % self._slots
