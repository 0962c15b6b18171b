"""Routes and source policy: what becomes of flows, decided once and remembered by the flow table.

The order of checks (`decide_all`; the first that fails names the drop):
1. what the ingress takes in at all: group, source, reverse path, access lists (`admission`);
2. static routes: where some name the flow, but all of them for another ingress, this is the wrong interface;
3. outputs: the ports of the best route, masked by querier role downstream; every upstream too when the flow comes
   from downstream (RFC 4605 section 4), unless SSM has to be asked for; less the ingress and ports that are down;
   what comes in by a port that is both is not for who has joined: its routes are static ones;
   and less the ports whose access lists do not admit the flow, reason boundary when that leaves none.

The best route: static before learned; then routes with a source before any-source; then the longer group prefix,
then the longer source prefix; then one for this ingress before one for any. An (S, G) route's ports are complete by
themselves. A static route is the administrator's word: learned ones of the group do not count beside it, querier
roles do not mask it, and without ports it blocks the flow altogether, towards upstreams too. What belongs to frames
and not to flows (threshold, MTU, rates), and which of several upstreams a flow is taken from, is not looked at here.

Routes live in one dict per class of prefix lengths, so a decision does not depend on their number and setting one is
O(1); the list of classes is sorted again only when a class appears or empties. A port whose index had another owner
when a route was written is taken out when the route is used, so a new port changes no route.

Thousands of flows are decided together after any change, so what is the same for many is done once: the checks are
vectors, flows with the same routes share a decision. A thousand take 0.3 to 2 milliseconds, one takes 0.05.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import repeat
from operator import or_
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.admission import FULL, Admission, PortPolicy, bitmap_of, mask_of
from forwarder.dataplane.frame import Positions
from forwarder.dataplane.lists import admits, entries, inside
from forwarder.dataplane.withheld import Kept
from forwarder.state.reasons import Reason
from igmp.access import AccessList
from igmp.link import Network

Kind: TypeAlias = Literal["learned", "static", "block"]
Pairs: TypeAlias = npt.NDArray[np.uint64]
Reasons: TypeAlias = npt.NDArray[np.uint8]
T = TypeVar("T")
ANY = -1
NEWEST = 1 << 63
LOOKUPS, COMPARISONS = 1 << 15, 1 << 18
"""What one call may cost: of flows in classes of routes, and with entries of access lists; some 25 ms each."""

_HALF, _LOW = np.uint64(32), np.uint64(FULL)


class Decision(NamedTuple):
    """What becomes of a flow: bit p of `ports` is egress port p; no bits unless the reason is FORWARD.

    `withheld`: ports that want it and do not get it, by reason.
    """

    reason: Reason
    ports: int = 0
    withheld: Kept = ()


_REFUSALS = [Decision(reason) for reason in Reason]


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of n flows: each has one of the `choices`, `which` (n,) says the number of it."""

    choices: list[Decision]
    which: Positions

    @classmethod
    def alike(cls, decision: Decision, count: int) -> "Decided":
        """The same for all."""
        return cls([decision], np.zeros(count, np.int64))

    @property
    def reasons(self) -> Reasons:
        """Of each flow."""
        return np.array([choice.reason for choice in self.choices], np.uint8)[self.which]

    def bitmaps(self, words: int) -> npt.NDArray[np.uint64]:
        """The ports of each flow, (n, words)."""
        octets = b"".join(choice.ports.to_bytes(8 * words, "little") for choice in self.choices)
        return np.frombuffer(octets, "<u8").astype(np.uint64).reshape(-1, words)[self.which]

    def replaced(self, at: Positions, decision: Decision) -> "Decided":
        """With this decision at these positions."""
        which = self.which.copy()
        which[at] = len(self.choices)
        return Decided([*self.choices, decision], which)

    def take(self, at: Positions | npt.NDArray[np.bool_]) -> "Decided":
        """Those of the flows at these positions, or where this is true."""
        return Decided(self.choices, self.which[at])


class _RouteClass(NamedTuple):
    """Routes of equal precedence; sorts by it."""

    learned: bool
    any_source: bool
    group_host_bits: int
    source_host_bits: int


class _Route(NamedTuple):
    """The ports of a route, and when it was said."""

    ports: int
    stamp: int


class _Routes:
    """Routes of one class, group and source: by ingress, or ANY."""

    __slots__ = ("by_ingress",)

    def __init__(self) -> None:
        self.by_ingress: dict[int, _Route] = {}


_Table: TypeAlias = dict[int, _Routes]  # by masked source << 32 | masked group


