"""What a port takes in: the checks of a flow's group and source that come before any route.

The order (`Admission.refusals`; the first that fails names the drop):
1. group: inside 224/4, not 224.0.0.0/24, not 232.0.0.0;
2. source: a possible unicast host address, not one of ours, and link-local (169.254/16) only where the port has
   `link_local_sources`;
3. reverse path: the longest connected subnet that holds the source must be one of the ingress; a source of no
   connected subnet is taken by an inward port without `altnets`, by a downstream port that has neither those nor a
   subnet, and by any port whose `altnets` hold it;
4. access lists: `allow`, `deny` and `boundary` of the ingress admit the flow.
All are vectors: a port may be asked about thousands of flows at once, after any change.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.lists import Addresses, Mask, admits, contains, inside
from forwarder.state.reasons import Reason
from forwarder.state.roles import is_inward
from igmp.access import OPEN, AccessList
from igmp.link import Network

Reasons: TypeAlias = npt.NDArray[np.uint8]
Prefix: TypeAlias = tuple[int, int]
FULL = 0xFFFF_FFFF
LINK_LOCAL = 169 << 8 | 254
OWNER_BITS = np.uint64(16)  # of a port index beside a network


@dataclass(frozen=True, slots=True)
class PortPolicy:
    """What the data plane must know of a port; networks are (address, prefix length), a peer is (address, 32).

    Of upstreams the lowest `priority` is preferred. Routes with a stamp before `assigned` speak of a former owner of
    the index.
    """

    index: int
    role: Literal["upstream", "downstream", "both"]
    up: bool = True
    networks: tuple[Prefix, ...] = ()
    altnets: tuple[Prefix, ...] | None = None
    addresses: tuple[int, ...] = ()
    access: AccessList = OPEN
    priority: int = 1
    link_local_sources: bool = False
    assigned: int = 0


class Admission:
    """The source and group policy of a set of ports."""

    def __init__(self, ports: Collection[PortPolicy]) -> None:
        self._altnets = {port.index: [Network(*each) for each in port.altnets or ()] for port in ports}
        self._subnets = _owners(ports)
        self._not_hosts = _not_hosts(ports)

    # RFC 4541 2.1.2 b
    def refusals(self, port: PortPolicy, sources: Addresses, groups: Addresses) -> Reasons:
        """Why `port`, one of the set, does not take each of n flows in; FORWARD where it does."""
        reasons = self._reverse_path(port, sources)
        if not port.access.is_open:
            reasons[(reasons == Reason.FORWARD) & ~admits(port.access, sources, groups)] = Reason.BOUNDARY
        reasons[self._no_host(port, sources)] = Reason.BAD_SOURCE
        reserved = groups >> np.uint64(28) != 14
        reserved |= groups >> np.uint64(8) == 0xE00000
        reserved |= groups == 0xE8000000
        reasons[reserved] = Reason.RESERVED
        return reasons

    def _no_host(self, port: PortPolicy, sources: Addresses) -> Mask:
        """Sources that cannot be those of hosts elsewhere (RFC 1812 section 5.3.7, RFC 3927 section 7)."""
        network = sources >> np.uint64(24)
        wrong: Mask = network == 0
        wrong |= network == 127
        wrong |= network >= 224
        if not port.link_local_sources:
            wrong |= sources >> np.uint64(16) == LINK_LOCAL
        wrong |= contains(self._not_hosts, sources)
        return wrong

    def _reverse_path(self, port: PortPolicy, sources: Addresses) -> Reasons:
        reasons = np.full(len(sources), self._elsewhere(port), np.uint8)
        for network in self._altnets[port.index] if reasons.any() else ():
            reasons[inside(network, sources)] = Reason.FORWARD
        for mask, networks, owned in self._subnets:
            masked = sources & mask
            here = contains(owned, masked << OWNER_BITS | np.uint64(port.index))
            reasons[contains(networks, masked)] = Reason.WRONG_INTERFACE
            reasons[here] = Reason.FORWARD
        return reasons

    @staticmethod
    def _elsewhere(port: PortPolicy) -> Reason:
        """What becomes of a source that is in no connected subnet, nor in `altnets`.

        Behind a port downstream that has no network of its own may be anybody, as upstream.
        """
        if port.altnets is None and (is_inward(port.role) or not port.networks):
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


def _owners(ports: Iterable[PortPolicy]) -> list[tuple[np.uint64, Addresses, Addresses]]:
    """Connected subnets by mask, shortest first: the networks, and networks << OWNER_BITS | port; both ascending."""
    owned: dict[int, set[int]] = {}
    for port in ports:
        for address, length in port.networks:
            owner = (address & mask_of(length)) << int(OWNER_BITS) | port.index
            owned.setdefault(mask_of(length), set()).add(owner)
    tables = ((np.uint64(mask), np.array(sorted(owned[mask]), np.uint64)) for mask in sorted(owned))
    return [(mask, np.unique(owners >> OWNER_BITS), owners) for mask, owners in tables]


def _not_hosts(ports: Iterable[PortPolicy]) -> Addresses:
    """Our own addresses, and network and directed broadcast addresses of connected subnets (RFC 3021: not of /31)."""
    found: set[int] = set()
    for port in ports:
        found.update(port.addresses)
        for address, length in port.networks:
            if length < 31:
                network = address & mask_of(length)
                found.update((network, network | FULL >> length))
    return np.array(sorted(found), np.uint64)
