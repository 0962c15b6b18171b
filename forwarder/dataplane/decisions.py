"""Keeps the Fib at what configuration, routes and roles say, and the flow table at what the Fib says.

Applied between two batches, so a batch sees one set of routes. A change marks the flows it may touch as stale; they
are decided again at their next frame, or when the worker has time. Where there are several upstreams, a flow that
could be forwarded from more than one is given to one of them (`standby`); the others have the verdict
standby_duplicate. What two ports that are both bring, or one and an upstream, is taken from the first, as long as it
comes there, and is wrong_interface elsewhere: it mostly came back by another forwarder, and would go round.
"""

import math
from collections.abc import Sequence

import numpy as np

from forwarder.dataplane import verdict_log
from forwarder.dataplane.admission import PortPolicy, Reasons, bitmap_of
from forwarder.dataplane.fib import Decided, Decision, Fib
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import NONE, Columns, Positions
from forwarder.dataplane.loops import OwnAddresses
from forwarder.dataplane.pair_index import Pairs
from forwarder.dataplane.policies import ethernet_addresses, policy_of
from forwarder.dataplane.standby import Standby
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteRow
from forwarder.state.settings import igmp_of
from igmp.link import Network

UNWANTED_SHARE = 8
"""One row in so many may belong to flows that nobody wants; the others of them are only counted."""

MOST_AT_ONCE = 4096
"""New flows that get rows in one batch, whatever `flow_limit` says, and flows that may change upstreams in one."""

MOST_ROUTES = 1024
"""Rows of routes that are looked at between two batches."""

MOST_PORTS = 64
"""Ingresses whose flows are decided again at once: only where no batch brings them, which has one ingress."""

TELL_HOMELESS = 60.0    # seconds between two lines of the log: a table that is full stays so for a while

FORWARDABLE = (Reason.FORWARD, Reason.NO_MEMBERS, Reason.NOT_QUERIER)
"""What is decided of flows that come in where they may."""


