"""Runs of like datagrams become UDP super-datagrams that the kernel cuts again (UDP segmentation offload).

A run is up to 64 or 128 consecutive datagrams of one flow that differ in nothing but payload, IP ID and checksums; only
the last may be shorter. It goes through the stack once per port instead of once per datagram, and an ordinary UDP
receiver still gets datagrams. Pure. The rules that keep it correct:

* Offload writes new UDP checksums, so it would make a damaged datagram valid. A datagram is gathered only when its
  checksum is the seed its local sender left to be finished (and that seed is right), when the kernel says that it is
  valid, or when we have added it up ourselves. One without checksum (0) stays alone: offload would give it one.
* Offload numbers IP IDs on from the first, so they must be consecutive, except where DF makes them meaningless
  (RFC 6864 section 4.1). Fragments, IP options, super-frames and datagrams with trailing bytes stay alone.
* Frames are first sorted by flow; the sort is stable, so every flow stays in order.
* The kernel does not compare the size of segments with the MTU: `egress` does, with the first datagram of a run, which
  is the longest.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.checksums import valid_checksums
from forwarder.dataplane.frame import (
    CSUM_OFFSET,
    DONT_FRAGMENT,
    ETHERNET_LENGTH,
    IP,
    IP_LENGTH,
    UDP,
    UDP_LENGTH,
    Columns,
    Positions,
    Rows,
    taken,
)
from forwarder.dataplane.ring import Batch
from forwarder.packet.tpacket import (
    TP_STATUS_CSUM_VALID,
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VNET_HDR,
)

Mask: TypeAlias = npt.NDArray[np.bool_]
Words: TypeAlias = npt.NDArray[np.uint64]

SEGMENTS, MORE_SEGMENTS = 64, 128
"""UDP_MAX_SEGMENTS of every kernel that takes UDP_L4, and since 6.9."""
HEADERS = IP_LENGTH + UDP_LENGTH
MOST_PAYLOAD = 65535 - ETHERNET_LENGTH - HEADERS
"""Payload bytes of a super-datagram: a frame of 64 KiB would be segmented before its driver sees it."""
CSUM_START = ETHERNET_LENGTH + IP_LENGTH
SMALL_TABLE = 1 << 16
"""Flow numbers below fit 16 bits, which numpy sorts by counting."""


def _word(octets: bytes) -> np.uint64:
    return np.uint64(np.frombuffer(octets, np.uint64)[0])


# IPv4 header and UDP ports are the 64-bit words 3, 4 and 5 of a row. What must be the same throughout a run:
_FIRST, _SECOND, _THIRD = IP // 8, IP // 8 + 1, IP // 8 + 2
_SAME_FIRST = _word(b"\xff\xff\0\0\0\0\xff\xff")  # all but total length and ID
_SAME_SECOND = _word(b"\xff\xff\0\0\xff\xff\xff\xff")  # all but the header checksum
# What a datagram must be to be in one: UDP, neither options nor fragment; and how its vnet header says "unfinished".
_PLAIN_MASK, _PLAIN = _word(b"\xff\0\0\0\0\0\xbf\xff"), _word(b"\x45" + bytes(7))
_VNET_MASK = _word(b"\xff\xff\0\0\0\0\xff\xff")
_UNFINISHED = _word(VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, CSUM_START, CSUM_OFFSET)[:8])
_KIND_MASK = _word(b"\xff\xff" + bytes(6))


@dataclass(slots=True)
class Runs:
    """k frames in the order they leave in, as m messages of one frame or more."""

    frames: Positions  # (k,) positions in the batch
    first: Positions  # (m,) index into `frames` of each run's first
    size: Positions  # (m,) frames in each run
    flows: int = 1  # among them, where they can be gathered
    gathered: bool = True  # whether any run has more than one frame

    @property
    def heads(self) -> Positions:
        """Position in the batch of each run's first frame, (m,)."""
        return self.frames[self.first] if self.gathered else self.frames


