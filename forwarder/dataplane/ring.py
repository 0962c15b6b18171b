"""A TPACKET_V3 receive ring over any writable buffer: knows blocks and frames, not sockets and not IPv4.

Ownership: `few`, `evenly` and `receive` lend what is ready, `release` ends the loan; what is kept longer is copied. The
kernel fills blocks in ring order and waits for the block it needs, so they are read and given back in that order.
`position` moves at `release`, never before: a successor that starts there repeats at most what was lent.

The ring is the boundary of trust: what leaves it as a Batch lies within its block, with the IP header where it belongs.
A frame whose vnet header the kernel could not make is counted in its block, but never filled: it has no
TP_STATUS_USER, and the rest of its header is an older frame's. The kernel has counted it as dropped; it is skipped.

Per frame there is Python only in the walk of `next_offset`, and not even there when all frames of a block are the
same distance apart. Processors that reorder loads need a fence between a block's status and its frames; taking a
lock is the fence Python has.
"""

import mmap
import struct
import threading
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.packet.tpacket import NET, TP_STATUS_KERNEL, TP_STATUS_USER, TPACKET_BLOCK_DESC, RingLayout

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
LEAST = NET + 24  # bytes of a frame at least: its headers and what is always read of the IP header
WORTH_A_VECTOR = 16  # frames in a block from which the vectorised look beats the walk
HEAD_MASK = np.array([0xFFFF_FFFF, 0xFFFF_FFFF << 32, ~0, 0xFFFF_FFFF]).astype(np.uint64)


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

    def only(self, chosen: Offsets) -> "Batch":
        """The frames of these positions."""
        columns = ("frame", "mac", "net", "snaplen", "length", "status")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})


class Frame(NamedTuple):
    """One frame lent by a ring, for whoever takes them singly; see Batch."""

    mac: int
    net: int
    snaplen: int
    length: int


class Span(NamedTuple):
    """`frames` frames `step` bytes apart, the first at byte `first` of the ring; its tpacket header lies there."""

    first: int
    step: int
    frames: int


class Ring(Protocol):
    """What a worker asks of a ring, whatever its version. What the last call lent is lent until `release`."""

    position: int
    view: memoryview  # the ring's bytes
    words: Words  # the same
    address: int  # where they are in memory
    net: int  # the IP header's distance from its tpacket header
    head_mask: Words  # which bits of the first words of a frame are the same in frames that are alike
    chained: bool  # the first word names the frame that follows, if one does in its span

    def ready(self) -> bool:
        """Whether there is anything to be had."""

    def few(self, most: int) -> list[Frame] | None:
        """All frames that are ready, where these are at most `most` and whole; None where there are more, or others."""

    def frame(self, first: int) -> Frame | None:
        """The frame whose tpacket header lies at byte `first`; None where it is not filled, or lies elsewhere."""

    def status(self, first: int) -> int:
        """Its tp_status."""

    def evenly(self, limit: int = ...) -> list[Span] | None:
        """The frames that `receive` would lend, where they seem to lie at equal distances.

        They do where the first words of all are alike under `head_mask` (`chained`: but for the first of the last).
        """

    def receive(self, limit: int = ...) -> Batch | None:
        """Lends frames that are ready, `limit` at most or so; None if none is ready."""

    def left(self) -> int:
        """How many frames are ready."""

    def release(self) -> None:
        """Gives back what the last call lent."""

    def close(self) -> None:
        """Drops all views."""


