"""One port as the agent holds it: the socket that carries its IGMP.

Frames are received and sent with their link header; whether there is one depends on the link type.
"""

import os
import socket

from forwarder.packet.packet_socket import link_header_length, most_waiting, take_drops, take_error
from forwarder.state.ports import Port
from igmp.link import group_mac

LARGEST = 65536
ETHERTYPE_IPV4 = b"\x08\x00"


class IgmpSocket:
    """A port's IGMP socket; close it when the port goes."""

    def __init__(self, descriptor: int, port: Port) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self.index = port.index
        self.owed = 0                   # packets that are still to be heard before time goes on, at most
        self._header = link_header_length(port.link_type, port.name)
        self._mac = bytes.fromhex(port.mac.replace(":", "")) if self._header else b""

    def fileno(self) -> int:
        """The socket's number, for the loop."""
        return self._socket.fileno()

    def uses(self, descriptor: int) -> bool:
        """Whether a descriptor is of the same socket as ours."""
        return os.path.sameopenfile(self._socket.fileno(), descriptor)

    def refresh(self, port: Port) -> None:
        """Take over a changed MAC address."""
        self._mac = bytes.fromhex(port.mac.replace(":", "")) if self._header else b""

    def receive(self) -> tuple[bytes, int, int] | None:
        """The next waiting packet with the MAC addresses it is from and to (0: none), None when there is none."""
        try:
            frame = self._socket.recv(LARGEST)
        except BlockingIOError:
            return None
        except OSError:  # the link went down; the kernel says so once
            take_error(self._socket)
            return None
        if not self._header:
            return frame, 0, 0
        return frame[self._header :], int.from_bytes(frame[6:12]), int.from_bytes(frame[:6])

    def send(self, packet: bytes) -> bool:
        """Send an IPv4 packet to its multicast destination; False when it could not be sent."""
        destination = int.from_bytes(packet[16:20])
        header = group_mac(destination).to_bytes(6) + self._mac + ETHERTYPE_IPV4 if self._header else b""
        return self._sent(header + packet) or self._sent(header + packet)   # the first error may be an old one

    def _sent(self, frame: bytes) -> bool:
        try:
            self._socket.send(frame)
        except OSError:     # down, gone, full: the protocol repeats what matters
            return False
        return True

    def owe(self) -> None:
        """What waits now is owed."""
        try:
            self.owed = most_waiting(self._socket)
        except OSError:
            self.owed = 0

    def lost(self) -> int:
        """Packets that found the queue full, since the last call."""
        try:
            return take_drops(self._socket)
        except OSError:
            return 0

    def close(self) -> None:
        """Close our copy of the socket."""
        self._socket.close()
