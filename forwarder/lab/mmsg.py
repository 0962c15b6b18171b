"""Arrays of mmsghdr and iovec (socket.h, LP64) for sendmmsg and recvmmsg: numpy fills them, the kernel reads them.

The kernel keeps bare addresses, so each class owns every array that it points at.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from forwarder.lab import datagram, syscalls

MMSGHDR: "np.dtype[np.void]" = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "len"],
        "formats": ["<u8", "<u4", "<u8", "<u8", "<u8", "<u8", "<u4", "<u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
IOVEC: "np.dtype[np.void]" = np.dtype([("base", "<u8"), ("len", "<u8")])
SOCKADDR_IN = 16
CONTROL = 64  # room for one SCM_TIMESTAMPNS (32 octets)


class SendBatch:
    """Up to `capacity` datagrams as messages of `segments` datagrams each: a header and a piece of PATTERN."""

    def __init__(self, capacity: int, segments: int, names: npt.NDArray[np.uint8]) -> None:
        """`names`: (streams, 16) sockaddr_in; one row means a connected socket, whose messages carry none."""
        self.headers = datagram.new_headers(capacity)
        self._pattern = np.frombuffer(datagram.PATTERN, np.uint8)
        self._iov = np.zeros((capacity, 2), IOVEC)
        self._messages = np.zeros(capacity // segments, MMSGHDR)
        self._names, self._segments = names, segments
        self._base = np.uint64(self._pattern.ctypes.data)
        self._iov["base"][:, 0] = self.headers.ctypes.data + datagram.SIZE * np.arange(capacity)
        self._iov["len"][:, 0] = datagram.SIZE
        self._messages["iov"] = self._iov.ctypes.data + 32 * segments * np.arange(len(self._messages))
        self._messages["iovlen"] = 2 * segments
        self._messages_address = self._messages.ctypes.data

    def fill(self, count: int, streams: npt.NDArray[np.int64]) -> None:
        """Points the first `count` datagrams at their patterns and seals their headers.

        `streams`: for each message the row of `names` it goes to.
        """
        headers = self.headers[:count]
        datagram.seal(headers)
        self._iov["base"][:count, 1] = self._base + datagram.pattern_offset(headers["sequence"])
        self._iov["len"][:count, 1] = headers["length"] - datagram.SIZE
        if len(self._names) > 1:
            self._messages["name"][: len(streams)] = self._names.ctypes.data + SOCKADDR_IN * streams
            self._messages["namelen"][: len(streams)] = SOCKADDR_IN

    def send(self, fd: int, first: int, count: int) -> int:
        """Hands messages `first`.. to the kernel; how many it took."""
        return syscalls.sendmmsg(fd, self._messages_address + 64 * first, count)


class ReceiveBatch:
    """Up to `capacity` datagrams, of each its first `size` octets and its whole length."""

    def __init__(self, capacity: int, size: int) -> None:
        self.capacity = capacity
        self.octets = np.zeros((capacity, size), np.uint8)
        self._iov = np.zeros(capacity, IOVEC)
        self._control = np.zeros((capacity, CONTROL), np.uint8)
        self._messages = np.zeros(capacity, MMSGHDR)
        self._iov["base"] = self.octets.ctypes.data + size * np.arange(capacity)
        self._iov["len"] = size
        self._messages["iov"] = self._iov.ctypes.data + IOVEC.itemsize * np.arange(capacity)
        self._messages["iovlen"] = 1
        self._messages["control"] = self._control.ctypes.data + CONTROL * np.arange(capacity)
        self._address = self._messages.ctypes.data

    def receive(self, fd: int) -> int:
        """Takes what waits on the socket; how many datagrams, 0 when none."""
        self._messages["controllen"] = CONTROL  # the kernel writes what it used
        return syscalls.recvmmsg(fd, self._address, self.capacity, syscalls.MSG_DONTWAIT | syscalls.MSG_TRUNC)

    def headers(self, count: int) -> datagram.Headers:
        """The first `count` headers, as an array of their own."""
        packed = np.ascontiguousarray(self.octets[:count, : datagram.SIZE])
        return packed.view(datagram.HEADER).reshape(count)

    def lengths(self, count: int) -> npt.NDArray[np.uint32]:
        """Whole payload lengths."""
        return np.asarray(self._messages["len"][:count], np.uint32)

    def stamps(self, count: int) -> npt.NDArray[np.int64] | None:
        """Kernel receive times, CLOCK_REALTIME nanoseconds; None without SO_TIMESTAMPNS."""
        if not count or self._messages["controllen"][0] < 32:
            return None
        words: npt.NDArray[Any] = self._control[:count].view(np.int64)
        return np.asarray(words[:, 2] * 1_000_000_000 + words[:, 3], np.int64)
