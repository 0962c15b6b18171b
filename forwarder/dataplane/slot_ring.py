"""A TPACKET_V2 receive ring over any writable buffer: slots of a fixed size, each shown as soon as it is filled.

The same loan as in `ring`: slots are read and given back in order, and count with TP_STATUS_USER only.

**Order.** The kernel writes a slot, then a full barrier, then its status. We read statuses, then `fence.acquire`, then
what the slots hold; when all of that has been read (sendmmsg has returned), `fence.release`, then statuses are stored.

**Position.** The kernel fills slots in ring order and knows where it is; we note where we are, in a word that outlives
the process (`note`), because neither an empty ring nor its stamps, which are wall-clock time, tell it. `release` marks
the first slot of the batch (GIVING: not filled, but not free either, so the kernel cannot pass it), notes the new
position, frees the other slots, and the marked one last. So a process that is killed leaves one of these:

* no mark: the note is right. If the batch had been sent, its successor repeats it;
* a mark at the note, which is still the old one, as no batch is the whole ring: the successor goes on behind the mark,
  and repeats the rest of the batch;
* a mark elsewhere: what is still filled from there to the note has been sent, and is not newer frames, since the kernel
  did not get past the mark. The successor frees it and goes on at the note.

Nothing is lost, only the batch in hand can repeat, and whatever the clock does changes nothing.

**Frames longer than their slot** (super-frames, jumbo frames) are queued whole at the socket too; such a frame is a
batch of its own (`long_frames`).

**Deafness.** Where the kernel cannot describe a frame in a vnet header (`virtio_net_hdr_from_skb`: a tap user's UFO
frame, before Linux 6.2 every UDP super-frame) it drops it and leaves its slot reserved for ever: nothing comes in any
more, everything is counted as dropped. See `deaf`.
"""

import mmap
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.long_frames import LongFrames
from forwarder.dataplane.ring import Batch, Bytes, Offsets, Place, Span, Words
from forwarder.packet.structures import TPACKET2_HDR
from forwarder.packet.tpacket import (
    FRAME_SIZE,
    NET_V2,
    TP_STATUS_COPY,
    TP_STATUS_KERNEL,
    TP_STATUS_LOSING,
    TP_STATUS_USER,
    RingLayout,
)
from forwarder.state import fence

HEADER = struct.Struct("=3I2H")  # status, len, snaplen, mac, net of a tpacket2_hdr
STRIDE = FRAME_SIZE // 4
WHOLE = TP_STATUS_USER | TP_STATUS_COPY  # of a filled slot: whether it holds its frame
GIVING = 1 << 16
"""The status of a slot behind which slots are being given back; a bit that is nobody else's (linux/if_packet.h)."""
_BYTES = np.dtype((np.void, TPACKET2_HDR.itemsize))  # to be copied: numpy copies a structure field by field
HEAD_MASK = np.array([~TP_STATUS_LOSING, ~0]).astype(np.uint64)
"""Of status, len, snaplen, mac and net: LOSING says something of the ring, not of the frame."""
A_FEW = 8  # slots that are looked at one by one before the others are as a vector


