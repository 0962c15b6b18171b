"""Keeps the Fib at what configuration, routes and roles say, and the flow table at what the Fib says.

Applied between two batches, so a batch sees one set of routes. A change marks the flows it may touch as stale; they
are decided again at their next frame, or when the worker has time. Where there are several upstreams, a flow that
could be forwarded from more than one is given to one of them (`standby`); the others have the verdict
standby_duplicate.
"""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.admission import PortPolicy, Prefix
from forwarder.dataplane.fib import Decision, Fib, Kind
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import Columns, Positions
from forwarder.dataplane.loops import OwnAddresses
from forwarder.dataplane.standby import Standby
from forwarder.packet.tpacket import ARPHRD_ETHER
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteRow
from igmp.access import AccessList, Entry
from igmp.link import Network

log = logging.getLogger(__name__)

UNWANTED_SHARE = 8
"""One row in so many may belong to flows that nobody wants; the others of them are only counted."""

FORWARDABLE = (Reason.FORWARD, Reason.NO_MEMBERS, Reason.NOT_QUERIER)
"""What is decided of flows that come in where they may."""


class Decisions:
    """One worker's answer to: what becomes of the flow of each of these frames?"""

    def __init__(self, flows: FlowTable, routes: RouteReader, membership: MembershipReader) -> None:
        self.flows, self._routes, self._membership = flows, routes, membership
        self.own = OwnAddresses({})
        self._fib, self._standby = Fib(), Standby(flows.capacity)
        self._ports: tuple[Port, ...] = ()
        self._limit = 0
        self._everywhere = False
        self._queriers = -1
        self._newest_port = 0
        self._unwanted = 0

    # what the others say

    def configure(self, configuration: Configuration) -> None:
        """Take over ports and policies; every flow becomes stale."""
        first, self._ports = not self._ports, configuration.ports
        settings = configuration.settings
        self._limit = settings.dataplane.flow_limit
        self._everywhere = settings.igmp.forward_when_not_querier
        policies = [policy_of(port) for port in configuration.ports]
        self._fib.set_ports(policies)
        self._fib.set_on_request(None if settings.igmp.ssm_upstream else Network.parse(settings.igmp.ssm_range))
        self.own = OwnAddresses(_addresses(configuration.ports))
        self._set_upstreams(policies, settings.dataplane.failover_time, first)
        newest = max((port.assigned for port in configuration.ports), default=0)
        if newest > self._newest_port:
            self._newest_port = newest
            for row in self._routes.rows():
                self._set(row.key, row)
        self.flows.mark_all()
        self.refresh()

    def _set_upstreams(self, policies: Sequence[PortPolicy], failover_time: float, first: bool) -> None:
        upstreams = [port for port in policies if port.role == "upstream"]
        priorities = {port.index: port.priority for port in upstreams}
        self._standby.configure(priorities, [port.index for port in upstreams if port.up], failover_time)
        if first and self._standby.several:
            for row, ingress, pair, reason, seen in self.flows.live():
                if self._standby.concerns(ingress) and reason in (Reason.FORWARD, Reason.STANDBY_DUPLICATE):
                    self._standby.adopt(ingress, pair, row, reason == Reason.FORWARD, seen)

    @property
    def behind(self) -> bool:
        """Whether routes changed since `refresh`, or a row was being written then and has to be looked at again."""
        return self._routes.pending

    def refresh(self) -> None:
        """Take over changed routes and roles."""
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

    def _set(self, key: RouteKey, row: RouteRow | None) -> None:
        if row is None:
            self._fib.delete_route(key.group, key.plen, key.source, key.slen, key.ingress, key.static)
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
        stale = self.flows.stale(rows)
        if stale.size:
            self._decide_again(stale, now)
        if not np.count_nonzero(rows < 0):
            return rows, self.flows.reasons(rows)
        unknown = np.flatnonzero((rows < 0) & (header.defect == 0))
        pairs, which = np.unique(header.pair[unknown], return_inverse=True)
        new_rows, reasons = self._decide_new(ingress, pairs, now)
        rows[unknown] = new_rows[which]
        verdicts = self.flows.reasons(rows)
        verdicts[unknown] = reasons[which]
        return rows, verdicts

    def listens(self, ingress: int) -> bool:
        """Whether frames of this port may move flows from one upstream to another (`heard`)."""
        return self._standby.concerns(ingress)

    def heard(
        self, ingress: int, rows: Positions, decided: npt.NDArray[np.uint8], reasons: npt.NDArray[np.uint8], now: float
    ) -> bool:
        """Frames came in; True when that moved flows from one upstream to another and `decided` was brought up to date.

        Those whose `reasons` are not what their flow was `decided` have a defect of their own and are not listened to.
        """
        if not self._standby.concerns(ingress):
            return False
        self._standby.listen(rows if reasons is decided else rows[reasons == decided], now)
        changed = self._standby.take_changed()
        if not changed.size:
            return False
        self.flows.mark(changed)
        self._decide_again(self.flows.stale(rows), now)
        decided[rows >= 0] = self.flows.reasons(rows[rows >= 0])
        return True

    def _decide_again(self, rows: Positions, now: float) -> None:
        for row in rows.tolist():
            key = self.flows.key(row)
            self.flows.decide(row, self._one_upstream(row, key, self._fib.decide(*key), now))
        self.flows.mark(self._standby.take_changed())

    def _one_upstream(self, row: int, key: tuple[int, int, int], decision: Decision, now: float) -> Decision:
        """`decision`, unless the flow is being taken from another upstream."""
        if not self._standby.several:
            return decision
        ingress, source, group = key
        if decision.reason not in FORWARDABLE or not self._standby.concerns(ingress):
            self._standby.forget(row)
            return decision
        taken = self._standby.enter(ingress, source << 32 | group, row, now)
        return decision if taken or decision.reason else Decision(Reason.STANDBY_DUPLICATE)

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
        self.flows.mark(self._standby.take_changed())
        return rows, reasons

    def _decide(self, ingress: int, pair: int, now: float) -> tuple[int, Reason]:
        source, group = pair >> 32, pair & 0xFFFF_FFFF
        decision = self._fib.decide(ingress, source, group)
        if decision.reason:
            if self._unwanted_are_enough():
                return -1, decision.reason
            self._unwanted += 1
        row = self.flows.insert(ingress, source, group, decision, now)
        if row < 0:
            return row, decision.reason or Reason.FLOW_TABLE_FULL
        final = self._one_upstream(row, (ingress, source, group), decision, now)
        if final is not decision:
            self.flows.decide(row, final)
        return row, final.reason

    def _unwanted_are_enough(self) -> bool:
        return self._unwanted * UNWANTED_SHARE >= self.flows.capacity

    def _is_upstream(self, ingress: int) -> bool:
        return any(port.index == ingress and port.role == "upstream" for port in self._ports)

    def tidy(self, now: float) -> None:
        """Once a second: let idle flows go, bring shown decisions up to date, count the unwanted anew."""
        self.flows.expire(now)
        self._decide_again(self.flows.all_stale()[: self._limit], now)
        self._unwanted = self.flows.count_unwanted()


