"""The header columns of a batch, and the header rewriting of forwarding.

A row (`ROW`) is 56 bytes copied from around the start of a frame's IP header, always in Ethernet form, whatever the
ingress: vnet header, Ethernet header, fixed IPv4 header, the first 8 bytes of L4 (or of the options), 4 spare bytes.
The rows are the header blocks that are sent, so rewriting works on them in place; columns whose old value matters
afterwards (TTL) are copies.

Offsets of checksums in the vnet header count from the start of the frame, hence differ by 14 between Ethernet links
and links without link header; only `columns` and `headerless` know that. The common case costs one gather and some
twenty vector operations; frames with options, defects or offloads are looked at again on their own. Pure, but for
one write into the ring: the checksum seed of a super-frame that came without one.
"""

from dataclasses import dataclass
from functools import cached_property
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

Rows: TypeAlias = npt.NDArray[np.void]
"""Shape (n,), of dtype ROW."""
Positions: TypeAlias = npt.NDArray[np.int64]

_FIELDS: dict[str, tuple[str, int]] = {
    "flags": ("u1", 0),  # virtio_net_hdr
    "gso_type": ("u1", 1),
    "hdr_len": ("u2", 2),
    "gso_size": ("u2", 4),
    "csum_start": ("u2", 6),
    "csum_offset": ("u2", 8),
    "vnet": ("(10,)u1", 0),
    "ethernet": ("(14,)u1", 10),  # Ethernet header
    "destination_high": (">u2", 10),  # 01:00 of a group
    "destination_low": (">u4", 12),
    "source": ("u8", 16),  # source address and EtherType in one word
    "source_end": ("u2", 20),
    "ethertype": (">u2", 22),
    "version_ihl": ("u1", 24),  # IPv4 header
    "tos": ("u1", 25),
    "total_length": (">u2", 26),
    "identification": (">u2", 28),
    "fragment": (">u2", 30),
    "ttl": ("u1", 32),
    "protocol": ("u1", 33),
    "checksum": (">u2", 34),
    "pair": (">u8", 36),  # source << 32 | group
    "ip_words": ("(5,)u4", 24),
    "ip": ("(20,)u1", 24),
    "udp_ports": ("u4", 44),  # UDP header, where there are no options
    "udp_length": (">u2", 48),
    "udp_checksum": (">u2", 50),
    "words": ("(7,)u8", 0),  # the whole
}
ROW = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [offset for _, offset in _FIELDS.values()],
        "itemsize": 56,
    }
)
"""A row; fields overlap where several ways of looking at bytes are of use."""
BYTES = np.dtype((np.void, ROW.itemsize))
"""A row to be copied: numpy copies the fields of a structure one by one, these in 200 ns a row instead of 5."""
IP, L4 = _FIELDS["ip"][1], _FIELDS["udp_ports"][1]
"""Where IPv4 and the header above it begin in a row."""
ETHERNET_LENGTH = 14
IP_LENGTH = 20
UDP_LENGTH = 8
CSUM_OFFSET = 6
"""Of the checksum in a UDP header."""
VIRTIO_NET_HDR_GSO_UDP = 3
"""UFO: one datagram that is sent as IP fragments (linux/virtio_net.h)."""
DONT_FRAGMENT = 0x4000
FRAGMENT = 0x3FFF
"""More fragments, or an offset: what whole packets have not."""
NO_OPTIONS = 0x45
IGMP, UDP = 2, 17
NONE: Positions = np.empty(0, np.int64)
NONE.setflags(write=False)

