"""`python -m bench.send`: numbered datagrams at a given rate, sent singly, as fast as the kernel takes them.

Headers are made for thousands of datagrams at once (`Block`), so that all that happens between two system calls is a
look at the clock. Kind `udp` is an ordinary UDP socket; kind `packet` hands the same frames, still one by one, to a
packet socket, which costs the kernel half as much and leaves more of the machine to what is measured; with `segments`
it writes super-frames that the kernel cuts, to several links if need be: what a forwarder at its best would hand over.

One JSON object a line on standard input (the fields of `Offer`) starts a transmission, answered by {"event":
"started"} and, when it has ended, by {"event": "sent", ...}; {"stop": true} ends an endless one.
"""

import fcntl
import json
import os
import random
import select
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import numbered
from forwarder.lab import syscalls
from forwarder.lab.datagram import PATTERN
from forwarder.lab.mmsg import IOVEC, MMSGHDR, SOCKADDR_IN
from forwarder.lab.pace import Pace
from forwarder.lab.send import IP_MULTICAST_IF, IP_MULTICAST_LOOP, IP_MULTICAST_TTL, UDP_SEGMENT, sockaddrs
from igmp.checksum import checksum

BLOCK = 4096  # datagrams whose headers are made at once
VNET = 10
PREFIX = VNET + 14 + 20 + 8  # octets before the payload in a packet socket's message
SOL_PACKET, PACKET_VNET_HDR, GSO_UDP_L4 = 263, 15, 5  # if_packet.h, virtio_net.h
LISTEN = 0.02  # seconds between two looks for a command while sending


@dataclass(frozen=True)
class Offer:
    """One transmission: datagrams to `destinations` in turn, stream `stream` + i to destination i."""

    interfaces: list[str]  # several only with kind "packet": the same datagrams leave by each
    destinations: list[str]
    rate: float = 1000.0  # datagrams a second in all; 0: no limit
    count: int = 0  # 0: until `seconds` or stop
    seconds: float = 0.0
    size: int = 1316
    stream: int = 0
    segments: int = 1  # datagrams per message of a sender with segmentation offload of its own; 1: none
    burst: int = 128  # datagrams per system call at most
    tick: float = 0.0002  # seconds: datagrams due within go together
    stamp: str = ""  # the time in each: "alone" (one at a time to one destination, irregularly) | "together" (as due)
    port: int = 5000
    ttl: int = 16
    kind: str = "udp"  # or "packet"


@dataclass
class Sent:
    """What was really sent."""

    count: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    refused: int = 0  # times the kernel said no; what it refused was tried again
    cpu: float = 0.0
    streams: list[int] = field(default_factory=list)  # datagrams of each


def open_packet_socket(interface: str) -> socket.socket:
    """A packet socket whose messages begin with a virtio_net_hdr: checksums are left unfinished, as by UDP sockets."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.bind((interface, 0))
    return sock


def open_socket(offer: Offer) -> socket.socket:
    """A UDP socket that sends as `offer` says; connected when there is one destination."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = struct.pack("4s4si", b"", b"", socket.if_nametoindex(offer.interfaces[0]))
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, request)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_TTL, offer.ttl)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_LOOP, 0)
    if offer.segments > 1:
        sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, offer.size)
    if len(offer.destinations) == 1:
        sock.connect((offer.destinations[0], offer.port))
    return sock


def own_address(interface: str) -> tuple[bytes, bytes]:
    """Ethernet and IPv4 address of an interface (SIOCGIFHWADDR, SIOCGIFADDR)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("256s", interface.encode())
        mac, address = (fcntl.ioctl(sock, number, request) for number in (0x8927, 0x8915))
    return mac[18:24], address[20:24]


def frame_headers(offer: Offer) -> npt.NDArray[np.uint8]:
    """(destinations, 52): virtio_net, Ethernet, IPv4 and UDP header of a packet socket's message."""
    mac, source = own_address(offer.interfaces[0])
    length = offer.size * offer.segments + 8
    offload = (GSO_UDP_L4, PREFIX - VNET, offer.size) if offer.segments > 1 else (0, 0, 0)
    rows = []
    for destination in offer.destinations:
        group = socket.inet_aton(destination)
        ethernet = b"\x01\x00\x5e" + bytes((group[1] & 127, group[2], group[3])) + mac + b"\x08\x00"
        fixed = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0x4000, offer.ttl, 17, 0, source, group)
        ipv4 = fixed[:10] + struct.pack("!H", checksum(fixed)) + fixed[12:]
        seed = 0xFFFF ^ checksum(source + group + struct.pack("!HH", 17, length))
        udp = struct.pack("!HHHH", 40000, offer.port, length, seed)
        rows.append(struct.pack("=BBHHHH", 1, *offload, 34, 6) + ethernet + ipv4 + udp)
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), PREFIX)


