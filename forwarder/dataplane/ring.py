"""A TPACKET_V3 receive ring over any writable buffer: knows blocks and frames, not sockets and not IPv4.

Ownership: `look` lends what is ready, `release` ends the loan; what is kept longer is copied. What is lent can be had
in three ways (`singly`, `evenly`, `batch`), from the cheapest for a few frames to the one that suits any. The kernel
fills blocks in ring order and waits for the block it needs, so they are read and given back in that order. `position`
moves at `release`, never before: a successor that starts there repeats at most what was lent.

The ring is the boundary of trust: what leaves it as a Batch lies within its block, with the IP header where it belongs.
A frame whose vnet header the kernel could not make is counted in its block, but never filled: it has no
TP_STATUS_USER, and the rest of its header is an older frame's. The kernel has counted it as dropped; it is skipped.

Per frame there is Python only in the walk of `next_offset`, and not even there when all frames of a block are the
same distance apart.

**Order.** The kernel fills a block, then a write barrier, then its status. We read statuses, then `fence.acquire`, then
what the blocks hold; when all of that has been read (sendmmsg has returned), `fence.release`, then statuses are stored.
"""

import mmap
import struct
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.packet.structures import TPACKET_BLOCK_DESC
from forwarder.packet.tpacket import NET, TP_STATUS_KERNEL, TP_STATUS_USER, RingLayout
from forwarder.state import fence

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
LOOKED_AT = NET + 32  # bytes of a frame that are compared with those of others
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


class Place(NamedTuple):
    """Where one frame lies in a ring, for whoever takes them singly; see Batch."""

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
    """What a worker asks of a ring, whatever its version: `look`, then one of three ways to have it, then `release`."""

    position: int
    view: memoryview  # the ring's bytes
    words: Words  # the same
    address: int  # where they are in memory
    net: int  # the IP header's distance from its tpacket header
    head_mask: Words  # which bits of the first words of a frame are the same in frames that are alike
    chained: bool  # the first word names the frame that follows, if one does in its span

    def ready(self) -> bool:
        """Whether there is anything to be had."""

    def look(self, limit: int = ...) -> int:
        """Lends frames that are ready, `limit` at most or so: how many. RuntimeError while others are lent."""

    def singly(self) -> list[Place] | None:
        """What was lent, one by one; None where a frame is not whole or not where it should be."""

    def evenly(self) -> list[Span] | None:
        """What was lent, where it seems to lie at equal distances.

        It does where the first words of all frames are alike under `head_mask` (`chained`: but for the first of the
        last).
        """

    def batch(self) -> Batch:
        """What was lent, with all columns; frames that are not there are left out."""

    def place(self, first: int) -> Place | None:
        """Of the frame whose tpacket header lies at byte `first`; None where it is not filled, or lies elsewhere."""

    def status(self, first: int) -> int:
        """Its tp_status."""

    def left(self) -> int:
        """How many frames are ready."""

    def release(self) -> None:
        """Gives back what was lent."""

    def close(self) -> None:
        """Drops all views."""


