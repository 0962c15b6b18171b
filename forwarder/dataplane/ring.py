"""A TPACKET_V3 receive ring over any writable buffer: knows blocks and frames, not sockets and not IPv4.

Ownership: `receive` lends a Batch, `release` ends the loan; what is kept longer is copied. The kernel fills blocks
in ring order and waits for the block it needs, so they are read and given back in that order. `position` moves at
`release`, never before: a successor that starts there repeats at most the batch in hand.

Per frame there is Python only in the walk of `next_offset`, and not even there when all frames of a block are the
same distance apart. Processors that reorder loads need a fence between a block's status and its frames; taking a
lock is the fence Python has.
"""

import mmap
import struct
import threading
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.packet.tpacket import TP_STATUS_KERNEL, TP_STATUS_USER, TPACKET_BLOCK_DESC, RingLayout

Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint64]
Offsets: TypeAlias = npt.NDArray[np.int64]

# Where fields lie, in 32-bit words of a block or frame.
BLOCK_STATUS, NUM_PKTS, OFFSET_TO_FIRST_PKT = (
    TPACKET_BLOCK_DESC.fields[name][1] // 4  # type: ignore[index]
    for name in ("block_status", "num_pkts", "offset_to_first_pkt")
)
HEADER_WORDS = (1, 2, 3)  # the 64-bit words of a tpacket3_hdr from nsec to rxhash
FRAME, FRAME_START = struct.Struct("=3I2H"), 12  # snaplen, len, status, mac, net of a tpacket3_hdr
WORTH_A_VECTOR = 16  # frames in a block from which the vectorised look beats the walk


@dataclass(frozen=True, slots=True)
class Batch:
    """n frames lent by a ring, valid until it is released; every array but the first two is of shape (n,)."""

    buffer: Bytes  # the whole ring
    words: Words  # the whole ring
    frame: Offsets  # of each tpacket3_hdr in `buffer`, a multiple of 8
    mac: Offsets  # of each link header in `buffer`; equals `net` on links without one
    net: Offsets  # of each IP header in `buffer`
    snaplen: Offsets  # bytes present from `mac` on
    length: Offsets  # bytes on the wire; more than `snaplen` when truncated
    status: npt.NDArray[np.uint32]  # tp_status

    @property
    def address(self) -> int:
        """Where `buffer` is in memory."""
        return int(self.buffer.ctypes.data)


class Frame(NamedTuple):
    """One frame lent by a ring, for whoever takes them singly; see Batch."""

    mac: int
    net: int
    snaplen: int
    length: int


class Ring(Protocol):
    """What a worker asks of a ring, whatever its version."""

    position: int
    view: memoryview  # the ring's bytes

    def ready(self) -> bool:
        """Whether there is anything to be had."""

    def receive(self, limit: int = ...) -> Batch | None:
        """Lends frames that are ready, `limit` at most or so; None if none is ready."""

    def release(self) -> None:
        """Gives the last batch back."""

    def few(self, most: int) -> list[Frame] | None:
        """All frames that are ready, where these are at most `most` and whole; None where there are more, or others."""

    def release_few(self) -> None:
        """Gives the frames of the last call of `few` back."""

    def close(self) -> None:
        """Drops all views."""


