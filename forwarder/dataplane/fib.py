"""Routes and source policy: what becomes of a flow, decided once and remembered by the flow table.

The order of checks (`decide`; the first that fails names the drop):
1. what the ingress takes in at all: group, source, reverse path, access lists (`admission`);
2. static routes: where some name the flow, but all of them for another ingress, this is the wrong interface;
3. outputs: the ports of the best route, masked by querier role downstream; every upstream too when the flow comes
   from downstream (RFC 4605 section 4), unless SSM has to be asked for; less the ingress and ports that are down;
   and less the ports whose access lists do not admit the flow, reason boundary when that leaves none.

The best route: static before learned; then routes with a source before any-source; then the longer group prefix,
then the longer source prefix; then one for this ingress before one for any. An (S, G) route's ports are complete by
themselves. A static route is the administrator's word: learned ones of the group do not count beside it, querier
roles do not mask it, and without ports it blocks the flow altogether, towards upstreams too. What belongs to frames
and not to flows (threshold, MTU, rates), and which of several upstreams a flow is taken from, is not looked at here.

Routes live in one dict per class of prefix lengths, so a decision does not depend on their number and setting one is
O(1); the list of classes is sorted again only when a class appears or empties.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.admission import FULL, Admission, PortPolicy, bitmap_of, mask_of
from forwarder.state.reasons import Reason
from igmp.link import Network

Kind: TypeAlias = Literal["learned", "static", "block"]
ANY = -1


class Decision(NamedTuple):
    """What becomes of a flow: bit p of `ports` is egress port p; no bits unless the reason is FORWARD."""

    reason: Reason
    ports: int = 0


class _RouteClass(NamedTuple):
    """Routes of equal precedence; sorts by it."""

    learned: bool
    any_source: bool
    group_host_bits: int
    source_host_bits: int


_RouteKey: TypeAlias = tuple[int, int, int]  # masked group, masked source, ingress or ANY
_Table: TypeAlias = dict[tuple[int, int], dict[int, int]]  # masked group and source -> ingress or ANY -> ports


class Fib:
    """Routes and port policies of one worker."""

    def __init__(self) -> None:
        self._classes: dict[_RouteClass, _Table] = {}
        self._order: list[tuple[bool, int, int, _Table]] = []
        self._sorted = True
        self._named: dict[int, dict[int, int]] = {}  # group prefix length -> prefix -> number of routes
        self._queriers = 0
        self._on_request: Network | None = None
        self.set_ports([])

    def set_ports(self, ports: Iterable[PortPolicy]) -> None:
        """Replace all port policies; flows decided before are then stale."""
        self._ports = {port.index: port for port in ports}
        self._upstream = bitmap_of(port.index for port in self._ports.values() if port.role == "upstream")
        self._up = bitmap_of(port.index for port in self._ports.values() if port.up)
        self._restricted = [(1 << port.index, port.access) for port in self._ports.values() if not port.access.is_open]
        self._admission = Admission(self._ports.values())

    def set_queriers(self, mask: int) -> None:
        """Bit p: we are querier on downstream port p; flows decided before are then stale."""
        self._queriers = mask

    def set_on_request(self, groups: Network | None) -> None:
        """Groups (SSM) that go upstream only where a route says so (RFC 4607); flows decided before are then stale."""
        self._on_request = groups

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
        """Add or replace the route of this key; source and ingress None for any; static ones stand beside learned."""
        route_class, key = _place(group, plen, source, slen, ingress, kind != "learned")
        if not self._has(route_class, key):
            self._name(key[0], plen, 1)
        self._put_in(route_class, key, ports)

    def delete_route(
        self, group: int, plen: int, source: int | None, slen: int, ingress: int | None, static: bool = False
    ) -> None:
        """Forget the route of this key; nothing happens when there is none."""
        route_class, key = _place(group, plen, source, slen, ingress, static)
        if self._has(route_class, key):
            self._take_out(route_class, key)
            self._name(key[0], plen, -1)

    def decide(self, ingress: int, source: int, group: int) -> Decision:
        """What becomes of the flow; an ingress that is no port of ours is WRONG_INTERFACE."""
        port = self._ports.get(ingress)
        if port is None:
            return Decision(Reason.WRONG_INTERFACE)
        reason = self._admission.refusal(port, source, group)
        if reason:
            return Decision(reason)
        return self._outputs(port, source, group)

    def wanted(self, groups: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Whether any route names each group; data from downstream goes upstream even if none does."""
        result = np.zeros(len(groups), np.bool_)
        for plen, prefixes in self._named.items():
            masked = groups & np.uint32(mask_of(plen))
            result |= np.fromiter(map(prefixes.__contains__, masked.tolist()), np.bool_, len(groups))
        return result

    def _outputs(self, port: PortPolicy, source: int, group: int) -> Decision:
        best = self._route(port.index, source, group)
        if best is None:
            return Decision(Reason.WRONG_INTERFACE)
        members, learned = best
        if not learned and not members:
            return Decision(Reason.NO_MEMBERS)
        usable = self._up & ~(1 << port.index)
        wanting = members & usable
        ports = wanting & (self._queriers | self._upstream) if learned else wanting
        if port.role == "downstream" and not (self._on_request and self._on_request.contains(group)):
            ports |= self._upstream & usable
        if not ports:
            return Decision(Reason.NOT_QUERIER if wanting else Reason.NO_MEMBERS)
        for bit, access in self._restricted:
            if ports & bit and not access.admits(source, group):
                ports ^= bit
        return Decision(Reason.FORWARD, ports) if ports else Decision(Reason.BOUNDARY)

    def _route(self, ingress: int, source: int, group: int) -> tuple[int, bool] | None:
        """Ports of the best route and whether it is learned, (0, True) where there is none.

        None where static routes name the flow, but all of them for another ingress.
        """
        if not self._sorted:
            self._sort()
        elsewhere = False
        for learned, group_mask, source_mask, table in self._order:
            if learned and elsewhere:
                return None
            routes = table.get((group & group_mask, source & source_mask))
            if routes is None:
                continue
            ports = routes.get(ingress, routes.get(ANY))
            if ports is not None:
                return ports, learned
            elsewhere = not learned
        return None if elsewhere else (0, True)

    def _has(self, route_class: _RouteClass, key: _RouteKey) -> bool:
        return key[2] in self._classes.get(route_class, {}).get(key[:2], {})

    def _put_in(self, route_class: _RouteClass, key: _RouteKey, ports: int) -> None:
        if route_class not in self._classes:
            self._classes[route_class] = {}
            self._sorted = False
        self._classes[route_class].setdefault(key[:2], {})[key[2]] = ports

    def _take_out(self, route_class: _RouteClass, key: _RouteKey) -> None:
        table = self._classes[route_class]
        del table[key[:2]][key[2]]
        if not table[key[:2]]:
            del table[key[:2]]
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


def _place(
    group: int, plen: int, source: int | None, slen: int, ingress: int | None, static: bool
) -> tuple[_RouteClass, _RouteKey]:
    """Where a route belongs: its class, and its key among the routes of that class."""
    group_mask, source_mask = mask_of(plen), 0 if source is None else mask_of(slen)
    key = (group & group_mask, (source or 0) & source_mask, ANY if ingress is None else ingress)
    return _RouteClass(not static, source is None, FULL ^ group_mask, FULL ^ source_mask), key
