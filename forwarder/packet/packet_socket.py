"""Opens packet sockets and asks them things: filter, ring, membership, bind, statistics.

Order matters: a socket of protocol 0 receives nothing, so filter, ring and memberships are in place before `bind`
names ETH_P_IP and the first frame comes in. Filters are locked, because the processes that get these sockets may
not change what they see. Every failure is a PortError with the operation and the port; what was opened is closed.
Needs CAP_NET_RAW to open, nothing to use.
"""

import ctypes
import errno
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from forwarder.packet import bpf
from forwarder.packet.tpacket import (
    ARPHRD_ETHER,
    ARPHRD_IPGRE,
    ARPHRD_LOOPBACK,
    ARPHRD_NONE,
    ARPHRD_PPP,
    ARPHRD_RAWIP,
    ARPHRD_TUNNEL,
    ETH_P_ALL,
    ETH_P_IP,
    ETH_P_RESERVED,
    PACKET_ADD_MEMBERSHIP,
    PACKET_COPY_THRESH,
    PACKET_MR_ALLMULTI,
    PACKET_MR_PROMISC,
    PACKET_MREQ,
    PACKET_OUTGOING,
    PACKET_RESERVE,
    PACKET_RX_RING,
    PACKET_STATISTICS,
    PACKET_VERSION,
    PACKET_VNET_HDR,
    RESERVE,
    SK_MEMINFO,
    SO_ATTACH_FILTER,
    SO_LOCK_FILTER,
    SO_MEMINFO,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SOCKADDR_LL,
    SOL_PACKET,
    TPACKET_STATS,
    TPACKET_V2,
)
from forwarder.packet.tpacket import RingLayout as RingLayout

SEND_BUFFER = 8 << 20  # bytes: about 90 super-frames in flight on a device that is slow to complete them
COPY_BUFFER = 8 << 20  # bytes: about 90 super-frames that are too long for a slot of a V2 ring
HIGHEST_FOR_ALL = 6    # TC_PRIO_INTERACTIVE: the highest priority of a socket that takes no capability
IGMP_BUFFER = 4 << 20  # bytes: a burst of a report from each of some thousand hosts
IGMP_SEND_BUFFER = 1 << 20  # bytes: a burst of 1,000 queries, of which the kernel counts each as 768
LEAST_PACKET = 512  # bytes that a packet takes of a queue at least: its data, and what the kernel notes of it

_libc = ctypes.CDLL(None, use_errno=True)