class Block:
    """Headers and message headers of BLOCK datagrams (whole messages), ready for sendmmsg."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self.capacity = BLOCK // offer.segments * offer.segments
        self._prefixes = frame_headers(offer) if offer.kind == "packet" else np.zeros((1, 0), np.uint8)
        prefix = self._prefixes.shape[1]
        self._octets = np.zeros((self.capacity, prefix + numbered.SIZE), np.uint8)
        stride = self._octets.shape[1]
        self._headers: npt.NDArray[np.void] = np.ndarray(
            self.capacity, numbered.HEADER, self._octets.data, prefix, (stride,)
        )
        self._octets[:, :prefix] = self._prefixes[0]
        self._names = sockaddrs(offer.destinations, offer.port)
        self._pattern = np.frombuffer(PATTERN, np.uint8)
        header = min(offer.size, numbered.SIZE)
        iov = np.zeros((self.capacity, 2), IOVEC)
        iov["base"][:, 0] = self._octets.ctypes.data + stride * np.arange(self.capacity) + prefix
        iov["len"][:, 0] = header
        iov["base"][:: offer.segments, 0] -= prefix  # before the first datagram of each message
        iov["len"][:: offer.segments, 0] += prefix
        iov["base"][:, 1] = self._pattern.ctypes.data
        iov["len"][:, 1] = offer.size - header
        self._iov = iov
        self._messages = np.zeros(self.capacity // offer.segments, MMSGHDR)
        self._messages["iov"] = iov.ctypes.data + 2 * IOVEC.itemsize * offer.segments * np.arange(len(self._messages))
        self._messages["iovlen"] = 2 * offer.segments
        self.address = self._messages.ctypes.data

    def fill(self, first: int) -> None:
        """Makes the headers of datagrams `first`.. (a whole number of messages)."""
        offer, streams = self._offer, len(self._offer.destinations)
        number = first + np.arange(self.capacity)
        message, segment = number // offer.segments, number % offer.segments
        stream = message % streams
        self._headers["stream"] = offer.stream + stream
        self._headers["sequence"] = message // streams * offer.segments + segment
        numbered.seal(self._headers, offer.size)
        if streams > 1 and offer.kind == "packet":
            self._octets[:, :PREFIX] = self._prefixes[stream]
        elif streams > 1:
            self._messages["name"] = self._names.ctypes.data + SOCKADDR_IN * stream[:: offer.segments]
            self._messages["namelen"] = SOCKADDR_IN

    def stamp(self, first: int, count: int) -> None:
        """Puts the time into `count` datagrams from number `first` of the block on."""
        self._headers["time"][first : first + count] = time.time_ns()

    def octets(self, at: int) -> bytearray:
        """Datagram `at` of the block, whole."""
        header = self._headers[at : at + 1].tobytes()[: self._offer.size]
        return bytearray(header + PATTERN[: self._offer.size - len(header)])


class Commands:
    """Standard input, looked at without blocking."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)
        self._rest = b""
        self.ended = False

    def read(self, block: bool) -> list[dict[str, Any]]:
        """The commands that have come."""
        if not block and not self._poll.poll(0):
            return []
        octets = os.read(0, 1 << 20)
        self.ended = not octets
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return [json.loads(line) for line in lines]


