"""A flood of IGMP reports: as many a second as wanted, from spoofed hosts for random groups, in few system calls."""

import socket
import threading
import time

import numpy as np
import numpy.typing as npt

from forwarder.lab import syscalls
from forwarder.lab.mmsg import IOVEC, MMSGHDR
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK

BURST = 100                     # frames handed to the kernel at once
FRAME = 54                      # Ethernet, IPv4 with Router Alert, a v3 report of one record without sources
V3_ROUTERS = 0xE0000016


def frames(count: int, network: str, seed: int = 3376) -> npt.NDArray[np.uint8]:
    """`count` reports TO_EX({}), (count, FRAME): hosts of `network` (a /24 as "192.168.10"), groups of 239.0.0.0/8."""
    random = np.random.default_rng(seed)
    octets = np.zeros((count, FRAME), np.uint8)
    octets[:, :14] = np.frombuffer(bytes.fromhex("01005e000016 020000000000 0800"), np.uint8)
    octets[:, 8:12] = random.integers(0, 256, (count, 4))
    header = bytes.fromhex("46c00028 00004000 01020000") + socket.inet_aton(f"{network}.0")
    octets[:, 14:38] = np.frombuffer(header + V3_ROUTERS.to_bytes(4, "big") + b"\x94\x04\0\0", np.uint8)
    octets[:, 29] = random.integers(20, 250, count)
    octets[:, 38:54] = np.frombuffer(bytes.fromhex("22000000 00000001 04000000 ef000000"), np.uint8)
    octets[:, 51:54] = random.integers(0, 256, (count, 3))
    octets[:, 51] |= 16         # away from the groups that tests use
    seal(octets[:, 14:38], 10)
    seal(octets[:, 38:54], 2)
    return octets


def seal(octets: npt.NDArray[np.uint8], at: int) -> None:
    """Fills in the Internet checksum (RFC 1071) of each row, two octets at `at` that are 0."""
    words = np.ascontiguousarray(octets).view(">u2").astype(np.uint64).sum(axis=1)
    for _ in range(2):
        words = (words & 0xFFFF) + (words >> np.uint64(16))
    octets[:, at : at + 2] = (0xFFFF - words).astype(">u2")[:, None].view(np.uint8).reshape(-1, 2)


class Flood:
    """Sends `frames` over and over on a link, `rate` a second, while the context lasts."""

    def __init__(self, namespace: Namespace, rate: int, octets: npt.NDArray[np.uint8], interface: str = LINK) -> None:
        self._rate, self._octets = rate, octets
        self.sent = 0
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        namespace.run(self._socket.bind, (interface, 0))
        self._messages = self._point_at(octets)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _point_at(self, octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
        count = len(octets)
        self._iov = np.zeros(count, IOVEC)
        self._iov["base"] = octets.ctypes.data + octets.strides[0] * np.arange(count)
        self._iov["len"] = octets.shape[1]
        messages = np.zeros(count, MMSGHDR)
        messages["iov"] = self._iov.ctypes.data + IOVEC.itemsize * np.arange(count)
        messages["iovlen"] = 1
        return messages

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        address, count, fd = self._messages.ctypes.data, len(self._octets), self._socket.fileno()
        began = time.monotonic()
        while not self._stop.is_set():
            ahead = self.sent / self._rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
            first = self.sent % count
            self.sent += syscalls.sendmmsg(fd, address + MMSGHDR.itemsize * first,
                                           min(BURST, count - first))
