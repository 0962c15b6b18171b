"""Messages to the kernel: iovec and mmsghdr arrays filled by numpy, sent by sendmmsg.

Memory: a message names bytes by address (its header block, then payload in the ring). Whoever fills keeps both
alive and unchanged until `send` returned; packet sockets copy in the call. Messages have no address: the socket is
bound. Failures are counted, never raised: one frame that cannot be sent costs itself, a full socket the rest of the
batch, a link that is down likewise, so a slow port holds nobody else up.
"""

import ctypes
import errno
import functools
import os
import platform
import socket
import struct
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from forwarder.packet.structures import IOVEC, MMSGHDR
from forwarder.packet.tpacket import (
    ETH_P_IP,
    UIO_MAXMESSAGES,
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VNET_HDR,
    VNET_HDR_LENGTH,
)
from igmp.checksum import checksum

Addresses: TypeAlias = npt.NDArray[np.uint64]
SendMessages: TypeAlias = Callable[[int, int, int, int], int]

CONGESTED = 64
"""Consecutive ENOBUFS (queue full, no carrier) after which the rest of a batch is given up, not tried one by one."""
LINK_DOWN = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)
SENDMMSG_NUMBERS = {"x86_64": 307, "aarch64": 269, "riscv64": 269, "loongarch64": 269, "s390x": 358, "ppc64le": 349}


class Sent(NamedTuple):
    """What became of a batch: datagrams sent, their bytes on the wire, datagrams not sent, last errno or 0."""

    sent: int
    bytes: int
    failed: int
    errno: int


def _system_call() -> SendMessages:
    """sendmmsg(2); musl's is a loop of sendmsg, so there the kernel is called by number."""
    libc = ctypes.CDLL(None, use_errno=True)
    if "glibc" in platform.libc_ver() or platform.machine() not in SENDMMSG_NUMBERS:
        call = libc.sendmmsg
        call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        return cast(SendMessages, call)
    number = SENDMMSG_NUMBERS[platform.machine()]
    call = libc.syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    return cast(SendMessages, functools.partial(call, number))


sendmmsg: Final = _system_call()
"""sendmmsg(2): descriptor, address of mmsghdr, how many, flags."""


class Messages:
    """Messages of a header and payload pieces, `capacity` pieces at most; filled once, sent to any number of ports.

    A message of several pieces is a super-datagram: a datagram for every piece, each behind the same header.
    """

    def __init__(self, capacity: int, call: SendMessages = sendmmsg) -> None:
        iovecs, headers = np.zeros(2 * capacity, IOVEC), np.zeros(capacity, MMSGHDR)
        self.capacity, self.count = capacity, 0
        self._base, self._length, self._address = iovecs["base"], iovecs["len"], int(iovecs.ctypes.data)
        self._headers = headers
        self._all, self._chosen = Queue(headers, call), Queue(np.zeros(capacity, MMSGHDR), call)
        self._ones: npt.NDArray[np.int64] = np.ones(capacity, np.int64)
        self._pieces = self._ones
        self._bytes: npt.NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._paired = False
        self._total: Sent | None = None  # what sending all of them gives, once it was added up
        self.taken: list[tuple[int, int]] = []  # of the last `send`: ranges of the messages that went out

    def fill(
        self, header_address: Addresses, header_length: int, payload_address: Addresses, payload_length: Addresses
    ) -> None:
        """Makes n messages of one piece each, n <= capacity, from arrays of shape (n,); pieces may be empty."""
        n = self.count = len(header_address)
        self._total = None
        if not self._paired:
            self._pair_up()
        self._pieces = self._ones
        self._base[: 2 * n : 2], self._length[: 2 * n : 2] = header_address, header_length
        self._base[1 : 2 * n : 2], self._length[1 : 2 * n : 2] = payload_address, payload_length
        self._bytes = payload_length.view(np.int64) + (header_length - VNET_HDR_LENGTH)

    def fill_runs(
        self,
        header_address: Addresses,
        header_length: npt.NDArray[np.int64],
        payload_address: Addresses,
        payload_length: Addresses,
        first: npt.NDArray[np.int64],
        size: npt.NDArray[np.int64],
    ) -> None:
        """Makes m messages of k pieces, k <= capacity: message i has the `size[i]` pieces from `first[i]` on."""
        m, k = len(first), len(payload_address)
        self.count, self._paired, self._total = m, False, None
        head = first + np.arange(m)  # every message before has a header too
        piece = np.arange(1, k + 1) + np.repeat(np.arange(m), size)
        self._base[head], self._length[head] = header_address, header_length
        self._base[piece], self._length[piece] = payload_address, payload_length
        self._headers["iov"][:m] = head.view(np.uint64) * np.uint64(IOVEC.itemsize) + np.uint64(self._address)
        self._headers["iovlen"][:m] = size + 1
        self._pieces = size
        payload = np.add.reduceat(payload_length.view(np.int64), first)
        self._bytes = payload + size * (header_length - VNET_HDR_LENGTH)

    def count_as(self, pieces: npt.NDArray[np.int64], more: npt.NDArray[np.int64]) -> None:
        """Each message is so many datagrams, with so many bytes more of headers on the wire."""
        self._pieces, self._bytes = pieces, self._bytes + more

    def send(self, fd: int, select: npt.NDArray[np.int64] | None = None) -> Sent:
        """Sends all messages, or those of index `select` in that order."""
        pieces, size, queue, count = self._pieces, self._bytes, self._all, self.count
        if select is not None:
            queue, count = self._chosen, len(select)
            pieces, size = pieces[select], size[select]
            np.take(self._all.words, select, axis=0, out=queue.words[:count], mode="clip")
        taken, error = queue.send(fd, count)
        self.taken = taken
        if not error and select is None:
            self._total = self._total or Sent(int(pieces[:count].sum()), int(size[:count].sum()), 0, 0)
            return self._total
        return outcome(taken, error, pieces[:count], size[:count])

    def _pair_up(self) -> None:
        """Back to two iovecs a message."""
        self._headers["iov"] = strided(self._address, 2 * IOVEC.itemsize, self.capacity)
        self._headers["iovlen"] = 2
        self._paired = True