class Fib:
    """Routes and port policies of one worker."""

    def __init__(self) -> None:
        self._classes: dict[_RouteClass, _Table] = {}
        self._order: list[tuple[bool, np.uint64, _Table]] = []
        self._sorted = True
        self._queriers = 0
        self._on_request: tuple[Network, ...] = ()
        self.set_ports([])

    def set_ports(self, ports: Iterable[PortPolicy]) -> None:
        """Replace all port policies; flows decided before are then stale."""
        self._ports = {port.index: port for port in ports}
        policies = self._ports.values()
        self._upstream = bitmap_of(port.index for port in policies if port.role == "upstream")
        self._up = bitmap_of(port.index for port in policies if port.up)
        self._restricted = _restricted(policies)
        self._assigned, self._later = _assignments(policies)
        self._newest = max(self._assigned, default=0)
        self._speaking = self._queriers | self._upstream
        self._admission = Admission(policies)
        self._comparisons = sum(entries(access) for access, _ in self._restricted)

    @property
    def most_at_once(self) -> int:
        """Flows that may be decided in one call (`decide_all`): a whole batch, if there are few lists and classes."""
        width = 1 + len(self._ports) // 512  # thousands of ports make long bitmaps
        return max(1, min(COMPARISONS // max(self._comparisons, 1), LOOKUPS // (len(self._classes) + width)))

    def set_queriers(self, mask: int) -> None:
        """Bit p: we are querier on downstream port p; flows decided before are then stale."""
        self._queriers = mask
        self._speaking = self._queriers | self._upstream

    def set_on_request(self, groups: Iterable[Network]) -> None:
        """Groups (SSM) that go upstream only where a route says so (RFC 4607); flows decided before are then stale."""
        self._on_request = tuple(groups)

    def set_route(
        self,
        group: int,
        plen: int,
        source: int | None,
        slen: int,
        ingress: int | None,
        ports: int,
        kind: Kind = "learned",
        stamp: int = NEWEST,
    ) -> None:
        """Add or replace the route of this key; source and ingress None for any; static ones stand beside learned."""
        route_class, place = _place(group, plen, source, slen, kind != "learned")
        if route_class not in self._classes:
            self._classes[route_class] = {}
            self._sorted = False
        routes = self._classes[route_class].setdefault(place, _Routes())
        routes.by_ingress[ANY if ingress is None else ingress] = _Route(ports, stamp)

    def delete_route(
        self, group: int, plen: int, source: int | None, slen: int, ingress: int | None, static: bool = False
    ) -> None:
        """Forget the route of this key; nothing happens when there is none."""
        route_class, place = _place(group, plen, source, slen, static)
        table = self._classes.get(route_class, {})
        routes = table.get(place)
        if routes is None:
            return
        routes.by_ingress.pop(ANY if ingress is None else ingress, None)
        if not routes.by_ingress:
            del table[place]
        if not table:
            del self._classes[route_class]
            self._sorted = False

    def decide(self, ingress: int, source: int, group: int) -> Decision:
        """What becomes of one flow."""
        decided = self.decide_all(ingress, np.array([source << 32 | group], np.uint64))
        return decided.choices[int(decided.which[0])]

    # RFC 4541 2.1.2 e
    def decide_all(self, ingress: int, pairs: Pairs) -> Decided:
        """What becomes of the flows source << 32 | group; an ingress that is no port of ours is WRONG_INTERFACE.

        Long access lists make it slow: give it no more than `most_at_once`.
        """
        port = self._ports.get(ingress)
        if port is None:
            return Decided.alike(Decision(Reason.WRONG_INTERFACE), len(pairs))
        sources, groups = pairs >> _HALF, pairs & _LOW
        reasons = self._admission.refusals(port, sources, groups)
        (let_in,) = (reasons == Reason.FORWARD).nonzero()
        decided = self._routed(port, pairs[let_in], groups[let_in])
        decided = self._restrict(decided, sources[let_in], groups[let_in])
        if len(let_in) == len(pairs):
            return decided
        which = reasons.astype(np.int64)
        which[let_in] = decided.which + len(_REFUSALS)
        return Decided(_REFUSALS + decided.choices, which)

    def _routed(self, port: PortPolicy, pairs: Pairs, groups: Pairs) -> Decided:
        """Flows with the same routes share a decision."""
        if not self._sorted:
            self._sort()
        asked = np.zeros(len(groups), np.bool_)
        for network in self._on_request:
            asked |= inside(network, groups)
        columns = [map(table.get, (pairs & mask).tolist()) for _, mask, table in self._order]
        routes = zip(*columns, strict=True) if columns else repeat((), len(pairs))
        found, which = _numbered(zip(asked.tolist(), routes, strict=True), len(pairs))
        choices, which_choice = _numbered((self._choice(port, *each) for each in found), len(found))
        return Decided(choices, which_choice[which])

    # RFC 4605 3 f, 4.2 a b
    # RFC 4541 2.1.2 a
    def _choice(self, port: PortPolicy, on_request: bool, routes: tuple[_Routes | None, ...]) -> Decision:
        """What these routes, one of each class in their order, say of a flow."""
        best = self._best(port.index, routes)
        if best is None:
            return Decision(Reason.WRONG_INTERFACE)
        members, learned = best
        if (not learned and not members) or (learned and port.role == "both"):
            return Decision(Reason.NO_MEMBERS)
        usable = self._up & ~(1 << port.index)
        wanting = members & usable
        ports = wanting & self._speaking if learned else wanting
        withheld = ((Reason.NOT_QUERIER, wanting & ~ports),) if wanting & ~ports else ()
        # RFC 4605 3.2 a
        if port.role == "downstream" and not on_request:
            ports |= self._upstream & usable
        if not ports:
            # RFC 4541 2.1.2 c
            return Decision(Reason.NOT_QUERIER if wanting else Reason.NO_MEMBERS, 0, withheld)
        return Decision(Reason.FORWARD, ports, withheld)

    def _best(self, ingress: int, found: Iterable[_Routes | None]) -> tuple[int, bool] | None:
        """Ports of the best route and whether it is learned, (0, True) where there is none.

        None where static routes name the flow, but all of them for another ingress.
        """
        elsewhere = False
        for routes, (learned, _, _) in zip(found, self._order, strict=True):
            if learned and elsewhere:
                return None
            if routes is None:
                continue
            route = routes.by_ingress.get(ingress) or routes.by_ingress.get(ANY)
            if route is not None:
                ports, stamp = route
                if stamp < self._newest:
                    ports &= ~self._later[bisect_right(self._assigned, stamp)]
                return ports, learned
            elsewhere = not learned
        return None if elsewhere else (0, True)

    def _restrict(self, decided: Decided, sources: Pairs, groups: Pairs) -> Decided:
        """Less the ports whose lists do not admit the flow; reason BOUNDARY when that leaves none."""
        wanting = reduce(or_, (choice.ports for choice in decided.choices), 0)
        concerned = [each for each in self._restricted if each[1] & wanting]
        if not concerned:
            return decided
        refused = ~np.array([admits(access, sources, groups) for access, _ in concerned])
        if not refused.any():
            return decided
        bits, patterns = [each for _, each in concerned], np.ascontiguousarray(np.packbits(refused, axis=0).T)
        found, which = _numbered(zip(decided.which.tolist(), map(bytes, patterns), strict=True), len(sources))
        choices = []
        for number, pattern in found:
            here = np.unpackbits(np.frombuffer(pattern, np.uint8))
            choices.append(_less(decided.choices[number], (bits[each] for each in np.flatnonzero(here).tolist())))
        return Decided(choices, which)

    def _sort(self) -> None:
        self._order = [(each.learned, _pair_mask(each), self._classes[each]) for each in sorted(self._classes)]
        self._sorted = True


def _numbered(values: Iterable[T], count: int) -> tuple[list[T], Positions]:
    """The different ones of so many values, and which of these each is."""
    numbers: defaultdict[T, int] = defaultdict(lambda: len(numbers))
    which = np.fromiter(map(numbers.__getitem__, values), np.int64, count)
    return list(numbers), which


def _place(group: int, plen: int, source: int | None, slen: int, static: bool) -> tuple[_RouteClass, int]:
    """Where a route belongs: its class, and its place in the table of that class."""
    group_mask, source_mask = mask_of(plen), 0 if source is None else mask_of(slen)
    place = ((source or 0) & source_mask) << 32 | group & group_mask
    return _RouteClass(not static, source is None, FULL ^ group_mask, FULL ^ source_mask), place


def _pair_mask(route_class: _RouteClass) -> np.uint64:
    return np.uint64((FULL ^ route_class.source_host_bits) << 32 | FULL ^ route_class.group_host_bits)


def _restricted(ports: Iterable[PortPolicy]) -> list[tuple[AccessList, int]]:
    """The access lists that are not open, and the ports of each; ports of one wildcard share theirs."""
    restricted: dict[int, tuple[AccessList, int]] = {}
    for port in ports:
        if not port.access.is_open:
            _, bits = restricted.get(id(port.access), (port.access, 0))
            restricted[id(port.access)] = port.access, bits | 1 << port.index
    return list(restricted.values())


def _less(choice: Decision, refusing: Iterable[int]) -> Decision:
    """A choice without these ports."""
    refused = choice.ports & reduce(or_, refusing, 0)
    if not refused:
        return choice
    ports, withheld = choice.ports & ~refused, (*choice.withheld, (Reason.BOUNDARY, refused))
    return Decision(choice.reason if ports else Reason.BOUNDARY, ports, withheld)


def _assignments(ports: Iterable[PortPolicy]) -> tuple[list[int], list[int]]:
    """When indexes were assigned, ascending; and beside each the ports assigned then or later, none after the last."""
    assigned: dict[int, int] = {}
    for port in ports:
        assigned[port.assigned] = assigned.get(port.assigned, 0) | 1 << port.index
    stamps = sorted(assigned)
    later = [0]
    for stamp in reversed(stamps):
        later.append(later[-1] | assigned[stamp])
    return stamps, later[::-1]
