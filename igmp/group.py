"""One group on one downstream port: the router's state tables and timers (RFC 9776 sections 6.2 to 6.6 and 7.3).

Rules of this file: `TABLE` is the code path: a row takes pure sets and returns a Step, nothing else decides what a
record means. Timers are deadlines kept with the group, the querier is told only the next one. A group that wants
nothing is deleted by its owner.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from igmp.filter import NO_SOURCES, NOTHING, Filter, Mode, exclude, include
from igmp.messages import RecordType
from igmp.parameters import Parameters

INCLUDE, EXCLUDE = Mode.INCLUDE, Mode.EXCLUDE
IS_IN, IS_EX = RecordType.MODE_IS_INCLUDE, RecordType.MODE_IS_EXCLUDE
TO_IN, TO_EX = RecordType.CHANGE_TO_INCLUDE, RecordType.CHANGE_TO_EXCLUDE
ALLOW, BLOCK = RecordType.ALLOW_NEW_SOURCES, RecordType.BLOCK_OLD_SOURCES

Sources = frozenset[int]


@dataclass(frozen=True, slots=True)
class Step:
    """What one record does: the new state, and which timers to set (RFC 9776 section 6.4)."""

    mode: Mode
    running: Sources                    # sources with a timer: A of INCLUDE(A), X of EXCLUDE(X,Y)
    blocked: Sources = NO_SOURCES       # Y of EXCLUDE(X,Y)
    refresh: Sources = NO_SOURCES       # their timers become the group membership interval
    inherit: Sources = NO_SOURCES       # new ones whose timers become the group timer as it was
    restart: bool = False               # the group timer becomes the group membership interval
    ask: Sources = NO_SOURCES           # send Q(G, ask)
    ask_group: bool = False             # send Q(G)
    refused: bool = False               # some new sources were too many

    @property
    def is_member(self) -> bool:
        """Whether anything is wanted afterwards."""
        return self.mode is EXCLUDE or bool(self.running)


# x: sources with running timers, y: blocked sources, b: sources of the record.
def _include_allow(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x | b, refresh=b)


def _include_block(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x, ask=x & b)


def _include_is_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x & b, b - x, restart=True)


def _include_to_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x & b, b - x, restart=True, ask=x & b)


def _include_to_include(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x | b, refresh=b, ask=x - b)


def _exclude_allow(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b, y - b, refresh=b)


def _exclude_block(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b - y, y, inherit=b - x - y, ask=b - y)


def _exclude_is_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, b - y, y & b, refresh=b - x - y, restart=True)


def _exclude_to_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, b - y, y & b, inherit=b - x - y, restart=True, ask=b - y)


def _exclude_to_include(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b, y - b, refresh=b, ask=x - b, ask_group=True)


TABLE: dict[tuple[Mode, RecordType], Callable[[Sources, Sources, Sources], Step]] = {
    (INCLUDE, IS_IN): _include_allow,
    (INCLUDE, IS_EX): _include_is_exclude,
    (EXCLUDE, IS_IN): _exclude_allow,
    (EXCLUDE, IS_EX): _exclude_is_exclude,
    (INCLUDE, ALLOW): _include_allow,
    (INCLUDE, BLOCK): _include_block,
    (INCLUDE, TO_EX): _include_to_exclude,
    (INCLUDE, TO_IN): _include_to_include,
    (EXCLUDE, ALLOW): _exclude_allow,
    (EXCLUDE, BLOCK): _exclude_block,
    (EXCLUDE, TO_EX): _exclude_to_exclude,
    (EXCLUDE, TO_IN): _exclude_to_include,
}

# What a group with older hosts makes of a record: ignored, or read without its sources (section 7.3.2).
IGNORED = frozenset({(2, BLOCK), (1, BLOCK), (1, TO_IN)})
SOURCELESS = frozenset({(2, TO_EX), (1, TO_EX)})


def understood(compatibility: int, kind: RecordType, sources: Sources) -> Sources | None:
    """The sources a record stands for in a compatibility mode of 1, 2 or 3; None: the record is ignored."""
    if (compatibility, kind) in IGNORED:
        return None
    return NO_SOURCES if (compatibility, kind) in SOURCELESS else sources


class Checking:
    """Specific queries still to be transmitted for one group, on one clock (section 6.6.3)."""

    __slots__ = ("group", "sources")

    def __init__(self) -> None:
        self.group = 0                                  # transmissions of Q(G) to come
        self.sources: dict[int, int] = {}               # transmissions of Q(G,S) to come, by source

    def __bool__(self) -> bool:
        return self.group > 0 or bool(self.sources)


@dataclass(frozen=True, slots=True)
class Ask:
    """One specific query to transmit now; no sources: Q(G)."""

    sources: tuple[int, ...]
    suppress: bool                      # S flag


class Group:
    """State of one group on one port (section 6.2): INCLUDE(A) or EXCLUDE(X,Y).

    `filter` holds A or Y, `timers` the deadline of each source of A or X, `timer` the group timer (EXCLUDE only).
    """

    __slots__ = ("checking", "filter", "group", "reporter", "since", "timer", "timers", "v1_until", "v2_until")

    def __init__(self, group: int, now: float) -> None:
        self.group = group
        self.filter: Filter = NOTHING
        self.timers: dict[int, float] = {}
        self.timer = math.inf
        self.v1_until = self.v2_until = -math.inf       # a host of that version is present before then
        self.checking: Checking | None = None
        self.since = now
        self.reporter = 0

    @property
    def deadline(self) -> float:
        """When `expire` has something to do; inf: never."""
        first = min(self.timers.values(), default=math.inf)
        return min(first, self.timer) if self.filter.mode is EXCLUDE else first

    def compatibility(self, now: float) -> int:
        """Version of the oldest host heard lately: 1, 2 or 3 (section 7.3.1)."""
        if now < self.v1_until:
            return 1
        return 2 if now < self.v2_until else 3

    def step(self, kind: RecordType, sources: Sources, limit: int) -> Step:
        """What a record of `kind` does; sources that would make more than `limit` are refused, the known ones stay."""
        row = TABLE[self.filter.mode, kind]
        running = frozenset(self.timers)
        blocked = self.filter.sources if self.filter.mode is EXCLUDE else NO_SOURCES
        step = row(running, blocked, sources)
        if len(step.running) + len(step.blocked) <= limit:
            return step
        known = running | blocked
        kept = known & sources if kind in (IS_EX, TO_EX) else known
        new = sorted(sources - known)[:max(limit - len(kept), 0)]
        return replace(row(running, blocked, (sources & known).union(new)), refused=True)

    def apply(self, step: Step, now: float, interval: float) -> None:
        """Take the state and timers of `step`; `interval` is the group membership interval; asks nothing."""
        timers = {source: until for source, until in self.timers.items() if source in step.running}
        timers.update(dict.fromkeys(step.inherit, self.timer))
        timers.update(dict.fromkeys(step.refresh, now + interval))
        self.timers = timers
        if step.restart:
            self.timer = now + interval
        self._become(include(step.running) if step.mode is INCLUDE else exclude(step.blocked))

    def ask(self, step: Step, now: float, parameters: Parameters) -> bool:
        """Lower the timers of what `step` asks for and note the queries; False: nothing is to be sent now."""
        if not step.ask and not step.ask_group:
            return False
        limit = now + parameters.last_member_query_time
        times = parameters.last_member_queries
        late = [source for source in step.ask if self.timers[source] > limit]
        checked = self.checking is not None and self.checking.group > 0 and self.timer <= limit
        if not late and (checked or not step.ask_group):
            return False
        self.checking = self.checking or Checking()
        for source in late:
            self.timers[source] = limit
            self.checking.sources[source] = times
        if step.ask_group and not checked:
            self.timer = min(self.timer, limit)
            self.checking.group = times
        return True

    def transmit(self, now: float, parameters: Parameters) -> list[Ask]:
        """The queries due at one tick of the retransmission clock; `checking` is None after the last."""
        checking = self.checking
        if checking is None:
            return []
        limit = now + parameters.last_member_query_time
        asks = list(self._source_asks(checking, limit))
        if checking.group:
            checking.group -= 1
            asks.append(Ask((), self.timer > limit))
        if not checking:
            self.checking = None
        return asks

    def _source_asks(self, checking: Checking, limit: float) -> Iterator[Ask]:
        asked = sorted(checking.sources)
        checking.sources = {source: left - 1 for source, left in checking.sources.items() if left > 1}
        answered = tuple(source for source in asked if self.timers[source] > limit)
        pending = tuple(source for source in asked if self.timers[source] <= limit)
        if answered and not checking.group:             # a Q(G) at the same instant makes the S=1 one needless
            yield Ask(answered, True)
        if pending:
            yield Ask(pending, False)

    def lower(self, sources: Iterable[int], limit: float) -> None:
        """Another router asked for `sources`, or for the whole group: no timer of theirs ends after `limit`."""
        asked = [source for source in sources if self.timers.get(source, limit) > limit]
        for source in asked:
            self.timers[source] = limit

    def lower_group(self, limit: float) -> None:
        """Another router asked for the group: it does not end after `limit`."""
        if self.filter.mode is EXCLUDE:
            self.timer = min(self.timer, limit)

    def expire(self, now: float) -> None:
        """Let end what is due: sources in INCLUDE go, in EXCLUDE become blocked; then the group timer (6.5)."""
        ended = [source for source, until in self.timers.items() if until <= now]
        for source in ended:
            del self.timers[source]
        if self.filter.mode is INCLUDE or self.timer <= now:
            self._become(include(self.timers))
        else:
            self._become(exclude(self.filter.sources.union(ended)))

    def _become(self, state: Filter) -> None:
        if state != self.filter:
            self.filter = state
        if state.mode is INCLUDE:
            self.timer = math.inf
        if self.checking is not None:
            self._forget_checks(self.checking)

    def _forget_checks(self, checking: Checking) -> None:
        checking.sources = {source: left for source, left in checking.sources.items() if source in self.timers}
        if self.filter.mode is INCLUDE:
            checking.group = 0
        if not checking:
            self.checking = None
