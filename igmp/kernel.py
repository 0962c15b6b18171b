"""What this host's own kernel holds on an upstream port for other programs: as its reports tell, which we overhear.

Rules of this file: the kernel speaks for itself with our address, so routers take both of us for one host. What it says
is a fact, and an answer that asks for some sources confirms and takes nothing away. It hears the queries that we hear:
what it did not answer `robustness` times in a row, it holds no more (in version 2 the answers of others count too).
"""

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, exclude, include, merge
from igmp.messages import GroupRecord, Query, RecordType
from igmp.parameters import PortOptions

GRACE = 1.0                             # seconds that an answer may be late: the kernel's timers, our reading
EXCLUDING = (RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE)
TAKING = (RecordType.CHANGE_TO_INCLUDE, RecordType.CHANGE_TO_EXCLUDE, RecordType.BLOCK_OLD_SOURCES)


@dataclass(slots=True)
class Held:
    """How sure we are of one group; times are absolute."""

    version: int                                        # of the last report
    heard: float                                        # when that was
    missed: int = 0                                     # general queries that were not answered since, in a row
    partial_until: float = -math.inf                    # until then an answer may be about some sources only
    guessed: bool = False                               # nothing was heard of it yet: see `learn`


class KernelMemberships:
    """By group, at most `max_groups`; `filters` are what is held, never empty ones."""

    def __init__(self, options: PortOptions, counters: MutableMapping[str, int]) -> None:
        self.options, self._counters = options, counters
        self.filters: dict[int, Filter] = {}
        self._held: dict[int, Held] = {}
        self._trusted: set[int] = set()                 # see `trust`
        self._asked = self._until = math.inf            # the general query that is being answered; inf: none

    def clear(self) -> None:
        """The link is gone."""
        self.filters.clear()
        self._held.clear()
        self._trusted.clear()
        self._asked = self._until = math.inf

    @property
    def deadline(self) -> float:
        """When `expire` must be called."""
        return self._until

    @property
    def doubtful(self) -> bool:
        """Whether the kernel should be asked soon: something was left to whom it reported."""
        return bool(self._trusted)

    def trust(self, group: int) -> None:
        """We want less of a group than before, and routers were not told of what was heard to be held.

        Who was heard may be another forwarder of this host, which trusted us in the same way.
        """
        held = self._held.get(group)
        if held is not None and not held.guessed:
            self._trusted.add(group)

    def learn(self, filters: Mapping[int, Filter], now: float) -> dict[int, Filter]:
        """The kernel holds just these, it says; how it filters them is known only of those that it has reported.

        What it never held though it was trusted to: routers were told of that for us.
        """
        betrayed = {group: self.filters[group] for group in self._trusted if group not in filters}
        self._trusted.clear()
        for group in [group for group in self.filters if group not in filters]:
            self._drop(group)
        for group, wanted in filters.items():
            if len(self._held) >= self.options.max_groups:
                break                                   # what it reports of the others is counted
            if group not in self.filters and (known := self._usable(group, wanted)):
                self._keep(group, known, 3, now, guessed=True)
        return betrayed

    def hear(self, record: GroupRecord, version: int, now: float) -> Filter:
        """A record of the kernel's report; what it holds of the group now."""
        group = record.group
        after = self._usable(group, self._after(record, now))
        if after:
            self._keep(group, after, version, now)
        else:
            self._drop(group)
        return after

    def hear_others(self, group: int, now: float) -> None:
        """Another host's version 1 or 2 report: the kernel need not answer any more."""
        held = self._held.get(group)
        if held is not None and held.version < 3:
            held.heard = now

    def ask(self, query: Query, now: float) -> None:
        """A query that the kernel hears too."""
        if query.group:
            held = self._held.get(query.group)
            if held is not None and query.sources:
                held.partial_until = now + query.max_response_time + GRACE
        elif self._held and self._until == math.inf:
            self._asked, self._until = now, now + query.max_response_time + GRACE

    def expire(self, now: float, robustness: int) -> None:
        """The time to answer is over, if it is."""
        if now < self._until:
            return
        for group, held in list(self._held.items()):
            held.missed = 0 if held.heard >= self._asked else held.missed + 1
            if held.missed >= robustness:
                self._drop(group)
        self._asked = self._until = math.inf

    def _after(self, record: GroupRecord, now: float) -> Filter:
        """What the kernel holds by its record, where it held what `filters` says."""
        before, held = self.filters.get(record.group, NOTHING), self._held.get(record.group)
        match record.type:
            case RecordType.MODE_IS_INCLUDE if held is not None and now <= held.partial_until and not held.guessed:
                return before
            case RecordType.ALLOW_NEW_SOURCES:
                return merge([before, include(record.sources)])
            case RecordType.BLOCK_OLD_SOURCES if before.mode is Mode.EXCLUDE:
                return exclude(before.sources | set(record.sources))
            case RecordType.BLOCK_OLD_SOURCES:
                return include(before.sources - set(record.sources))
            case kind:
                return exclude(record.sources) if kind in EXCLUDING else include(record.sources)

    def _usable(self, group: int, wanted: Filter) -> Filter:
        """What routers make of it: in groups that are joined by source only they take nothing else (RFC 4604)."""
        if wanted.mode is Mode.EXCLUDE and self.options.rules.is_ssm(group):
            return NOTHING
        if len(wanted.sources) > self.options.max_sources:          # remembered as more than it is, never as less
            self._counters["host_limit"] += 1
            return EVERYTHING if not self.options.rules.is_ssm(group) else self.filters.get(group, NOTHING)
        return wanted

    def _keep(self, group: int, wanted: Filter, version: int, now: float, guessed: bool = False) -> None:
        held = self._held.get(group)
        if held is None:
            if len(self._held) >= self.options.max_groups:
                self._counters["host_limit"] += 1
                return
            held = self._held[group] = Held(version, now)
        held.version, held.heard, held.guessed = version, now, guessed
        self.filters[group] = wanted

    def _drop(self, group: int) -> None:
        self._held.pop(group, None)
        self._trusted.discard(group)
        self.filters.pop(group, None)


def told_before(old: Filter, new: Filter, held: Filter) -> Filter:
    """What routers were told before we want `new` in place of `old`, while the kernel holds `held`.

    What we leave is told as a change of both our wishes, so it takes nothing from the kernel. What we join is told as
    if the kernel held nothing: it may have gone unheard, and telling more than is needed harms nobody.
    """
    return merge([old, held]) if old and merge([old, new]) == old else old
