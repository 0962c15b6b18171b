"""Packets made by hand, and sockets of the test's own in the lab's namespaces: what no program would send."""

import fcntl
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from ctypes import addressof, create_string_buffer
from typing import Any

from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK

IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_ADD_MEMBERSHIP = 32, 33, 34, 35
IP_OPTIONS, IP_MTU_DISCOVER, PMTUDISC_DO, PMTUDISC_DONT = 4, 10, 2, 0
SO_NO_CHECK, SO_RCVBUFFORCE, UDP_SEGMENT = 11, 33, 103
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
BUFFER = 32 << 20  # octets
PORT = 5000
ROUTER_ALERT = b"\x94\x04\0\0"
SOL_PACKET, PACKET_VNET_HDR, ETH_P_IP = 263, 15, 0x0800
RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK, IFLA_GSO_IPV4_MAX_SIZE = 16, 1, 4, 63


# --- packets ---


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over what carries a right one."""
    octets += b"\0" * (len(octets) & 1)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))


def pseudo_header(packet: bytes, length: int) -> bytes:
    """What a UDP checksum covers beside the datagram (RFC 768)."""
    return packet[12:20] + struct.pack("!BBH", 0, 17, length)


def udp_sum(packet: bytes) -> int:
    """0 where the UDP checksum of a whole IPv4 packet is right."""
    datagram = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]
    return checksum(pseudo_header(packet, len(datagram)) + datagram)


def ipv4(
    source: str,
    group: str,
    payload: bytes = b"",
    *,
    ttl: int = 16,
    protocol: int = 17,
    version: int = 4,
    words: int | None = None,
    length: int | None = None,
    flags: int = 0,
    identification: int = 0,
    options: bytes = b"",
    header_sum: int | None = None,
) -> bytes:
    """An IPv4 packet; `words` (IHL), `length` and `header_sum` replace what would be right."""
    first = version << 4 | (words if words is not None else 5 + len(options) // 4)
    total = length if length is not None else 20 + len(options) + len(payload)
    fields = struct.pack("!BBHHHBBH", first, 0, total, identification, flags, ttl, protocol, 0)
    header = fields + socket.inet_aton(source) + socket.inet_aton(group) + options
    value = header_sum if header_sum is not None else checksum(header[: max((first & 15) * 4, 20)])
    return header[:10] + struct.pack("!H", value) + header[12:] + payload


def udp(source: str, group: str, payload: bytes = b"x", *, wrong: int | None = None, **fields: Any) -> bytes:
    """An IPv4 packet with a UDP datagram from port 4000 to PORT; `wrong`: its checksum; `fields` as of `ipv4`."""
    header = struct.pack("!HHHH", 4000, PORT, 8 + len(payload), 0)
    bare = ipv4(source, group, header + payload)
    value = checksum(pseudo_header(bare, 8 + len(payload)) + bare[20:]) if wrong is None else wrong
    return ipv4(source, group, header[:6] + struct.pack("!H", value) + payload, **fields)


def group_mac(group: str) -> bytes:
    """Ethernet destination of a group (RFC 1112 section 6.4)."""
    octets = socket.inet_aton(group)
    return b"\x01\x00\x5e" + bytes([octets[1] & 0x7F]) + octets[2:]


def ethernet(packet: bytes, source: bytes = b"\x02\0\0\0\0\x99") -> bytes:
    """The packet in an Ethernet frame to its group."""
    return group_mac(socket.inet_ntoa(packet[16:20])) + source + b"\x08\x00" + packet


def v2_report(source: str, group: str) -> bytes:
    """An IGMPv2 report (RFC 2236 section 2) as a host behind a link sends it."""
    return _igmp(0x16, source, group, group)


def v2_leave(source: str, group: str) -> bytes:
    """An IGMPv2 leave."""
    return _igmp(0x17, source, "224.0.0.2", group)


def _igmp(kind: int, source: str, destination: str, group: str) -> bytes:
    message = struct.pack("!BBH4s", kind, 0, 0, socket.inet_aton(group))
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ipv4(source, destination, message, ttl=1, protocol=2, options=ROUTER_ALERT)


# --- sockets ---


class Injector:
    """Sends whole frames on a link, checksums as they are."""

    def __init__(self, namespace: Namespace, interface: str = LINK) -> None:
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        namespace.run(self._socket.bind, (interface, 0))

    def __enter__(self) -> "Injector":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *packets: bytes) -> None:
        """IPv4 packets, each in an Ethernet frame to its group."""
        for packet in packets:
            self.send_frame(ethernet(packet))

    def send_frame(self, frame: bytes) -> None:
        """A frame as it is."""
        self._socket.send(frame)


class Source:
    """A UDP socket that sends to groups; what it sends over veth carries unfinished checksums."""

    def __init__(
        self,
        namespace: Namespace,
        interface: str = LINK,
        *,
        ttl: int = 16,
        tos: int = 0,
        options: bytes = b"",
        dont_fragment: bool = False,
        no_checksum: bool = False,
        segment: int = 0,
    ) -> None:
        sock = self._socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        request = struct.pack("4s4si", b"", b"", links.index(namespace, interface))
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, request)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_LOOP, 0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO if dont_fragment else PMTUDISC_DONT)
        if options:
            sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, options)
        if no_checksum:
            sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        if segment:
            sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, segment)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, group: str, *payloads: bytes) -> None:
        """One datagram each."""
        for payload in payloads:
            self._socket.sendto(payload, (group, PORT))


class Member:
    """A UDP socket that is a member of a group and receives that group only."""

    def __init__(self, namespace: Namespace, group: str, interface: str = LINK) -> None:
        sock = self._socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((group, PORT))
        request = struct.pack("4s4si", socket.inet_aton(group), b"", links.index(namespace, interface))
        sock.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, request)

    def __enter__(self) -> "Member":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self, count: int, timeout: float = 10.0) -> list[bytes]:
        """The next `count` payloads; fewer when `timeout` seconds pass without one."""
        poll, received = select.poll(), list[bytes]()
        poll.register(self._socket, select.POLLIN)
        while len(received) < count and poll.poll(timeout * 1000):
            try:
                while len(received) < count:
                    received.append(self._socket.recv(65535))
            except BlockingIOError:
                pass
        return received

    def rest(self, quiet: float = 0.2) -> list[bytes]:
        """Whatever else comes until it has been quiet for that many seconds."""
        return self.receive(1 << 30, quiet)


class Tunnel:
    """The far end of a tun link: packets are read from and written to its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, count: int, group: str, timeout: float = 10.0) -> list[bytes]:
        """The next `count` UDP packets to a group; fewer when `timeout` seconds pass. Others are passed over."""
        address = socket.inet_aton(group)
        wanted = (packet for packet in self._packets(timeout) if packet[9] == 17 and packet[16:20] == address)
        return list(itertools.islice(wanted, count))

    def read_igmp(self, kind: int, timeout: float = 10.0) -> bytes:
        """The next IGMP packet of that type; StopIteration when `timeout` seconds pass."""
        messages = (packet for packet in self._packets(timeout) if packet[9] == 2)
        return next(packet for packet in messages if packet[(packet[0] & 15) * 4] == kind)

    def _packets(self, timeout: float) -> Iterator[bytes]:
        poll, deadline = select.poll(), time.monotonic() + timeout
        poll.register(self.fd, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            yield os.read(self.fd, 65536)

    def write(self, *packets: bytes) -> None:
        """Lets packets come in by the link."""
        for packet in packets:
            os.write(self.fd, packet)


def set_checksum_offload(namespace: Namespace, interface: str, on: bool) -> None:
    """`ethtool -K INTERFACE tx on|off`."""

    def errand() -> None:
        value = create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, on))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sQ16x", interface.encode(), addressof(value)))

    namespace.run(errand)


def set_gso_size(namespace: Namespace, interface: str, octets: int) -> None:
    """`ip link set INTERFACE gso_ipv4_max_size OCTETS` (Linux 6.3), which older tools do not know; OSError."""

    def errand() -> None:
        index = socket.if_nametoindex(interface)
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + struct.pack("=HHI", 8, IFLA_GSO_IPV4_MAX_SIZE, octets)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
            (error,) = struct.unpack("=i", sock.recv(4096)[16:20])
        if error:
            raise OSError(-error, os.strerror(-error))

    namespace.run(errand)


def send_super_frame(namespace: Namespace, interface: str, frame: bytes, segment: int) -> None:
    """A frame that asks to be segmented as UDP into payloads of `segment` octets (virtio_net_hdr)."""
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        namespace.run(sock.bind, (interface, ETH_P_IP))
        sock.send(struct.pack("=BBHHHH", 1, 5, 42, segment, 34, 6) + frame)