class ReceiveRing:
    """The reader of one ring; one per ring and at most one batch lent at a time."""

    def __init__(self, buffer: bytearray | mmap.mmap, layout: RingLayout, position: int | None = None) -> None:
        """Reads where the ring itself says; at `position` (0 if None) when no block was ever opened."""
        self._layout = layout
        self.view = memoryview(buffer)
        self._fields = self.view.cast("I")
        self._buffer = np.frombuffer(buffer, np.uint8)
        self._words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._fence = threading.Lock()
        self._header_words = np.array(HEADER_WORDS)[:, None]
        self._held = self._seen = 0
        found = self._find_position()
        self.position = (position or 0) if found is None else found

    def ready(self) -> bool:
        """Whether there is a block to be had."""
        return bool(self._fields[self.position * self._layout.block_size // 4 + BLOCK_STATUS] & TP_STATUS_USER)

    def receive(self, limit: int = 1024) -> Batch | None:
        """Lends ready blocks of `limit` frames at most together, but one block at least; None if none is ready."""
        if self._held:
            raise RuntimeError("the last batch was not released")
        frames = self._gather(limit)
        return self._batch(np.concatenate(frames)) if frames else None

    def release(self) -> None:
        """Gives the blocks of the last batch back, in ring order; the batch is dead."""
        with self._fence:
            stride = self._layout.block_size // 4
            for _ in range(self._held):
                self._fields[self.position * stride + BLOCK_STATUS] = TP_STATUS_KERNEL
                self.position = (self.position + 1) % self._layout.block_nr
        self._held = 0

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self._words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._fields.release()
        self.view.release()

    def few(self, most: int) -> list[Frame] | None:
        """All frames that are ready, where these are at most `most`; None where there are more. Lent until released."""
        fields, stride = self._fields, self._layout.block_size // 4
        frames: list[Frame] = []
        self._seen = 0
        while self._seen < self._layout.block_nr:
            block = (self.position + self._seen) % self._layout.block_nr * stride
            if not fields[block + BLOCK_STATUS] & TP_STATUS_USER:
                break
            with self._fence:
                count = fields[block + NUM_PKTS]
            if len(frames) + count > most:
                return None
            at = block * 4 + fields[block + OFFSET_TO_FIRST_PKT]
            for _ in range(count):
                snaplen, length, _, mac, net = FRAME.unpack_from(self.view, at + FRAME_START)
                frames.append(Frame(at + mac, at + net, snaplen, length))
                at += fields[at // 4]
            self._seen += 1
        return frames

    def release_few(self) -> None:
        """Gives the blocks of the last call of `few` back."""
        self._held = self._seen
        self.release()

    def _gather(self, limit: int) -> list[Offsets]:
        """Frame offsets of the ready blocks, one array a block."""
        fields, stride, total = self._fields, self._layout.block_size // 4, 0
        frames: list[Offsets] = []
        while self._held < self._layout.block_nr:
            block = (self.position + self._held) % self._layout.block_nr * stride
            if not fields[block + BLOCK_STATUS] & TP_STATUS_USER:
                break
            with self._fence:
                count = fields[block + NUM_PKTS]
            if total and total + count > limit:
                break
            frames.append(self._walk(block + fields[block + OFFSET_TO_FIRST_PKT] // 4, count))
            self._held += 1
            total += count
        return frames

    def _walk(self, first: int, count: int) -> Offsets:
        """Offsets in bytes of `count` chained frames, the first at 32-bit word `first`."""
        fields = self._fields
        if count >= WORTH_A_VECTOR:
            step = fields[first] // 4
            if step and self._is_regular(first, step, count):
                return np.arange(first * 4, (first + step * count) * 4, step * 4)
        at, offsets = first, []
        for _ in range(count):
            offsets.append(at)
            at += fields[at] >> 2
        return np.array(offsets, np.int64) * 4

    def _is_regular(self, first: int, step: int, count: int) -> bool:
        """Whether every frame but the last says that the next is `step` words on."""
        last = first + (count - 1) * step
        fields = self._fields
        if last >= len(fields) or fields[last] or fields[first + count // 2 * step] != step * 4:
            return False  # cheap look first: irregular blocks should not pay for the vector
        return bool((self._halves[first:last:step] == step * 4).all())

    def _batch(self, frame: Offsets) -> Batch:
        """Reads the headers of all frames at once."""
        header = self._words.take((frame >> 3) + self._header_words)  # shape (3, n): a column stays contiguous
        parts, offsets = header.view(np.uint32), header[2].view(np.uint16)
        return Batch(
            buffer=self._buffer,
            words=self._words,
            frame=frame,
            mac=frame + offsets[0::4],
            net=frame + offsets[1::4],
            snaplen=parts[0, 1::2].astype(np.int64),
            length=parts[1, 0::2].astype(np.int64),
            status=parts[1, 1::2],
        )

    def _find_position(self) -> int | None:
        """The block to read next, found in the ring: the oldest in user state, else the open one; None if neither."""
        opened = self._blocks()["seq_num"].copy()  # before the status: a block retired in between then shows as ready
        if not len(self._ready()):
            return int(opened.argmax()) if opened.any() else None
        ready = self._ready()  # again: now all that were retired before one seen above are in
        return int(ready[self._blocks()["seq_num"][ready].argmin()])

    def _blocks(self) -> npt.NDArray[np.void]:
        """The block descriptors, shape (block_nr,)."""
        rows = self._buffer[: self._layout.size].reshape(self._layout.block_nr, self._layout.block_size)
        return rows[:, : TPACKET_BLOCK_DESC.itemsize].view(TPACKET_BLOCK_DESC)[:, 0]

    def _ready(self) -> Offsets:
        """Indexes of the blocks in user state."""
        return np.flatnonzero(self._blocks()["block_status"] & TP_STATUS_USER)
