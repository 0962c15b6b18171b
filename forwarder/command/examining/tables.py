"""Tables of /proc/net: what programs of this host have joined and connected, and who routes multicast. Pure.

Lines that are not as expected are passed over. Addresses are numbers, printed as their octets make one here.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

CLAIM = "@mcfwd interface "     # forwarder/supervisor/claims.py; /proc/net/unix prints @ for the zero in front


class UdpSocket(NamedTuple):
    """Addresses and ports of /proc/net/udp; 0 is any."""

    local: int
    local_port: int
    remote: int
    remote_port: int


def joined(igmp: str) -> Iterator[tuple[int, int]]:
    """(ifindex, group) of each membership in /proc/net/igmp (net/ipv4/igmp.c)."""
    ifindex = 0
    for line in igmp.splitlines():
        with suppress(ValueError, IndexError, OverflowError):
            if line[:1].isdigit():
                ifindex = int(line.split()[0])
            elif line[:1].isspace() and ifindex:
                yield ifindex, _address(line.split()[0])


def udp_sockets(udp: str) -> Iterator[UdpSocket]:
    """Those of /proc/net/udp (net/ipv4/udp.c)."""
    for line in udp.splitlines()[1:]:
        with suppress(ValueError, IndexError, OverflowError):
            (local, local_port), (remote, remote_port) = (each.split(":") for each in line.split()[1:3])
            yield UdpSocket(_address(local), int(local_port, 16), _address(remote), int(remote_port, 16))


def claimed(unix: str) -> frozenset[int]:
    """Indexes of interfaces that an instance of mcfwd serves, by /proc/net/unix."""
    found = set()
    for line in unix.splitlines():
        _, mark, index = line.partition(CLAIM)
        if mark and index.isascii() and index.isdigit():
            found.add(int(index))
    return frozenset(found)


def entries(cache: str) -> int:
    """How many groups and sources the kernel's multicast routing has, by /proc/net/ip_mr_cache."""
    return max(len(cache.splitlines()) - 1, 0)


def _address(digits: str) -> int:
    return int.from_bytes(int(digits, 16).to_bytes(4, sys.byteorder))
