"""A packet capture on one link for tests: frames with kernel timestamps, and waiting for one of a kind.

The socket is opened inside the namespace; a thread of the caller's process empties it. Sent frames are captured
too (`outgoing`). Links without Ethernet header are captured from the IPv4 header on.
"""

import contextlib
import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

ETH_P_ALL = 0x0003
IGMP, UDP = 2, 17
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, SOL_PACKET, PACKET_OUTGOING = 1, 1, 263, 4
BUFFER = 16 << 20  # octets
SNAPLEN = 65535


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame; `time` is monotonic seconds of its arrival or departure, `packet` its IPv4 packet."""

    time: float
    outgoing: bool
    octets: bytes
    packet: bytes

    @property
    def source(self) -> str:
        """IPv4 source."""
        return socket.inet_ntoa(self.packet[12:16])

    @property
    def destination(self) -> str:
        """IPv4 destination."""
        return socket.inet_ntoa(self.packet[16:20])

    @property
    def ttl(self) -> int:
        """IPv4 time to live."""
        return self.packet[8]

    @property
    def payload(self) -> bytes:
        """What follows the IPv4 header, without link padding."""
        total = int.from_bytes(self.packet[2:4], "big")
        return self.packet[(self.packet[0] & 15) * 4 : total]


def protocol_filter(protocol: int) -> bytes:
    """BPF: IPv4 with this protocol, on a socket that sees from the network header on (sock_filter, filter.h)."""
    network = 0xFFF00000  # SKF_NET_OFF
    program = [(0x30, 0, 0, network + 9), (0x15, 0, 1, protocol), (0x06, 0, 0, SNAPLEN), (0x06, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def reported_groups(frame: Frame) -> list[str]:
    """Groups that an IGMP report or leave of any version speaks of; none for other frames (RFC 9776 section 4.2)."""
    message = frame.payload
    if not message or message[0] not in (0x12, 0x16, 0x17, 0x22):
        return []
    if message[0] != 0x22:
        return [socket.inet_ntoa(message[4:8])]
    groups, at = [], 8
    for _ in range(int.from_bytes(message[6:8], "big")):
        groups.append(socket.inet_ntoa(message[at + 4 : at + 8]))
        at += 8 + 4 * (message[at + 1] + int.from_bytes(message[at + 2 : at + 4], "big"))
    return groups


class Capture:
    """Frames of one link while the context lasts; `protocol` (IGMP, UDP) or None for every frame."""

    def __init__(
        self, namespace: Namespace, interface: str = LINK, protocol: int | None = IGMP, snaplen: int = SNAPLEN
    ) -> None:
        self.frames: list[Frame] = []
        self._snaplen = snaplen
        self._sock = namespace.run(_open, interface, protocol)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sock.close()

    def select(self, predicate: Callable[[Frame], object] = bool) -> list[Frame]:
        """The frames so far that satisfy `predicate`."""
        return [frame for frame in list(self.frames) if predicate(frame)]

    def wait_for(self, predicate: Callable[[Frame], object], timeout: float, what: str = "frame") -> Frame:
        """The first frame, past or future, that satisfies `predicate`; TimeoutError."""
        return wait_for(lambda: self.select(predicate), timeout, what)[0]

    def _collect(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not self._stop.is_set():
            if not poll.poll(50):
                continue
            with contextlib.suppress(BlockingIOError, OSError):  # the link may go down and come back
                while True:
                    self.frames.append(self._receive())

    def _receive(self) -> Frame:
        octets, ancillary, _, address = self._sock.recvmsg(self._snaplen, 64)
        seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2][:16])
        offset = time.monotonic_ns() - time.time_ns()
        moment = (seconds * 1_000_000_000 + nanoseconds + offset) / 1e9
        ethernet = address[3] in (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
        packet = octets[14:] if ethernet else octets
        return Frame(moment, address[2] == PACKET_OUTGOING, octets, packet)


def _open(interface: str, protocol: int | None) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    if protocol is not None:
        program = ctypes.create_string_buffer(protocol_filter(protocol))
        sock.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 4, ctypes.addressof(program))
        )
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    index = socket.if_nametoindex(interface)
    member = struct.pack("=iHH8x", index, PACKET_MR_PROMISC, 0)
    sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
    # Only ETH_P_ALL sees what the link's own namespace sends.
    sock.bind((interface, ETH_P_ALL))
    return sock
