"""What a port takes in: the checks of a flow's group and source that come before any route.

The order (`Admission.refusal`; the first that fails names the drop):
1. group: inside 224/4, not 224.0.0.0/24, not 232.0.0.0;
2. source: a possible unicast host address, not one of ours;
3. reverse path: the longest connected subnet that holds the source must be one of the ingress; a source of no
   connected subnet is taken by an upstream without `altnets`, and by any port whose `altnets` hold it;
4. access lists: `allow`, `deny` and `boundary` of the ingress admit the flow.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from forwarder.state.reasons import Reason
from igmp.access import OPEN, AccessList

Prefix: TypeAlias = tuple[int, int]
FULL = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class PortPolicy:
    """What the data plane must know of a port; networks are (address, prefix length), a peer is (address, 32).

    Rates are in bits/s of what leaves by the port; of upstreams the lowest `priority` is preferred.
    """

    index: int
    role: Literal["upstream", "downstream"]
    up: bool = True
    networks: tuple[Prefix, ...] = ()
    altnets: tuple[Prefix, ...] | None = None
    threshold: int = 1
    mtu: int = 1500
    addresses: tuple[int, ...] = ()
    access: AccessList = OPEN
    priority: int = 1
    rate_limit: int | None = None
    flow_rate_limit: int | None = None


class Admission:
    """The source and group policy of a set of ports."""

    def __init__(self, ports: Collection[PortPolicy]) -> None:
        self._altnets = {port.index: _masked(port.altnets or ()) for port in ports}
        self._subnets = _owners(ports)
        self._not_hosts = _not_hosts(ports)

    def refusal(self, port: PortPolicy, source: int, group: int) -> Reason:
        """Why `port`, one of the set, does not take the flow in; FORWARD when it does."""
        if group >> 28 != 14 or group >> 8 == 0xE00000 or group == 0xE8000000:
            return Reason.RESERVED
        if source == 0 or source >> 24 == 127 or source >= 0xE0000000 or source in self._not_hosts:
            return Reason.BAD_SOURCE
        reason = self._reverse_path(port, source)
        if not reason and not port.access.admits(source, group):
            return Reason.BOUNDARY
        return reason

    def _reverse_path(self, port: PortPolicy, source: int) -> Reason:
        for mask, owners in self._subnets:
            ports = owners.get(source & mask)
            if ports:
                return Reason.FORWARD if ports >> port.index & 1 else Reason.WRONG_INTERFACE
        if port.role == "upstream" and port.altnets is None:
            return Reason.FORWARD
        if any(source & mask == network for mask, network in self._altnets[port.index]):
            return Reason.FORWARD
        return Reason.SOURCE_NOT_ALLOWED


def mask_of(length: int) -> int:
    """The network mask of a prefix length, 0 to 32."""
    return FULL << 32 - length & FULL


def bitmap_of(indexes: Iterable[int]) -> int:
    """Bit p for each port p."""
    bitmap = 0
    for index in indexes:
        bitmap |= 1 << index
    return bitmap


def _masked(networks: Iterable[Prefix]) -> list[tuple[int, int]]:
    """(mask, network) of each."""
    return [(mask_of(length), address & mask_of(length)) for address, length in networks]


def _owners(ports: Iterable[PortPolicy]) -> list[tuple[int, dict[int, int]]]:
    """Connected subnets by mask, longest first, each with the bitmap of the ports it is on."""
    subnets: dict[int, dict[int, int]] = {}
    for port in ports:
        for mask, network in _masked(port.networks):
            owners = subnets.setdefault(mask, {})
            owners[network] = owners.get(network, 0) | 1 << port.index
    return sorted(subnets.items(), reverse=True)


def _not_hosts(ports: Iterable[PortPolicy]) -> frozenset[int]:
    """Our own addresses, and network and directed broadcast addresses of connected subnets (RFC 3021: not of /31)."""
    found: set[int] = set()
    for port in ports:
        found.update(port.addresses)
        for mask, network in _masked(port.networks):
            if mask < FULL - 1:
                found.update((network, network | FULL ^ mask))
    return frozenset(found)
