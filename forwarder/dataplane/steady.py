"""The most frequent batch: like datagrams of one flow from the first to the last, as a steady stream leaves them.

What the general way finds out frame by frame is then known from the first frame and one comparison with it; the rest
is where the payloads lie. Whatever differs anywhere is refused before anything was sent, and goes the general way; what
is carried here looks on the wire and is counted as it would there. Ethernet only, and only checksums that the kernel
vouches for.
"""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.fanout import LANES, Fanout
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import (
    DONT_FRAGMENT,
    ETHERNET_LENGTH,
    IP,
    IP_LENGTH,
    L4,
    ROW,
    UDP_LENGTH,
    Rows,
    gather_rows,
    set_source_mac,
)
from forwarder.dataplane.ring import Batch, Frame
from forwarder.dataplane.scalar import Path, Scalar, Way
from forwarder.dataplane.segmentation import CSUM_OFFSET, CSUM_START, HEADERS, LARGEST, SEGMENTS, UDP
from forwarder.dataplane.transmit import Messages, strided
from forwarder.packet.tpacket import (
    TP_STATUS_CSUM_VALID,
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VNET_HDR,
)
from forwarder.state.worker_segment import RX_BYTES, RX_PACKETS
from igmp.checksum import checksum

BLOCK = struct.Struct("!10s14s2sHH4sH8s4sHH4x")
"""A header block: vnet, link, IPv4 with total length, ID and checksum apart, UDP with length and seed apart."""
TOTAL_AND_ID = PROTOCOL_AND_LENGTH = struct.Struct("!HH")
UNFINISHED = VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, CSUM_START, CSUM_OFFSET)
HEADER_LENGTH = L4 + UDP_LENGTH
_IDENTIFICATION, _CHECKSUM = (IP + 4) // 2, (IP + 10) // 2
_GROUP_AND_PORTS = 2  # the 64-bit word of an IPv4 packet


def _mask(udp_checksum: bytes) -> npt.NDArray[np.uint64]:
    """Which bits of a row are the same in like datagrams: not ID, header checksum, payload; the given ones of UDP's."""
    octets = bytearray(b"\xff" * (HEADER_LENGTH - 2) + udp_checksum + bytes(4))
    octets[IP + 4 : IP + 6] = octets[IP + 10 : IP + 12] = b"\0\0"
    return np.frombuffer(bytes(octets), np.uint64)


_SEEDED, _VALID = _mask(b"\xff\xff"), _mask(b"\0\0")


