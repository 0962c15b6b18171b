"""One port as the agent holds it: the socket that carries its IGMP, and the facts the protocol needs.

Frames are received and sent with their link header; whether there is one depends on the link type.
"""

import socket
from collections.abc import Iterator

from forwarder.packet.packet_socket import link_header_length, take_error
from forwarder.state.ports import Port
from igmp.link import Link, Network, group_mac

LARGEST = 65536
ETHERTYPE_IPV4 = b"\x08\x00"


def link_of(port: Port) -> Link:
    """What the protocol must know of the port's interface."""
    altnets = port.settings.altnets
    return Link(
        addresses=tuple(Network(address, prefix) for address, prefix in port.addresses),
        peers=port.peers,
        altnets=None if altnets is None else tuple(map(Network.parse, altnets)),
        mtu=port.mtu,
    )


class Attachment:
    """A port's IGMP socket; close it when the port goes."""

    def __init__(self, descriptor: int, port: Port) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._header = link_header_length(port.link_type, port.name)
        self._mac = bytes.fromhex(port.mac.replace(":", "")) if self._header else b""
        self._buffer = bytearray(LARGEST)
        self._view = memoryview(self._buffer)
        self.failed = 0

    def fileno(self) -> int:
        """The socket's number, for the loop."""
        return self._socket.fileno()

    def refresh(self, port: Port) -> None:
        """Take over a changed MAC address."""
        self._mac = bytes.fromhex(port.mac.replace(":", "")) if self._header else b""

    def receive(self, limit: int) -> Iterator[tuple[bytes, int]]:
        """Up to `limit` waiting packets with the MAC address of their senders (0: none)."""
        for _ in range(limit):
            try:
                size = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:  # the link went down; the kernel says so once
                take_error(self._socket)
                return
            yield bytes(self._view[self._header : size]), int.from_bytes(self._view[6:12]) if self._header else 0

    def send(self, packet: bytes) -> None:
        """Send an IPv4 packet to its multicast destination; what cannot be sent is counted in `failed`."""
        destination = int.from_bytes(packet[16:20])
        header = group_mac(destination).to_bytes(6) + self._mac + ETHERTYPE_IPV4 if self._header else b""
        try:
            self._socket.send(header + packet)
        except OSError:     # down, gone, full: the protocol repeats what matters
            self.failed += 1

    def close(self) -> None:
        """Close our copy of the socket."""
        self._socket.close()