class Transmission:
    """Sends one offer."""

    def __init__(self, offer: Offer, commands: Commands) -> None:
        self._offer, self._commands = offer, commands
        packet = offer.kind == "packet"
        self._socks = list(map(open_packet_socket, offer.interfaces)) if packet else [open_socket(offer)]
        self._block = Block(offer)
        self._pace = Pace(offer.rate)
        self._first = 0  # number of the block's first datagram
        self._block.fill(0)
        self._sent, self._refused = 0, 0
        self._look = 0.0

    def run(self) -> Sent:
        """Until all is sent, the time is over or a stop comes."""
        cpu, start = time.process_time(), time.monotonic()
        end = start + self._offer.seconds if self._offer.seconds else float("inf")
        self._look = start
        (self._alone if self._offer.stamp == "alone" else self._paced)(start, end)
        ended = time.monotonic()
        for sock in self._socks:
            sock.close()
        elapsed = max(ended - start, 1e-9)
        cpu = time.process_time() - cpu
        return Sent(
            self._sent, elapsed, self._sent / elapsed, start, ended, self._refused, cpu, self._by_stream()
        )

    def _paced(self, start: float, end: float) -> None:
        offer, segments = self._offer, self._offer.segments
        most = max(offer.burst // segments, 1) * segments
        limit = offer.count or (1 << 62)
        self._pace.start(start)
        while self._sent < limit and (now := time.monotonic()) < end and not self._told_to_stop(now):
            room = self._first + self._block.capacity - self._sent
            if not room:
                self._first = self._sent
                self._block.fill(self._first)
                continue
            wanted = min(most, room, -(-(limit - self._sent) // segments) * segments)
            due = self._pace.due(now, wanted) // segments
            if due:
                self._hand_over(due)
            else:
                time.sleep(max(self._pace.wait(now), offer.tick))

    def _hand_over(self, messages: int) -> None:
        segments = self._offer.segments
        at = (self._sent - self._first) // segments
        if self._offer.stamp:
            self._block.stamp(self._sent - self._first, messages * segments)
        taken = self._taken(self._socks[0], at, messages)
        for sock in self._socks[1:]:
            done = 0
            while done < taken:
                done += self._taken(sock, at + done, taken - done)
        self._sent += taken * segments
        self._pace.sent(taken * segments)

    def _taken(self, sock: socket.socket, at: int, messages: int) -> int:
        """How many of the messages from `at` on the kernel took; it is asked again, or the numbers would lie."""
        try:
            return syscalls.sendmmsg(sock.fileno(), self._block.address + MMSGHDR.itemsize * at, messages)
        except OSError:
            self._refused += 1
            time.sleep(0.001)
            return 0

    def _alone(self, start: float, end: float) -> None:
        """One datagram at a time; irregular (50 % to 150 % of the interval), lest it keeps step with a timer."""
        offer, generator = self._offer, random.Random(2432)
        limit, due = offer.count or (1 << 62), start
        while self._sent < limit and (now := time.monotonic()) < end and not self._told_to_stop(now):
            if now < due:
                time.sleep(min(due - now, 0.05))
                continue
            due += generator.uniform(0.5, 1.5) / offer.rate
            if self._sent - self._first == self._block.capacity:
                self._first = self._sent
                self._block.fill(self._first)
            octets = self._block.octets(self._sent - self._first)
            struct.pack_into("<Q", octets, 16, time.time_ns())
            self._socks[0].send(octets)
            self._sent += 1

    def _told_to_stop(self, now: float) -> bool:
        if now < self._look:
            return False
        self._look = now + LISTEN
        return any("stop" in command for command in self._commands.read(block=False)) or self._commands.ended

    def _by_stream(self) -> list[int]:
        streams, segments = len(self._offer.destinations), self._offer.segments
        messages = self._sent // segments
        return [(messages // streams + (number < messages % streams)) * segments for number in range(streams)]


def main() -> int:
    """Sends what standard input asks for, one transmission at a time."""
    syscalls.precise_sleep()
    commands = Commands()
    _say({"event": "ready", "time": time.monotonic()})
    while not commands.ended:
        for command in commands.read(block=True):
            if "stop" in command:
                continue
            transmission = Transmission(Offer(**command), commands)
            _say({"event": "started", "time": time.monotonic()})
            _say({"event": "sent", **asdict(transmission.run())})
    return 0


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
