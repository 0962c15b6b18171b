"""One group on one downstream port: its state, its timers and its hosts (RFC 9776 sections 6.2 to 6.6 and 7.3).

Rules of this file: what a record means is said by the tables, here it gets its timers. Timers are deadlines kept with
the group, the querier is told only the next one. A group that wants nothing is deleted by its owner.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from igmp.access import AccessList
from igmp.checking import Ask, Checking
from igmp.filter import NO_SOURCES, NOTHING, Filter, exclude, include
from igmp.messages import RecordType
from igmp.parameters import Parameters
from igmp.tables import EXCLUDE, INCLUDE, IS_EX, IS_IN, TO_EX, Sources, Step, row_of
from igmp.tracking import Hosts


# RFC 9776 6.2 a
class Group:
    """State of one group on one port (section 6.2): INCLUDE(A) or EXCLUDE(X,Y).

    `filter` holds A or Y, `timers` the deadline of each source of A or X, `timer` the group timer (EXCLUDE only).
    """

    __slots__ = (
        "checking", "counted", "filter", "group", "heard", "hosts", "reporter", "since", "timer", "timers", "v1_until",
        "v2_until",
    )  # fmt: skip

    def __init__(self, group: int, now: float) -> None:
        self.group = group
        self.filter: Filter = NOTHING
        self.timers: dict[int, float] = {}
        self.timer = math.inf
        self.v1_until = self.v2_until = -math.inf       # a host of that version is present before then
        self.checking: Checking | None = None
        self.hosts = Hosts()
        self.counted = 0                                # sources that its port counted when it last looked
        self.since = now
        self.reporter = 0
        self.heard = -math.inf                          # when it reported

    @property
    def size(self) -> int:
        """How many sources it lists: A of INCLUDE(A), X and Y of EXCLUDE(X,Y)."""
        return len(self.timers) + (len(self.filter.sources) if self.filter.mode is EXCLUDE else 0)

    @property
    def deadline(self) -> float:
        """When `expire` has something to do; inf: never."""
        if not self.timers:
            return self.timer
        first = min(self.timers.values())
        return min(first, self.timer) if self.filter.mode is EXCLUDE else first

    # RFC 9776 7.3.2 a c
    def compatibility(self, now: float) -> int:
        """Version of the oldest host heard lately: 1, 2 or 3 (section 7.3.2)."""
        if now < self.v1_until:
            return 1
        return 2 if now < self.v2_until else 3

    @property
    def had_older(self) -> bool:
        """Whether a host of an older version was ever heard."""
        return max(self.v1_until, self.v2_until) > -math.inf

    def refresh(self, kind: RecordType, sources: Sources, until: float) -> bool:
        """Do a record that only prolongs what is there, as its row would but faster; False: it is not such a record."""
        if kind is IS_EX or kind is TO_EX:
            if self.timers or self.filter.mode is INCLUDE or self.filter.sources != sources:
                return False
            self.timer = until
            return True
        if kind is not IS_IN or not sources or not sources <= self.timers.keys():
            return False
        self.timers.update(dict.fromkeys(sources, until))
        return True

    def step(self, kind: RecordType, sources: Sources, limit: int) -> Step:
        """What a record of `kind` does; sources that would make more than `limit` are refused, the known ones stay."""
        row = row_of(self.filter.mode, kind)
        running = frozenset(self.timers) if self.timers else NO_SOURCES
        blocked = self.filter.sources if self.filter.mode is EXCLUDE else NO_SOURCES
        step = row(running, blocked, sources)
        if len(step.running) + len(step.blocked) <= limit:
            return step
        known = running | blocked
        kept = known & sources if kind in (IS_EX, TO_EX) else known
        new = sorted(sources - known)[:max(limit - len(kept), 0)]
        return replace(row(running, blocked, (sources & known).union(new)), refused=True)

    # RFC 9776 6.2.1 b
    # RFC 4605 4.1 e
    def apply(self, step: Step, until: float) -> None:
        """Take the state and timers of `step`; refreshed ones end at `until`; asks nothing."""
        if self.timers:
            self.timers = {source: end for source, end in self.timers.items() if source in step.running}
        if step.inherit:
            self.timers.update(dict.fromkeys(step.inherit, self.timer))
        if step.refresh:
            self.timers.update(dict.fromkeys(step.refresh, until))
        # RFC 9776 6.2.2 a
        if step.restart:
            self.timer = until
        self._become(include(step.running) if step.mode is INCLUDE else exclude(step.blocked))

    # Leaving

    def settle(self, step: Step, known: bool, certain: bool, now: float) -> tuple[Sources, bool]:
        """What must still be asked for when a host left that was `known` or not; `certain`: tracking may decide.

        With complete tracking nothing is asked: what nobody wants any more has gone when this returns. Without it being
        tracked proves nothing: of hosts of versions 1 and 2 the last reporter alone says that it goes.
        """
        if not (certain and self.compatibility(now) == 3 and self.hosts.is_complete(now)):
            return step.ask, step.ask_group
        if self.hosts.unwanted(step.ask, now) or (step.ask_group and not self.hosts.want_group(now)):
            if not known:
                return step.ask, step.ask_group
            self._rebuild(now)
        return NO_SOURCES, False

    def end(self, step: Step, now: float) -> None:
        """End at once what `step` would ask for, whoever still wants it."""
        self.timers.update(dict.fromkeys(step.ask, now))
        if step.ask_group:
            self.timer = now
        self.expire(now)

    def _rebuild(self, now: float) -> None:
        mode, self.timers, blocked, self.timer = self.hosts.merged(now)
        self._become(include(self.timers) if mode is INCLUDE else exclude(blocked))

    # Asking

    def unasked(self, sources: Iterable[int], whole: bool, limit: float) -> tuple[list[int], bool]:
        """What of `sources` and the group (`whole`) is neither being asked for already nor ends by `limit` anyway."""
        late = [source for source in sources if self.timers.get(source, limit) > limit]
        checked = self.checking is not None and self.checking.group > 0 and self.timer <= limit
        return late, whole and not checked and self.filter.mode is EXCLUDE

    # RFC 9776 6.6.1 c, 6.6.3.1 a, 6.6.3.2 a
    def ask(self, sources: Iterable[int], whole: bool, now: float, parameters: Parameters) -> bool:
        """Lower the timers of what is asked for and note the queries; False: nothing is to be sent now."""
        limit = now + parameters.last_member_query_time
        times = parameters.last_member_queries
        late, whole = self.unasked(sources, whole, limit)
        if not late and not whole:
            return False
        self.checking = self.checking or Checking()
        self.timers.update(dict.fromkeys(late, limit))
        # RFC 9776 6.4.2 i
        self.checking.sources.update(dict.fromkeys(late, times))
        if whole:
            self.timer = min(self.timer, limit)
            self.checking.group = times
        return True

    # RFC 9776 6.6.1 d
    def transmit(self, now: float, parameters: Parameters) -> list[Ask]:
        """The queries due at one tick of the retransmission clock; `checking` is None after the last."""
        checking = self.checking
        if checking is None:
            return []
        limit = now + parameters.last_member_query_time
        asks = list(self._asks(checking, limit))
        checking.transmitted()
        if not checking:
            self.checking = None
        return asks

    # RFC 9776 6.4.2 j, 6.6.3.2 b
    def _asks(self, checking: Checking, limit: float) -> Iterator[Ask]:
        asked = sorted(checking.sources)
        answered = tuple(source for source in asked if self.timers[source] > limit)
        pending = tuple(source for source in asked if self.timers[source] <= limit)
        # RFC 9776 6.6.3.2 c
        if answered and not checking.group:             # a Q(G) at the same instant makes the S=1 one needless
            yield Ask(answered, True)
        # RFC 9776 4.1.11 c
        if pending:
            yield Ask(pending, False)
        if checking.group:
            # RFC 9776 4.1.11 b, 6.6.3.1 b
            yield Ask((), self.timer > limit)

    def stop_asking(self) -> None:
        """Nothing can be sent any more; the timers run on."""
        self.checking = None

    # Time, other routers, and lists

    # RFC 9776 6.6.1 b
    def lower(self, sources: Iterable[int], limit: float) -> None:
        """Another router asked for `sources`: no timer of theirs ends after `limit`."""
        asked = [source for source in sources if self.timers.get(source, limit) > limit]
        self.timers.update(dict.fromkeys(asked, limit))

    # RFC 9776 6.6.1 a
    def lower_group(self, limit: float) -> None:
        """Another router asked for the group: it does not end after `limit`."""
        if self.filter.mode is EXCLUDE:
            self.timer = min(self.timer, limit)

    # RFC 9776 6.2.2 b c, 6.2.3 a, 6.5 a b
    def expire(self, now: float) -> None:
        """Let end what is due: sources in INCLUDE go, in EXCLUDE become blocked; then the group timer (6.5)."""
        ended = [source for source, until in self.timers.items() if until <= now]
        for source in ended:
            del self.timers[source]
        if self.filter.mode is INCLUDE or self.timer <= now:
            self._become(include(self.timers))
        else:
            # RFC 9776 6.2.3 b
            self._become(exclude(self.filter.sources.union(ended)))

    def restrict(self, access: AccessList, source_specific: bool) -> None:
        """Let end what `access` does not admit, and what any source would do for if the group is `source_specific` now.

        Who wanted it is not known any more.
        """
        if source_specific:
            self.v1_until = self.v2_until = -math.inf
        admitted = {source: until for source, until in self.timers.items() if access.admits(source, self.group)}
        excluding = self.filter.mode is EXCLUDE and access.admits(None, self.group) and not source_specific
        if len(admitted) == len(self.timers) and excluding == (self.filter.mode is EXCLUDE):
            return
        self.timers = admitted
        self._become(self.filter if excluding else include(self.timers))
        self.hosts.blind()

    def _become(self, state: Filter) -> None:
        if state != self.filter:
            self.filter = state
        if state.mode is INCLUDE:
            self.timer = math.inf
        if self.checking is not None:
            self._forget_checks(self.checking)

    # RFC 9776 6.4.2 j
    def _forget_checks(self, checking: Checking) -> None:
        checking.sources = {source: left for source, left in checking.sources.items() if source in self.timers}
        if self.filter.mode is INCLUDE:
            checking.group = 0
        if not checking:
            self.checking = None
