"""Router side of one downstream port: election and queries (RFC 9776 section 6).

Rules of this file: only a querier asks, so only a querier lowers timers on a leave; queries are worked out once, after
the last record of a message, and specific ones go out at a bounded rate: what must wait keeps its timers meanwhile.
"""

import sys
from collections.abc import Mapping, MutableMapping

from igmp import membership
from igmp.checking import Ask, Rate, Wish
from igmp.election import Election
from igmp.filter import Filter
from igmp.group import Group
from igmp.heard import NOBODY, Heard, OlderHosts
from igmp.link import Link
from igmp.membership import DEFERRED, GENERAL_QUERY, KIND, OTHER_QUERIER, RETRANSMISSION, Memberships, Turn
from igmp.messages import Message, Query, Report, encode_query, split_sources
from igmp.outputs import Event, Notice, QuerierStatus, Role, Send
from igmp.packet import ALL_SYSTEMS, encode
from igmp.parameters import LONGEST_V2_RESPONSE, Parameters, PortOptions
from igmp.timers import TimerQueue

EVENTS = 512                            # what one call does of what is due, so that none takes long
QUERIERS = 64                           # told apart on a port, which has one or two
SHORTEST_RESPONSE = 0.1                 # seconds: a code of 0 would be a version 1 query, or an answer at once


