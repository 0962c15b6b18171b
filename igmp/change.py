"""What a host says of one group: state changes with their repetitions, and answers (RFC 9776 sections 5.1 and 5.2).

Rules of this file: pure; a record always tells the filter wanted when it is built, not when it was planned.
"""

from igmp.filter import NOTHING, Filter, Mode, merge
from igmp.messages import GroupRecord, RecordType


class Change:
    """What of one group's filter routers have still to be told, and how often (RFC 9776 section 5.1)."""

    __slots__ = ("mode", "sources")

    def __init__(self) -> None:
        self.mode = 0                                   # transmissions of the filter mode to come
        self.sources: dict[int, int] = {}               # transmissions to come by source

    def __bool__(self) -> bool:
        return self.mode > 0 or bool(self.sources)

    # RFC 9776 5.1 b c
    def note(self, old: Filter, new: Filter, times: int) -> None:
        """The filter was `old` and is `new`: say so `times` times."""
        if old.mode is new.mode:
            self.sources.update(dict.fromkeys(old.sources ^ new.sources, times))
        else:
            # RFC 9776 5.1 i
            self.mode, self.sources = times, {}

    # RFC 9776 4.2.13 b, 5.1 d e
    def records(self, group: int, wanted: Filter) -> list[GroupRecord]:
        """The state-change records of `group` to transmit now."""
        if self.mode:
            exclude = wanted.mode is Mode.EXCLUDE
            kind = RecordType.CHANGE_TO_EXCLUDE if exclude else RecordType.CHANGE_TO_INCLUDE
            return [GroupRecord(kind, group, tuple(sorted(wanted.sources)) if wanted.sources else ())]
        told = sorted(self.sources)
        # RFC 9776 4.2.13 c
        allowed = tuple(source for source in told if wanted.admits(source))
        blocked = tuple(source for source in told if not wanted.admits(source))
        kinds = ((RecordType.ALLOW_NEW_SOURCES, allowed), (RecordType.BLOCK_OLD_SOURCES, blocked))
        # RFC 9776 5.1 f
        return [GroupRecord(kind, group, sources) for kind, sources in kinds if sources]

    # RFC 9776 5.1 j
    def transmitted(self) -> bool:
        """One transmission of everything is done; whether there are more to come."""
        if self.mode:
            self.mode -= 1
        if self.sources:
            self.sources = {source: left - 1 for source, left in self.sources.items() if left > 1}
        return self.mode > 0 or bool(self.sources)


# RFC 9776 4.2.13 a, 5.2 l
def current_state(group: int, wanted: Filter, asked: frozenset[int]) -> GroupRecord | None:
    """The answer to a query for `asked` sources, or for the whole group when empty (RFC 9776 section 5.2)."""
    if not wanted:
        return None
    if not asked:
        exclude = wanted.mode is Mode.EXCLUDE
        kind = RecordType.MODE_IS_EXCLUDE if exclude else RecordType.MODE_IS_INCLUDE
        return GroupRecord(kind, group, tuple(sorted(wanted.sources)))
    sources = tuple(sorted(source for source in asked if wanted.admits(source)))
    return GroupRecord(RecordType.MODE_IS_INCLUDE, group, sources) if sources else None


def farewell(group: int, wanted: Filter, held: Filter = NOTHING) -> list[GroupRecord]:
    """The state-change records that end a membership, and leave what our own kernel still holds."""
    change = Change()
    change.note(merge([wanted, held]), held, 1)
    return change.records(group, held)
