"""Keeps the Fib at what configuration, routes and roles say, and the flow table at what the Fib says.

Applied between two batches, so a batch sees one set of routes. A change marks the flows it may touch as stale; they
are decided again at their next frame, or when the worker has time.
"""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.fib import Fib, Kind, PortPolicy, Prefix
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import Columns, Positions
from forwarder.dataplane.loops import OwnAddresses
from forwarder.packet.tpacket import ARPHRD_ETHER
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.routes import RouteKey, RouteReader, RouteRow
from igmp.link import Network

log = logging.getLogger(__name__)

UNWANTED_SHARE = 8
"""One row in so many may belong to flows that nobody wants; the others of them are only counted."""


class Decisions:
    """One worker's answer to: what becomes of the flow of each of these frames?"""

    def __init__(self, flows: FlowTable, routes: RouteReader, membership: MembershipReader) -> None:
        self.flows, self._routes, self._membership = flows, routes, membership
        self.own = OwnAddresses({})
        self._fib = Fib()
        self._ports: tuple[Port, ...] = ()
        self._limit = 0
        self._everywhere = False
        self._queriers = -1
        self._newest_port = 0
        self._unwanted = 0

    # what the others say

    def configure(self, configuration: Configuration) -> None:
        """Take over ports and policies; every flow becomes stale."""
        self._ports = configuration.ports
        self._limit = configuration.settings.dataplane.flow_limit
        self._everywhere = configuration.settings.igmp.forward_when_not_querier
        self._fib.set_ports([policy_of(port) for port in configuration.ports])
        self.own = OwnAddresses(_addresses(configuration.ports))
        newest = max((port.assigned for port in configuration.ports), default=0)
        if newest > self._newest_port:
            self._newest_port = newest
            for row in self._routes.rows():
                self._set(row.key, row)
        self.flows.mark_all()
        self.refresh()

    def refresh(self) -> bool:
        """Take over changed routes and roles; True when some row has to be looked at again soon."""
        for key, row in self._routes.changes():
            self._set(key, row)
            self.flows.mark_group(key.group, key.plen)
        queriers = 0
        for port in self._ports:
            if port.role == "downstream" and (self._everywhere or self._membership.querier(port.index, port.assigned)):
                queriers |= 1 << port.index
        if queriers != self._queriers:
            self._queriers = queriers
            self._fib.set_queriers(queriers)
            self.flows.mark_all()
        return self._routes.pending

    def _set(self, key: RouteKey, row: RouteRow | None) -> None:
        if row is None:
            self._fib.delete_route(key.group, key.plen, key.source, key.slen, key.ingress)
            return
        kind: Kind = "learned" if row.kind == "learned" else "static"
        self._fib.set_route(key.group, key.plen, key.source, key.slen, key.ingress, self._visible(row), kind)

    def _visible(self, row: RouteRow) -> int:
        """The ports of a row less those whose index had another owner when it was written."""
        if row.stamp >= self._newest_port:
            return row.ports
        former = sum(1 << port.index for port in self._ports if port.assigned > row.stamp)
        return row.ports & ~former

    # what becomes of frames

    def of(self, ingress: int, header: Columns, now: float) -> tuple[Positions, npt.NDArray[np.uint8]]:
        """Row (-1: none) and flow verdict of each frame of a batch; new flows are decided and get rows."""
        rows = self.flows.lookup_pairs(ingress, header.pair)
        for row in self.flows.stale(rows).tolist():
            self.flows.decide(row, self._fib.decide(*self.flows.key(row)))
        if not np.count_nonzero(rows < 0):
            return rows, self.flows.reasons(rows)
        unknown = np.flatnonzero((rows < 0) & (header.defect == 0))
        pairs, which = np.unique(header.pair[unknown], return_inverse=True)
        new_rows, reasons = self._decide_new(ingress, pairs, now)
        rows[unknown] = new_rows[which]
        verdicts = self.flows.reasons(rows)
        verdicts[unknown] = reasons[which]
        return rows, verdicts

    def _decide_new(
        self, ingress: int, pairs: npt.NDArray[np.uint64], now: float
    ) -> tuple[Positions, npt.NDArray[np.uint8]]:
        rows = np.full(len(pairs), -1)
        reasons = np.full(len(pairs), Reason.FLOW_LIMIT, np.uint8)
        candidates = np.arange(len(pairs))
        if self._unwanted_are_enough() and self._is_upstream(ingress):
            wanted = self._fib.wanted(pairs.astype(np.uint32))
            reasons[~wanted] = Reason.NO_MEMBERS
            candidates = candidates[wanted]
        for at in candidates[: self._limit].tolist():
            rows[at], reasons[at] = self._decide(ingress, int(pairs[at]), now)
        return rows, reasons

    def _decide(self, ingress: int, pair: int, now: float) -> tuple[int, Reason]:
        source, group = pair >> 32, pair & 0xFFFF_FFFF
        decision = self._fib.decide(ingress, source, group)
        if decision.reason:
            if self._unwanted_are_enough():
                return -1, decision.reason
            self._unwanted += 1
        row = self.flows.insert(ingress, source, group, decision, now)
        if row < 0 and not decision.reason:
            return row, Reason.FLOW_TABLE_FULL
        return row, decision.reason

    def _unwanted_are_enough(self) -> bool:
        return self._unwanted * UNWANTED_SHARE >= self.flows.capacity

    def _is_upstream(self, ingress: int) -> bool:
        return any(port.index == ingress and port.role == "upstream" for port in self._ports)

    def tidy(self, now: float) -> None:
        """Once a second: let idle flows go, bring shown decisions up to date, count the unwanted anew."""
        self.flows.expire(now)
        for row in self.flows.all_stale()[: self._limit].tolist():
            self.flows.decide(row, self._fib.decide(*self.flows.key(row)))
        self._unwanted = self.flows.count_unwanted()


def policy_of(port: Port) -> PortPolicy:
    """What the data plane must know of a port."""
    peers: Sequence[Prefix] = tuple((peer, 32) for peer in port.peers)
    altnets = None
    if port.settings.altnets is not None:
        altnets = tuple((network.address, network.prefix) for network in map(Network.parse, port.settings.altnets))
    return PortPolicy(
        index=port.index,
        role="upstream" if port.role == "upstream" else "downstream",
        up=port.up,
        networks=(*port.addresses, *peers),
        altnets=altnets,
        threshold=port.settings.threshold,
        mtu=port.mtu,
        addresses=tuple(address for address, _ in port.addresses),
    )


def _addresses(ports: Sequence[Port]) -> dict[int, bytes]:
    """Hardware addresses of the Ethernet ports that exist."""
    ethernet = (port for port in ports if port.ifindex and port.link_type == ARPHRD_ETHER)
    return {port.index: bytes.fromhex(port.mac.replace(":", "")) for port in ethernet}
