"""A handful of frames, carried one by one: cheaper and sooner than as vectors of length one.

Only the plain case is known here: whole frames with sound headers and no options, of flows that have a path, to ports
they fit; super-frames where the kernel takes them again. Anything else is refused before anything was sent, and goes
the way of all batches; what is carried here is counted and looks on the wire as it would there.
"""

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.frame import IGMP, IP_LENGTH, NO_OPTIONS, UDP
from forwarder.dataplane.loops import OwnAddresses
from forwarder.dataplane.paths import Path, Paths, Way
from forwarder.dataplane.ring import Place
from forwarder.dataplane.segmentation import CSUM_OFFSET, HEADERS
from forwarder.packet.tpacket import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VNET_HDR,
    VNET_HDR_LENGTH,
)
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

IPV4 = struct.Struct("!BBHHHBBHII")
TTL_AND_CHECKSUM = struct.Struct("!BBH")


class Plain(NamedTuple):
    """A frame of the plain case: where it leads, and the parts of it as they leave."""

    path: Path
    vnet: bytes
    header: bytes  # IPv4, one hop older
    rest: memoryview  # of the packet
    datagrams: int
    octets: int  # of IPv4 on the wire: a super-frame has headers for each of its datagrams


class Scalar:
    """Carries frames along `paths`; `own`: our ports' addresses; `segmentation`: the kernel takes UDP super-frames."""

    def __init__(self, paths: Paths) -> None:
        self.paths, self.own = paths, OwnAddresses({})
        self.segmentation = False

    def forward(self, ingress: Attachment, places: Sequence[Place], now: float) -> bool:
        """Carry all frames, which lie at `places` in the ring, or none: False when one of them is not plain."""
        plain = []
        for place in places:
            found = self.plain(ingress, place)
            if found is None:
                return False
            plain.append((found, place.length))
        counters = ingress.counters
        for each, length in plain:
            for way in each.path.ways:
                _send(way, each)
            self.paths.flows.account_one(each.path.row, each.datagrams, each.octets, now)
            counters[RX_PACKETS] += each.datagrams
            counters[RX_BYTES] += length + (each.datagrams - 1) * (ingress.link_header + HEADERS)
        return True

    def plain(self, ingress: Attachment, place: Place) -> Plain | None:
        """What is sent of a frame; None: not plain."""
        mac, net, snaplen, length = place
        view, link_header = ingress.ring.view, ingress.link_header
        if net - mac != link_header or snaplen < length or length < link_header + IP_LENGTH:
            return None
        header = bytes(view[net : net + IP_LENGTH])
        first, _, total, _, _, ttl, protocol, checksum, source, group = IPV4.unpack(header)
        sound = first == NO_OPTIONS and IP_LENGTH <= total <= length - link_header
        if not sound or protocol == IGMP or int.from_bytes(header, "big") % 0xFFFF:
            return None
        path = self.paths.find(ingress, source << 32 | group)
        if path is None or ttl < path.threshold:
            return None
        if link_header and self.own.has_sent(ingress.port.index, bytes(view[mac + 6 : mac + 12])):
            return None
        vnet = bytes(view[mac - VNET_HDR_LENGTH : mac])
        datagrams, longest = 1, total
        if vnet[1]:
            datagrams, segment = self._segments(vnet, header, total, link_header)
            longest = min(total, segment + HEADERS)
        elif vnet[0] > VIRTIO_NET_HDR_F_NEEDS_CSUM:
            vnet = bytes([vnet[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM]) + vnet[1:]
        if not datagrams or longest > path.mtu:
            return None
        checksum = checksum + 0x0100 + (checksum >= 0xFEFF) & 0xFFFF
        older = header[:8] + TTL_AND_CHECKSUM.pack(ttl - 1, protocol, checksum) + header[12:]
        octets = total + (datagrams - 1) * HEADERS
        return Plain(path, vnet, older, view[net + IP_LENGTH : net + total], datagrams, octets)

    def _segments(self, vnet: bytes, header: bytes, total: int, link_header: int) -> tuple[int, int]:
        """Datagrams in a super-frame and the payload of each; 0 datagrams where it cannot be passed on."""
        flags, kind, _, size, start, offset = VNET_HDR.unpack(vnet)
        datagram = header[9] == UDP and not header[6] & 0x3F and not header[7] and total > HEADERS
        fit = kind == VIRTIO_NET_HDR_GSO_UDP_L4 and flags == VIRTIO_NET_HDR_F_NEEDS_CSUM and size
        if not (self.segmentation and datagram and fit and (start, offset) == (link_header + IP_LENGTH, CSUM_OFFSET)):
            return 0, 0
        return -(-(total - HEADERS) // size), size


def _send(way: Way, plain: Plain) -> None:
    vnet = plain.vnet
    try:
        if way.longer and vnet[0]:
            flags, kind, length, size, start, offset = VNET_HDR.unpack(vnet)
            length += way.longer if length else 0
            vnet = VNET_HDR.pack(flags, kind, length, size, start + way.longer, offset)
        sent = os.writev(way.fd, (vnet + way.link + plain.header, plain.rest))
    except (OSError, struct.error):  # the latter: older kernels let a tap user want a checksum ahead of it
        way.port.count(Reason.TRANSMIT_FAILED, plain.datagrams)
        return
    way.counters[TX_PACKETS] += plain.datagrams
    way.counters[TX_BYTES] += sent - VNET_HDR_LENGTH + (plain.datagrams - 1) * (len(way.link) + HEADERS)
