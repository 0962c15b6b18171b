"""A handful of frames, carried one by one: cheaper and sooner than as vectors of length one.

Only the plain case is known here: whole frames with sound headers and no options, no super-frames, of flows that are
decided and simply forwarded, to ports they fit and that have no rate limit. Anything else is refused before anything was sent, and goes the way
of all batches; what is carried here is counted and looks on the wire as it would there.
"""

import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import IGMP, IP_LENGTH, NO_OPTIONS
from forwarder.dataplane.ring import Frame
from forwarder.packet.tpacket import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_NONE,
    VNET_HDR,
    VNET_HDR_LENGTH,
)
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

IPV4 = struct.Struct("!BBHHHBBHII")
TTL_AND_CHECKSUM = struct.Struct("!BBH")
ETHERTYPE_IPV4 = b"\x08\x00"
MULTICAST_MAC = 0x01005E000000


class Carried(NamedTuple):
    """A frame on its way: its flow, and what leaves."""

    row: int
    ports: tuple[Attachment, ...]
    ttl: int
    offload: tuple[int, int, int, int, int, int]
    destination: bytes
    header: bytes
    payload: memoryview


class Scalar:
    """Carries frames of flows in `flows` to the ports of `ports`, by index."""

    def __init__(self, flows: FlowTable, ports: Mapping[int, Attachment]) -> None:
        self._flows, self._ports = flows, ports

    def forward(self, ingress: Attachment, view: memoryview, frames: list[Frame], own: frozenset[bytes],
                now: float) -> bool:
        """Carry all `frames`, which lie in `view`, or none: False when one of them is not plain.

        `own`: hardware addresses of our other ports.
        """
        carried = []
        for frame in frames:
            plain = self._plain(ingress, view, frame, own)
            if plain is None:
                return False
            carried.append(plain)
        ingress.counters[RX_PACKETS] += len(frames)
        ingress.counters[RX_BYTES] += sum(frame.length for frame in frames)
        for each in carried:
            self._flows.account_one(each.row, IP_LENGTH + len(each.payload), now)
            for port in each.ports:
                _send(port, each, ingress.link_header)
        return True

    def _plain(self, ingress: Attachment, view: memoryview, frame: Frame, own: frozenset[bytes]) -> Carried | None:
        mac, net, snaplen, length = frame
        link_header = ingress.link_header
        if net - mac != link_header or snaplen < length or length < link_header + IP_LENGTH:
            return None
        header = bytes(view[net : net + IP_LENGTH])
        first, _, total, _, _, ttl, protocol, checksum, source, group = IPV4.unpack(header)
        sound = first == NO_OPTIONS and IP_LENGTH <= total <= length - link_header
        if not sound or int.from_bytes(header, "big") % 0xFFFF or protocol == IGMP:
            return None
        if ttl < 2 or ttl < ingress.port.settings.threshold:
            return None
        flags, kind, *rest = VNET_HDR.unpack_from(view, mac - VNET_HDR_LENGTH)
        if kind != VIRTIO_NET_HDR_GSO_NONE or (link_header and bytes(view[mac + 6 : mac + 12]) in own):
            return None
        row, bitmap = self._flows.forwarded(ingress.port.index, source << 32 | group)
        ports = self._attached(bitmap)
        if not bitmap or any(total > port.port.mtu or port.port.limited for port in ports):
            return None
        checksum += 0x0100 + (checksum >= 0xFEFF)
        return Carried(
            row,
            ports,
            ttl,
            (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, kind, rest[0], rest[1], rest[2], rest[3]),
            (MULTICAST_MAC | group & 0x7FFFFF).to_bytes(6, "big"),
            header[:8] + TTL_AND_CHECKSUM.pack(ttl - 1, protocol, checksum & 0xFFFF) + header[12:],
            view[net + IP_LENGTH : net + total],
        )

    def _attached(self, bitmap: int) -> tuple[Attachment, ...]:
        found = []
        while bitmap:
            lowest = bitmap & -bitmap
            port = self._ports.get(lowest.bit_length() - 1)
            if port is not None:
                found.append(port)
            bitmap ^= lowest
        return tuple(found)


def _send(port: Attachment, frame: Carried, link_header: int) -> None:
    if frame.ttl < port.port.settings.threshold:
        port.count(Reason.TTL_THRESHOLD)
        return
    flags, kind, length, size, start, offset = frame.offload
    if flags:
        start += port.link_header - link_header
        length += port.link_header - link_header if length else 0
    link = frame.destination + port.mac + ETHERTYPE_IPV4 if port.link_header else b""
    head = VNET_HDR.pack(flags, kind, length, size, start, offset) + link + frame.header
    try:
        sent = os.writev(port.sending(), (head, frame.payload))
    except OSError:
        port.count(Reason.TRANSMIT_FAILED)
        return
    port.counters[TX_PACKETS] += 1
    port.counters[TX_BYTES] += sent - VNET_HDR_LENGTH
