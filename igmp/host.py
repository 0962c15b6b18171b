"""Host side of one upstream port: tells routers what we want, at changes and when asked (RFC 9776 section 5, RFC 2236).

Rules of this file: `change` gives the new filter of groups, the host remembers it; state changes go out at once and
are repeated, answers wait for a random time; while an older querier is about, everything is done as that version does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from enum import IntEnum

from igmp.change import Change, current_state, farewell
from igmp.filter import NO_SOURCES, NOTHING, Filter
from igmp.messages import (
    V1_MAX_RESPONSE_TIME,
    GroupRecord,
    Message,
    Query,
    Report,
    encode_report,
    encode_v1_report,
    encode_v2_leave,
    encode_v2_report,
    pack_records,
)
from igmp.outputs import Send, UpstreamStatus
from igmp.packet import ALL_ROUTERS, V3_ROUTERS, Link, encode
from igmp.parameters import PortOptions
from igmp.timers import TimerQueue

MAX_ASKED = 366                         # sources remembered of queries for one group: what one query can hold


class Timer(IntEnum):
    """Kinds of timers; at the same instant retransmissions go before expiries."""

    STATE_CHANGE = 0                    # of a group, version 3
    GENERAL_ANSWER = 1
    GROUP_ANSWER = 2                    # of a group, version 3
    REPORT = 3                          # of a group, versions 1 and 2: answer or repetition
    OLDER_QUERIER = 4                   # of a version


class Host:
    """One upstream port; silent until `start`. `random` gives numbers in (0, 1]."""

    def __init__(
        self, port: int, options: PortOptions, counters: MutableMapping[str, int], random: Callable[[], float]
    ) -> None:
        self._port, self._options, self._counters, self._random = port, options, counters, random
        self._parameters = options.parameters
        self._link: Link | None = None
        self._version = options.igmp_version or 3
        self._wanted: dict[int, Filter] = {}
        self._changes: dict[int, Change] = {}
        self._asked: dict[int, frozenset[int]] = {}     # sources of pending group answers; none: the whole group
        self._repeats: dict[int, int] = {}              # unsolicited reports to come, versions 1 and 2
        self._reported: set[int] = set()                # groups whose last version 1 or 2 report was ours
        self._timers: TimerQueue[tuple[int, int]] = TimerQueue()

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._timers.deadline

    @property
    def version(self) -> int:
        """The IGMP version spoken now: 1, 2 or 3 (RFC 9776 section 7.2.1)."""
        return self._version

    def wanted(self, group: int) -> Filter:
        """What routers here are told of `group`."""
        return self._wanted.get(group, NOTHING)

    def was_last_reporter(self, group: int) -> bool:
        """Whether the last version 1 or 2 report for `group` was ours (RFC 2236 section 3)."""
        return group in self._reported

    def status(self) -> Iterator[UpstreamStatus]:
        """The memberships as people see them; none while the port is down."""
        wanted = self._wanted if self._link is not None else {}
        return (UpstreamStatus(self._port, group, state.mode, tuple(sorted(state.sources)), self._version)
                for group, state in wanted.items())

    def start(self, link: Link, now: float) -> list[Send]:
        """The port is up, or its address is another one: tell everything anew, in the newest version."""
        self._timers.clear()
        self._link, self._parameters = link, self._options.parameters
        self._switch()
        self._cancel_pending()
        wanted, self._wanted = self._wanted, {}
        return self.change(wanted, now)

    def update(self, link: Link) -> None:
        """The port's MTU or networks are others; its address is not."""
        self._link = link

    def stop(self) -> None:
        """The port is down: nothing is sent, what is wanted stays."""
        self._timers.clear()
        self._cancel_pending()
        self._link = None

    def leave(self) -> list[Send]:
        """Leave all groups, once, and stop."""
        link, wanted = self._link, sorted(self._wanted.items())
        self.stop()
        if link is None:
            return []
        if self._version == 3:
            return self._reports(link, [farewell(group, state) for group, state in wanted])
        return [send for group, _ in wanted for send in self._leave_group(link, group)]

    def adopt(self, group: int, wanted: Filter) -> None:
        """Routers know already that we want `wanted` of `group`."""
        self._remember(group, wanted)

    def change(self, wants: Mapping[int, Filter], now: float) -> list[Send]:
        """From now on we want `wants` of its groups; others are as they were."""
        changed = {group: self.wanted(group) for group, new in wants.items() if new != self.wanted(group)}
        for group in changed:
            self._remember(group, wants[group])
        if self._link is None:
            return []
        if self._version < 3:
            return [send for group, old in changed.items() for send in self._join_or_leave(self._link, group, old, now)]
        for group, old in changed.items():
            self._changes.setdefault(group, Change()).note(old, wants[group], self._parameters.robustness)
        return self._report_changes(self._link, changed, now)

    def receive(self, message: Message, now: float) -> list[Send]:
        """A message that passed the checks of the packet; whoever sent it."""
        if self._link is not None:
            if isinstance(message, Report):
                self._on_report(message)
            else:
                self._on_query(message, now)
        return []

    def expire(self, now: float) -> list[Send]:
        """Do what is due; records due at the same moment share reports."""
        due: dict[int, list[int]] = {}
        for kind, number in self._timers.expire(now):
            due.setdefault(kind, []).append(number)
        if self._link is None:
            return []
        sends = self._report_changes(self._link, due.get(Timer.STATE_CHANGE, ()), now)
        if Timer.GENERAL_ANSWER in due:
            sends += self._answer(self._link, dict.fromkeys(self._wanted, NO_SOURCES))
        asked = {group: self._asked.pop(group) for group in due.get(Timer.GROUP_ANSWER, ())}
        sends += self._answer(self._link, asked)
        for group in due.get(Timer.REPORT, ()):
            sends.append(self._repeat_report(self._link, group, now))
        if Timer.OLDER_QUERIER in due:
            self._switch()
        return sends

    def _remember(self, group: int, wanted: Filter) -> None:
        if wanted:
            self._wanted[group] = wanted
        else:
            self._wanted.pop(group, None)

    # Queries

    def _on_query(self, query: Query, now: float) -> None:
        if query.version < 3 and not query.group:
            until = now + self._parameters.older_version_querier_present(query.max_response_time)
            self._timers.set((Timer.OLDER_QUERIER, query.version), until)
            self._switch()
        elif not query.group:
            self._parameters = self._options.parameters.adopt(query.robustness, query.interval)
        if self._version == 3:
            self._schedule_answer(query, now)
        else:
            self._schedule_reports(query, now)

    def _switch(self) -> None:
        """Speak the version of the oldest querier about, or the configured one (section 7.2.1)."""
        older = [version for version in (1, 2) if self._timers.get((Timer.OLDER_QUERIER, version)) is not None]
        version = self._options.igmp_version or min(older, default=3)
        if version != self._version:
            self._version = version
            self._cancel_pending()

    def _cancel_pending(self) -> None:
        olders = [((Timer.OLDER_QUERIER, version), self._timers.get((Timer.OLDER_QUERIER, version)))
                  for version in (1, 2)]
        self._timers.clear()
        for key, when in olders:
            if when is not None:
                self._timers.set(key, when)
        for pending in (self._changes, self._asked, self._repeats, self._reported):
            pending.clear()

    # Version 3

    def _report_changes(self, link: Link, groups: Iterable[int], now: float) -> list[Send]:
        records: list[GroupRecord] = []
        again = now + self._random() * self._parameters.unsolicited_report_interval
        for group in sorted(groups):
            change = self._changes[group]
            records += change.records(group, self.wanted(group))
            change.transmitted()
            if change:
                self._timers.set((Timer.STATE_CHANGE, group), again)
            else:
                del self._changes[group]
                self._timers.cancel((Timer.STATE_CHANGE, group))
        return self._reports(link, records)

    def _schedule_answer(self, query: Query, now: float) -> None:
        """Rules 1 to 5 of RFC 9776 section 5.2."""
        due = now + self._random() * query.max_response_time
        general = self._timers.get((Timer.GENERAL_ANSWER, 0))
        if general is not None and general <= due:
            return
        if not query.group:
            self._timers.set((Timer.GENERAL_ANSWER, 0), due)
        elif query.group in self._wanted:
            self._schedule_group_answer(query.group, frozenset(query.sources), due)

    def _schedule_group_answer(self, group: int, sources: frozenset[int], due: float) -> None:
        pending = self._timers.get((Timer.GROUP_ANSWER, group))
        if pending is not None:
            due = min(due, pending)
            sources = sources | self._asked[group] if sources and self._asked[group] else NO_SOURCES
        self._asked[group] = sources if len(sources) <= MAX_ASKED else NO_SOURCES
        self._timers.set((Timer.GROUP_ANSWER, group), due)

    def _answer(self, link: Link, asked: Mapping[int, frozenset[int]]) -> list[Send]:
        answers = (current_state(group, self.wanted(group), asked[group]) for group in sorted(asked))
        return self._reports(link, [record for record in answers if record is not None])

    def _reports(self, link: Link, records: list[GroupRecord]) -> list[Send]:
        return [self._send(link, V3_ROUTERS, encode_report(each), "tx_report_v3")
                for each in pack_records(records, link.mtu)]

    # Versions 1 and 2

    def _schedule_reports(self, query: Query, now: float) -> None:
        response = V1_MAX_RESPONSE_TIME if self._version == 1 else query.max_response_time
        for group in (query.group,) if query.group else self._wanted:
            pending = self._timers.get((Timer.REPORT, group))
            if group in self._wanted and (pending is None or response < pending - now):
                self._timers.set((Timer.REPORT, group), now + self._random() * response)

    def _on_report(self, report: Report) -> None:
        """Another member answered: one report for a group is enough in versions 1 and 2 (RFC 2236 section 3)."""
        if self._version < 3 and report.version < 3 and not report.leave:
            self._silence(report.records[0].group)

    def _silence(self, group: int) -> None:
        self._timers.cancel((Timer.REPORT, group))
        self._repeats.pop(group, None)
        self._reported.discard(group)

    def _join_or_leave(self, link: Link, group: int, old: Filter, now: float) -> Iterator[Send]:
        if not old:
            self._repeats[group] = self._parameters.robustness
            yield self._repeat_report(link, group, now)
        elif not self.wanted(group):
            self._silence(group)
            yield from self._leave_group(link, group)

    def _repeat_report(self, link: Link, group: int, now: float) -> Send:
        self._reported.add(group)
        left = self._repeats.pop(group, 1) - 1
        if left:
            self._repeats[group] = left
            again = now + self._random() * self._parameters.unsolicited_report_interval_v2
            self._timers.set((Timer.REPORT, group), again)
        message = encode_v1_report(group) if self._version == 1 else encode_v2_report(group)
        return self._send(link, group, message, f"tx_report_v{self._version}")

    def _leave_group(self, link: Link, group: int) -> Iterator[Send]:
        if self._version == 2:                          # version 1 has no such message
            yield self._send(link, ALL_ROUTERS, encode_v2_leave(group), "tx_leave")

    def _send(self, link: Link, destination: int, message: bytes, counter: str) -> Send:
        self._counters[counter] += 1
        return Send(self._port, encode(link.address, destination, message))