def singles(frames: Positions) -> Runs:
    """Every frame by itself, in the order given."""
    return Runs(frames, np.arange(len(frames)), np.ones(len(frames), np.int64), gathered=False)


def gather(
    header: Columns, batch: Batch, frames: Positions, flows: Positions, segments: int = SEGMENTS
) -> Runs:
    """The k >= 1 `frames` of a batch as runs of `segments` at most; `flows` (k,) are the rows of their flows.

    The header rows are as received.
    """
    if np.count_nonzero(flows[1:] != flows[:-1]):
        narrow = flows.astype(np.uint16) if flows.max() < SMALL_TABLE else flows
        order = narrow.argsort(kind="stable")
        ordered, narrow = frames[order], narrow[order]
        count = 1 + int(np.count_nonzero(narrow[1:] != narrow[:-1]))
        rows = taken(header.rows, ordered)
    else:
        count = 1
        ordered = frames
        rows = header.rows if len(frames) == len(header.rows) else taken(header.rows, frames)
    joined = _alike(rows, header.total_length[ordered])
    if np.count_nonzero(joined):
        trusted = _trusted(rows, header, batch, ordered)
        joined &= trusted[1:] & trusted[:-1]
    if not np.count_nonzero(joined):
        return singles(frames)
    runs = _limited(ordered, np.flatnonzero(~joined), header.total_length[ordered], segments)
    runs.flows, runs.gathered = count, len(runs.first) < len(frames)
    return runs


def super_blocks(header: Columns, runs: Runs, blocks: Rows) -> None:
    """Make header blocks (m,), copies of the first rows of `runs`, those of super-datagrams where there are more."""
    several = runs.size > 1
    at = slice(None) if np.count_nonzero(several) == len(several) else np.flatnonzero(several)
    payload = np.add.reduceat(header.total_length[runs.frames] - HEADERS, runs.first)[at]
    single = blocks["total_length"][at].astype(np.int64)
    blocks["flags"][at], blocks["gso_type"][at] = VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4
    blocks["hdr_len"][at], blocks["gso_size"][at] = CSUM_START + UDP_LENGTH, single - HEADERS
    blocks["csum_start"][at], blocks["csum_offset"][at] = CSUM_START, CSUM_OFFSET
    blocks["checksum"][at] = _adjusted(blocks["checksum"][at].astype(np.int64), single, payload + HEADERS)
    blocks["total_length"][at] = payload + HEADERS
    blocks["udp_length"][at] = payload + UDP_LENGTH
    blocks["udp_checksum"][at] = _folded(_pseudo_header(header.pair[runs.heads[at]]) + payload + UDP_LENGTH)