class Steady:
    """Carries such batches along the paths that `scalar` knows."""

    def __init__(self, scalar: Scalar, flows: FlowTable, fanout: Fanout, capacity: int) -> None:
        """`capacity`: frames in the largest batch."""
        self._scalar, self._flows, self._fanout = scalar, flows, fanout
        self._lanes = [Messages(capacity + SEGMENTS) for _ in range(LANES)]

    def forward(self, ingress: Attachment, batch: Batch, own: frozenset[bytes], now: float) -> int:
        """Carry the whole batch, or nothing; to how many ports. `own`: those of our ports (`loops.ours`)."""
        count = len(batch.net)
        if count < 2 or ingress.link_header != ETHERNET_LENGTH or not _looks_like_one(batch):
            return 0
        first = Frame(int(batch.mac[0]), int(batch.net[0]), int(batch.snaplen[0]), int(batch.length[0]))
        plain = self._scalar.plain(ingress, batch.buffer.data, first, own)
        if plain is None:
            return 0
        path, vnet, header, rest = plain
        datagram = bytes(rest[:UDP_LENGTH])
        if not _can_be_gathered(path, header, datagram, len(rest)):
            return 0
        rows = gather_rows(batch)
        if not (_alike(batch, rows, vnet) and _is_trusted(batch, vnet, header, datagram)):
            return 0
        self._send(path, batch, rows, header, datagram, len(rest) - UDP_LENGTH)
        ingress.counters[RX_PACKETS] += count
        ingress.counters[RX_BYTES] += count * first.length
        self._flows.account_one(path.row, IP_LENGTH + len(rest), now, count)
        return len(path.ways)

    def _send(self, path: Path, batch: Batch, rows: Rows, header: bytes, datagram: bytes, size: int) -> None:
        each = min(SEGMENTS, LARGEST // size)
        identifications = rows.view(">u2")[::each, _IDENTIFICATION].tolist()
        left = len(rows)
        blocks = b""
        for identification in identifications:
            blocks += _block(path.ways[0].link, header, datagram, size, min(each, left), identification)
            left -= each
        payload = (batch.net + (batch.address + HEADERS)).view(np.uint64)

        def send(lane: int, ways: Iterator[Way]) -> None:
            messages, own = self._lanes[lane], np.frombuffer(bytearray(blocks), np.uint8).reshape(-1, ROW)
            messages.fill_even(strided(own.ctypes.data, ROW, len(own)), HEADER_LENGTH, payload, size, each)
            for way in ways:
                set_source_mac(own, way.port.mac)
                way.port.count_sent(messages.send(way.fd))

        self._fanout.share(path.ways, send)


def _looks_like_one(batch: Batch) -> bool:
    """A cheap look at three frames, so that batches of several flows do not pay for the whole."""
    at = (batch.net[[0, len(batch.net) // 2, -1]] >> 3) + _GROUP_AND_PORTS
    first, middle, last = batch.words[at].tolist()
    return bool(first == middle == last)


def _can_be_gathered(path: Path, header: bytes, datagram: bytes, length: int) -> bool:
    """Whether a datagram of this IPv4 header and beginning may be part of a super-datagram on all its ways."""
    whole = header[9] == UDP and not header[6] & 0xBF and not header[7]
    whole = whole and length > UDP_LENGTH and int.from_bytes(datagram[4:6], "big") == length
    return whole and all(way.link and not way.longer for way in path.ways) and bool(path.ways)


def _alike(batch: Batch, rows: Rows, vnet: bytes) -> bool:
    """Whether all frames are like the first, and as sound."""
    words = rows.view(np.uint64)
    if np.count_nonzero((words ^ words[0]) & (_SEEDED if vnet[0] else _VALID)):
        return False
    length = batch.length[0]
    different = (batch.length ^ length) | (batch.snaplen ^ length) | (batch.net - batch.mac ^ ETHERNET_LENGTH)
    if np.count_nonzero(different):
        return False
    fields = rows.view(">u2")
    identification = fields[:, _IDENTIFICATION].astype(np.uint16)
    total = identification.astype(np.uint32) + fields[:, _CHECKSUM]
    total = (total & np.uint32(0xFFFF)) + (total >> np.uint32(16))
    if np.count_nonzero(total != total[0]):  # all else being equal, one header checksum is wrong
        return False
    if rows[0, IP + 6] & DONT_FRAGMENT >> 8:
        return True
    return not np.count_nonzero(identification[1:] - identification[:-1] != 1)


def _is_trusted(batch: Batch, vnet: bytes, header: bytes, datagram: bytes) -> bool:
    """Whether the UDP checksums are known to be right: a right seed, or the driver's word for every one."""
    found = int.from_bytes(datagram[6:8], "big")
    if vnet[0]:
        return vnet == UNFINISHED and found == _seed(header, int.from_bytes(datagram[4:6], "big"))
    return bool(found) and not np.count_nonzero(batch.status & TP_STATUS_CSUM_VALID == 0)


def _block(link: bytes, header: bytes, datagram: bytes, size: int, count: int, identification: int) -> bytes:
    """The header block of a message of `count` datagrams of `size` payload bytes, the first with this ID."""
    if count > 1:
        kind, header_length, segment = VIRTIO_NET_HDR_GSO_UDP_L4, CSUM_START + UDP_LENGTH, size
    else:
        kind = header_length = segment = 0
    vnet = VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, kind, header_length, segment, CSUM_START, CSUM_OFFSET)
    length = UDP_LENGTH + size * count
    total = IP_LENGTH + length
    value = checksum(TOTAL_AND_ID.pack(total, identification) + header[:2] + header[6:10] + header[12:])
    return BLOCK.pack(
        vnet, link, header[:2], total, identification, header[6:10], value, header[12:], datagram[:4], length,
        _seed(header, length),
    )  # fmt: skip


def _seed(header: bytes, length: int) -> int:
    """The folded sum of the pseudo-header (RFC 768) of a datagram of `length` bytes."""
    return 0xFFFF ^ checksum(header[12:20] + PROTOCOL_AND_LENGTH.pack(UDP, length))
