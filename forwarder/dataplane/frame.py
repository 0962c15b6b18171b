"""Byte offsets of a frame, the header columns of a batch, and the header rewriting of forwarding.

A row is 56 bytes copied from around the start of a frame's IP header, always in Ethernet form, whatever the ingress:
0..9 virtio_net_hdr, 10..23 Ethernet header, 24..43 IPv4 fixed header, 44..51 first 8 bytes of L4 (or of the options),
52..55 spare. The rows are the header blocks that are sent, so rewriting works on them in place; columns whose old
value matters afterwards (TTL) are copies.

Offsets of checksums in the vnet header count from the start of the frame, hence differ by 14 between Ethernet links
and links without link header; only `columns` and `headerless` know that. The common case costs one gather and some
twenty vector operations; frames with options, defects or offloads are looked at again on their own. Pure, but for
one write into the ring: the checksum seed of a super-frame that came without one.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.ring import Batch
from forwarder.packet.tpacket import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_NONE,
    VIRTIO_NET_HDR_GSO_UDP_L4,
)
from forwarder.state.reasons import Reason

Rows: TypeAlias = npt.NDArray[np.uint8]
Positions: TypeAlias = npt.NDArray[np.int64]

ROW = 56
ETHERNET = 10
IP = 24
L4 = 44
ETHERNET_LENGTH = 14
IP_LENGTH = 20
UDP_LENGTH = 8
VIRTIO_NET_HDR_GSO_UDP = 3
"""UFO: one datagram that is sent as IP fragments (linux/virtio_net.h)."""
DONT_FRAGMENT = 0x4000
NO_OPTIONS = 0x45
IGMP = 2
NONE: Positions = np.empty(0, np.int64)
NONE.setflags(write=False)

_ROW_TYPE = np.dtype((np.void, ROW))
_HEADER_WORDS = np.arange(8)  # 64 bytes: any IPv4 header
_ROW_WORDS = np.arange(ROW // 8)
_QUARTERS = np.arange(0, 64, 4)
_WHOLE = 65535.0  # one's complement sums are taken modulo this
_ETHERTYPE = b"\x08\x00"


@dataclass(slots=True)
class Columns:
    """Header columns of n frames; arrays of shape (n,) unless said otherwise, addresses in host order."""

    rows: Rows  # (n, 56), see the module
    pair: npt.NDArray[np.uint64]  # source << 32 | group: what flows are looked up by
    total_length: Positions
    ttl: npt.NDArray[np.uint8]  # as received
    defect: npt.NDArray[np.uint8]  # Reason.MALFORMED, Reason.TRUNCATED or 0
    defective: bool  # whether `defect` is not all zero
    supers: Positions  # which frames have a gso_type, ascending; nearly always none

    @property
    def source(self) -> npt.NDArray[np.uint32]:
        """Source address."""
        return (self.pair >> np.uint64(32)).astype(np.uint32)

    @property
    def group(self) -> npt.NDArray[np.uint32]:
        """Destination address."""
        return self.pair.astype(np.uint32)

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Whether the frame is whole and its IPv4 header sound."""
        valid: npt.NDArray[np.bool_] = self.defect == 0
        return valid

    @property
    def protocol(self) -> npt.NDArray[np.uint8]:
        """IP protocol; a view."""
        return self.rows[:, IP + 9]

    @property
    def tos(self) -> npt.NDArray[np.uint8]:
        """Type of service; a view."""
        return self.rows[:, IP + 1]

    @property
    def header_length(self) -> Positions:
        """IPv4 header length in bytes."""
        return (self.rows[:, IP] & 15).astype(np.int64) * 4

    @property
    def identification(self) -> npt.NDArray[np.uint16]:
        """IP ID."""
        return self.rows.view(">u2")[:, (IP + 4) // 2].astype(np.uint16)

    @property
    def fragment(self) -> npt.NDArray[np.uint16]:
        """Flags and fragment offset as they stand in the header; DONT_FRAGMENT is 0x4000."""
        return self.rows.view(">u2")[:, (IP + 6) // 2].astype(np.uint16)

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        """vnet flags: NEEDS_CSUM or 0; a view."""
        return self.rows[:, 0]

    @property
    def gso_type(self) -> npt.NDArray[np.uint8]:
        """vnet gso_type; a view."""
        return self.rows[:, 1]

    @property
    def gso_size(self) -> npt.NDArray[np.uint16]:
        """vnet gso_size; a view."""
        return self.rows.view(np.uint16)[:, 2]

    @property
    def csum_start(self) -> npt.NDArray[np.uint16]:
        """vnet csum_start, from the Ethernet header on; a view."""
        return self.rows.view(np.uint16)[:, 3]

    @property
    def csum_offset(self) -> npt.NDArray[np.uint16]:
        """vnet csum_offset; a view."""
        return self.rows.view(np.uint16)[:, 4]


def columns(batch: Batch, link_header: int) -> Columns:
    """The columns of a batch from a port whose link headers are `link_header` (14 or 0) bytes long."""
    rows = gather_rows(batch)
    pair = rows[:, IP + 12 : L4].view(">u8")[:, 0].astype(np.uint64)
    total_length = rows.view(">u2")[:, (IP + 2) // 2].astype(np.int64)
    sound = rows[:, IP] == NO_OPTIONS
    sound &= _is_whole(_fixed_header_sum(rows.view(np.uint32)))
    sound &= total_length >= IP_LENGTH
    sound &= total_length <= batch.length - link_header
    sound &= batch.snaplen >= batch.length
    sound &= batch.net - batch.mac == link_header
    result = Columns(
        rows=rows,
        pair=pair,
        total_length=total_length,
        ttl=rows[:, IP + 8].copy(),
        defect=np.zeros(len(rows), np.uint8),
        defective=False,
        supers=NONE,
    )
    if np.count_nonzero(sound) != len(rows):
        _examine(result, batch, link_header, np.flatnonzero(~sound))
    if link_header == 0:
        _lift(rows)
    if np.count_nonzero(rows.view("<u2")[:, 0] > VIRTIO_NET_HDR_F_NEEDS_CSUM):
        _settle_offloads(result, batch)
    return result


def header_sum_ok(header: npt.NDArray[np.uint32], header_length: Positions) -> npt.NDArray[np.bool_]:
    """Whether the IPv4 header checksum holds (RFC 791); `header` is (m, 16), `header_length` in bytes."""
    inside = np.where(header_length[:, None] > _QUARTERS, header, np.uint32(0))
    return _is_whole(inside.sum(axis=1, dtype=np.float64))


def decrement_ttl(rows: Rows) -> None:
    """TTL - 1 and the header checksum with it, in place (RFC 1624 eqn. 3); rows of TTL 0 become nonsense."""
    checksum = rows.view(">u2")[:, (IP + 10) // 2]
    updated = checksum.astype(np.uint16)
    carry = updated >= 0xFEFF  # 0xfeff too: its sum 0xffff has to be written as 0
    updated += np.uint16(0x0100)
    updated += carry
    checksum[...] = updated
    rows[:, IP + 8] -= np.uint8(1)


def set_destination_mac(rows: Rows, groups: npt.NDArray[np.uint32]) -> None:
    """Ethernet destination of each group, 01:00:5e and its low 23 bits (RFC 1112 section 6.4), in place."""
    rows.view(">u2")[:, ETHERNET // 2] = 0x0100
    rows.view(">u4")[:, (ETHERNET + 2) // 4] = groups & np.uint32(0x7FFFFF) | np.uint32(0x5E000000)


def set_source_mac(rows: Rows, mac: bytes) -> None:
    """Ethernet source `mac` (6 bytes) and EtherType IPv4, in place."""
    rows.view(np.uint64)[:, (ETHERNET + 6) // 8] = np.frombuffer(mac + _ETHERTYPE, np.uint64)[0]


def headerless(rows: Rows) -> Rows:
    """A copy of the rows for an egress without link header: its messages start with the vnet header at byte 14."""
    lowered = rows.copy()
    lowered[:, ETHERNET_LENGTH:IP] = rows[:, :ETHERNET]
    _shift(lowered, ETHERNET_LENGTH, -ETHERNET_LENGTH)
    return lowered


def packet(batch: Batch, header: Columns, frame: int) -> bytes:
    """The IPv4 packet of one frame as its row says now, without link header and padding; for the slow path."""
    start = int(batch.net[frame])
    payload = batch.buffer[start + IP_LENGTH : start + int(header.total_length[frame])]
    return header.rows[frame, IP:L4].tobytes() + payload.tobytes()


def gather_rows(batch: Batch) -> Rows:
    """Copies of the rows of a batch as they are in the ring, (n, 56); IP headers there are at multiples of 8."""
    start = (batch.net - IP) >> 3
    windows = np.ndarray((max(len(batch.words) - ROW // 8 + 1, 0),), _ROW_TYPE, batch.words, strides=(8,))
    try:
        rows: Rows = windows[start].view(np.uint8).reshape(-1, ROW)
        return rows
    except IndexError:  # a short frame at the very end of the ring: its spare bytes lie outside
        return batch.words.take(start[:, None] + _ROW_WORDS, mode="clip").view(np.uint8)


def _fixed_header_sum(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Sum of the five words of each row's fixed header; not np.dot, whose BLAS starts threads for large batches."""
    total = words[:, IP // 4].astype(np.float64)
    for word in range(IP // 4 + 1, L4 // 4):
        total += words[:, word]
    return total


def _is_whole(total: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether sums of header words (exact below 2^53, not 0) are multiples of 65535, that is verify."""
    quotient = total / _WHOLE
    return np.equal(quotient, np.rint(quotient))


def _examine(header: Columns, batch: Batch, link_header: int, at: Positions) -> None:
    """Write the defects of the frames `at`; most often they merely have options."""
    words = batch.words.take((batch.net[at] >> 3)[:, None] + _HEADER_WORDS, mode="clip").view(np.uint32)
    header_length, total_length = header.header_length[at], header.total_length[at]
    truncated = batch.snaplen[at] < batch.length[at]
    malformed = (header.rows[at, IP] >> 4 != 4) | (header_length < IP_LENGTH)
    malformed |= (total_length < header_length) | (total_length > batch.length[at] - link_header)
    malformed |= ~header_sum_ok(words, header_length)
    unseen = truncated & (batch.snaplen[at] - link_header < np.maximum(header_length, IP_LENGTH))
    malformed = malformed & ~unseen | (batch.net[at] - batch.mac[at] != link_header)
    header.defect[at] = np.where(malformed, np.uint8(Reason.MALFORMED), truncated * np.uint8(Reason.TRUNCATED))
    header.defective = bool(header.defect.any())


def _lift(rows: Rows) -> None:
    """Make Ethernet rows of rows that came without link header, in place."""
    rows[:, :ETHERNET] = rows[:, ETHERNET_LENGTH:IP]
    _shift(rows, 0, ETHERNET_LENGTH)
    rows[:, IP - 2 : IP] = np.frombuffer(_ETHERTYPE, np.uint8)


def _shift(rows: Rows, vnet: int, by: int) -> None:
    """Add `by` to hdr_len and csum_start of the vnet headers at byte `vnet`, where they mean something."""
    halves = rows.view(np.uint16)
    step = np.uint16(by & 0xFFFF)
    halves[:, vnet // 2 + 1] += step * (halves[:, vnet // 2 + 1] != 0)
    halves[:, vnet // 2 + 3] += step * (rows[:, vnet] & np.uint8(VIRTIO_NET_HDR_F_NEEDS_CSUM))


def _settle_offloads(header: Columns, batch: Batch) -> None:
    """Leave only what an egress accepts in the vnet headers: DATA_VALID goes, super-frames get what they lack."""
    header.flags[...] &= VIRTIO_NET_HDR_F_NEEDS_CSUM
    header.supers = np.flatnonzero(header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
    for frame in header.supers.tolist():
        if header.defect[frame]:
            continue
        if not _is_datagram(header, frame):
            header.defect[frame] = Reason.MALFORMED
            header.defective = True
        elif header.gso_type[frame] == VIRTIO_NET_HDR_GSO_UDP_L4 and not header.flags[frame]:
            _seed(header, batch, frame)


def _is_datagram(header: Columns, frame: int) -> bool:
    """Whether a super-frame is one UDP datagram that can be cut: no TCP, no fragment, a size to cut at."""
    known = header.gso_type[frame] in (VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4)
    udp = header.protocol[frame] == 17 and not header.fragment[frame] & 0x3FFF
    room = header.total_length[frame] - header.header_length[frame] >= UDP_LENGTH
    return bool(known and udp and room and header.gso_size[frame])


def _seed(header: Columns, batch: Batch, frame: int) -> None:
    """Make a super-frame of finished datagrams (GRO fragment list) one with an unfinished checksum."""
    header_length = int(header.header_length[frame])
    length = int(header.total_length[frame]) - header_length
    pair = int(header.pair[frame])
    total = sum(pair >> shift & 0xFFFF for shift in (0, 16, 32, 48)) + 17 + length
    seed = np.frombuffer(((total - 1) % 0xFFFF + 1).to_bytes(2, "big"), np.uint8)
    at = int(batch.net[frame]) + header_length + 6
    batch.buffer[at : at + 2] = seed
    if header_length == IP_LENGTH:
        header.rows[frame, L4 + 6 : L4 + 8] = seed
    start = ETHERNET_LENGTH + header_length
    header.flags[frame] = VIRTIO_NET_HDR_F_NEEDS_CSUM
    header.rows.view(np.uint16)[frame, 1] = start + UDP_LENGTH
    header.csum_start[frame], header.csum_offset[frame] = start, 6