def outcome(
    taken: list[tuple[int, int]],
    error: int,
    pieces: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    first: int = 0,
) -> Sent:
    """What became of messages of so many pieces and bytes, the first is number `first`; the ranges `taken` went out."""
    sent = sum(int(pieces[start - first : end - first].sum()) for start, end in taken)
    octets = sum(int(size[start - first : end - first].sum()) for start, end in taken)
    return Sent(sent, octets, int(pieces.sum()) - sent, error)


class Queue:
    """An mmsghdr array at a fixed address."""

    def __init__(self, headers: npt.NDArray[np.void], call: SendMessages = sendmmsg) -> None:
        self._call = call
        self.words = headers.view(np.uint64).reshape(len(headers), MMSGHDR.itemsize // 8)
        self._address = headers.ctypes.data

    def send(self, fd: int, count: int, first: int = 0) -> tuple[list[tuple[int, int]], int]:
        """Sends the messages from `first` up to `count`; the ranges that went out, and the last errno or 0.

        The kernel stops at a failing message and names its errno on the next call.
        """
        at, error, streak = first, 0, 0
        taken: list[tuple[int, int]] = []
        while at < count:
            address = self._address + at * MMSGHDR.itemsize
            done = self._call(fd, address, min(count - at, UIO_MAXMESSAGES), socket.MSG_DONTWAIT)
            if done > 0:
                taken.append((at, at + done))
                at, streak = at + done, 0
                continue
            error, streak = ctypes.get_errno(), streak + 1
            if _is_hopeless(error, streak):
                break
            at += 0 if error in LINK_DOWN else 1
        return taken, error


def _is_hopeless(error: int, streak: int) -> bool:
    """Whether the messages behind a failed one would fail too; `streak` failures came in a row.

    The first report that a link is down may be an old one, kept since the socket was last used.
    """
    match error:
        case errno.EAGAIN | errno.EBADF | errno.ENOTSOCK | errno.EFAULT:
            return True
        case errno.ENOBUFS:
            return streak >= CONGESTED
    return error in LINK_DOWN and streak > 1


def strided(base: int, stride: int, count: int) -> Addresses:
    """The addresses base, base + stride, ... of `count` items."""
    return np.uint64(base) + np.uint64(stride) * np.arange(count, dtype=np.uint64)


def send_frame(fd: int, frame: bytes) -> int:
    """Sends one frame that starts with its vnet header; 0, or the errno that says why not."""
    try:
        os.write(fd, frame)
    except OSError as error:
        return error.errno or 0
    return 0


def probe_gso(fd: int, mac: bytes, address: int, segments: int = 1) -> bool:
    """Whether the kernel takes UDP segmentation (Linux 6.2) into so many; any Ethernet port's answer serves for all.

    `mac` and `address` are the port's own (address 0 if it has none): the peer sees frames for another host, with TTL
    0 and a byte each. Raises OSError when the socket could not answer, e.g. because its link is down.
    """
    error = send_frame(fd, _probe(mac, address, segments))
    if error not in (0, errno.EINVAL):
        raise OSError(error, os.strerror(error))
    return error == 0


def _probe(mac: bytes, address: int, segments: int) -> bytes:
    """vnet header, link header, IPv4 with DF and TTL 0 from `address` to itself, UDP 9 to 9 (discard), zeros."""
    size = 1 if segments > 1 else 1000  # one segment needs none of the cutting
    length = 8 + segments
    vnet = VNET_HDR.pack(VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4, 42, size, 34, 6)
    ends = struct.pack("!II", address, address)
    ip = struct.pack("!HHHHH", 0x4500, 20 + length, 0, 0x4000, socket.IPPROTO_UDP)
    ip += struct.pack("!H", checksum(ip + ends)) + ends
    seed = 0xFFFF ^ checksum(ends + struct.pack("!HH", socket.IPPROTO_UDP, length))
    datagram = struct.pack("!HHHH", 9, 9, length, seed) + bytes(segments)
    return vnet + mac + mac + struct.pack("!H", ETH_P_IP) + ip + datagram
