"""UDP sockets that are members of groups, as ordinary receivers are: the kernel speaks IGMP for them.

A socket takes GROUPS groups and then another is opened: the kernel's limit is 20 for each. IP_MULTICAST_ALL is
off, so that a socket gets its own groups only and nothing arrives twice.
"""

import array
import contextlib
import socket
import struct

GROUPS = 20
IP_MULTICAST_ALL = 49  # in.h
MCAST_JOIN_GROUP, MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE, MCAST_LEAVE_GROUP = 42, 43, 44, 45
MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP = 46, 47
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO = 33, 35, 55  # socket.h
MEMINFO_DROPS = 8  # index in SO_MEMINFO's array, sock_diag.h


def _sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(address))  # a sockaddr_storage


class Members:
    """The sockets of one receiver: one interface, one port, any number of groups."""

    def __init__(self, interface: str, port: int, buffer: int, timestamps: bool) -> None:
        self._index, self._port = socket.if_nametoindex(interface), port
        self._buffer, self._timestamps = buffer, timestamps
        self._joined: dict[socket.socket, list[tuple[str, str | None]]] = {}

    @property
    def sockets(self) -> list[socket.socket]:
        """All that may have datagrams."""
        return list(self._joined)

    def drops(self) -> int:
        """Datagrams lost because a socket's buffer was full."""
        total = 0
        for sock in self._joined:
            total += array.array("I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64))[MEMINFO_DROPS]
        return total

    def join(self, group: str, source: str | None = None) -> None:
        """Joins the group, or the channel (source, group); OSError as the kernel says."""
        sock = self._roomy(group)
        option = MCAST_JOIN_SOURCE_GROUP if source else MCAST_JOIN_GROUP
        self._request(sock, option, group, source)
        self._joined[sock].append((group, source))

    def leave(self, group: str, source: str | None = None) -> None:
        """Undoes `join`; LookupError when it was not joined so."""
        for sock, joined in self._joined.items():
            if (group, source) in joined:
                self._request(sock, MCAST_LEAVE_SOURCE_GROUP if source else MCAST_LEAVE_GROUP, group, source)
                joined.remove((group, source))
                return
        raise LookupError(f"not a member of {group} {source or ''}")

    def block(self, group: str, source: str, blocked: bool = True) -> None:
        """Excludes a source of a group joined without one, or takes it in again."""
        for sock, joined in self._joined.items():
            if (group, None) in joined:
                self._request(sock, MCAST_BLOCK_SOURCE if blocked else MCAST_UNBLOCK_SOURCE, group, source)
                return
        raise LookupError(f"not a member of {group}")

    def _roomy(self, group: str) -> socket.socket:
        """Where the group is a member already (channels share a filter), or where there is room."""
        for sock, joined in self._joined.items():
            if any(group == other for other, _ in joined):
                return sock
        for sock, joined in self._joined.items():
            if len(joined) < GROUPS:
                return sock
        sock = self._open()
        self._joined[sock] = []
        return sock

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, self._buffer)
        if self._timestamps:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("", self._port))
        return sock

    def _request(self, sock: socket.socket, option: int, group: str, source: str | None) -> None:
        request = struct.pack("=I4x", self._index) + _sockaddr(group)
        if source:
            request += _sockaddr(source)
        sock.setsockopt(socket.IPPROTO_IP, option, request)
