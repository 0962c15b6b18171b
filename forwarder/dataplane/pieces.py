"""The frames of a batch as messages of one piece each, whole, or in fragments, or made as bytes. Pure.

A fragment is a header block of its own and a pointer to its payload in the ring. A checksum that was left to be
finished is finished in the block of the first fragment, which is why that one has the UDP header too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.forwarding import Mask
from forwarder.dataplane.fragmentation import MORE_FRAGMENTS
from forwarder.dataplane.frame import IP, IP_LENGTH, L4, ROW, UDP_LENGTH, Columns, Positions, Rows, put, taken
from forwarder.dataplane.rates import ip_bytes
from forwarder.dataplane.ring import Batch

_TAILS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF])


@dataclass(slots=True)
class Pieces:
    """The k frames of a batch as n messages; those of a frame stand together, in the order of frames."""

    datagrams: Positions  # (k,) that each frame is
    slow: Mask  # (k,) whether it does not fit as it is
    lost: Positions  # (k,) datagrams of those that do not go
    count: Positions  # (k,) messages of each frame
    first: Positions  # (k,) index of the first of them
    blocks: Rows  # (n,) header blocks, as for a port with link header
    header_length: Positions  # (n,) bytes of each block that are sent, from the vnet header on
    address: npt.NDArray[np.uint64]  # (n,) of what follows the block
    length: Positions  # (n,) of that
    several: Positions  # (n,) datagrams in the message: 1, but for super-frames that go as they are
    octets: Positions  # (n,) IP bytes on the wire
    datagram: Positions  # (n,) the same number for all fragments of one datagram
    memory: npt.NDArray[np.uint8]  # where packets that were made as bytes lie

    @classmethod
    def room(cls, datagrams: Positions, slow: Mask, lost: Positions, count: Positions) -> "Pieces":
        """Room for the messages, to be filled by a Writer."""
        n = int(count.sum())
        return cls(
            datagrams=datagrams,
            slow=slow,
            lost=lost,
            count=count,
            first=np.cumsum(count) - count,
            blocks=np.zeros(n, ROW),
            header_length=np.full(n, L4),
            address=np.zeros(n, np.uint64),
            length=np.zeros(n, np.int64),
            several=np.ones(n, np.int64),
            octets=np.zeros(n, np.int64),
            datagram=np.repeat(np.arange(len(count)), count),
            memory=np.empty(0, np.uint8),
        )


@dataclass(frozen=True, slots=True)
class Writer:
    """Fills `pieces`: each method the messages of the frames `at`, indexes into `frames`, (k,) positions in the batch.

    The rows of `header` are rewritten already, but for the source MAC.
    """

    header: Columns
    batch: Batch
    frames: Positions
    pieces: Pieces

    def whole(self, at: Positions) -> None:
        """Frames as they are."""
        pieces, to, frames = self.pieces, self.pieces.first[at], self.frames[at]
        put(pieces.blocks, to, taken(self.header.rows, frames))
        pieces.address[to] = self.batch.net[frames] + (self.batch.address + IP_LENGTH)
        pieces.length[to] = self.header.total_length[frames] - IP_LENGTH
        pieces.several[to] = pieces.datagrams[at]
        pieces.octets[to] = ip_bytes(self.header, frames)

    def fragments(self, at: Positions, mtu: int) -> None:
        """Frames without options in fragments (RFC 791 section 3.2)."""
        pieces, count = self.pieces, self.pieces.count[at]
        which = np.repeat(np.arange(len(at)), count)
        number = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        to, frame, more = pieces.first[at][which] + number, self.frames[at][which], number < count[which] - 1
        room = (mtu - IP_LENGTH) & ~7
        offset = number * room
        size = np.where(more, room, self.header.total_length[frame] - IP_LENGTH - offset)
        rows = taken(self.header.rows, frame)
        put(pieces.blocks, to, _fragment_blocks(rows, size + IP_LENGTH, offset // 8, more))
        in_block = UDP_LENGTH * (number == 0)
        pieces.header_length[to] = L4 + in_block
        pieces.address[to] = self.batch.net[frame] + (self.batch.address + IP_LENGTH) + offset + in_block
        pieces.length[to] = size - in_block
        pieces.octets[to] = size + IP_LENGTH
        unfinished = at[self.header.rows["flags"][self.frames[at]] != 0]
        if unfinished.size:
            pieces.blocks["udp_checksum"][pieces.first[unfinished]] = self._finished(self.frames[unfinished])

    def made(self, packets: dict[int, list[list[bytes]]]) -> None:
        """The packets that datagrams of some frames became, by index of the frame, one frame at least; each stands
        behind a block that ends with the link header."""
        pieces, at = self.pieces, list(packets)
        datagrams = [datagram for each in packets.values() for datagram in each]
        pieces.memory = np.frombuffer(b"".join(packet for datagram in datagrams for packet in datagram), np.uint8)
        length = np.array([len(packet) for datagram in datagrams for packet in datagram], np.int64)
        to = np.concatenate([pieces.first[each] + np.arange(pieces.count[each]) for each in at])
        frame = np.repeat(self.frames[at], pieces.count[at])
        pieces.blocks["ethernet"][to] = self.header.rows["ethernet"][frame]
        pieces.header_length[to] = IP
        pieces.address[to] = pieces.memory.ctypes.data + np.cumsum(length) - length
        pieces.length[to] = pieces.octets[to] = length
        parts = [len(datagram) for datagram in datagrams]
        pieces.datagram[to] = len(pieces.count) + np.repeat(np.arange(len(parts)), parts)

    def _finished(self, frames: Positions) -> Positions:
        """Checksums of frames whose checksum field holds the sum of the pseudo-header.

        One sum a frame: it needs no copy, and is cheaper than sending the fragments. IP headers in a ring lie at
        multiples of 8, hence payloads at those of 4.
        """
        words, start = self.batch.words.view("<u4"), self.batch.net[frames] + IP_LENGTH
        size = self.header.total_length[frames] - IP_LENGTH
        first, end = start // 4, (start + size) // 4
        sums = [int(words[a:b].sum(dtype=np.uint64)) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
        total = np.array(sums) + (words.take(end, mode="clip") & _TAILS[size % 4])
        value = 0xFFFE - (total - 1) % 0xFFFF
        swapped: Positions = (value & 0xFF) << 8 | value >> 8  # bytes were added as they lie, little end first
        return np.where(swapped == 0, 0xFFFF, swapped)  # 0 would say that there is none


def _fragment_blocks(blocks: Rows, length: Positions, offset: Positions, more: Mask) -> Rows:
    """Copies of rows made header blocks of fragments of this total length, `offset` times 8 bytes behind the row's."""
    blocks["vnet"] = 0
    before = blocks["total_length"].astype(np.int64), blocks["fragment"].astype(np.int64)
    fragment = before[1] + offset | more * MORE_FRAGMENTS
    total = (blocks["checksum"].astype(np.int64) ^ 0xFFFF) + length + fragment
    total += (before[0] ^ 0xFFFF) + (before[1] ^ 0xFFFF)  # RFC 1624 eqn. 3
    blocks["total_length"], blocks["fragment"] = length, fragment
    blocks["checksum"] = 0xFFFE - (total - 1) % 0xFFFF
    return blocks