def policy_of(port: Port) -> PortPolicy:
    """What the data plane must know of a port."""
    peers: Sequence[Prefix] = tuple((peer, 32) for peer in port.peers)
    settings, altnets = port.settings, None
    if settings.altnets is not None:
        altnets = tuple((network.address, network.prefix) for network in map(Network.parse, settings.altnets))
    return PortPolicy(
        index=port.index,
        role="upstream" if port.role == "upstream" else "downstream",
        up=port.up,
        networks=(*port.addresses, *peers),
        altnets=altnets,
        threshold=settings.threshold,
        mtu=port.mtu,
        addresses=tuple(address for address, _ in port.addresses),
        access=AccessList(
            allow=tuple(map(Entry.parse, settings.allow)),
            deny=tuple(map(Entry.parse, settings.deny)),
            boundary=tuple(map(Network.parse, settings.boundary)),
        ),
        priority=settings.priority,
        rate_limit=settings.rate_limit,
        flow_rate_limit=settings.flow_rate_limit,
    )


def _addresses(ports: Sequence[Port]) -> dict[int, bytes]:
    """Hardware addresses of the Ethernet ports that exist."""
    ethernet = (port for port in ports if port.ifindex and port.link_type == ARPHRD_ETHER)
    return {port.index: bytes.fromhex(port.mac.replace(":", "")) for port in ethernet}
