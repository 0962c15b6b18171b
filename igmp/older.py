"""A host that speaks IGMP version 1 or 2: whole groups, one report each, suppressed by others' (RFC 2236, RFC 1112).

Rules of this file: sources cannot be told, so only joining and leaving is; a leave is always sent in version 2, unless
our own kernel is a member too, and never in version 1. Answers to a General Query find their times a few groups at a
time, and all of them before any does again: a flood of queries would never have got to the last ones.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from igmp.filter import NOTHING, Filter, Mode
from igmp.messages import V1_MAX_RESPONSE_TIME, Query, encode_v1_report, encode_v2_leave, encode_v2_report
from igmp.packet import ALL_ROUTERS
from igmp.speaker import ANSWER_GAP, CHUNK, GENERAL_ANSWER, REPORT, Said, Speaker


class Older:
    """The version 1 and 2 voice of a host."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.version = 2
        self._repeats: dict[int, int] = {}              # unsolicited reports to come
        self._reported: set[int] = set()                # groups whose last report was ours
        self._asked: list[int] = []                     # groups whose answers have still to be scheduled
        self._response = V1_MAX_RESPONSE_TIME           # within which they are, seconds
        self._until = math.inf                          # when what was asked meanwhile must be answered
        self._next = -math.inf                          # when they may be scheduled anew

    def clear(self) -> None:
        """Forget what was still to be said, and heard."""
        self._repeats.clear()
        self._reported.clear()
        self._asked.clear()
        self._until = math.inf

    def was_last_reporter(self, group: int) -> bool:
        """Whether the last report for `group` was ours (RFC 2236 section 3)."""
        return group in self._reported

    def change(self, changed: Mapping[int, Filter], now: float) -> list[Said]:
        """The filters of groups are no longer those of `changed`."""
        return [said for group, old in changed.items() for said in self._join_or_leave(group, old, now)]

    def leave(self) -> list[Said]:
        """End all memberships."""
        return [said for group in sorted(self._speaker.wanted) for said in self._leave_group(group)]

    def restore(self, groups: Iterable[int], now: float) -> list[Said]:
        """Our kernel left what we want: say so at once."""
        return [said for group in groups for said in self._join(group, now)]

    def ask(self, query: Query, now: float) -> None:
        """Report what is asked for within its response time, each group at a time of its own."""
        response = V1_MAX_RESPONSE_TIME if self.version == 1 else query.max_response_time
        if query.group:
            self._schedule(query.group, response, now)
            return
        self._until = min(self._until, now + response)
        if self._asked:
            return
        if now >= self._next:
            self._begin(now)
        else:
            self._speaker.timers.set(GENERAL_ANSWER, self._next)

    # RFC 9776 7.2.2 b
    def hear(self, group: int) -> None:
        """Another member reported: one report for a group is enough (RFC 2236 section 3)."""
        self._speaker.timers.cancel(REPORT | group)
        self._repeats.pop(group, None)
        self._reported.discard(group)

    def expire(self, due: Mapping[int, list[int]], now: float) -> list[Said]:
        """Say what is due, groups by kind of timer."""
        if GENERAL_ANSWER in due:
            if not self._asked:
                self._begin(now)
            else:
                self._schedule_some(now)
        return [said for group in due.get(REPORT, ()) for said in self._report(group, now)]

    def _begin(self, now: float) -> None:
        self._response, self._until, self._next = max(self._until - now, 0.0), math.inf, now + ANSWER_GAP
        self._asked = list(self._speaker.wanted)
        self._schedule_some(now)

    def _schedule_some(self, now: float) -> None:
        for group in self._asked[-CHUNK:]:
            self._schedule(group, self._response, now)
        del self._asked[-CHUNK:]
        if self._asked:
            self._speaker.timers.set(GENERAL_ANSWER, now)
        elif self._until < math.inf:                    # somebody has asked again
            self._speaker.timers.set(GENERAL_ANSWER, max(now, self._next))

    def _schedule(self, group: int, response: float, now: float) -> None:
        speaker = self._speaker
        pending = speaker.timers.get(REPORT | group)
        if group in speaker.wanted and (pending is None or response < pending - now):
            speaker.timers.set(REPORT | group, speaker.answer_at(response, now))

    # RFC 4605 4.1 i
    def _join_or_leave(self, group: int, old: Filter, now: float) -> Iterator[Said]:
        wanted = self._speaker.wanted.get(group, NOTHING)
        if not old:
            if wanted.mode is Mode.INCLUDE:
                # RFC 4605 4.3 d
                yield self._speaker.notice("sources_lost", group)       # RFC 4604 section 2.2.1
            yield from self._join(group, now)
        elif not wanted:
            self.hear(group)
            yield from self._leave_group(group)

    def _join(self, group: int, now: float) -> Iterator[Said]:
        self._repeats[group] = self._speaker.parameters.robustness
        return self._report(group, now)

    # RFC 9776 4.2.15 b
    # RFC 4605 4.1 j
    def _report(self, group: int, now: float) -> Iterator[Said]:
        speaker = self._speaker
        self._reported.add(group)
        left = self._repeats.pop(group, 1) - 1
        if left:
            self._repeats[group] = left
            again = now + speaker.random() * speaker.parameters.unsolicited_report_interval_v2
            speaker.timers.set(REPORT | group, again)
        message = encode_v1_report(group) if self.version == 1 else encode_v2_report(group)
        yield speaker.send(group, message, f"tx_report_v{self.version}")

    def _leave_group(self, group: int) -> Iterator[Said]:
        # Version 1 has no such message; what our own kernel holds is not left: routers take us for one host.
        if self.version == 2 and group not in self._speaker.kernel.filters:
            yield self._speaker.send(ALL_ROUTERS, encode_v2_leave(group), "tx_leave")