class PortError(OSError):
    """What failed on which port: `socket` (of those that it has), `operation` (the call or option that was refused),
    `port` (interface name) and the kernel's `errno`.
    """

    def __init__(self, socket: str, operation: str, port: str, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.socket, self.operation, self.port = socket, operation, port

    @property
    def words(self) -> str:
        """What was refused, without the port."""
        name = errno.errorcode.get(self.errno or 0, self.errno)
        return f"{self.socket}: {self.operation}: {name}, {self.strerror}"

    def __str__(self) -> str:
        return f"{self.port}: {self.words}"


class UnsupportedLink(PortError):
    """The interface's link type (ARPHRD_*) carries neither Ethernet nor bare IP frames."""

    def __init__(self, port: str, arphrd: int) -> None:
        super().__init__("interface", f"link type {arphrd}", port, errno.EAFNOSUPPORT)
        self.arphrd = arphrd


def link_header_length(arphrd: int, port: str = "") -> int:
    """Bytes before the IP header on links of this type (linux/if_arp.h); raises UnsupportedLink."""
    match arphrd:
        case _ if arphrd in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            return 14
        case _ if arphrd in (ARPHRD_NONE, ARPHRD_PPP, ARPHRD_RAWIP, ARPHRD_TUNNEL, ARPHRD_IPGRE):
            return 0
    raise UnsupportedLink(port, arphrd)


def open_receive_ring(
    ifindex: int, name: str, layout: RingLayout, promiscuous: bool, share: bpf.Share = bpf.WHOLE
) -> socket.socket:
    """A bound ring with vnet headers for `share` of the multicast that may be forwarded, not mapped yet.

    In a V2 ring frames longer than their slot are also queued whole, to be read from the socket.
    """
    with _opened(name, "receive ring") as (sock, step):
        step("PACKET_VERSION").setsockopt(SOL_PACKET, PACKET_VERSION, layout.version)
        if layout.version == TPACKET_V2:
            step("PACKET_COPY_THRESH").setsockopt(SOL_PACKET, PACKET_COPY_THRESH, 1)
            _raise_buffer(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, COPY_BUFFER)
        step("PACKET_VNET_HDR").setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        step("PACKET_RESERVE").setsockopt(SOL_PACKET, PACKET_RESERVE, RESERVE)
        _lock_filter(step("SO_ATTACH_FILTER"), bpf.data_filter(ifindex, share))
        step("PACKET_RX_RING").setsockopt(SOL_PACKET, PACKET_RX_RING, layout.request())
        _join(step("PACKET_ADD_MEMBERSHIP"), ifindex, promiscuous)
        _bind(step("bind"), ifindex, ETH_P_IP)
        link_header_length(_link_type(sock), name)
        return sock


def map_ring(sock: socket.socket, layout: RingLayout) -> mmap.mmap:
    """The memory of a socket's ring; it keeps the socket alive until it is closed."""
    return mmap.mmap(sock.fileno(), layout.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def stop_receiving(sock: socket.socket, ifindex: int) -> None:
    """Let a ring take no more frames; what it has can still be read. OSError where the interface is gone.

    It is bound to a protocol that nobody has: 0 would leave it as it is (packet_do_bind, net/packet/af_packet.c).
    """
    _bind(sock, ifindex, ETH_P_RESERVED)


def open_transmit(ifindex: int, name: str) -> socket.socket:
    """A socket that sends frames behind vnet headers on one interface and receives nothing."""
    with _opened(name, "transmit socket") as (sock, step):
        step("PACKET_VNET_HDR").setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        _lock_filter(step("SO_ATTACH_FILTER"), bpf.reject_filter())
        _raise_buffer(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER)
        _bind(step("bind"), ifindex, 0)
        if link_header_length(_link_type(sock), name) == 0:
            _bind(step("bind"), ifindex, ETH_P_IP)  # nothing in the frame tells such drivers that it is IPv4
        return sock


def open_igmp(ifindex: int, name: str, promiscuous: bool, shared: bool = False) -> socket.socket:
    """A bound socket that receives IGMP with its link header and sends frames likewise, without vnet headers.

    `shared`: it hears what this host itself sends there too, but for what leaves by it (see `receive_sighted`, and
    `send_ipv4`, by which it has to be sent). Only sockets of ETH_P_ALL are shown outgoing packets. One for both ways
    costs an incoming frame what a socket of ETH_P_IP does: the kernel asks one filter. A second one beside it took some
    80 ns more of each. It costs outgoing frames, of whomever: the kernel clones each to show it, 280 ns.
    """
    with _opened(name, "IGMP socket") as (sock, step):
        _lock_filter(step("SO_ATTACH_FILTER"), bpf.shared_igmp_filter() if shared else bpf.igmp_filter(ifindex))
        _raise_buffer(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, IGMP_BUFFER)
        _raise_buffer(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, IGMP_SEND_BUFFER)
        _join(step("PACKET_ADD_MEMBERSHIP"), ifindex, promiscuous)
        _bind(step("bind"), ifindex, ETH_P_ALL if shared else ETH_P_IP)
        link_header_length(_link_type(sock), name)
        return sock


class Sighted(NamedTuple):
    """A frame, and whether this host itself has sent it: the kernel says so, nobody on the link can."""

    frame: bytes
    outgoing: bool


def receive_sighted(sock: socket.socket, buffer: "ctypes.Array[ctypes.c_char]") -> Sighted:
    """The next waiting frame, at most as long as `buffer`; OSError, BlockingIOError where there is none.

    By the C library: socket.recvfrom() looks up the interface's name each time, and fails where it is not UTF-8.
    """
    address, length = ctypes.create_string_buffer(SOCKADDR_LL.size), ctypes.c_uint32(SOCKADDR_LL.size)
    count = _libc.recvfrom(sock.fileno(), buffer, len(buffer), 0, address, ctypes.byref(length))
    _check(count)
    return Sighted(ctypes.string_at(buffer, count), SOCKADDR_LL.unpack(address.raw)[4] == PACKET_OUTGOING)


def send_ipv4(sock: socket.socket, ifindex: int, frame: bytes) -> None:
    """Send a frame out of an interface as IPv4, whatever protocol the socket is bound to; OSError."""
    address = SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(ETH_P_IP), ifindex, 0, 0, 0, b"")
    _check(_libc.sendto(sock.fileno(), frame, len(frame), 0, address, len(address)))


def set_priority(sock: socket.socket, priority: int) -> None:
    """Let what a socket sends have this skb priority, by which queues and VLANs tell frames apart; OSError.

    More than 6 takes CAP_NET_RAW, and of older kernels CAP_NET_ADMIN: there it is 6 (sk_setsockopt, net/core/sock.c).
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, min(priority, HIGHEST_FOR_ALL))


def is_bound(sock: socket.socket) -> bool:
    """Whether a socket's interface is still there; one that has its index by now is another to the kernel. OSError."""
    return int(_address(sock)[2]) > 0


class Statistics(NamedTuple):
    """What became of frames that passed a socket's filter."""

    accepted: int
    dropped: int


def take_statistics(sock: socket.socket) -> Statistics:
    """The frames since the last call: PACKET_STATISTICS resets on read. OSError."""
    packets, drops = TPACKET_STATS.unpack(sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, TPACKET_STATS.size))
    return Statistics(packets - drops, drops)


