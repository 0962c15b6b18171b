"""Host side of one upstream port: tells routers what we want, at changes and when asked (RFC 9776 sections 5 and 7.2).

Rules of this file: `change` gives the new filter of groups, the host remembers it and tells it in the version of the
oldest querier about; while the port is down nothing is said, when it returns everything is.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping

from igmp.filter import NOTHING, Filter, Mode, merge
from igmp.heard import NOBODY, Heard
from igmp.kernel import TAKING
from igmp.lingering import Lingering
from igmp.link import Link
from igmp.messages import Message, Query, RecordType, Report
from igmp.newest import Newest
from igmp.older import Older
from igmp.outputs import Notice, UpstreamStatus
from igmp.parameters import PortOptions
from igmp.speaker import ANNOUNCE, CHUNK, KERNEL, KIND, LINGER, OLDER_QUERIER, REPEAT, Said, Speaker

EVENTS = 512                            # what one call does of what is due, so that none takes long


# RFC 9776 7.2.1 b
class Host:
    """One upstream port; silent until `start`. `random` gives numbers in (0, 1]."""

    def __init__(
        self, port: int, options: PortOptions, counters: MutableMapping[str, int], random: Callable[[], float]
    ) -> None:
        self._port, self._options = port, options
        self._speaker = Speaker(port, options, counters, random)
        self._newest, self._older = Newest(self._speaker), Older(self._speaker)
        self._up = False
        self._version = options.igmp_version or 3
        self._older_until: dict[int, float] = {}        # when the last querier of an older version will be forgotten
        self._taught = 0, 0.0                           # robustness and query interval of the querier, 0: not told
        self._inherited = NOBODY
        self._unknown: list[int] = []                   # groups that routers have not been told of
        self._lingering = Lingering()
        self._repeat_at = math.inf                      # when all is said again unasked
        self._mismatched = 0                            # the version of queriers that was told not to be ours
        self.last_query: tuple[int, int, float] | None = None   # source, version and time of the last one heard

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when idle."""
        return self._speaker.timers.deadline

    @property
    def version(self) -> int:
        """The IGMP version spoken now: 1, 2 or 3 (RFC 9776 section 7.2.1)."""
        return self._version

    def wanted(self, group: int) -> Filter:
        """What we want here of `group`."""
        return self._speaker.wanted.get(group, NOTHING)

    def was_last_reporter(self, group: int) -> bool:
        """Whether the last version 1 or 2 report for `group` was ours (RFC 2236 section 3)."""
        return self._older.was_last_reporter(group)

    @property
    def reported(self) -> Collection[int]:
        """The groups of `status`."""
        return self._speaker.wanted.keys() if self._up else ()

    def status(self, only: int | None = None) -> Iterator[UpstreamStatus]:
        """The memberships as people see them, all or of one group, none while the port is down; they may change."""
        asked = list(self._speaker.wanted) if only is None else [only]
        for group in asked if self._up else ():
            if state := self.wanted(group):
                yield UpstreamStatus(self._port, group, state.mode, tuple(sorted(state.sources)), self._version)

    def configure(self, options: PortOptions, now: float) -> list[Said]:
        """The configuration is another one; what queriers taught stays. All is told anew only in another version."""
        former, self._options = self._options, options
        self._speaker.kernel.options = options
        self._speaker.parameters = options.parameters.adopt(*self._taught)
        said: list[Said] = []
        if options.access != former.access or options.parameters.linger < former.parameters.linger:
            said += self._tell(self._end_lingering(), now)
        if options.parameters.report_interval != former.parameters.report_interval:
            self._repeat_later(now)
        before = self._version
        self._switch()
        return said + (self._tell_all(now) if self._up and self._version != before else [])

    @property
    def heard(self) -> Heard:
        """What a successor must know of queriers."""
        until, (robustness, interval) = self._older_until, self._taught
        return Heard(0, 0.0, until.get(1, 0.0), until.get(2, 0.0), robustness, interval)

    def succeed(self, heard: Heard) -> None:
        """`start` goes on with what a predecessor heard."""
        self._inherited = heard

    def start(self, link: Link, now: float) -> list[Said]:
        """The port is up, or its address is another one: tell everything anew, in the newest version."""
        speaker, heard = self._speaker, self._inherited
        self._inherited = NOBODY
        self._forget_link()
        self._up, self._taught, self._mismatched = True, (heard.robustness, heard.interval), 0
        speaker.link, speaker.parameters = link, self._options.parameters.adopt(*self._taught)
        older = {1: heard.v1_until, 2: heard.v2_until}
        self._older_until = {version: until for version, until in older.items() if until and until > now}
        self._switch()
        self._cancel_pending()
        self._repeat_later(now)
        return self._tell_all(now)

    def update(self, link: Link, now: float) -> list[Said]:
        """The port's MTU or networks are others; its address is not."""
        self._speaker.link = link
        return []

    def stop(self) -> None:
        """The port is down: nothing is sent, what is wanted stays."""
        self._forget_link()
        self._speaker.kernel.clear()
        self._cancel_pending()
        self._up = False

    def leave(self) -> list[Said]:
        """Leave all groups, once, and stop."""
        said = self._voice.leave() if self._up else []
        self.stop()
        return said

    def adopt(self, group: int, wanted: Filter) -> None:
        """Routers know already that we want `wanted` of `group`."""
        if wanted:
            self._speaker.wanted[group] = wanted
        else:
            self._speaker.wanted.pop(group, None)

    # RFC 9776 2 c
    def change(self, wants: Mapping[int, Filter], now: float) -> list[Said]:
        """From now on we want `wants` of its groups; others are as they were. What is left may linger."""
        if self._up and (self._lingering or self._speaker.parameters.linger):
            wants = {group: self._linger(group, new, now) for group, new in wants.items()}
        return self._tell(wants, now)

    def _linger(self, group: int, wanted: Filter, now: float) -> Filter:
        """What to tell of a group now."""
        lingered, until = group in self._lingering, now + self._speaker.parameters.linger
        told = self._lingering.tell(group, self.wanted(group), wanted, self._options.access, until)
        if group not in self._lingering:
            self._speaker.timers.cancel(LINGER | group)
        elif not lingered:
            self._speaker.timers.set(LINGER | group, until)
        return told

    def _end_lingering(self) -> dict[int, Filter]:
        """What is wanted of all groups that linger, which they do no longer."""
        ended = self._lingering.end_all()
        for group in ended:
            self._speaker.timers.cancel(LINGER | group)
        return ended

    def _tell(self, wants: Mapping[int, Filter], now: float) -> list[Said]:
        known = self._speaker.wanted
        changed: dict[int, Filter] = {}
        for group, new in wants.items():
            old = known.get(group, NOTHING)
            if new is not old and new != old:
                changed[group] = old
                if old:
                    self._speaker.kernel.trust(group)
                if new:
                    known[group] = new
                else:
                    del known[group]
        return self._voice.change(changed, now) if changed and self._up else []

    def receive(self, message: Message, now: float, source: int = 0) -> list[Said]:
        """A message that passed the checks of the packet; `source` is only told to people."""
        if isinstance(message, Query):
            return self._on_query(message, now, source)
        self._on_report(message, now)
        return []

    @property
    def held(self) -> Mapping[int, Filter]:
        """What our own kernel holds here, by group (see `igmp.kernel`)."""
        return self._speaker.kernel.filters

    @property
    def doubtful(self) -> bool:
        """Whether `learn_held` is wanted soon: something was left to another who may have left it to us."""
        return self._speaker.kernel.doubtful

    def learn_held(self, filters: Mapping[int, Filter], now: float) -> list[Said]:
        """The kernel holds just these, as it says when it is asked; it was not heard yet, or not always."""
        if not self._up:
            return []
        betrayed, wanted = self._speaker.kernel.learn(filters, now), self._speaker.wanted
        told = {group: merge([held, wanted.get(group, NOTHING)]) for group, held in betrayed.items()}
        return self._voice.change(told, now) if told else []

    def overhear(self, report: Report, now: float) -> list[Said]:
        """Our own kernel reports, which routers take for us: what it takes from what we want is said again at once."""
        taken: dict[int, Filter] = {}
        answered: list[int] = []
        for record in report.records:
            group, held = record.group, self._speaker.kernel.hear(record, report.version, now)
            if group in self._speaker.wanted and self._speaker.wants(group) != held:
                if record.type in TAKING:
                    taken[group] = held
                elif record.type is not RecordType.ALLOW_NEW_SOURCES:
                    answered.append(group)
        return self._restore(report, taken, answered, now)

    def _restore(
        self, report: Report, taken: Mapping[int, Filter], answered: Collection[int], now: float
    ) -> list[Said]:
        if self._version == 3:
            self._newest.complete(answered, now)
            return self._newest.restore(taken, now) if taken else []
        if report.version < 3 and not report.leave:
            self._older.hear(report.records[0].group)
        return self._older.restore([group for group, held in taken.items() if held.mode is Mode.INCLUDE], now)

    def expire(self, now: float, limit: int = EVENTS) -> list[Said]:
        """Do what is due, about `limit` events; the deadline tells whether there are more."""
        due: dict[int, list[int]] = {}
        for key in self._speaker.timers.expire(now, limit):
            due.setdefault(key & KIND, []).append(key & ~KIND)
        said = self._tell({group: self._lingering.end(group) for group in due.get(LINGER, ())}, now)
        said += self._voice.expire(due, now)
        if ANNOUNCE in due:
            said += self._announce(now)
        if OLDER_QUERIER in due:
            for version in due[OLDER_QUERIER]:
                del self._older_until[version]
            said += self._switch()
        if KERNEL in due:
            self._speaker.kernel.expire(now, self._speaker.parameters.robustness)
        if REPEAT in due:
            self._voice.ask(Query(max_response_time=self._speaker.parameters.unsolicited_report_interval), now)
            self._repeat_later(now)
        return said

    def _repeat_later(self, now: float) -> None:
        """All is said again in `report_interval`, as if a querier had asked; 0: only when one does."""
        interval = self._speaker.parameters.report_interval
        self._repeat_at = now + interval if interval and self._up else math.inf
        if self._repeat_at < math.inf:
            self._speaker.timers.set(REPEAT, self._repeat_at)
        else:
            self._speaker.timers.cancel(REPEAT)

    def _forget_link(self) -> None:
        """What was heard there counts no more, nor what lingers: another link was told nothing, none is told now."""
        self._older_until.clear()
        self.last_query = None
        self._unknown.clear()
        for group, wanted in self._end_lingering().items():
            self.adopt(group, wanted)
        self._repeat_at = math.inf

    @property
    def _voice(self) -> Newest | Older:
        return self._newest if self._version == 3 else self._older

    def _tell_all(self, now: float) -> list[Said]:
        self._unknown = sorted(self._speaker.wanted, reverse=True)
        return self._announce(now)

    def _announce(self, now: float) -> list[Said]:
        """Tell of some groups that routers do not know of; the others follow in the next calls."""
        some = reversed(self._unknown[-CHUNK:])
        told = {group: NOTHING for group in some if group in self._speaker.wanted}
        del self._unknown[-CHUNK:]
        if self._unknown:
            self._speaker.timers.set(ANNOUNCE, now)
        return self._voice.change(told, now)

    # RFC 9776 4.1.5 b, 7.2.1 e
    def _on_query(self, query: Query, now: float, source: int) -> list[Said]:
        speaker, told = self._speaker, self._mismatch(query, source)
        self.last_query = source, query.version, now
        # RFC 9776 7.2.1 c
        if query.version < 3 and not query.group:
            until = now + speaker.parameters.older_version_querier_present(query.max_response_time)
            self._older_until[query.version] = until
            speaker.timers.set(OLDER_QUERIER | query.version, until)
            told += self._switch(source)
        elif not query.group:
            self._taught = query.robustness, query.interval
            speaker.parameters = self._options.parameters.adopt(*self._taught)
        self._voice.ask(query, now)
        self._speaker.kernel.ask(query, now)
        self._await_kernel()
        return told

    def _await_kernel(self) -> None:
        if self._speaker.kernel.deadline < math.inf:
            self._speaker.timers.set(KERNEL, self._speaker.kernel.deadline)

    # RFC 9776 5 c, 7.2.2 a
    def _on_report(self, report: Report, now: float) -> None:
        if report.version < 3 and not report.leave:
            self._speaker.kernel.hear_others(report.records[0].group, now)
            if self._version < 3:
                self._older.hear(report.records[0].group)

    # RFC 9776 7.2.1 a d i
    # RFC 4605 4.1 g
    def _switch(self, source: int = 0) -> list[Said]:
        """Speak the version of the oldest querier about, or the configured one (section 7.2.1), and say so."""
        version, before = self._options.igmp_version or min(self._older_until, default=3), self._version
        if version != before:
            self._version = version
            self._cancel_pending()
        self._older.version = min(version, 2)
        return [] if version == before else [self._turned(source, version, before)]

    # RFC 4605 4.3 d
    def _turned(self, source: int, version: int, before: int) -> Notice:
        lost = sum(each.mode is Mode.INCLUDE for each in self._speaker.wanted.values()) if version < 3 else 0
        kind = "fallback" if version < before else "back"
        return Notice(self._port, kind, source, version=version, count=lost)

    def _mismatch(self, query: Query, source: int) -> list[Said]:
        """Queriers do not speak the version that is configured: told once a version (section 7.3.1)."""
        ours = self._options.igmp_version
        if query.group or query.version in (self._mismatched, ours) or ours is None:
            return []
        self._mismatched = query.version
        kind = "older_querier" if query.version < ours else "newer_querier"
        return [Notice(self._port, kind, source, version=query.version)]

    # RFC 9776 7.2.1 h
    def _cancel_pending(self) -> None:
        """Forget what was still to be said; older queriers are remembered."""
        self._speaker.timers.clear()
        for version, until in self._older_until.items():
            self._speaker.timers.set(OLDER_QUERIER | version, until)
        for group, until in self._lingering.deadlines():
            self._speaker.timers.set(LINGER | group, until)
        if self._repeat_at < math.inf:
            self._speaker.timers.set(REPEAT, self._repeat_at)
        if self._unknown:
            self._speaker.timers.set(ANNOUNCE, -math.inf)
        self._await_kernel()
        self._newest.clear()
        self._older.clear()
