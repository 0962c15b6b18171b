"""One port as the agent holds it: the socket that carries its IGMP.

Frames are received and sent with their link header; whether there is one depends on the link type.
"""

import ctypes
import os
import socket
from typing import NamedTuple

from forwarder.packet.packet_socket import (
    Sighted,
    link_header_length,
    most_waiting,
    receive_sighted,
    send_ipv4,
    take_drops,
    take_error,
)
from forwarder.state.ports import Port
from igmp.link import group_mac

LARGEST = 65536
ETHERTYPE_IPV4 = b"\x08\x00"


class Packet(NamedTuple):
    """An IPv4 packet, with the MAC addresses it is from and to (0: none)."""

    packet: bytes
    mac: int
    to: int
    outgoing: bool          # this host itself has sent it


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

    def receive(self) -> Packet | None:
        """The next waiting packet, None when there is none."""
        try:
            frame, outgoing = self._receive()
        except BlockingIOError:
            return None
        except OSError:  # the link went down; the kernel says so once
            take_error(self._socket)
            return None
        if not self._header:
            return Packet(frame, 0, 0, outgoing)
        return Packet(frame[self._header :], int.from_bytes(frame[6:12]), int.from_bytes(frame[:6]), outgoing)

    def _receive(self) -> Sighted:
        return Sighted(self._socket.recv(LARGEST), False)

    def send(self, packet: bytes) -> bool:
        """Send an IPv4 packet to its multicast destination; False when it could not be sent."""
        destination = int.from_bytes(packet[16:20])
        header = group_mac(destination).to_bytes(6) + self._mac + ETHERTYPE_IPV4 if self._header else b""
        return self._sent(header + packet) or self._sent(header + packet)   # the first error may be an old one

    def _sent(self, frame: bytes) -> bool:
        try:
            self._transmit(frame)
        except OSError:     # down, gone, full: the protocol repeats what matters
            return False
        return True

    def _transmit(self, frame: bytes) -> None:
        self._socket.send(frame)

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


class SharedSocket(IgmpSocket):
    """That of an upstream port, where the kernel of this host reports too: it hears that, and not what leaves by it."""

    def __init__(self, descriptor: int, port: Port) -> None:
        super().__init__(descriptor, port)
        self._ifindex, self._buffer = port.ifindex, ctypes.create_string_buffer(LARGEST)

    def _receive(self) -> Sighted:
        return receive_sighted(self._socket, self._buffer)

    def _transmit(self, frame: bytes) -> None:
        send_ipv4(self._socket, self._ifindex, frame)
