"""Joins that a downstream port refused: who asked for what, since when, and by which rule it was refused.

Rules of this file: nothing is decided by it, it is for people. It stays small and cheap whatever a neighbour sends: of
more than ROWS rows the least recent goes, and what is more than RATE a second is not looked into.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from igmp.checking import Rate
from igmp.filter import NOTHING, Filter, Mode, include
from igmp.link import is_unicast
from igmp.messages import GroupRecord
from igmp.parameters import LIMITS, PortOptions
from igmp.tables import ALLOW, BLOCK, IS_EX, TO_EX, TO_IN

ROWS = 1024                             # of one port
RATE = 1024.0                           # refused joins a second: what may come at once fills the table
SOURCES = 16                            # listed in one row

LISTS = frozenset(("allow", "deny", "boundary"))


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a join was refused: one word, and the entry or key that says so, such as "deny 239.1.0.0/16"."""

    reason: str
    rule: str


@dataclass(slots=True)
class RefusedJoin:
    """What one host was refused of a group; times in monotonic seconds."""

    host: int                                           # as of `tracking.key_of`
    group: int
    objection: Objection
    since: float
    mac: int = 0
    wanted: Filter = field(default=NOTHING)             # the refused part; SOURCES sources at most
    last: float = 0.0
    count: int = 0


class RefusedJoins:
    """The refused joins of one port, by host and group; `rows` of them at most."""

    def __init__(self, rows: int = ROWS) -> None:
        self._limit = rows
        self._rows: OrderedDict[tuple[int, int], RefusedJoin] = OrderedDict()     # the least recent first
        self._rate = Rate(RATE, RATE)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RefusedJoin]:
        """Every row; they may change meanwhile."""
        return iter(list(self._rows.values()))

    def of(self, group: int) -> list[RefusedJoin]:
        """The rows of a group, the least recent first."""
        return [row for row in self._rows.values() if row.group == group]

    def has_time(self, now: float) -> bool:
        """Whether one more refused join may be looked into now."""
        return self._rate.allows(now)

    def refuse(self, host: int, mac: int, group: int, wanted: Filter, objection: Objection, now: float) -> None:
        """`host` wanted this of `group` in vain."""
        self._rate.spend(1, now)
        row = self._rows.pop((host, group), None)
        if row is None or row.objection != objection:
            row = RefusedJoin(host, group, objection, now)
        row.mac, row.wanted, row.last, row.count = mac, _together(row.wanted, wanted), now, row.count + 1
        self._rows[host, group] = row
        if len(self._rows) > self._limit:
            self._rows.popitem(last=False)

    def settle(self, host: int, record: GroupRecord) -> None:
        """A record of `host` was taken: what it is no longer refused, or wants no longer, is forgotten."""
        row = self._rows.get((host, record.group))
        if row is None:
            return
        row.wanted = _unsettled(row.wanted, record)
        if not row.wanted:
            del self._rows[host, record.group]

    def reconsider(self, options: PortOptions) -> None:
        """Lists and limits are these now: what they refuse no more, or by another rule, is forgotten."""
        self._keep(lambda row: _stands(row, options))

    def forget_others(self) -> None:
        """What was not refused by lists or limits is forgotten: the rules of the link, or of all, are others."""
        self._keep(lambda row: row.objection.reason in {*LISTS, *LIMITS})

    def clear(self) -> None:
        """Nobody is there to want anything."""
        self._rows.clear()

    def _keep(self, stands: Callable[[RefusedJoin], bool]) -> None:
        for key in [key for key, row in self._rows.items() if not stands(row)]:
            del self._rows[key]


def asked(record: GroupRecord) -> Filter:
    """What a record asks for; NOTHING where it leaves or blocks."""
    if record.type is BLOCK:
        return NOTHING
    possible = filter(is_unicast, record.sources)
    if record.type is IS_EX or record.type is TO_EX:
        return Filter(Mode.EXCLUDE, frozenset(possible))
    return include(possible)


def of_lists(options: PortOptions, source: int | None, group: int) -> Objection | None:
    """Why the lists of a port refuse (source, group); None: they admit it."""
    rule = options.access.refusing(source, group)
    return Objection(rule.partition(" ")[0], rule) if rule else None


def of_limit(options: PortOptions, key: str) -> Objection:
    """That a limit refused something; `key` is one of LIMITS."""
    return Objection(key, f"{key} {getattr(options, key)}")


def _stands(row: RefusedJoin, options: PortOptions) -> bool:
    reason = row.objection.reason
    if reason in LIMITS:
        return row.objection == of_limit(options, reason)
    if reason not in LISTS:
        return True
    source = None if row.wanted.mode is Mode.EXCLUDE else next(iter(row.wanted.sources))
    return row.objection == of_lists(options, source, row.group)


def _together(before: Filter, wanted: Filter) -> Filter:
    """What is refused now, with sources that were refused before; those named last have the places."""
    former = before.sources if before.mode is wanted.mode is Mode.INCLUDE else ()
    return Filter(wanted.mode, frozenset(islice(chain(wanted.sources, former), SOURCES)))


def _unsettled(wanted: Filter, record: GroupRecord) -> Filter:
    """What is left of a refused wish; some records tell all that a host wants, others speak of their sources only."""
    kind = record.type
    if kind is IS_EX or kind is TO_EX or kind is TO_IN:
        return NOTHING
    if wanted.mode is Mode.EXCLUDE:
        return wanted if kind is ALLOW or kind is BLOCK else NOTHING
    return include(wanted.sources.difference(record.sources))