class ReceiveRing:
    """The reader of one ring; one per ring and at most one batch lent at a time."""

    net, head_mask, chained = NET, HEAD_MASK, True

    def __init__(self, buffer: bytearray | mmap.mmap, layout: RingLayout, position: int | None = None) -> None:
        """Reads where the ring itself says; at `position` (0 if None) when no block was ever opened."""
        self._layout = layout
        self._stride, self._most, self._size = layout.block_size // 4, layout.most_frames, layout.size
        self.view = memoryview(buffer)
        self._fields = self.view.cast("I")
        self._buffer = np.frombuffer(buffer, np.uint8)
        self.address = int(self._buffer.ctypes.data)
        self.words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._header_words = np.array(HEADER_WORDS)[:, None]
        self._blocks: list[tuple[int, int]] = []  # those that are lent: byte of the first frame, frames
        found = self._find_position()
        self.position = (position or 0) if found is None else found

    def ready(self) -> bool:
        """Whether there is a block to be had."""
        return bool(self._fields[self.position * self._stride + BLOCK_STATUS] & TP_STATUS_USER)

    def look(self, limit: int = 1024) -> int:
        """Lends ready blocks of `limit` frames at most together, but one block at least: how many frames.

        No more than half of the ring: what is lent for long leaves room for what comes in. A block is closed after a
        millisecond, so at low rates a few frames are many blocks.
        """
        if self._blocks:
            raise RuntimeError("what was lent last was not released")
        fields, total, room = self._fields, 0, self._layout.block_size - LEAST
        for number in range(self.position, self.position + max(self._layout.block_nr // 2, 1)):
            block = number % self._layout.block_nr * self._stride
            if not fields[block + BLOCK_STATUS] & TP_STATUS_USER:
                break
            fence.acquire()
            count = min(fields[block + NUM_PKTS], self._most)
            if self._blocks and total + count > limit:
                break
            total += count
            self._blocks.append((block * 4 + min(fields[block + OFFSET_TO_FIRST_PKT] & ~7, room), count))
        if not total:
            self.release()
        return total

    def singly(self) -> list[Place] | None:
        """What was lent, one by one; None where a frame is not whole or not where it should be."""
        places: list[Place] = []
        for at, count in self._blocks:
            for _ in range(count):
                if (place := self.place(at)) is None:
                    return None
                places.append(place)
                at += self._fields[at // 4]
        return places

    def evenly(self) -> list[Span] | None:
        """What was lent as spans, if all frames of a block are as long as its first; None where they cannot be."""
        spans, size = [], self._layout.block_size
        for first, count in self._blocks:
            if count < 1:
                return None
            snaplen, _, _, mac, _ = FRAME.unpack_from(self.view, first + FRAME_START)
            step, extent = self._fields[first // 4] if count > 1 else 0, mac + snaplen
            end = first % size + step * (count - 1) + max(extent, LOOKED_AT)
            if (count > 1 and step < extent) or step & 7 or end > size:
                return None
            spans.append(Span(first, step, count))
        return spans

    def batch(self) -> Batch:
        """What was lent, with all columns; frames that the kernel could not fill are left out."""
        return self._batch(np.concatenate([self._walk(first // 4, count) for first, count in self._blocks]))

    def place(self, first: int) -> Place | None:
        """Of the frame whose tpacket header lies at byte `first`; None where it is not filled or not in its block."""
        room = self._layout.block_size - first % self._layout.block_size
        if first & 7 or room < LEAST or first >= self._size:
            return None
        snaplen, length, status, mac, net = FRAME.unpack_from(self.view, first + FRAME_START)
        if not status & TP_STATUS_USER or net != NET or mac > net or mac + snaplen > room:
            return None
        return Place(first + mac, first + net, snaplen, length)

    def status(self, first: int) -> int:
        """The tp_status of the frame whose tpacket header lies at byte `first`."""
        return self._fields[first // 4 + 5]

    def left(self) -> int:
        """Frames in the blocks that are ready."""
        descriptors = self._descriptors()
        return int(descriptors["num_pkts"][descriptors["block_status"] & TP_STATUS_USER != 0].sum())

    def release(self) -> None:
        """Gives the blocks that were lent back, in ring order; a batch of them is dead then."""
        fence.release()
        for _ in self._blocks:
            self._fields[self.position * self._stride + BLOCK_STATUS] = TP_STATUS_KERNEL
            self.position = (self.position + 1) % self._layout.block_nr
        self._blocks.clear()

    def close(self) -> None:
        """Drops the views, so that the map can be closed once the batches are gone too; idempotent."""
        self._buffer = np.empty(0, np.uint8)
        self.words = self._buffer.view(np.uint64)
        self._halves = self._buffer.view(np.uint32)
        self._fields.release()
        self.view.release()

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
        opened = self._descriptors()["seq_num"].copy()  # before the status: what is retired in between shows as ready
        if not len(self._ready()):
            return int(opened.argmax()) if opened.any() else None
        ready = self._ready()  # again: now all that were retired before one seen above are in
        return int(ready[self._descriptors()["seq_num"][ready].argmin()])

    def _descriptors(self) -> npt.NDArray[np.void]:
        """The block descriptors, shape (block_nr,)."""
        rows = self._buffer[: self._layout.size].reshape(self._layout.block_nr, self._layout.block_size)
        return rows[:, : TPACKET_BLOCK_DESC.itemsize].view(TPACKET_BLOCK_DESC)[:, 0]

    def _ready(self) -> Offsets:
        """Indexes of the blocks in user state."""
        return np.flatnonzero(self._descriptors()["block_status"] & TP_STATUS_USER)