def take_drops(sock: socket.socket) -> int:
    """Packets that found no room since the last call; OSError."""
    return take_statistics(sock).dropped


def most_waiting(sock: socket.socket) -> int:
    """At most so many packets wait in a socket's queue: what they take is known, how many they are is not. OSError."""
    return int(SK_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, SK_MEMINFO.size))[0]) // LEAST_PACKET


def take_error(sock: socket.socket) -> int:
    """The pending errno of a socket, 0 for none; poll reports POLLERR until this is called."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


class _Steps:
    """Names the operation in progress, for the error that may come of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.operation, self._sock = "socket", sock

    def __call__(self, operation: str) -> socket.socket:
        self.operation = operation
        return self._sock


@contextmanager
def _opened(name: str, what: str) -> Iterator[tuple[socket.socket, _Steps]]:
    """A fresh non-blocking packet socket, closed if the body fails; OSError becomes PortError."""
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        raise PortError(what, "socket", name, error.errno or 0) from error
    step = _Steps(sock)
    try:
        yield sock, step
    except PortError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise PortError(what, step.operation, name, error.errno or 0) from error


def _lock_filter(sock: socket.socket, program: bpf.Filter) -> None:
    prog, memory = bpf.fprog(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, prog)
    del memory
    sock.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)


# RFC 9776 6 b
def _join(sock: socket.socket, ifindex: int, promiscuous: bool) -> None:
    """All multicast; older bridges deliver to themselves only what PROMISC asks for."""
    kind = PACKET_MR_PROMISC if promiscuous else PACKET_MR_ALLMULTI
    sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MREQ.pack(ifindex, kind, 0, b""))


def _raise_buffer(sock: socket.socket, force: int, plain: int, size: int) -> None:
    """Beyond the sysctl where we may (CAP_NET_ADMIN), else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)


def _bind(sock: socket.socket, ifindex: int, protocol: int) -> None:
    """By index, where socket.bind() would look a name up that may be another interface's by now."""
    address = SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(protocol), ifindex, 0, 0, 0, b"")
    _check(_libc.bind(sock.fileno(), address, len(address)))


def _link_type(sock: socket.socket) -> int:
    """ARPHRD_* of the interface a socket is bound to."""
    return int(_address(sock)[3])


def _address(sock: socket.socket) -> tuple[Any, ...]:
    """The fields of its sockaddr_ll; socket.getsockname() fails where the name of the interface is not UTF-8."""
    address, length = ctypes.create_string_buffer(SOCKADDR_LL.size), ctypes.c_uint32(SOCKADDR_LL.size)
    _check(_libc.getsockname(sock.fileno(), address, ctypes.byref(length)))
    return SOCKADDR_LL.unpack(address.raw)


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