_HEADER_WORDS = np.arange(8)  # 64 bytes: any IPv4 header
_ROW_WORDS = np.arange(ROW.itemsize // 8)
_QUARTERS = np.arange(0, 64, 4)
_OFFLOADED = np.frombuffer(bytes([0xFF ^ VIRTIO_NET_HDR_F_NEEDS_CSUM, 0xFF]) + bytes(6), np.uint64)[0]
_WHOLE = 65535.0  # one's complement sums are taken modulo this
ETHERTYPE_IPV4 = b"\x08\x00"


@dataclass
class Columns:
    """Header columns of n frames; arrays of shape (n,) unless said otherwise, addresses in host order."""

    rows: Rows  # see the module
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
    def header_length(self) -> Positions:
        """IPv4 header length in bytes."""
        return (self.rows["version_ihl"] & 15).astype(np.int64) * 4

    @cached_property
    def datagrams(self) -> Positions:
        """How many datagrams each frame is on the wire: super-frames are several."""
        return np.where(self._is_super, self._packets(self.header_length + UDP_LENGTH), 1)

    @cached_property
    def repeated_headers(self) -> Positions:
        """Bytes of headers that each frame has on the wire besides those in its row: of its other packets."""
        repeated = self.header_length + UDP_LENGTH * self._is_super
        return (self._packets(repeated) - 1) * repeated

    @property
    def _is_super(self) -> npt.NDArray[np.bool_]:
        is_super: npt.NDArray[np.bool_] = (self.rows["gso_type"] == VIRTIO_NET_HDR_GSO_UDP_L4) & (self.defect == 0)
        return is_super

    def _packets(self, repeated: Positions) -> Positions:
        """How many packets the kernel makes of each frame, each of which begins with `repeated` bytes of header.

        UDP_L4 makes datagrams of `gso_size` bytes of payload, UFO fragments of one datagram.
        """
        payload, size = self.total_length - repeated, self.rows["gso_size"].astype(np.int64)
        packets = np.maximum(-(-payload // np.maximum(size, 1)), 1)
        return np.where((self.rows["gso_type"] == VIRTIO_NET_HDR_GSO_NONE) | (self.defect != 0), 1, packets)


def columns(batch: Batch, link_header: int) -> Columns:
    """The columns of a batch from a port whose link headers are `link_header` (14 or 0) bytes long."""
    rows = gather_rows(batch)
    total_length = rows["total_length"].astype(np.int64)
    sound = rows["version_ihl"] == NO_OPTIONS
    sound &= _is_whole(_fixed_header_sum(rows["ip_words"]))
    sound &= total_length >= IP_LENGTH
    sound &= total_length <= batch.length - link_header
    sound &= batch.snaplen >= batch.length
    sound &= batch.net - batch.mac == link_header
    result = Columns(
        rows=rows,
        pair=rows["pair"].astype(np.uint64),
        total_length=total_length,
        ttl=rows["ttl"].copy(),
        defect=np.zeros(len(rows), np.uint8),
        defective=False,
        supers=NONE,
    )
    if np.count_nonzero(sound) != len(rows):
        _examine(result, batch, link_header, np.flatnonzero(~sound))
    if link_header == 0:
        _lift(rows)
    if np.count_nonzero(rows["words"][:, 0] & _OFFLOADED):
        _settle_offloads(result, batch)
    return result


# RFC 4541 2.1.2 f
def header_sum_ok(header: npt.NDArray[np.uint32], header_length: Positions) -> npt.NDArray[np.bool_]:
    """Whether the IPv4 header checksum holds (RFC 791); `header` is (m, 16), `header_length` in bytes."""
    inside = np.where(header_length[:, None] > _QUARTERS, header, np.uint32(0))
    return _is_whole(inside.sum(axis=1, dtype=np.float64))


def decrement_ttl(rows: Rows) -> None:
    """TTL - 1 and the header checksum with it, in place (RFC 1624 eqn. 3); rows of TTL 0 become nonsense."""
    updated = rows["checksum"].astype(np.uint16)
    carry = updated >= 0xFEFF  # 0xfeff too: its sum 0xffff has to be written as 0
    updated += np.uint16(0x0100)
    updated += carry
    rows["checksum"] = updated
    rows["ttl"] -= np.uint8(1)


def set_destination_mac(rows: Rows, groups: npt.NDArray[np.uint32]) -> None:
    """Ethernet destination of each group, 01:00:5e and its low 23 bits (RFC 1112 section 6.4), in place."""
    rows["destination_high"] = 0x0100
    rows["destination_low"] = groups & np.uint32(0x7FFFFF) | np.uint32(0x5E000000)


def source_word(mac: bytes) -> np.uint64:
    """The field `source` of frames from `mac` (6 bytes) that carry IPv4."""
    return np.uint64(np.frombuffer(mac + ETHERTYPE_IPV4, np.uint64)[0])


def headerless(rows: Rows) -> Rows:
    """A copy of the rows for an egress without link header: its messages start with the vnet header at byte 14."""
    lowered = copied(rows)
    _shift(lowered, -ETHERNET_LENGTH)
    octets = lowered.view(np.uint8).reshape(-1, ROW.itemsize)
    octets[:, ETHERNET_LENGTH:IP] = lowered["vnet"]
    return lowered


def packet(batch: Batch, header: Columns, frame: int) -> bytes:
    """The IPv4 packet of one frame as its row says now, without link header and padding; for the slow path."""
    start = int(batch.net[frame])
    payload = batch.buffer[start + IP_LENGTH : start + int(header.total_length[frame])]
    return bytes(header.rows["ip"][frame]) + bytes(payload)


def taken(rows: Rows, at: Positions) -> Rows:
    """Copies of the rows `at`, (m,)."""
    return rows.view(BYTES).take(at).view(ROW)


def put(rows: Rows, at: Positions, others: Rows) -> None:
    """Write `others`, (m,), to the rows `at`."""
    rows.view(BYTES)[at] = others.view(BYTES)


def copied(rows: Rows) -> Rows:
    """A copy of all rows."""
    return rows.view(BYTES).copy().view(ROW)


def gather_rows(batch: Batch) -> Rows:
    """Copies of the rows of a batch as they are in the ring, (n,); IP headers there are at multiples of 8."""
    start = (batch.net - IP) >> 3
    windows = np.ndarray((max(len(batch.words) - len(_ROW_WORDS) + 1, 0),), BYTES, batch.words, strides=(8,))
    try:
        rows: Rows = windows[start].view(ROW)
    except IndexError:  # a short frame at the very end of the ring: its spare bytes lie outside
        rows = batch.words.take(start[:, None] + _ROW_WORDS, mode="clip").view(ROW)[:, 0]
    return rows


def _fixed_header_sum(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Sum of the five words of each row's fixed header; not np.dot, whose BLAS starts threads for large batches."""
    total = words[:, 0].astype(np.float64)
    for word in range(1, 5):
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
    malformed = (header.rows["version_ihl"][at] >> 4 != 4) | (header_length < IP_LENGTH)
    malformed |= (total_length < header_length) | (total_length > batch.length[at] - link_header)
    malformed |= ~header_sum_ok(words, header_length)
    unseen = truncated & (batch.snaplen[at] - link_header < np.maximum(header_length, IP_LENGTH))
    malformed = malformed & ~unseen | (batch.net[at] - batch.mac[at] != link_header)
    header.defect[at] = np.where(malformed, np.uint8(Reason.MALFORMED), truncated * np.uint8(Reason.TRUNCATED))
    header.defective = bool(header.defect.any())


def _lift(rows: Rows) -> None:
    """Make Ethernet rows of rows that came without link header, in place."""
    rows["vnet"] = rows.view(np.uint8).reshape(-1, ROW.itemsize)[:, ETHERNET_LENGTH:IP]
    _shift(rows, ETHERNET_LENGTH)
    rows["ethertype"] = int.from_bytes(ETHERTYPE_IPV4, "big")


def _shift(rows: Rows, by: int) -> None:
    """Add `by` to hdr_len and csum_start, where they mean something."""
    step = np.uint16(by & 0xFFFF)
    rows["hdr_len"] += step * (rows["hdr_len"] != 0)
    rows["csum_start"] += step * (rows["flags"] & np.uint8(VIRTIO_NET_HDR_F_NEEDS_CSUM))


def _settle_offloads(header: Columns, batch: Batch) -> None:
    """Leave only what an egress accepts in the vnet headers: DATA_VALID goes, super-frames get what they lack."""
    rows = header.rows
    rows["flags"] &= VIRTIO_NET_HDR_F_NEEDS_CSUM
    header.supers = np.flatnonzero(rows["gso_type"] != VIRTIO_NET_HDR_GSO_NONE)
    at = header.supers[header.defect[header.supers] == 0]
    if not at.size:
        return
    datagram = _are_datagrams(header, at)
    header.defect[at[~datagram]] = Reason.MALFORMED
    header.defective |= bool(np.count_nonzero(datagram) < len(at))
    at = at[datagram & (rows["gso_type"][at] == VIRTIO_NET_HDR_GSO_UDP_L4) & (rows["flags"][at] == 0)]
    if at.size:
        _seed(header, batch, at)


def _are_datagrams(header: Columns, at: Positions) -> npt.NDArray[np.bool_]:
    """Whether the super-frames `at` are UDP datagrams that can be cut: no TCP, no fragment, a size to cut at."""
    rows = taken(header.rows, at)
    known: npt.NDArray[np.bool_]
    known = (rows["gso_type"] == VIRTIO_NET_HDR_GSO_UDP) | (rows["gso_type"] == VIRTIO_NET_HDR_GSO_UDP_L4)
    known &= (rows["protocol"] == UDP) & (rows["fragment"] & FRAGMENT == 0) & (rows["gso_size"] != 0)
    known &= header.total_length[at] - header.header_length[at] >= UDP_LENGTH
    return known


def _seed(header: Columns, batch: Batch, at: Positions) -> None:
    """Make super-frames of finished datagrams (GRO fragment list) ones with an unfinished checksum."""
    header_length, pair = header.header_length[at], header.pair[at]
    sixteen, low = np.uint64(16), np.uint64(0xFFFF)
    total = sum((pair >> shift & low for shift in (np.uint64(32), np.uint64(48), sixteen)), pair & low).view(np.int64)
    total = total + UDP + header.total_length[at] - header_length
    seed = (total - 1) % 0xFFFF + 1
    place = batch.net[at] + header_length + CSUM_OFFSET
    batch.buffer[place], batch.buffer[place + 1] = seed >> 8, seed & 0xFF
    plain = at[header_length == IP_LENGTH]
    header.rows["udp_checksum"][plain] = seed[header_length == IP_LENGTH]
    start = ETHERNET_LENGTH + header_length
    header.rows["flags"][at] = VIRTIO_NET_HDR_F_NEEDS_CSUM
    header.rows["hdr_len"][at] = start + UDP_LENGTH
    header.rows["csum_start"][at], header.rows["csum_offset"][at] = start, CSUM_OFFSET
