"""The groups of one downstream port: what reports make of them, within the port's limits (RFC 9776 section 6.4).

Rules of this file: nothing is sent here; what must be asked for is handed to the querier after the last record of a
message. A neighbour cannot make a port keep more than its limits: what is too much is refused and counted, what is
there goes on.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from igmp.aged import Aged
from igmp.checking import Wish
from igmp.filter import NO_SOURCES, NOTHING, Filter, Mode, include
from igmp.group import Group
from igmp.heard import OlderHosts
from igmp.messages import GroupRecord, Query, Report
from igmp.outputs import Changed
from igmp.parameters import Parameters, PortOptions
from igmp.refused import RefusedJoins, asked, of_limit
from igmp.tables import BLOCK, TO_IN, Sources, Step, understood
from igmp.timers import TimerQueue
from igmp.tracking import Room, key_of

# Timers of a downstream port, with the group in the low bits; at the same instant the lower goes first.
PURGE, GENERAL_QUERY, RETRANSMISSION, DEFERRED, OTHER_QUERIER, GROUP = (kind << 32 for kind in range(6))
KIND = ~0xFFFFFFFF
SOURCE_LIMITS = ("max_sources", "max_port_sources")


@dataclass(slots=True)
class Turn:
    """One report while it is worked on, and what comes of it."""

    source: int
    mac: int
    now: float
    parameters: Parameters
    querier: bool                                       # we are; only a querier asks
    certain: bool                                       # tracking knows everybody it can know
    host: int = 0                                       # what the sender is known by
    until: float = 0.0                                  # what is refreshed ends then
    before: dict[int, Filter] = field(default_factory=dict)
    wishes: dict[int, Wish] = field(default_factory=dict)
    refused: bool = False
    limits: dict[int, str] = field(default_factory=dict)        # which one refused a part of the record in hand
    refusal: tuple[int, str] = 0, ""                    # the first group that was, and the option that limits it
    untracked: bool = False

    def __post_init__(self) -> None:
        self.host = key_of(self.source, self.mac)
        self.until = self.now + self.parameters.group_membership_interval

    def refuse(self, group: int, limit: str) -> None:
        """Something of a group is more than an option allows; max_hosts says least: who is not tracked is served."""
        if not self.refused:
            self.refused, self.refusal = True, (group, limit)
        self.limits[group] = max(limit, self.limits.get(group, ""))


# RFC 4605 4.1 b
class Memberships:
    """All groups of one port that somebody wants something of."""

    def __init__(self, options: PortOptions, counters: MutableMapping[str, int], timers: TimerQueue[int]) -> None:
        self.options = options
        self._counters, self._timers = counters, timers
        self._groups: dict[int, Group] = {}
        self._purged: dict[int, Group] = {}             # ended with the port, still to be told
        self._room = Room(options.max_hosts, options.max_groups)
        self._sources = 0                               # of all groups
        self.refusals = RefusedJoins()
        self.aged = Aged()

    def __iter__(self) -> Iterator[Group]:
        """Every group; they may change meanwhile."""
        return (group for number in list(self._groups) if (group := self._groups.get(number)) is not None)

    def __getitem__(self, group: int) -> Group:
        return self._groups[group]

    @property
    def numbers(self) -> Collection[int]:
        """The groups."""
        return self._groups

    def get(self, group: int) -> Group | None:
        """The state of a group, None when nobody wants anything of it."""
        return self._groups.get(group)

    def filter(self, group: int) -> Filter:
        """What members of `group` want."""
        state = self._groups.get(group)
        return NOTHING if state is None else state.filter

    def configure(self, options: PortOptions) -> list[Changed]:
        """The limits and lists are others now: what is no longer admitted ends."""
        before, self.options = self.options, options
        self._room.free += Room(options.max_hosts, options.max_groups).free
        self._room.free -= Room(before.max_hosts, before.max_groups).free
        self.refusals.reconsider(options)
        if options.rules != before.rules:
            self.refusals.forget_others()
        same = options.access == before.access and options.rules.ssm_range == before.rules.ssm_range
        return [] if same else self._restrict(options)

    def take_older(self, limit: int) -> list[OlderHosts]:
        """What is known of older hosts in groups of which it changed since it was last taken; `limit` at most."""
        return self.aged.take(self._groups, limit)

    def restore(
        self, groups: Mapping[int, Filter], older: Mapping[int, OlderHosts], now: float, until: float
    ) -> None:
        """Take back memberships, which end at `until`, with the older hosts of some."""
        for number, wanted in groups.items():
            group = self._groups[number] = Group(number, now)
            if number in older:
                group.v1_until, group.v2_until = older[number].v1_until, older[number].v2_until
            group.filter = wanted
            if wanted.mode is Mode.EXCLUDE:
                group.timer = until
            else:
                group.timers = dict.fromkeys(wanted.sources, until)
            self._count(group, group.size)
            self._timers.set(GROUP | number, until)

    def clear(self, limit: int) -> list[Changed]:
        """The port is down: no membership is left; `limit` are told now, the others by `purge`."""
        self.refusals.clear()
        self._purged |= self._groups
        for group in self._groups.values():
            self._note_aged(group)
        self._groups, self._sources = {}, 0
        self._room = Room(self.options.max_hosts, self.options.max_groups)
        return self.purge(limit)

    def forget(self, numbers: Iterable[int], limit: int) -> list[Changed]:
        """These groups end now, whoever wants them; `limit` are told now, the others by `purge`."""
        for number in numbers:
            group = self._purged[number] = self._groups.pop(number)
            self._room.free += group.hosts.size
            self._count(group, 0)
            self._timers.cancel(GROUP | number)
            self._timers.cancel(RETRANSMISSION | number)
        return self.purge(limit)

    def purge(self, limit: int) -> list[Changed]:
        """Tell some of what `clear` ended."""
        ended = [self._purged.popitem()[0] for _ in range(min(limit, len(self._purged)))]
        return [Changed(group, self.filter(group)) for group in ended]

    def arm(self, now: float) -> None:
        """Have `purge` called again when there is something left for it."""
        if self._purged:
            self._timers.set(PURGE, now)

    def hear(self, report: Report, turn: Turn) -> list[Changed]:
        """Take the records of a report; `turn.wishes` tells afterwards what must be asked for."""
        for record in report.records:
            self._hear(record, report, turn)
            if turn.limits or self.refusals:
                self._settle(record, turn)
        self._counters["limit_reached"] += turn.refused
        self._counters["leave_untracked"] += turn.untracked
        return [Changed(group, after) for group, before in turn.before.items()
                if (after := self.filter(group)) != before]

    def lower(self, query: Query, limit: float) -> None:
        """Another router asked for a group: what it asked for does not end after `limit`."""
        group = self._groups.get(query.group)
        if group is None:
            return
        if query.sources:
            group.lower(query.sources, limit)
        else:
            group.lower_group(limit)
        self.keep(group)

    # RFC 4541 2.1.1 i
    def expire(self, number: int, now: float) -> list[Changed]:
        """The next deadline of a group has come."""
        group = self._groups[number]
        before = group.filter
        group.expire(now)
        self.keep(group)
        return [] if group.filter == before else [Changed(number, group.filter)]

    # RFC 9776 6.2.3 a
    def keep(self, group: Group) -> None:
        """Hold `group` and its next deadline, or let it go when nobody wants anything of it."""
        number = group.group
        if group.filter:
            self._groups[number] = group
            self._count(group, group.size)
            self._timers.set(GROUP | number, group.deadline)
        else:
            del self._groups[number]
            self._note_aged(group)
            self._count(group, 0)
            self._room.free += group.hosts.size
            self._timers.cancel(GROUP | number)
            self._timers.cancel(RETRANSMISSION | number)

    # RFC 9776 7.3.1 d
    def compatibility(self, group: Group, now: float) -> int:
        """Version of the oldest host; an older port cannot ask for sources, so all its hosts count as older."""
        return min(group.compatibility(now), self.options.igmp_version or 3)

    def _hear(self, record: GroupRecord, report: Report, turn: Turn) -> None:
        group = self._groups.get(record.group)
        sources = frozenset(record.sources) if record.sources else NO_SOURCES
        if group is None:
            self._create(record, sources, report, turn)
            return
        now, kind = turn.now, record.type
        turn.before.setdefault(record.group, group.filter)
        if self._note_version(group, report, turn):
            self._note_aged(group)
        known = (kind is not TO_IN and kind is not BLOCK) or group.hosts.knows(turn.host, now)
        if not known and (kind is BLOCK or not sources):
            turn.untracked = True
        self._track(group, record, sources, turn)
        read = understood(self.compatibility(group, now), kind, sources)
        if read is None:
            return
        if group.refresh(kind, read, turn.until):
            group.reporter, group.heard = turn.source, turn.now
            if turn.wishes:
                self._answered(group, read, not group.timers, turn)
        else:
            step = group.step(kind, read, self._most_sources(group))
            self._apply(group, step, turn)
            if step.ask or step.ask_group:
                self._leave(group, step, known, turn)
        self.keep(group)

    def _create(self, record: GroupRecord, sources: Sources, report: Report, turn: Turn) -> None:
        """A record for a group without state: it becomes one if something is wanted and there is room."""
        group = Group(record.group, turn.now)
        self._note_version(group, report, turn)
        read = understood(self.compatibility(group, turn.now), record.type, sources)
        if read is None:
            return
        step = group.step(record.type, read, self._most_sources(group))
        if not step.is_member:
            if step.refused:
                turn.refuse(record.group, self._source_limit(group))
            return
        if len(self._groups) >= self.options.max_groups:
            turn.refuse(record.group, "max_groups")
            return
        turn.before.setdefault(record.group, NOTHING)
        self._note_aged(group)
        self._apply(group, step, turn)
        self._track(group, record, sources, turn)
        self.keep(group)

    def _settle(self, record: GroupRecord, turn: Turn) -> None:
        """Note what a limit refused of a record, or that nothing is refused its sender any more."""
        limit = turn.limits.pop(record.group, None)
        if limit is None:
            self.refusals.settle(turn.host, record)
            return
        wanted, group = asked(record), self._groups.get(record.group)
        if group is not None and limit in SOURCE_LIMITS and wanted.mode is Mode.INCLUDE:
            wanted = include(source for source in wanted.sources if not group.filter.admits(source))
        if wanted and self.refusals.has_time(turn.now):
            objection = of_limit(self.options, limit)
            self.refusals.refuse(turn.host, turn.mac, record.group, wanted, objection, turn.now)

    # RFC 9776 7.3.2 b
    def _note_version(self, group: Group, report: Report, turn: Turn) -> bool:
        """Whether the report is of an older host."""
        if report.version == 3 or report.leave:
            return False
        until = turn.now + turn.parameters.older_host_present_interval
        if report.version == 1:
            group.v1_until = until
        else:
            group.v2_until = until
        return True

    def _note_aged(self, group: Group) -> None:
        self.aged.note(group, 2 * self.options.max_groups)

    def _track(self, group: Group, record: GroupRecord, sources: Sources, turn: Turn) -> None:
        if not group.hosts.hear(turn.host, turn.mac, record.type, sources, turn.now, turn.until,
                                self.options.max_hosts, self._room):
            turn.refuse(group.group, "max_hosts")

    def _apply(self, group: Group, step: Step, turn: Turn) -> None:
        if step.refused:
            turn.refuse(group.group, self._source_limit(group))
            group.hosts.blind()
        group.apply(step, turn.until)
        if step.refresh or step.restart:
            group.reporter, group.heard = turn.source, turn.now
            if turn.wishes:
                self._answered(group, step.refresh, step.restart, turn)

    def _most_sources(self, group: Group) -> int:
        """How many sources a group may list now."""
        left = max(self.options.max_port_sources - self._sources, 0)
        return min(self.options.max_sources, group.counted + left)

    def _source_limit(self, group: Group) -> str:
        """The option that says so."""
        one = self._most_sources(group) == self.options.max_sources
        return "max_sources" if one else "max_port_sources"

    def _count(self, group: Group, sources: int) -> None:
        """A group lists so many sources now."""
        self._sources += sources - group.counted
        group.counted = sources

    def _answered(self, group: Group, sources: Sources, whole: bool, turn: Turn) -> None:
        if group.group in turn.wishes:
            turn.wishes[group.group].answered(sources, whole)

    def _leave(self, group: Group, step: Step, known: bool, turn: Turn) -> None:
        """What `step` asks for: it is gone at once, it is asked for, or it is known who still wants it."""
        if self.options.quick_leave_untracked:
            group.end(step, turn.now)
            return
        # RFC 9776 6.6.3 a
        if not turn.querier:
            return
        sources, whole = step.ask, step.ask_group
        if self.options.quick_leave:
            sources, whole = group.settle(step, known, turn.certain, turn.now)
        if sources and (self.options.igmp_version or 3) < 3:
            sources = NO_SOURCES                        # cannot be asked for
            self._counters["leave_unasked"] += not whole
        if sources or whole:
            turn.wishes.setdefault(group.group, Wish()).add(sources, whole)

    def _restrict(self, options: PortOptions) -> list[Changed]:
        changed = []
        for group in self:
            before = group.filter
            group.restrict(options.access, options.rules.is_ssm(group.group))
            self.keep(group)
            if group.filter != before:
                changed.append(Changed(group.group, group.filter))
        return changed