class SlotRing:
    """The reader of one V2 ring; at most one batch lent at a time."""

    net, head_mask, chained = NET_V2, HEAD_MASK, False

    def __init__(
        self,
        buffer: bytearray | mmap.mmap,
        layout: RingLayout,
        note: Words | None = None,
        queued: Callable[[], bytes] = bytes,
    ) -> None:
        """`note[0]`: the position, kept for a successor; `queued`: the next frame of the socket's queue, b"" for none.

        Queued frames begin with their vnet header.
        """
        self.view = memoryview(buffer)
        self._slots = layout.frame_nr
        self._fields = self.view.cast("I")
        self._buffer: Bytes = np.frombuffer(buffer, np.uint8)
        self.address = int(self._buffer.ctypes.data)
        self.words: Words = self._buffer.view(np.uint64)
        slots = self._buffer[: self._slots * FRAME_SIZE].reshape(self._slots, FRAME_SIZE)
        self._headers: npt.NDArray[np.void] = slots[:, : TPACKET2_HDR.itemsize].view(TPACKET2_HDR)[:, 0]
        self._status: npt.NDArray[np.uint32] = self._headers["status"]
        self._long = LongFrames(queued)
        self._note: Words = np.zeros(1, np.uint64) if note is None else note
        self._held, self._beyond, self._free = 0, False, False
        self.position = self._recover(int(self._note[0]) % self._slots)

    def ready(self) -> bool:
        """Whether there is a filled slot to be had."""
        return bool(self._fields[self.position * STRIDE] & TP_STATUS_USER)

    def look(self, limit: int = 1024) -> int:
        """Lends filled slots, `limit` at most, that lie in a row and hold their frames; else one that does not."""
        if self._held:
            raise RuntimeError("what was lent last was not released")
        most = min(limit, self._slots // 2, self._slots - self.position)  # half a ring: room for what comes meanwhile
        count, fields, at = 0, self._fields, self.position * STRIDE
        while (status := fields[at + count * STRIDE]) & WHOLE == TP_STATUS_USER:
            count += 1
            if count == most:
                break
            if count == A_FEW:
                count += _run(self._status[self.position + A_FEW : self.position + most])
                break
        fence.acquire()
        self._beyond = not count and status & WHOLE == WHOLE
        self._held = int(self._beyond) or count
        return self._held

    def singly(self) -> list[Place] | None:
        """What was lent, one by one; None where a frame does not lie where it should."""
        first, count = self.position * FRAME_SIZE, self._held
        places = [self.place(at) for at in range(first, first + count * FRAME_SIZE, FRAME_SIZE)]
        return None if None in places else places  # type: ignore[return-value]

    def evenly(self) -> list[Span] | None:
        """What was lent as a span; None where the frame is too long for its slot."""
        return None if self._beyond else [Span(self.position * FRAME_SIZE, FRAME_SIZE, self._held)]

    def batch(self) -> Batch:
        """What was lent."""
        if not self._beyond:
            return self._batch(self.position, self._held)
        at = self.position * FRAME_SIZE
        _, length, snaplen, mac, net = HEADER.unpack_from(self.view, at)
        beginning = bytes(self.view[at + mac : at + mac + snaplen])
        shown = Place(at + mac, at + net, snaplen, length)
        return self._long.batch(shown, beginning, self._fields[at // 4]) or self._batch(self.position, 1)

    def place(self, first: int) -> Place | None:
        """Where the frame in the slot at byte `first` lies; None where it does not fit or is not there."""
        status, length, snaplen, mac, net = HEADER.unpack_from(self.view, first)
        if status & WHOLE != TP_STATUS_USER or net != NET_V2 or mac > net or mac + snaplen > FRAME_SIZE:
            return None
        return Place(first + mac, first + net, snaplen, length)

    def status(self, first: int) -> int:
        """The tp_status of the frame in the slot at byte `first`."""
        return self._fields[first // 4]

    def left(self) -> int:
        """Frames in the slots that are filled."""
        return int(np.count_nonzero(self._status & TP_STATUS_USER))

    def release(self) -> None:
        """Gives the slots of the last batch back; the batch is dead."""
        if not self._held:
            return
        first, end = self.position, self.position + self._held
        fence.release()
        self._fields[first * STRIDE] = GIVING
        self.position = self._note[0] = end % self._slots
        self._free_slots(first, end)
        self._held = 0

    def deaf(self, accepted: int, dropped: int) -> bool:
        """Whether the kernel fills this ring no more, told what it took and what it dropped since the last call.

        It dropped something although the ring was empty all the time: empty then and now, and nothing came in between.
        However late we are, that is never so: then the ring is full.
        """
        was_free, self._free = self._free, not self.ready()
        return was_free and self._free and dropped > 0 and not accepted

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self.words = self._buffer.view(np.uint64)
        self._headers = np.empty(0, TPACKET2_HDR)
        self._status = self._headers["status"]
        self._fields.release()
        self.view.release()

    def _batch(self, first: int, count: int) -> Batch:
        frame: Offsets = np.arange(first, first + count) * FRAME_SIZE
        header = self._headers[first : first + count].view(_BYTES).copy().view(TPACKET2_HDR)
        batch = Batch(
            buffer=self._buffer,
            words=self.words,
            frame=frame,
            mac=frame + header["mac"],
            net=frame + NET_V2,
            snaplen=header["snaplen"].astype(np.int64),
            length=header["len"].astype(np.int64),
            status=header["status"],
        )
        unsound = (header["net"] != NET_V2) | (header["mac"] + batch.snaplen > FRAME_SIZE)
        return batch.only(np.flatnonzero(~unsound)) if np.count_nonzero(unsound) else batch

    def _free_slots(self, first: int, end: int) -> None:
        """Free slots of which the first is marked."""
        self._status[first + 1 : end] = TP_STATUS_KERNEL
        self._fields[first * STRIDE] = TP_STATUS_KERNEL

    def _recover(self, noted: int) -> int:
        """The slot to begin with, after finishing what a predecessor had begun to give back."""
        for first in np.flatnonzero(self._status == GIVING).tolist():
            if first == noted:
                noted = self._note[0] = (first + 1) % self._slots
            self._free_slots(first, noted or self._slots)
        return noted


def _run(status: npt.NDArray[np.uint32]) -> int:
    """How many filled slots there are before the first that is not, or does not hold its frame."""
    usable = status & WHOLE == TP_STATUS_USER
    return len(status) if usable.all() else int(usable.argmin())
