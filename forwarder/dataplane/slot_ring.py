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

from forwarder.dataplane.ring import Batch, Bytes, Frame, Offsets, Span, Words
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
HEAD_MASK = np.full(2, ~0).astype(np.uint64)  # status, len, snaplen, mac, net


class SlotRing:
    """The reader of one V2 ring; at most one batch lent at a time."""

    net, head_mask, chained = NET_V2, HEAD_MASK, False

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
        self.address = int(self._buffer.ctypes.data)
        self.words: Words = self._buffer.view(np.uint64)
        slots = self._buffer[: self._slots * FRAME_SIZE].reshape(self._slots, FRAME_SIZE)
        self._headers: npt.NDArray[np.void] = slots[:, : TPACKET2_HDR.itemsize].view(TPACKET2_HDR)[:, 0]
        self._status: npt.NDArray[np.uint32] = self._headers["status"]
        self._queued = queued
        self._fence = threading.Lock()
        self._held, self._lent = 0, False
        self.position = self._find_position(position or 0)

    def ready(self) -> bool:
        """Whether there is a filled slot to be had."""
        return bool(self._fields[self.position * STRIDE] & TP_STATUS_USER)

    def receive(self, limit: int = 1024) -> Batch | None:
        """Lends up to `limit` ready frames, as far as they lie in a row; None if none is ready."""
        if self._lent:
            raise RuntimeError("the last batch was not released")
        self._held = self._in_a_row(limit)
        if self._held:
            self._lent = True
            return self._batch(self.position, self._held)
        if not self.ready():
            return None
        self._held, self._lent = 1, True
        return self._long(self.position, self._queued())

    def frame(self, first: int) -> Frame | None:
        """The frame in the slot at byte `first`; None where it does not fit or is not there."""
        status, length, snaplen, mac, net = HEADER.unpack_from(self.view, first)
        if status & (TP_STATUS_USER | TP_STATUS_COPY) != TP_STATUS_USER or net != NET_V2 or mac + snaplen > FRAME_SIZE:
            return None
        return Frame(first + mac, first + net, snaplen, length)

    def status(self, first: int) -> int:
        """The tp_status of the frame in the slot at byte `first`."""
        return self._fields[first // 4]

    def evenly(self, limit: int = 1024) -> list[Span] | None:
        """The slots that `receive` would lend; None where a frame is too long for its slot."""
        self._held = self._in_a_row(limit)
        return [Span(self.position * FRAME_SIZE, FRAME_SIZE, self._held)] if self._held else None

    def left(self) -> int:
        """Frames in the slots that are filled."""
        return int(np.count_nonzero(self._status & TP_STATUS_USER))

    def release(self) -> None:
        """Gives the slots of the last batch back; the batch is dead."""
        with self._fence:
            self._status[self.position : self.position + self._held] = TP_STATUS_KERNEL
            self.position = (self.position + self._held) % self._slots
        self._held, self._lent = 0, False

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
        self._held = len(frames)
        return frames

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self.words = self._buffer.view(np.uint64)
        self._headers = np.empty(0, TPACKET2_HDR)
        self._status = self._headers["status"]
        self._fields.release()
        self.view.release()

    def _in_a_row(self, limit: int) -> int:
        """How many filled slots there are from the position on, of frames that fit theirs."""
        end = min(self.position + limit, self._slots)
        with self._fence:
            status = self._status[self.position : end].copy()
        usable = status & (TP_STATUS_USER | TP_STATUS_COPY) == TP_STATUS_USER
        return len(status) if usable.all() else int(usable.argmin())

    def _batch(self, first: int, count: int) -> Batch:
        frame: Offsets = np.arange(first, first + count) * FRAME_SIZE
        header = self._headers[first : first + count].copy()
        return Batch(
            buffer=self._buffer,
            words=self.words,
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