def most_datagrams(size: int, segments: int) -> int:
    """How many datagrams of `size` >= 1 payload bytes fit a message; 1 is no super-datagram, whatever its size."""
    return max(1, min(segments, MOST_PAYLOAD // size))


def seed_of(header: bytes, length: int) -> int:
    """The folded sum of the pseudo-header (RFC 768) of a datagram of `length` bytes under an IPv4 header."""
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in (12, 14, 16, 18)) + UDP + length
    return (total - 1) % 0xFFFF + 1


def _alike(rows: Rows, length: Positions) -> Mask:
    """Whether each frame but the first may continue the run of the one before it, (k - 1,), trust aside."""
    words = rows["words"]
    first, second, third = words[:, _FIRST], words[:, _SECOND], words[:, _THIRD]
    different = (first[1:] ^ first[:-1]) & _SAME_FIRST
    different |= (second[1:] ^ second[:-1]) & _SAME_SECOND
    different |= third[1:] ^ third[:-1]
    alike: Mask = different == 0
    shorter = length[1:] < length[:-1]
    alike &= length[1:] <= length[:-1]
    alike[1:] &= ~(shorter & alike)[:-1]  # nothing follows a shorter one
    free = rows["fragment"] & DONT_FRAGMENT
    if np.count_nonzero(free) != len(free):
        identification = rows["identification"].astype(np.uint16)
        alike &= (free[1:] != 0) | (identification[1:] - identification[:-1] == 1)
    return alike


def _trusted(rows: Rows, header: Columns, batch: Batch, frames: Positions) -> Mask:
    """Which datagrams, (k,), may get a new checksum, being whole UDP datagrams whose present one is right."""
    words = rows["words"]
    length = header.total_length[frames]
    udp: Mask = (words[:, _FIRST] & _PLAIN_MASK == _PLAIN) & (rows["protocol"] == UDP)
    udp &= (rows["udp_length"] == length - IP_LENGTH) & (length > HEADERS)
    unfinished = words[:, 0] & _VNET_MASK == _UNFINISHED
    unfinished &= rows["csum_offset"] == CSUM_OFFSET
    if np.count_nonzero(unfinished):
        right = _is_seed(rows["udp_checksum"], header.pair[frames], length)
        if np.count_nonzero(unfinished) == len(rows):
            udp &= right
            return udp
        udp &= ~unfinished | right
    finished = udp & (words[:, 0] & _KIND_MASK == 0) & (rows["udp_checksum"] != 0)
    valid: Mask = finished & (batch.status[frames] & TP_STATUS_CSUM_VALID != 0)
    doubtful = np.flatnonzero(finished & ~valid)
    if doubtful.size:
        valid[doubtful] = valid_checksums(batch, frames[doubtful], length[doubtful], header.pair[frames[doubtful]])
    valid |= udp & unfinished
    return valid


def _is_seed(checksum: npt.NDArray[np.uint16], pairs: Words, length: Positions) -> Mask:
    """Whether a checksum field holds the sum of the pseudo-header (RFC 768)."""
    total = (_pseudo_header(pairs) + (length - IP_LENGTH) - checksum).astype(np.float64)
    quotient = total / 65535.0
    right: Mask = np.equal(quotient, np.rint(quotient)) & (checksum != 0)
    return right


def _limited(frames: Positions, last: Positions, length: Positions, segments: int) -> Runs:
    """Runs that end at the places `last` and at the end, divided where one is longer than a message may be."""
    first, size = _spans(last + 1, len(frames))
    most = np.clip(MOST_PAYLOAD // np.maximum(length[first] - HEADERS, 1), 1, segments)  # as `most_datagrams`
    if not np.count_nonzero(size > most):
        return Runs(frames, first, size)
    pieces = (size + most - 1) // most
    before = np.repeat(pieces.cumsum() - pieces, pieces)
    beginnings = np.repeat(first, pieces) + (np.arange(len(before)) - before) * np.repeat(most, pieces)
    return Runs(frames, *_spans(beginnings[1:], len(frames)))


def _spans(boundaries: Positions, end: int) -> tuple[Positions, Positions]:
    """Beginnings and sizes of the spans from 0 to `end` that meet at the `boundaries`."""
    edges = np.empty(len(boundaries) + 2, np.int64)
    edges[0], edges[1:-1], edges[-1] = 0, boundaries, end
    return edges[:-1], edges[1:] - edges[:-1]


def _pseudo_header(pairs: Words) -> Positions:
    """Sum of addresses and protocol, not folded."""
    low = np.uint64(0xFFFF_FFFF)
    total: Positions = ((pairs >> np.uint64(32)) + (pairs & low)).view(np.int64) + UDP
    return total


def _folded(total: Positions) -> Positions:
    """Ones' complement sums as 16 bits, (RFC 1071)."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    folded: Positions = (total & 0xFFFF) + (total >> 16)
    return folded


def _adjusted(checksum: Positions, before: Positions, after: Positions) -> Positions:
    """The header checksum after one field changed (RFC 1624 eqn. 3)."""
    result: Positions = _folded((checksum ^ 0xFFFF) + (before ^ 0xFFFF) + after) ^ 0xFFFF
    return result