class ReceiveRing:
    """The reader of one ring; one per ring and at most one batch lent at a time."""

    net, head_mask, chained = NET, HEAD_MASK, True

    def __init__(self, buffer: bytearray | mmap.mmap, layout: RingLayout, position: int | None = None) -> None:
        """Reads where the ring itself says; at `position` (0 if None) when no block was ever opened."""
        self._layout = layout
        self._stride = layout.block_size // 4
        self.view = memoryview(buffer)
        self._fields = self.view.cast("I")
        self._buffer = np.frombuffer(buffer, np.uint8)
        self.address = int(self._buffer.ctypes.data)
        self.words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._fence = threading.Lock()
        self._header_words = np.array(HEADER_WORDS)[:, None]
        self._held, self._lent = 0, False
        found = self._find_position()
        self.position = (position or 0) if found is None else found

    def ready(self) -> bool:
        """Whether there is a block to be had."""
        return bool(self._fields[self.position * self._stride + BLOCK_STATUS] & TP_STATUS_USER)

    def few(self, most: int) -> list[Frame] | None:
        """All frames that are ready, where these are at most `most`; None where there are more, or odd ones."""
        frames: list[Frame] = []
        for first, count in self._blocks_ready(most):
            at = first
            if len(frames) + count > most:
                return None
            for _ in range(count):
                if (frame := self.frame(at)) is None:
                    return None
                frames.append(frame)
                at += self._fields[at // 4]
        return None if self._is_more() else frames

    def frame(self, first: int) -> Frame | None:
        """The frame whose tpacket header lies at byte `first`; None where it is not filled or not in its block."""
        room = self._layout.block_size - first % self._layout.block_size
        if first & 7 or room < LEAST:
            return None
        snaplen, length, status, mac, net = FRAME.unpack_from(self.view, first + FRAME_START)
        if not status & TP_STATUS_USER or net != NET or mac + snaplen > room:
            return None
        return Frame(first + mac, first + net, snaplen, length)

    def status(self, first: int) -> int:
        """The tp_status of the frame whose tpacket header lies at byte `first`."""
        return self._fields[first // 4 + 5]

    def evenly(self, limit: int = 1024) -> list[Span] | None:
        """The spans that `receive` would lend; None where a block cannot be one."""
        spans, size = [], self._layout.block_size
        for first, count in self._blocks_ready(limit):
            step = self._fields[first // 4] if count > 1 else 0
            if count < 1 or step & 7 or first % size + step * (count - 1) > size - LEAST:
                return None
            spans.append(Span(first, step, count))
        return spans

    def receive(self, limit: int = 1024) -> Batch | None:
        """Lends ready blocks of `limit` frames at most together, but one block at least; None if none is ready."""
        if self._lent:
            raise RuntimeError("the last batch was not released")
        frames = [self._walk(first // 4, count) for first, count in self._blocks_ready(limit)]
        self._lent = bool(frames)
        return self._batch(np.concatenate(frames)) if frames else None

    def left(self) -> int:
        """Frames in the blocks that are ready."""
        descriptors = self._blocks()
        return int(descriptors["num_pkts"][descriptors["block_status"] & TP_STATUS_USER != 0].sum())

    def release(self) -> None:
        """Gives the blocks of the last call back, in ring order; a batch is dead then."""
        with self._fence:
            for _ in range(self._held):
                self._fields[self.position * self._stride + BLOCK_STATUS] = TP_STATUS_KERNEL
                self.position = (self.position + 1) % self._layout.block_nr
        self._held, self._lent = 0, False

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self.words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._fields.release()
        self.view.release()

    def _blocks_ready(self, limit: int) -> list[tuple[int, int]]:
        """First frame (byte offset, a multiple of 8) and number of frames of the ready blocks, which are held.

        As many blocks as have `limit` frames at most, but one at least.
        """
        fields, total, held, room = self._fields, 0, 0, self._layout.block_size - LEAST
        ready: list[tuple[int, int]] = []
        while held < self._layout.block_nr:
            block = (self.position + held) % self._layout.block_nr * self._stride
            if not fields[block + BLOCK_STATUS] & TP_STATUS_USER:
                break
            with self._fence:
                count = fields[block + NUM_PKTS]
            total += count
            if ready and total > limit:
                break
            ready.append((block * 4 + min(fields[block + OFFSET_TO_FIRST_PKT] & ~7, room), count))
            held += 1
        self._held = held
        return ready

    def _is_more(self) -> bool:
        """Whether the block after those that are held is ready."""
        following = (self.position + self._held) % self._layout.block_nr
        ready = self._fields[following * self._stride + BLOCK_STATUS] & TP_STATUS_USER
        return self._held < self._layout.block_nr and bool(ready)

    def _walk(self, first: int, count: int) -> Offsets:
        """Offsets in bytes of `count` chained frames, the first at 32-bit word `first`; of those within the block."""
        fields = self._fields
        end = first - first % self._stride + self._stride - LEAST // 4
        if count >= WORTH_A_VECTOR:
            step = fields[first] // 4
            if step and not step & 1 and self._is_regular(first, step, count, end):
                return np.arange(first * 4, (first + step * count) * 4, step * 4)
        at, offsets = first, []
        for _ in range(count):
            if at > end:
                break
            offsets.append(at)
            at += fields[at] >> 3 << 1
        return np.array(offsets, np.int64) * 4

    def _is_regular(self, first: int, step: int, count: int, end: int) -> bool:
        """Whether every frame but the last says that the next is `step` words on."""
        last = first + (count - 1) * step
        fields = self._fields
        if last > end or fields[last] or fields[first + count // 2 * step] != step * 4:
            return False  # cheap look first: irregular blocks should not pay for the vector
        return not np.count_nonzero(self._halves[first:last:step] != step * 4)

    def _batch(self, frame: Offsets) -> Batch:
        """Reads the headers of all frames at once."""
        header = self.words.take((frame >> 3) + self._header_words)  # shape (3, n): a column stays contiguous
        parts, offsets = header.view(np.uint32), header[2].view(np.uint16)
        mac, snaplen, status = frame + offsets[0::4], parts[0, 1::2].astype(np.int64), parts[1, 1::2]
        beyond = mac + snaplen > frame - frame % self._layout.block_size + self._layout.block_size
        unsound = (offsets[1::4] != NET) | beyond | (status & TP_STATUS_USER == 0)
        batch = Batch(
            buffer=self._buffer,
            words=self.words,
            frame=frame,
            mac=mac,
            net=frame + NET,
            snaplen=snaplen,
            length=parts[1, 0::2].astype(np.int64),
            status=status,
        )
        return batch.only(np.flatnonzero(~unsound)) if np.count_nonzero(unsound) else batch

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
