"""Interfaces as the kernel has them now: netlink says when to look, a snapshot says what is there.

Notifications are only a bell: whatever rang, the whole picture is read again, so a lost notification (ENOBUFS) costs
nothing and there is one way to learn of a link. rtnetlink(7); addresses through netifaces.
"""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import netifaces
from pyroute2 import IPRoute

NETLINK_ROUTE = 0
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
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

    def __init__(self) -> None:
        self._bell = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE)
        self._bell.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))
        self._route = IPRoute()

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
        """All interfaces of this network namespace by name."""
        links = (_link(message) for message in self._route.get_links())
        return {link.name: link for link in links}

    def close(self) -> None:
        """Close both netlink sockets."""
        self._bell.close()
        self._route.close()


def _link(message: Any) -> Link:
    name, flags = message.get("ifname"), message["flags"]
    entries = _ipv4_entries(name)
    return Link(
        name=name,
        ifindex=message["index"],
        up=bool(flags & IFF_UP and flags & IFF_RUNNING),
        mac=message.get("address") or "00:00:00:00:00:00",
        mtu=message.get("mtu") or 1500,
        link_type=message["ifi_type"],
        loopback=bool(flags & IFF_LOOPBACK),
        kind=message.get(("linkinfo", "kind")),
        addresses=tuple(_networks(entries)),
        peers=tuple(_peers(entries)),
    )


def _ipv4_entries(name: str) -> list[dict[str, str]]:
    with suppress(ValueError, OSError):
        entries: list[dict[str, str]] = netifaces.ifaddresses(name).get(netifaces.AF_INET, [])
        return [entry for entry in entries if entry.get("addr")]
    return []


def _networks(entries: Iterable[dict[str, str]]) -> Iterable[tuple[int, int]]:
    for entry in entries:
        mask = int(ipaddress.IPv4Address(entry.get("netmask") or "255.255.255.255"))
        yield int(ipaddress.IPv4Address(entry["addr"])), mask.bit_count()


def _peers(entries: Iterable[dict[str, str]]) -> Iterable[int]:
    for entry in entries:
        peer = entry.get("peer")
        if peer and peer != entry["addr"]:
            yield int(ipaddress.IPv4Address(peer))