class Decisions:
    """One worker's answer to: what becomes of the flow of each of these frames?"""

    def __init__(self, flows: FlowTable, routes: RouteReader, membership: MembershipReader) -> None:
        self.flows, self.routes, self._membership = flows, routes, membership
        self.own = OwnAddresses({})
        self._fib, self._standby = Fib(), Standby(flows.capacity)
        self.listening = frozenset[int]()  # ports whose frames may move flows from one upstream to another (`heard`)
        self._ports: tuple[Port, ...] = ()
        self._upstreams = self._both = frozenset[int]()
        self._limit = 0
        self._anyway = 0    # ports where it does not matter who is querier
        self._queriers = self._roles = -1
        self._unwanted = 0
        self._homeless = 0                      # flows that found no room since it was told
        self._lately_homeless = (0, 0)          # ingress and flow of the last one
        self._tell_homeless_at = -math.inf

    # what the others say

    # RFC 4605 3 h
    def configure(self, configuration: Configuration) -> None:
        """Take over ports and policies; every flow becomes stale. The first time all routes there are, too."""
        first, self._ports = not self._ports, configuration.ports
        settings = configuration.settings
        self._limit = min(settings.dataplane.flow_limit, MOST_AT_ONCE)
        self._anyway = bitmap_of(
            port.index for port in configuration.ports if igmp_of(settings.igmp, port.settings).forward_when_not_querier
        )
        policies = [policy_of(port) for port in configuration.ports]
        self._fib.set_ports(policies)
        self._fib.set_on_request([] if settings.igmp.ssm_upstream else map(Network.parse, settings.igmp.ssm_range))
        self.own = OwnAddresses(ethernet_addresses(configuration.ports))
        self._set_upstreams(policies, settings.dataplane.failover_time, first)
        self.flows.mark_all()
        self._roles = -1
        self.refresh(None if first else MOST_ROUTES)

    def _set_upstreams(self, policies: Sequence[PortPolicy], failover_time: float, first: bool) -> None:
        upstreams = [port for port in policies if port.role == "upstream"]
        self._upstreams = frozenset(port.index for port in upstreams)
        self._both = frozenset(port.index for port in policies if port.role == "both" and port.up)
        priorities = {port.index: port.priority for port in upstreams}
        self._standby.configure(priorities, [port.index for port in upstreams if port.up], failover_time)
        self.listening = frozenset(priorities) if self._standby.several else frozenset[int]()
        if first and self._standby.several:
            for row, ingress, pair, reason, seen in self.flows.live():
                if self._standby.concerns(ingress) and reason in (Reason.FORWARD, Reason.STANDBY_DUPLICATE):
                    self._standby.adopt(ingress, pair, row, reason == Reason.FORWARD, seen)

    # RFC 4605 4.2 d
    def refresh(self, most: int | None = MOST_ROUTES) -> None:
        """Take over changed routes, of so many rows, and roles; `routes.pending` says whether there is more."""
        changes = self.routes.changes(most)
        for key, row in changes:
            self._set(key, row)
        if changes:
            self.flows.mark_groups({(key.group, key.plen) for key, _ in changes})
        if self._membership.sequence != self._roles:
            self._take_roles()

    def _set(self, key: RouteKey, row: RouteRow | None) -> None:
        place = key.group, key.plen, key.source, key.slen, key.ingress
        if row is None:
            self._fib.delete_route(*place, key.static)
        else:
            self._fib.set_route(*place, row.ports, "static" if key.static else "learned", row.stamp)

    def _take_roles(self) -> None:
        self._roles = self._membership.sequence
        downstream = (port for port in self._ports if port.role == "downstream")
        queriers = bitmap_of(
            port.index for port in downstream
            if self._anyway >> port.index & 1 or self._membership.querier(port.index, port.assigned)
        )  # fmt: skip
        if queriers != self._queriers:
            self._queriers = queriers
            self._fib.set_queriers(queriers)
            self.flows.mark_all()

    # what becomes of frames

    def of(self, ingress: int, header: Columns, now: float) -> tuple[Positions, Reasons]:
        """Row (-1: none) and flow verdict of each frame of a batch; new flows are decided and get rows.

        Where there is no time to decide a flow, it waits for its next frame; this one has no row, and FLOW_LIMIT.
        """
        rows, late = self.flows.lookup_pairs(ingress, header.pair), NONE
        stale = self.flows.stale(rows)
        if stale.size:
            (again,) = self.flows.are_stale(rows).nonzero()
            self.flows.describe(rows[again], header.ttl[again], header.total_length[again])
            self._decide_again(stale, now)
            (late,) = self.flows.are_stale(rows).nonzero()
        verdicts = self.flows.reasons(rows)
        if np.count_nonzero(rows < 0):
            (unknown,) = ((rows < 0) & (header.defect == 0)).nonzero()
            rows[unknown], verdicts[unknown] = self._admit(ingress, header.pair[unknown], rows, now)
            self.flows.describe(rows[unknown], header.ttl[unknown], header.total_length[unknown])
        if late.size:
            rows[late], verdicts[late] = -1, Reason.FLOW_LIMIT
        return rows, verdicts

    def heard(self, ingress: int, rows: Positions, decided: Reasons, reasons: Reasons, now: float) -> bool:
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
        decided[self.flows.are_stale(rows)] = Reason.FLOW_LIMIT
        return True

    def _decide(self, ingress: int, pairs: Pairs) -> Decided:
        """What the Fib says; what an upstream brings, too, came back by a loop and is no source that is missing here.

        Whoever allowed it as a source would get everything twice.
        """
        decided = self._fib.decide_all(ingress, pairs)
        if self._both:
            decided = self._less_taken(ingress, pairs, decided)
        if ingress in self._upstreams:
            return decided
        (refused,) = (decided.reasons == Reason.SOURCE_NOT_ALLOWED).nonzero()
        returned = refused[self.flows.forwarded_by(self._upstreams, pairs[refused])]
        return decided.replaced(returned, Decision(Reason.WRONG_INTERFACE)) if returned.size else decided

    def _less_taken(self, ingress: int, pairs: Pairs, decided: Decided) -> Decided:
        """Less what is forwarded from a port that is both already, or comes to one and is from an upstream."""
        rivals = self._rivals(ingress)
        (wanted,) = (decided.reasons == Reason.FORWARD).nonzero()
        taken = wanted[self.flows.forwarded_by(rivals, pairs[wanted])]
        return decided.replaced(taken, Decision(Reason.WRONG_INTERFACE)) if taken.size else decided

    def _rivals(self, ingress: int) -> frozenset[int]:
        """The ports of which one at a time brings what comes in by `ingress`; among upstreams `standby` sees to it."""
        if ingress in self._both:
            return (self._both | self._upstreams) - {ingress}
        return self._both if ingress in self._upstreams else frozenset()

    def _look_for_returned(self, some_ended: bool) -> None:
        """Decide again what was refused before an upstream brought it, and where `some_ended` what none brings now."""
        refused = self.flows.decided_as(Reason.SOURCE_NOT_ALLOWED)[:MOST_AT_ONCE]
        self.flows.mark(refused[self.flows.forwarded_by(self._upstreams, self.flows.pairs(refused))])
        if some_ended:
            wrong = self.flows.decided_as(Reason.WRONG_INTERFACE)[:MOST_AT_ONCE]
            self.flows.mark(wrong[~self.flows.forwarded_by(self._upstreams | self._both, self.flows.pairs(wrong))])

    def _decide_again(self, rows: Positions, now: float) -> None:
        """Decide as many of these flows as there is time for; the others stay stale."""
        rows = rows[: self._fib.most_at_once]
        ingresses = self.flows.ingresses(rows)
        for ingress in np.unique(ingresses)[:MOST_PORTS].tolist():
            here = rows[ingresses == ingress]
            pairs = self.flows.pairs(here)
            decided = self._decide(ingress, pairs)
            if self._standby.several:
                here, decided = self._one_upstream(ingress, here, pairs, decided, now)
            if verdict_log.wanted():
                verdict_log.tell(self._ports, ingress, self.flows.pairs(here), decided)
            self.flows.decide_all(here, decided)
        self.flows.mark(self._standby.take_changed())

    def _one_upstream(
        self, ingress: int, rows: Positions, pairs: Pairs, decided: Decided, now: float
    ) -> tuple[Positions, Decided]:
        """What was decided, less what is being taken from another upstream; of as many rows as there is time for."""
        reasons = decided.reasons
        eligible = np.isin(reasons, FORWARDABLE) & self._standby.concerns(ingress)
        (work,) = np.where(eligible, self._standby.work(rows, now), self._standby.holds(rows)).nonzero()
        keep = np.ones(len(rows), np.bool_)
        keep[work[MOST_AT_ONCE:]] = False
        self._standby.forget_all(rows[keep & ~eligible])
        eligible &= keep
        taken = self._standby.enter_all(ingress, pairs[eligible], rows[eligible], now)
        others = np.flatnonzero(eligible)[~taken]
        standing = others[reasons[others] == Reason.FORWARD]
        return rows[keep], decided.replaced(standing, Decision(Reason.STANDBY_DUPLICATE)).take(keep)

    def _admit(self, ingress: int, pairs: Pairs, held: Positions, now: float) -> tuple[Positions, Reasons]:
        """Decide new flows in the order of their first frames, one a frame; row and reason of each.

        `held`: the rows of the batch in hand.
        """
        flows, which = _in_order(pairs)
        rows, reasons = np.full(len(flows), -1), np.full(len(flows), Reason.FLOW_LIMIT, np.uint8)
        decided = self._decide(ingress, flows[: self._fib.most_at_once])
        reasons[: len(decided.which)] = decided.reasons
        at = self._worth_a_row(reasons)
        reasons[reasons == Reason.FORWARD] = Reason.FLOW_LIMIT
        if verdict_log.wanted():
            verdict_log.tell(self._ports, ingress, flows[at], decided.take(at))
        rows[at], reasons[at] = self._enter(ingress, flows[at], decided.take(at), held, now)
        return rows[which], reasons[which]

    def _worth_a_row(self, reasons: Reasons) -> Positions:
        """The flows that shall have a row: those that are forwarded, and as many others as there is room for."""
        worth = reasons == Reason.FORWARD
        (unwanted,) = ((reasons != Reason.FORWARD) & (reasons != Reason.FLOW_LIMIT)).nonzero()
        worth[unwanted[: max(-(-self.flows.capacity // UNWANTED_SHARE) - self._unwanted, 0)]] = True
        at = np.flatnonzero(worth)[: self._limit]
        self._unwanted += int(np.count_nonzero(reasons[at]))
        return at

    def _enter(
        self, ingress: int, pairs: Pairs, decided: Decided, held: Positions, now: float
    ) -> tuple[Positions, Reasons]:
        rows, reasons = self.flows.insert_all(ingress, pairs, decided, now, held), decided.reasons
        (homeless,) = ((rows < 0) & (reasons == Reason.FORWARD)).nonzero()
        if homeless.size:
            reasons[homeless] = Reason.FLOW_TABLE_FULL
            self._homeless += len(homeless)
            self._lately_homeless = ingress, int(pairs[homeless[-1]])
        if self._standby.several:
            (at,) = (rows >= 0).nonzero()
            self._standby.forget_all(rows[at])
            _, final = self._one_upstream(ingress, rows[at], pairs[at], decided.take(at), now)
            self.flows.decide_all(rows[at], final)
            reasons[at] = final.reasons
            self.flows.mark(self._standby.take_changed())
        return rows, reasons

    def tidy(self, now: float) -> None:
        """Once a second: let idle flows go, bring shown decisions up to date, count the unwanted anew."""
        self.flows.withheld.settle()
        ended = self.flows.expire(now)
        self._look_for_returned(ended.size > 0)
        self._decide_again(self.flows.all_stale()[: self._limit], now)
        self._unwanted = self.flows.count_unwanted()
        if self._homeless and now >= self._tell_homeless_at:
            self._tell_homeless_at = now + TELL_HOMELESS
            verdict_log.tell_homeless(self._ports, self._homeless, *self._lately_homeless, self.flows.capacity)
            self._homeless = 0


def _in_order(pairs: Pairs) -> tuple[Pairs, Positions]:
    """The different ones in the order in which they came, and which of these each is."""
    different, first, which = np.unique(pairs, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return different[order], place[which]
