"""Interfaces as the kernel has them now: netlink says when to look, a snapshot says what is there.

Notifications are only a bell: whatever rang, the whole picture is read again, so a lost notification (ENOBUFS) costs
nothing and there is one way to learn of a link. rtnetlink(7).
"""

import gc
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute, NetlinkDumpInterrupted

from forwarder.packet.packet_socket import UnsupportedLink, link_header_length

NETLINK_ROUTE = 0
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
DUMPS = 100
IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40


@dataclass(frozen=True, slots=True)
class Link:
    """One interface; `up` means administratively up with carrier, `kind` is rtnetlink's IFLA_INFO_KIND."""

    name: str
    ifindex: int
    up: bool
    mac: str
    mtu: int
    link_type: int
    loopback: bool
    kind: str | None
    addresses: tuple[tuple[int, int], ...]
    peers: tuple[int, ...]


class LinkWatch:
    """The bell and the picture."""

    def __init__(self, opener: Callable[[], Any] = IPRoute) -> None:
        self._bell = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE)
        self._bell.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))
        self._opener, self._route = opener, opener()

    def fileno(self) -> int:
        """Readable when something about links or addresses changed."""
        return self._bell.fileno()

    def drain(self) -> None:
        """Quiet the bell; an overrun rings like any other change."""
        for _ in range(1000):
            try:
                self._bell.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue

    def snapshot(self) -> dict[str, Link]:
        """All interfaces of this network namespace by name, as of one moment; NetlinkDumpInterrupted if never still."""
        for _ in range(DUMPS - 1):
            with suppress(NetlinkDumpInterrupted):
                return self._read()
        return self._read()

    def _read(self) -> dict[str, Link]:
        """By a socket that never failed: one that did does so for ever (pyroute2 keeps the error), or is behind."""
        if self._route is None:
            gc.collect()    # closing what failed fails too, halfway, and what that leaves open lies in cycles
            self._route = self._opener()
        try:
            return self._dumped()
        except NetlinkDumpInterrupted:
            raise
        except BaseException:
            failed, self._route = self._route, None
            with suppress(Exception):
                failed.close()
            raise

    def _dumped(self) -> dict[str, Link]:
        addresses: dict[int, list[Any]] = {}
        for message in self._route.get_addr(family=socket.AF_INET):
            addresses.setdefault(message["index"], []).append(message)
        links = (_link(message, addresses.get(message["index"], [])) for message in self._route.get_links())
        return {link.name: link for link in links}

    def close(self) -> None:
        """Close both netlink sockets."""
        self._bell.close()
        if self._route is not None:
            self._route.close()


def obstacle(link: Link) -> str | None:
    """Why mcfwd can never use this interface, in words; None when it can."""
    if link.loopback:
        return f"{link.name} is a loopback interface, which carries no multicast between networks"
    try:
        link_header_length(link.link_type, link.name)
    except UnsupportedLink:
        return f"{link.name} has link type {link.link_type}, which is neither Ethernet nor plain IP"
    return None


def printable(name: bytes | str) -> str:
    """The name of a link as it can be shown and sent: what is no UTF-8 or cannot be printed is escaped.

    The kernel takes any octets but white space, `/` and `:`. Links are found by their index, so the name need not be
    what the kernel calls it.
    """
    text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _link(message: Any, addresses: list[Any]) -> Link:
    flags = message["flags"]
    return Link(
        name=printable(message.get("ifname")),
        ifindex=message["index"],
        up=bool(flags & IFF_UP and flags & IFF_RUNNING),
        mac=message.get("address") or "00:00:00:00:00:00",
        mtu=message.get("mtu") or 1500,
        link_type=message["ifi_type"],
        loopback=bool(flags & IFF_LOOPBACK),
        kind=message.get(("linkinfo", "kind")),
        addresses=tuple(_network(each) for each in addresses),
        peers=tuple(_number(each.get("address")) for each in addresses if _has_peer(each)),
    )


def _network(message: Any) -> tuple[int, int]:
    """Our address and how many of its bits are on the link: all of them where there is a peer instead."""
    own = message.get("local") or message.get("address")
    return _number(own), 32 if _has_peer(message) else message["prefixlen"]


def _has_peer(message: Any) -> bool:
    """IFA_ADDRESS is the other end of a point-to-point link, where it differs from IFA_LOCAL (linux/if_addr.h)."""
    return message.get("local") not in (None, message.get("address"))


def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))
