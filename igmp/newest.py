"""A host that speaks IGMP version 3: state changes with repetitions, delayed answers (RFC 9776 sections 5.1, 5.2).

Rules of this file: a change goes out at once and is repeated; answers wait for a random time and tell what is wanted
then; nothing is suppressed.
"""

from collections.abc import Iterable, Mapping

from igmp.change import Change, current_state, farewell
from igmp.filter import NO_SOURCES, NOTHING, Filter
from igmp.kernel import told_before
from igmp.messages import GroupRecord, Query, encode_report, pack_records
from igmp.packet import V3_ROUTERS
from igmp.speaker import CHUNK, GENERAL_ANSWER, GROUP_ANSWER, STATE_CHANGE, Said, Speaker

# RFC 9776 9.1 d
MAX_ASKED = 366                         # sources remembered of queries for one group: what one query can hold


class Newest:
    """The version 3 voice of a host."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._changes: dict[int, Change] = {}
        self._asked: dict[int, frozenset[int]] = {}     # sources of pending group answers; none: the whole group
        self._answering: list[int] = []                 # groups that the general answer has not told yet

    def clear(self) -> None:
        """Forget what was still to be said."""
        self._changes.clear()
        self._asked.clear()
        self._answering.clear()

    # RFC 9776 5.1 a h
    def change(self, changed: Mapping[int, Filter], now: float) -> list[Said]:
        """The filters of groups are no longer those of `changed`."""
        speaker, changes = self._speaker, self._changes
        held = speaker.kernel.filters
        if held:
            changed = {group: self._told_before(group, old) for group, old in changed.items()}
            changed = {group: old for group, old in changed.items() if old != speaker.wants(group)}
        for group, old in changed.items():
            changes.setdefault(group, Change()).note(old, speaker.wants(group), speaker.parameters.robustness)
        return self._report_changes(changed, now) if changed else []

    def restore(self, taken: Mapping[int, Filter], now: float) -> list[Said]:
        """Our kernel told changes, after which routers know of `taken` alone: say at once what we want besides."""
        speaker, changes = self._speaker, self._changes
        for group, told in taken.items():
            changes.setdefault(group, Change()).note(told, speaker.wants(group), speaker.parameters.robustness)
        return self._report_changes(taken, now)

    def complete(self, groups: Iterable[int], now: float) -> None:
        """Our kernel answered for itself: who takes that for all that we want is told the rest."""
        for group in groups:
            self._schedule(group, NO_SOURCES, self._speaker.answer_at(0.0, now))

    def leave(self) -> list[Said]:
        """End all memberships."""
        held, groups = self._speaker.kernel.filters, sorted(self._speaker.wanted.items())
        parting = [farewell(group, state, held.get(group, NOTHING)) for group, state in groups]
        return self._reports([record for records in parting for record in records])

    def ask(self, query: Query, now: float) -> None:
        """Rules 1 to 5 of RFC 9776 section 5.2."""
        timers = self._speaker.timers
        due = self._speaker.answer_at(query.max_response_time, now)
        general = timers.get(GENERAL_ANSWER)
        # RFC 9776 5.2 c
        if general is not None and general <= due:
            return
        if not query.group:
            # RFC 9776 5.2 d
            timers.set(GENERAL_ANSWER, due)
        # RFC 9776 5.2 b
        elif query.group in self._speaker.wanted:
            self._schedule(query.group, frozenset(query.sources), due)

    def expire(self, due: Mapping[int, list[int]], now: float) -> list[Said]:
        """Say what is due, groups by kind of timer; records due at the same moment share reports."""
        said: list[Said] = []
        if STATE_CHANGE in due:
            said += self._report_changes(due[STATE_CHANGE], now)
        if GENERAL_ANSWER in due:
            said += self._answer(dict.fromkeys(self._next_groups(now), NO_SOURCES))
        if GROUP_ANSWER in due:
            # RFC 9776 5.2 m
            said += self._answer({group: self._asked.pop(group) for group in due[GROUP_ANSWER]})
        return said

    # RFC 9776 5.1 g
    def _report_changes(self, groups: Iterable[int], now: float) -> list[Said]:
        speaker = self._speaker
        records: list[GroupRecord] = []
        again = now + speaker.random() * speaker.parameters.unsolicited_report_interval
        for group in sorted(groups):
            change = self._changes[group]
            records += change.records(group, speaker.wants(group))
            if change.transmitted():
                speaker.timers.set(STATE_CHANGE | group, again)
            else:
                del self._changes[group]
                speaker.timers.cancel(STATE_CHANGE | group)
        return self._reports(records)

    def _told_before(self, group: int, old: Filter) -> Filter:
        speaker = self._speaker
        held = speaker.kernel.filters.get(group, NOTHING)
        return told_before(old, speaker.wanted.get(group, NOTHING), held)

    # RFC 9776 5.2 e f g
    def _schedule(self, group: int, sources: frozenset[int], due: float) -> None:
        timers = self._speaker.timers
        pending = timers.get(GROUP_ANSWER | group)
        if pending is not None:
            due = min(due, pending)
            sources = sources | self._asked[group] if sources and self._asked[group] else NO_SOURCES
        self._asked[group] = sources if len(sources) <= MAX_ASKED else NO_SOURCES
        timers.set(GROUP_ANSWER | group, due)

    # RFC 9776 5.2 h
    def _next_groups(self, now: float) -> list[int]:
        """The groups of the general answer to tell now; the others follow in the next calls."""
        if not self._answering:
            self._answering = sorted(self._speaker.wanted, reverse=True)
        groups = self._answering[-CHUNK:]
        del self._answering[-CHUNK:]
        if self._answering:
            self._speaker.timers.set(GENERAL_ANSWER, now)
        return groups

    # RFC 9776 5.2 k
    def _answer(self, asked: Mapping[int, frozenset[int]]) -> list[Said]:
        answers = (current_state(group, self._speaker.wants(group), asked[group]) for group in sorted(asked))
        return self._reports([record for record in answers if record is not None])

    # RFC 9776 4.2.15 a
    def _reports(self, records: list[GroupRecord]) -> list[Said]:
        speaker = self._speaker
        if len(records) == 1 and not records[0].sources:            # by far the most frequent
            return [speaker.send(V3_ROUTERS, encode_report(records), "tx_report_v3")]
        return [speaker.send(V3_ROUTERS, encode_report(each), "tx_report_v3")
                for each in pack_records(records, speaker.link.mtu)]
