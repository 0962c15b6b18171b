"""Router side of one downstream port: election, queries, and the groups it owns (RFC 9776 section 6).

Rules of this file: only a querier asks, so only a querier lowers timers on a leave; queries and changed filters are
worked out once, after the last record of a message; a neighbour cannot make it keep more than the port's limits.
"""

from collections.abc import Collection, Iterable, Iterator, MutableMapping
from dataclasses import replace
from enum import IntEnum

from igmp.election import Election
from igmp.filter import NO_SOURCES, NOTHING, Filter, Mode
from igmp.group import Ask, Group, Step, understood
from igmp.messages import Message, Query, RecordType, Report, encode_query, split_sources
from igmp.outputs import Changed, Event, GroupStatus, QuerierStatus, Role, Send
from igmp.packet import Link, encode
from igmp.parameters import LONGEST_V2_RESPONSE, Parameters, PortOptions
from igmp.timers import TimerQueue

ALL_HOSTS = 0xE0000001                  # 224.0.0.1


class Timer(IntEnum):
    """Kinds of timers; at the same instant retransmissions go before expiries."""

    GENERAL_QUERY = 0
    RETRANSMISSION = 1
    OTHER_QUERIER = 2
    GROUP = 3


class Querier:
    """One downstream port; stopped until `start`. Inputs return what to send, the role, and which groups changed."""

    def __init__(self, port: int, options: PortOptions, counters: MutableMapping[str, int]) -> None:
        self._port, self._options, self._counters = port, options, counters
        self._version = options.igmp_version or 3
        self._election = Election(options.parameters)
        self._link = Link()
        self._groups: dict[int, Group] = {}
        self._timers: TimerQueue[tuple[int, int]] = TimerQueue()
        self._startup = 0                               # General Queries of the startup series to come
        self._role = Role(port, False, 0)

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    @property
    def parameters(self) -> Parameters:
        """The values in force, the elected querier's where it told them."""
        return self._election.parameters

    @property
    def status(self) -> QuerierStatus:
        """Who asks on this port."""
        return QuerierStatus(self._role.querier, self._role.address, self._version)

    @property
    def address(self) -> int:
        """The address queries come from; 0: none, so none are sent."""
        return (self._link.address or self._options.querier_address or 0) if self._options.querier else 0

    @property
    def group_count(self) -> int:
        """How many groups have members."""
        return len(self._groups)

    def filter(self, group: int) -> Filter:
        """What members of `group` on this port want."""
        state = self._groups.get(group)
        return NOTHING if state is None else state.filter

    def start(self, link: Link, now: float) -> list[Event]:
        """The port is up, or its address is another one: query as at startup, keep the memberships (8.6, 8.7)."""
        self._link = link
        self._election.forget()
        self._timers.cancel((Timer.OTHER_QUERIER, 0))
        self._timers.cancel((Timer.GENERAL_QUERY, 0))
        self._startup = self.parameters.startup_queries
        self._role = Role(self._port, bool(self.address), self.address)
        return [self._role, *(self._general_query(now) if self.address else ())]

    def update(self, link: Link) -> None:
        """The port's MTU or networks are others; its address is not."""
        self._link = link

    def stop(self) -> list[Event]:
        """The port is down: its memberships end now, unasked."""
        changed: list[Event] = [Changed(group) for group in self._groups]
        self._groups.clear()
        self._timers.clear()
        self._election.forget()
        return [*self._become(False, 0), *changed]

    def receive(self, source: int, message: Message, now: float) -> list[Event]:
        """A message that passed the checks of the packet."""
        if isinstance(message, Report):
            return self._on_report(source, message, now)
        if message.group:
            return self._on_specific_query(message, now)
        return self._on_general_query(source, message, now)

    def expire(self, now: float) -> list[Event]:
        """Do what is due."""
        return [event for kind, group in self._timers.expire(now) for event in self._on_timer(kind, group, now)]

    def restore(self, group: int, state: Filter, running: Collection[int], now: float) -> None:
        """Take back a membership with full timers; `running` are its sources with timers."""
        until = now + self.parameters.group_membership_interval
        record = Group(group, now)
        record.filter = state
        record.timers = dict.fromkeys(running, until)
        if state.mode is Mode.EXCLUDE:
            record.timer = until
        self._keep(record)

    def groups(self, now: float) -> Iterator[GroupStatus]:
        """The groups as people see them."""
        return (self._status_of(group, now) for group in self._groups.values())

    # Election

    def _on_general_query(self, source: int, query: Query, now: float) -> list[Event]:
        if not self._election.hear(source, query, self.address, now):
            return []
        self._startup = 0
        self._timers.cancel((Timer.GENERAL_QUERY, 0))
        self._timers.set((Timer.OTHER_QUERIER, 0), now + self.parameters.other_querier_present_interval)
        return self._become(False, self._election.winner)

    def _on_other_querier_gone(self, now: float) -> list[Event]:
        self._election.forget()
        if not self.address:
            return self._become(False, 0)
        return [*self._become(True, self.address), *self._general_query(now)]

    def _become(self, querier: bool, address: int) -> list[Event]:
        role = Role(self._port, querier, address)
        if role == self._role:
            return []
        self._role = role
        return [role]

    # Queries

    def _general_query(self, now: float) -> list[Event]:
        parameters = self.parameters
        self._startup = max(self._startup - 1, 0)
        gap = parameters.startup_interval if self._startup else parameters.query_interval
        self._timers.set((Timer.GENERAL_QUERY, 0), now + gap)
        return [self._send(0, (), parameters.query_response_interval, False)]

    def _specific_queries(self, group: Group, now: float) -> list[Event]:
        sends = [self._send(group.group, sources, self.parameters.last_member_query_interval, ask.suppress)
                 for ask in group.transmit(now, self.parameters) for sources in self._split(ask)]
        if group.checking is None:
            self._timers.cancel((Timer.RETRANSMISSION, group.group))
        else:
            again = now + self.parameters.last_member_query_interval
            self._timers.set((Timer.RETRANSMISSION, group.group), again)
        return sends

    def _split(self, ask: Ask) -> list[tuple[int, ...]]:
        return split_sources(ask.sources, self._link.mtu) if ask.sources else [()]

    def _send(self, group: int, sources: tuple[int, ...], response: float, suppress: bool) -> Event:
        parameters, version = self.parameters, self._version
        if version == 2:
            response = min(response, LONGEST_V2_RESPONSE)
        query = Query(group, sources, response, suppress, parameters.robustness, parameters.query_interval, version)
        self._counters[f"tx_query_v{version}"] += 1
        return Send(self._port, encode(self.address, group or ALL_HOSTS, encode_query(query)))

    def _on_specific_query(self, query: Query, now: float) -> list[Event]:
        group = self._groups.get(query.group)
        if group is None or query.suppress:
            return []
        limit = now + query.max_response_time * self.parameters.last_member_queries
        if query.sources:
            group.lower(query.sources, limit)
        else:
            group.lower_group(limit)
        self._keep(group)
        return []

    # Reports

    def _on_report(self, source: int, report: Report, now: float) -> list[Event]:
        before: dict[int, Filter] = {}
        asked: dict[int, None] = {}                     # in the order of the records
        refused = False
        for record in report.records:
            group = self._groups.get(record.group) or Group(record.group, now)
            before.setdefault(record.group, group.filter)
            self._note_version(group, report.version, now)
            understandable = understood(self._compatibility(group, now), record.type, frozenset(record.sources))
            if understandable is None:
                continue
            step = self._step(group, record.type, understandable)
            refused = refused or step is None or step.refused
            if step is not None and self._take(group, step, source, now):
                asked[record.group] = None
        self._counters["limit_reached"] += refused
        return [*self._ask(asked, now), *self._changes(before)]

    def _note_version(self, group: Group, version: int, now: float) -> None:
        if version == 1:
            group.v1_until = now + self.parameters.older_host_present_interval
        elif version == 2:
            group.v2_until = now + self.parameters.older_host_present_interval

    def _compatibility(self, group: Group, now: float) -> int:
        # An older interface cannot ask for sources, so all its groups are treated as having older hosts.
        return min(group.compatibility(now), self._version)

    def _step(self, group: Group, kind: RecordType, sources: frozenset[int]) -> Step | None:
        """What a record does within the port's limits: a new group (None) or new sources are refused, others stay."""
        step = group.step(kind, sources, self._options.max_sources)
        if step.is_member and group.group not in self._groups and len(self._groups) >= self._options.max_groups:
            return None
        return replace(step, ask=NO_SOURCES) if step.ask and self._version < 3 else step

    def _take(self, group: Group, step: Step, source: int, now: float) -> bool:
        """Do `step`; whether a query must go out for it."""
        group.apply(step, now, self.parameters.group_membership_interval)
        if step.refresh or step.restart:
            group.reporter = source
        asks = self._role.querier and group.ask(step, now, self.parameters)
        self._keep(group)
        return asks

    def _ask(self, groups: Iterable[int], now: float) -> Iterator[Event]:
        for group in groups:
            if (state := self._groups.get(group)) is not None:
                yield from self._specific_queries(state, now)

    def _changes(self, before: dict[int, Filter]) -> Iterator[Event]:
        return (Changed(group) for group, state in before.items() if self.filter(group) != state)

    # Timers

    def _on_timer(self, kind: int, group: int, now: float) -> list[Event]:
        match kind:
            case Timer.GENERAL_QUERY:
                return self._general_query(now)
            case Timer.RETRANSMISSION:
                return self._specific_queries(self._groups[group], now)
            case Timer.OTHER_QUERIER:
                return self._on_other_querier_gone(now)
            case _:
                return self._on_group_timer(self._groups[group], now)

    def _on_group_timer(self, group: Group, now: float) -> list[Event]:
        before = group.filter
        group.expire(now)
        self._keep(group)
        return [] if group.filter == before else [Changed(group.group)]

    def _keep(self, group: Group) -> None:
        """Hold `group` and its next deadline, or let it go when nobody wants anything of it."""
        if group.filter:
            self._groups[group.group] = group
            self._timers.set((Timer.GROUP, group.group), group.deadline)
        elif self._groups.pop(group.group, None) is not None:
            self._timers.cancel((Timer.GROUP, group.group))
            self._timers.cancel((Timer.RETRANSMISSION, group.group))

    def _status_of(self, group: Group, now: float) -> GroupStatus:
        excluding = group.filter.mode is Mode.EXCLUDE
        ends = group.timer if excluding else max(group.timers.values())
        return GroupStatus(
            port=self._port,
            group=group.group,
            mode=group.filter.mode,
            sources=tuple((source, until - now) for source, until in sorted(group.timers.items())),
            excluded_sources=tuple(sorted(group.filter.sources)) if excluding else (),
            compatibility=self._compatibility(group, now),
            expires=ends - now,
            uptime=now - group.since,
            last_reporter=group.reporter,
        )
