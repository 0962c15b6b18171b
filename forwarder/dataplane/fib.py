"""Routes and source policy: what becomes of a flow, decided once and remembered by the flow table.

The order of checks (`decide`; the first that fails names the drop):
1. group: inside 224/4, not 224.0.0.0/24, not 232.0.0.0;
2. source: a possible unicast host address, not one of ours;
3. reverse path: the longest connected subnet that holds the source must be one of the ingress; a source of no
   connected subnet is taken by an upstream without `altnets`, and by any port whose `altnets` hold it;
4. boundary: the ingress has none for the group;
5. outputs: the ports of the best route, masked by querier role downstream; every upstream too when the flow comes
   from downstream (RFC 4605 section 4); less the ingress, ports that are down, and ports that bound the group.

The best route: static before learned; then routes with a source before any-source; then the longer group prefix,
then the longer source prefix; then one for this ingress before one for any. An (S, G) route's ports are complete by
themselves. A static route is the administrator's word: querier roles do not mask it, and without ports it blocks
the flow altogether. Threshold and MTU belong to frames, not to flows, and are not looked at here.

Routes live in one dict per class of prefix lengths, so a decision does not depend on their number and setting one is
O(1); the list of classes is sorted again only when a class appears or empties.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.state.reasons import Reason

Prefix: TypeAlias = tuple[int, int]
Kind: TypeAlias = Literal["learned", "static", "block"]
ANY = -1
FULL = 0xFFFF_FFFF


class Decision(NamedTuple):
    """What becomes of a flow: bit p of `ports` is egress port p; no bits unless the reason is FORWARD."""

    reason: Reason
    ports: int = 0


@dataclass(frozen=True, slots=True)
class PortPolicy:
    """What the data plane must know of a port; networks are (address, prefix length), a peer is (address, 32)."""

    index: int
    role: Literal["upstream", "downstream"]
    up: bool = True
    networks: tuple[Prefix, ...] = ()
    altnets: tuple[Prefix, ...] | None = None
    threshold: int = 1
    mtu: int = 1500
    addresses: tuple[int, ...] = ()
    boundary: tuple[Prefix, ...] = ()


class _RouteClass(NamedTuple):
    """Routes of equal precedence; sorts by it."""

    learned: bool
    any_source: bool
    group_host_bits: int
    source_host_bits: int


_RouteKey: TypeAlias = tuple[int, int, int]  # masked group, masked source, ingress or ANY
_Table: TypeAlias = dict[_RouteKey, int]


class Fib:
    """Routes and port policies of one worker."""

    def __init__(self) -> None:
        self._classes: dict[_RouteClass, _Table] = {}
        self._class_of: dict[tuple[_RouteKey, int, int], _RouteClass] = {}
        self._order: list[tuple[bool, int, int, _Table]] = []
        self._sorted = True
        self._named: dict[int, dict[int, int]] = {}  # group prefix length -> prefix -> number of routes
        self._queriers = 0
        self.set_ports([])

    def set_ports(self, ports: Iterable[PortPolicy]) -> None:
        """Replace all port policies; flows decided before are then stale."""
        self._ports = {port.index: port for port in ports}
        self._upstream = _bitmap(port.index for port in self._ports.values() if port.role == "upstream")
        self._up = _bitmap(port.index for port in self._ports.values() if port.up)
        self._altnets = {port.index: _masked(port.altnets or ()) for port in self._ports.values()}
        self._bounded = [
            (mask, network, port.index) for port in self._ports.values() for mask, network in _masked(port.boundary)
        ]
        self._subnets = _owners(self._ports.values())
        self._not_hosts = _not_hosts(self._ports.values())

    def set_queriers(self, mask: int) -> None:
        """Bit p: we are querier on downstream port p; flows decided before are then stale."""
        self._queriers = mask

    def set_route(
        self,
        group: int,
        plen: int,
        source: int | None,
        slen: int,
        ingress: int | None,
        ports: int,
        kind: Kind = "learned",
    ) -> None:
        """Add or replace the route of this key; source and ingress None for any; `kind` is not part of the key."""
        group_mask, source_mask = _mask(plen), 0 if source is None else _mask(slen)
        key = (group & group_mask, (source or 0) & source_mask, ANY if ingress is None else ingress)
        route_class = _RouteClass(kind == "learned", source is None, FULL ^ group_mask, FULL ^ source_mask)
        identity = key, plen, ANY if source is None else slen
        former = self._class_of.get(identity)
        if former is None:
            self._name(key[0], plen, 1)
        elif former != route_class:
            self._take_out(former, key)
        self._class_of[identity] = route_class
        self._put_in(route_class, key, ports)

    def delete_route(self, group: int, plen: int, source: int | None, slen: int, ingress: int | None) -> None:
        """Forget the route of this key; nothing happens when there is none."""
        group_mask, source_mask = _mask(plen), 0 if source is None else _mask(slen)
        key = (group & group_mask, (source or 0) & source_mask, ANY if ingress is None else ingress)
        route_class = self._class_of.pop((key, plen, ANY if source is None else slen), None)
        if route_class is not None:
            self._take_out(route_class, key)
            self._name(key[0], plen, -1)

    def decide(self, ingress: int, source: int, group: int) -> Decision:
        """What becomes of the flow; an ingress that is no port of ours is WRONG_INTERFACE."""
        port = self._ports.get(ingress)
        if port is None:
            return Decision(Reason.WRONG_INTERFACE)
        reason = self._refusal(port, source, group)
        if reason:
            return Decision(reason)
        return self._outputs(port, source, group)

    def wanted(self, groups: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Whether any route names each group; data from downstream goes upstream even if none does."""
        result = np.zeros(len(groups), np.bool_)
        for plen, prefixes in self._named.items():
            masked = groups & np.uint32(_mask(plen))
            result |= np.fromiter(map(prefixes.__contains__, masked.tolist()), np.bool_, len(groups))
        return result

    def _refusal(self, port: PortPolicy, source: int, group: int) -> Reason:
        if group >> 28 != 14 or group >> 8 == 0xE00000 or group == 0xE8000000:
            return Reason.RESERVED
        if source == 0 or source >> 24 == 127 or source >= 0xE0000000 or source in self._not_hosts:
            return Reason.BAD_SOURCE
        reason = self._reverse_path(port, source)
        if not reason and self._bounded and self._bounds(group) >> port.index & 1:
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

    def _outputs(self, port: PortPolicy, source: int, group: int) -> Decision:
        members, learned = self._route(port.index, source, group)
        if not learned and not members:
            return Decision(Reason.NO_MEMBERS)
        usable = self._up & ~(1 << port.index)
        wanting = members & usable
        ports = wanting & (self._queriers | self._upstream) if learned else wanting
        if port.role == "downstream":
            ports |= self._upstream & usable
        if not ports:
            return Decision(Reason.NOT_QUERIER if wanting else Reason.NO_MEMBERS)
        if self._bounded:
            ports &= ~self._bounds(group)
        return Decision(Reason.FORWARD, ports) if ports else Decision(Reason.BOUNDARY)

    def _route(self, ingress: int, source: int, group: int) -> tuple[int, bool]:
        """Ports of the best route and whether it is learned; (0, True) where there is none."""
        if not self._sorted:
            self._sort()
        for learned, group_mask, source_mask, table in self._order:
            masked, masked_source = group & group_mask, source & source_mask
            ports = table.get((masked, masked_source, ingress))
            if ports is None:
                ports = table.get((masked, masked_source, ANY))
            if ports is not None:
                return ports, learned
        return 0, True

    def _bounds(self, group: int) -> int:
        """Bitmap of the ports that have a boundary for the group."""
        return _bitmap(port for mask, network, port in self._bounded if group & mask == network)

    def _put_in(self, route_class: _RouteClass, key: _RouteKey, ports: int) -> None:
        if route_class not in self._classes:
            self._classes[route_class] = {}
            self._sorted = False
        self._classes[route_class][key] = ports

    def _take_out(self, route_class: _RouteClass, key: _RouteKey) -> None:
        table = self._classes[route_class]
        del table[key]
        if not table:
            del self._classes[route_class]
            self._sorted = False

    def _name(self, prefix: int, plen: int, change: int) -> None:
        counts = self._named.setdefault(plen, {})
        counts[prefix] = counts.get(prefix, 0) + change
        if not counts[prefix]:
            del counts[prefix]
        if not counts:
            del self._named[plen]

    def _sort(self) -> None:
        self._order = [
            (each.learned, FULL ^ each.group_host_bits, FULL ^ each.source_host_bits, self._classes[each])
            for each in sorted(self._classes)
        ]
        self._sorted = True


def _mask(length: int) -> int:
    return FULL << 32 - length & FULL


def _bitmap(indexes: Iterable[int]) -> int:
    bitmap = 0
    for index in indexes:
        bitmap |= 1 << index
    return bitmap


def _masked(networks: Iterable[Prefix]) -> list[tuple[int, int]]:
    """(mask, network) of each."""
    return [(_mask(length), address & _mask(length)) for address, length in networks]


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
