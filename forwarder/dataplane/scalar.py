"""A handful of frames, carried one by one: cheaper and sooner than as vectors of length one.

Only the plain case is known here: whole frames with sound headers and no options, no super-frames, of flows that are
decided and simply forwarded, to ports they fit and that have no rate limit. Anything else is refused before anything
was sent, and goes the way of all batches; what is carried here is counted and looks on the wire as it would there.
Where a flow leads is kept in a `Path` for as long as nothing was decided anew.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import IGMP, IP_LENGTH, NO_OPTIONS
from forwarder.dataplane.ring import Frame
from forwarder.packet.tpacket import VIRTIO_NET_HDR_F_NEEDS_CSUM, VNET_HDR, VNET_HDR_LENGTH
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

IPV4 = struct.Struct("!BBHHHBBHII")
TTL_AND_CHECKSUM = struct.Struct("!BBH")
ETHERTYPE_IPV4 = b"\x08\x00"
MULTICAST_MAC = 0x01005E000000
MOST_PATHS = 4096


@dataclass(frozen=True, slots=True)
class Way:
    """One port a flow leaves by: its descriptor, the link header of the flow there, and how much longer that is."""

    port: Attachment
    fd: int
    link: bytes
    longer: int
    counters: memoryview


@dataclass(frozen=True, slots=True)
class Path:
    """Where a flow leads: its row, its ways, the least MTU and the highest TTL threshold of them."""

    row: int
    ways: tuple[Way, ...]
    mtu: int
    threshold: int


class Scalar:
    """Carries frames of flows in `flows` to the ports of `ports`, by index."""

    def __init__(self, flows: FlowTable, ports: Mapping[int, Attachment]) -> None:
        self._flows, self._ports = flows, ports
        self._paths: dict[tuple[int, int], Path] = {}
        self._decided = -1

    def forget(self) -> None:
        """Ports or what is known of them changed."""
        self._paths.clear()

    def forward(self, ingress: Attachment, view: memoryview, frames: list[Frame], own: frozenset[bytes],
                now: float) -> bool:
        """Carry all `frames`, which lie in `view`, or none: False when one of them is not plain.

        `own`: hardware addresses of our ports (`loops.ours`).
        """
        plain = []
        for frame in frames:
            found = self.plain(ingress, view, frame, own)
            if found is None:
                return False
            plain.append(found)
        for path, vnet, header, payload in plain:
            for way in path.ways:
                _send(way, vnet, header, payload)
            self._flows.account_one(path.row, IP_LENGTH + len(payload), now)
        ingress.counters[RX_PACKETS] += len(frames)
        ingress.counters[RX_BYTES] += sum(frame.length for frame in frames)
        return True

    def plain(
        self, ingress: Attachment, view: memoryview, frame: Frame, own: frozenset[bytes]
    ) -> tuple[Path, bytes, bytes, memoryview] | None:
        """Where a frame leads, its vnet header, its IPv4 header one hop older, and the rest; None: not plain."""
        mac, net, snaplen, length = frame
        link_header = ingress.link_header
        if net - mac != link_header or snaplen < length or length < link_header + IP_LENGTH:
            return None
        header = bytes(view[net : net + IP_LENGTH])
        first, _, total, _, _, ttl, protocol, checksum, source, group = IPV4.unpack(header)
        sound = first == NO_OPTIONS and IP_LENGTH <= total <= length - link_header
        if not sound or protocol == IGMP or int.from_bytes(header, "big") % 0xFFFF:
            return None
        key = (ingress.port.index, source << 32 | group)
        if self._decided != self._flows.changes or len(self._paths) > MOST_PATHS:
            self._paths.clear()
            self._decided = self._flows.changes
        path = self._paths.get(key) or self._find(key, ingress)
        if path is None or total > path.mtu or ttl < path.threshold:
            return None
        vnet = bytes(view[mac - VNET_HDR_LENGTH : mac])
        if vnet[1] or (own and (sender := bytes(view[mac + 6 : mac + 12])) in own and sender != ingress.mac):
            return None
        if vnet[0] > VIRTIO_NET_HDR_F_NEEDS_CSUM:
            vnet = bytes([vnet[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM]) + vnet[1:]
        checksum = checksum + 0x0100 + (checksum >= 0xFEFF) & 0xFFFF
        older = header[:8] + TTL_AND_CHECKSUM.pack(ttl - 1, protocol, checksum) + header[12:]
        return path, vnet, older, view[net + IP_LENGTH : net + total]

    def _find(self, key: tuple[int, int], ingress: Attachment) -> Path | None:
        row, bitmap = self._flows.forwarded(*key)
        if not bitmap:
            return None
        destination = (MULTICAST_MAC | key[1] & 0x7FFFFF).to_bytes(6, "big")
        ports = [port for index, port in self._ports.items() if bitmap >> index & 1]
        if any(port.port.limited for port in ports):
            return None
        ways = tuple(_way(port, destination, ingress.link_header) for port in sorted(ports, key=_index))
        mtu = min((port.port.mtu for port in ports), default=0xFFFF)
        thresholds = [port.port.settings.threshold for port in (ingress, *ports)]
        path = self._paths[key] = Path(row, ways, mtu, max(2, *thresholds))
        return path


def _index(port: Attachment) -> int:
    return port.port.index


def _way(port: Attachment, destination: bytes, link_header: int) -> Way:
    link = destination + port.mac + ETHERTYPE_IPV4 if port.link_header else b""
    return Way(port, port.sending(), link, port.link_header - link_header, port.counters.data)


def _send(way: Way, vnet: bytes, header: bytes, payload: memoryview) -> None:
    if way.longer and vnet[0]:
        flags, kind, length, size, start, offset = VNET_HDR.unpack(vnet)
        length += way.longer if length else 0
        vnet = VNET_HDR.pack(flags, kind, length, size, start + way.longer, offset)
    try:
        sent = os.writev(way.fd, (vnet + way.link + header, payload))
    except OSError:
        way.port.count(Reason.TRANSMIT_FAILED)
        return
    way.counters[TX_PACKETS] += 1
    way.counters[TX_BYTES] += sent - VNET_HDR_LENGTH