class Querier:
    """One downstream port; stopped until `start`. Inputs return what to send, the role, and which groups changed."""

    def __init__(self, port: int, options: PortOptions, counters: MutableMapping[str, int]) -> None:
        self._port, self._options, self._counters = port, options, counters
        self._election = Election(options.parameters)
        self._link = Link()
        self._timers: TimerQueue[int] = TimerQueue()
        self._members = Memberships(options, counters, self._timers)
        self._startup = 0                               # General Queries of the startup series to come
        self._heard_all_at = 0.0                        # members have had their chance to be heard
        self._role = Role(port, False, 0)
        self._up = False
        self._inherited = NOBODY
        self._versions: set[tuple[int, int]] = set()    # of other queriers, whose mismatch was told
        self._rate = Rate(*_paced(options))
        self._deferred: dict[int, Wish] = {}            # what must still be asked for, by group

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    @property
    def parameters(self) -> Parameters:
        """The values in force, the elected querier's where it told them."""
        return self._election.parameters

    # RFC 4605 4.1 a
    # RFC 4541 2.1.1 j
    @property
    def version(self) -> int:
        """The IGMP version of our queries."""
        return self._options.igmp_version or 3

    @property
    def is_querier(self) -> bool:
        """Whether we are the querier of the port."""
        return self._role.querier

    @property
    def status(self) -> QuerierStatus:
        """Who asks on this port."""
        return QuerierStatus(self._role.querier, self._role.address, self.version)

    @property
    def asks(self) -> bool:
        """Whether we may send queries."""
        return self._options.querier

    # RFC 4541 2.1.1 b
    @property
    def address(self) -> int:
        """The address queries come from; 0: none, as a proxy querier's (RFC 4541 section 2.1.1), which never wins."""
        return (self._link.address or self._options.querier_address or 0) if self.asks else 0

    @property
    def members(self) -> Memberships:
        """The groups, to look at."""
        return self._members

    def filter(self, group: int) -> Filter:
        """What members of `group` on this port want."""
        return self._members.filter(group)

    def configure(self, options: PortOptions, now: float) -> list[Event]:
        """The configuration is another one: what is no longer admitted ends, what was learned stays in force."""
        before, spoken = self._options, (self._options.parameters, self.version, self.address, self.asks)
        self._options = options
        if options.parameters is not before.parameters and _paced(options) != _paced(before):
            self._rate = Rate(*_paced(options))
        if options.igmp_version != before.igmp_version:
            self._versions.clear()
        self._election.configure(options.parameters)
        events: list[Event] = [*self._members.configure(options)]
        if self._up and spoken != (options.parameters, self.version, self.address, self.asks):
            events += self._speak_otherwise(now)
        elif options.widens(before):
            events += self.ask_all(now)
        return events

    @property
    def heard(self) -> Heard:
        """What a successor must know of the other querier."""
        return self._election.heard(self._timers.get(OTHER_QUERIER) or 0.0)

    def succeed(self, heard: Heard) -> None:
        """`start` goes on with what a predecessor heard."""
        self._inherited = heard

    def ask_all(self, now: float) -> list[Event]:
        """Ask what is wanted at once; nothing where we do not ask."""
        return self._general_query(now) if self._up and self._role.querier else []

    def forget(self, group: int | None, now: float) -> list[Event]:
        """Forget who wants `group`, None: anything; ask where we do. Many are told in the next calls of `expire`."""
        known = self._members.numbers
        forgotten = [*known] if group is None else [group] if group in known else []
        events: list[Event] = [*self._members.forget(forgotten, EVENTS)]
        self._members.arm(now)
        if group is None or self.version == 1 or not (self._up and self._role.querier):
            return [*self.ask_all(now), *events]
        return [self._send(group, (), self.parameters.last_member_query_interval, False), *events]

    # RFC 4541 2.1.1 g
    def start(self, link: Link, now: float) -> list[Event]:
        """The port is up, or its address is another one: query as at startup, keep the memberships (8.6, 8.7)."""
        self._link, self._up = link, True
        self._members.refusals.forget_others()
        self._election.forget()
        self._versions.clear()
        self._stop_asking()
        parameters = self.parameters
        series = (parameters.startup_queries - 1) * parameters.startup_interval
        self._heard_all_at = now + series + parameters.query_response_interval
        heard, self._inherited = self._inherited, NOBODY
        if heard.until > now and self._election.resume(heard, self.address):
            self._heard_all_at = heard.until + parameters.query_response_interval   # who asks then, hears all
            self._timers.set(OTHER_QUERIER, heard.until)
            self._role = Role(self._port, False, heard.querier)
            return [self._role]
        self._role = Role(self._port, self.asks, self.address)
        return [self._role, *self._startup_series(now)]

    def update(self, link: Link, now: float) -> list[Event]:
        """The port's MTU or networks are others; its address is not."""
        before, self._link = self._link, link
        self._members.refusals.forget_others()
        return self.ask_all(now) if link.widens(before) else []

    def stop(self, now: float) -> list[Event]:
        """The port is down: its memberships end now, unasked; many are told in the next calls of `expire`."""
        self._up = False
        self._timers.clear()
        self._deferred.clear()
        self._election.forget()
        events = [*self._become(False, 0), *self._members.clear(EVENTS)]
        self._members.arm(now)
        return events

    def purge(self) -> list[Event]:
        """Tell the rest of what `stop` ended."""
        return [*self._members.purge(sys.maxsize)]

    def receive(self, source: int, message: Message, now: float, mac: int = 0) -> list[Event]:
        """A message that passed the checks of the packet."""
        if isinstance(message, Report):
            return self._on_report(source, mac, message, now)
        # RFC 9776 6.6.2 d
        if message.group:
            self._on_specific_query(message, now)
            return []
        return self._on_general_query(source, message, now)

    def expire(self, now: float, limit: int = EVENTS) -> list[Event]:
        """Do what is due, about `limit` events; the deadline tells whether there are more."""
        events = [event for key in self._timers.expire(now, limit) for event in self._on_timer(key, now, limit)]
        self._members.arm(now)
        return events

    def restore(self, groups: Mapping[int, Filter], older: Mapping[int, OlderHosts], now: float) -> None:
        """Take back memberships with full timers, and the older hosts of some."""
        self._members.restore(groups, older, now, now + self.parameters.group_membership_interval)

    # Election

    # RFC 9776 4.1.5 b, 6.6.2 b
    def _on_general_query(self, source: int, query: Query, now: float) -> list[Event]:
        own, mismatch = self.address, self._mismatch(source, query.version)
        if not self._election.hear(source, query, own, now):
            return [*([Notice(self._port, "querier_conflict", source)] if source and own else ()), *mismatch]
        self._stop_asking()
        self._timers.set(OTHER_QUERIER, now + self.parameters.other_querier_present_interval)
        rare = query.interval > self._options.parameters.longest_query_interval
        told = [Notice(self._port, "rare_querier", source)] if rare else []
        return [*self._become(False, self._election.winner), *mismatch, *told]

    # RFC 9776 6.6.2 e, 7.3.1 a e h i
    def _mismatch(self, source: int, version: int) -> list[Event]:
        """All routers of a link are to speak one version, which only people can see to: told once (section 7.3.1)."""
        # RFC 9776 7.3.1 j
        if version == self.version or (source, version) in self._versions:
            return []
        if len(self._versions) >= QUERIERS:
            self._versions.clear()
        self._versions.add((source, version))
        return [Notice(self._port, "older_querier" if version < self.version else "newer_querier", source,
                       version=version)]  # fmt: skip

    def _speak_otherwise(self, now: float) -> list[Event]:
        """Our address, version or values are others: who asks, asks as at startup; another querier stays one."""
        if self._election.yields(self.address):
            return []
        self._election.forget()
        if not self.asks:
            self._stop_asking()
            return self._become(False, 0)
        self._timers.cancel(OTHER_QUERIER)
        return [*self._become(True, self.address), *self._startup_series(now)]

    def _stop_asking(self) -> None:
        """Whatever is still to be asked is not ours to ask."""
        self._startup = 0
        self._counters["leave_unasked"] += len(self._deferred)
        self._deferred.clear()
        for timer in (OTHER_QUERIER, GENERAL_QUERY, DEFERRED):
            self._timers.cancel(timer)

    # RFC 9776 6.6.2 c
    def _on_other_querier_gone(self, now: float) -> list[Event]:
        self._election.forget()
        if not self.asks:
            return self._become(False, 0)
        return [*self._become(True, self.address), *self._general_query(now)]

    def _become(self, querier: bool, address: int) -> list[Event]:
        role = Role(self._port, querier, address)
        if role == self._role:
            return []
        self._role = role
        return [role]

    # Queries

    def _startup_series(self, now: float) -> list[Event]:
        """General Queries in short succession (8.6, 8.7), the first now; none where we may not."""
        self._startup = self.parameters.startup_queries
        return self._general_query(now) if self.asks else []

    # RFC 9776 4.1.11 a, 6.1 a
    def _general_query(self, now: float) -> list[Event]:
        parameters = self.parameters
        self._startup = max(self._startup - 1, 0)
        gap = parameters.startup_interval if self._startup else parameters.query_interval
        self._timers.set(GENERAL_QUERY, now + gap)
        return [self._send(0, (), parameters.query_response_interval, False)]

    # RFC 9776 4.1.5 a, 6.6.1 a d
    def _on_specific_query(self, query: Query, now: float) -> None:
        """Another router asks: what it asks for ends when it will end there (section 6.6.1)."""
        if not query.suppress:
            response = query.max_response_time or self.parameters.last_member_query_interval
            self._members.lower(query, now + response * self.parameters.last_member_queries)

    def _on_report(self, source: int, mac: int, report: Report, now: float) -> list[Event]:
        querier = self._role.querier
        certain = querier and self.version == 3 and now >= self._heard_all_at
        turn = Turn(source, mac, now, self.parameters, querier, certain)
        changed = self._members.hear(report, turn)
        events: list[Event] = self._ask(turn.wishes, now) if turn.wishes else []
        if turn.refused:
            group, limit = turn.refusal
            events.append(Notice(self._port, "limit_reached", source, group, limit=limit))
        return [*events, *changed]

    # RFC 9776 6.1 b c
    def _ask(self, wishes: Mapping[int, Wish], now: float) -> list[Event]:
        events: list[Event] = []
        limit = now + self.parameters.last_member_query_time
        for number, wish in wishes.items():
            group = self._members.get(number)
            if group is None or not any(group.unasked(wish.sources, wish.group, limit)):
                continue
            if self._deferred or not self._rate.allows(now):
                self._defer(number, wish, now)
            else:
                events += self._ask_now(number, wish, now)
        return events

    def _ask_now(self, number: int, wish: Wish, now: float) -> list[Event]:
        group = self._members.get(number)
        if group is None or not group.ask(wish.sources, wish.group, now, self.parameters):
            return []
        self._members.keep(group)
        return self._specific_queries(group, now)

    def _defer(self, number: int, wish: Wish, now: float) -> None:
        if number in self._deferred:
            self._deferred[number].add(wish.sources, wish.group)
        elif len(self._deferred) < self._options.max_groups:
            self._counters["query_deferred"] += 1
            self._deferred[number] = wish
            self._timers.set(DEFERRED, self._rate.next(now))
        else:
            self._counters["leave_unasked"] += 1

    def _ask_deferred(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._deferred and self._rate.allows(now):
            number = next(iter(self._deferred))
            events += self._ask_now(number, self._deferred.pop(number), now)
        if self._deferred:
            self._timers.set(DEFERRED, self._rate.next(now))
        return events

    # RFC 9776 6.6.3.1 a
    def _specific_queries(self, group: Group, now: float) -> list[Event]:
        if not self.asks or self.version == 1:
            group.stop_asking()
        interval = self.parameters.last_member_query_interval
        sends = [self._send(group.group, sources, interval, ask.suppress)
                 for ask in group.transmit(now, self.parameters) for sources in self._split(ask)]
        self._rate.spend(len(sends), now)
        if group.checking is None:
            self._timers.cancel(RETRANSMISSION | group.group)
        else:
            self._timers.set(RETRANSMISSION | group.group, now + interval)
        return sends

    def _split(self, ask: Ask) -> list[tuple[int, ...]]:
        """The source lists of the queries for `ask`; a port that speaks an older version now cannot ask for sources."""
        if not ask.sources:
            return [()]
        return split_sources(ask.sources, self._link.mtu) if self.version == 3 else []

    # RFC 9776 4.1.12 a b
    def _send(self, group: int, sources: tuple[int, ...], response: float, suppress: bool) -> Event:
        parameters, version = self.parameters, self.version
        if version == 2:
            response = min(response, LONGEST_V2_RESPONSE)
        response = max(response, SHORTEST_RESPONSE)
        query = Query(group, sources, response, suppress, parameters.robustness, parameters.query_interval, version)
        self._counters[f"tx_query_v{version}"] += 1
        return Send(self._port, encode(self.address, group or ALL_SYSTEMS, encode_query(query)))

    # Timers

    def _on_timer(self, key: int, now: float, limit: int) -> list[Event]:
        match key & KIND, key & ~KIND:
            case membership.GROUP, number:
                return [*self._members.expire(number, now)]
            case membership.RETRANSMISSION, number:
                return self._specific_queries(self._members[number], now)
            case membership.PURGE, _:
                return [*self._members.purge(limit)]
            case membership.GENERAL_QUERY, _:
                return self._general_query(now)
            case membership.DEFERRED, _:
                return self._ask_deferred(now)
            case _:
                return self._on_other_querier_gone(now)


def _paced(options: PortOptions) -> tuple[float, int]:
    """How many specific queries a second, and how many at once."""
    return options.parameters.specific_query_rate, options.parameters.specific_query_burst
