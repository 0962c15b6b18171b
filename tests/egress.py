"""An egress whose frames can be read: what a kernel would put on the wire, datagram by datagram."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.fragmentation import cut, finish_checksum
from forwarder.dataplane.frame import source_word
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import InterfaceSettings
from forwarder.state.worker_segment import BLOCK, FIRST_REASON
from igmp.checksum import checksum

MAC = bytes.fromhex("02000000aa01")
ALONE, TOGETHER = Fanout(parallel=False), Fanout(parallel=True, each=1)


@dataclass
class Egress:
    """As much of an Attachment as sending needs, over one end of a socket pair."""

    near: socket.socket
    far: socket.socket
    port: Port
    link_header: int = 14
    mac: bytes = MAC
    counters: "np.ndarray" = field(default_factory=lambda: np.zeros(BLOCK, np.uint64))
    messages: int = 0

    @property
    def limited(self) -> bool:
        return self.port.limited

    @property
    def source(self) -> "np.uint64":
        return source_word(self.mac)

    def sending(self) -> int:
        return self.near.fileno()

    count = Attachment.count
    count_sent = Attachment.count_sent

    def dropped(self, reason: Reason) -> int:
        return int(self.counters[FIRST_REASON + reason - 1])

    def packets(self) -> list[bytes]:
        """What was sent, cut back into IPv4 packets with finished checksums."""
        result = []
        for message in iter(self._next, b""):
            self.messages += 1
            result += wire_packets(message, self.link_header, self.mac)
        return result

    def _next(self) -> bytes:
        try:
            return self.far.recv(1 << 17)
        except BlockingIOError:
            return b""


@contextmanager
def egress_port(index: int = 1, mtu: int = 1500, threshold: int = 1, link_header: int = 14) -> Iterator[Egress]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setblocking(False)
        settings = InterfaceSettings(name=f"down{index}", threshold=threshold)
        yield Egress(near, far, Port(index, 1, settings.name, "downstream", settings, mtu=mtu), link_header)


def wire_packets(message: bytes, link_header: int, mac: bytes) -> list[bytes]:
    """The IPv4 packets a kernel makes of a frame behind its vnet header."""
    flags, kind, length, size, start, offset = struct.unpack("=BBHHHH", message[:10])
    link, packet = message[10 : 10 + link_header], message[10 + link_header :]
    if link_header:
        group = int.from_bytes(packet[16:20], "big")
        assert link == bytes.fromhex("01005e") + (group & 0x7FFFFF).to_bytes(3, "big") + mac + b"\x08\x00"
    if kind == 3:  # UFO: one datagram
        return [finish_checksum(packet, start - link_header, offset)]
    if kind == 5:
        header = (packet[0] & 15) * 4
        assert (flags, start, offset, length) == (1, link_header + header, 6, link_header + header + 8)
        assert checksum(packet[:header]) == 0
        datagram = len(packet) - header
        assert struct.unpack("!HH", packet[header + 4 : header + 6] + packet[2:4]) == (datagram, len(packet))
        pseudo = packet[12:20] + struct.pack("!BBH", 0, 17, datagram)
        assert int.from_bytes(packet[header + 6 : header + 8], "big") == 0xFFFF ^ checksum(pseudo)
        assert 0 < size < 0xFFFF
        assert datagram - 8 <= 64 * size
        return cut(packet, size)
    assert kind == 0
    return [finish_checksum(packet, start - link_header, offset) if flags else packet]
