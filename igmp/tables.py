"""What a group record does to the state of a group: the router's tables (RFC 9776 sections 6.4 and 7.3.2).

Rules of this file: `TABLE` is the code path: a row takes pure sets and returns a Step, nothing else decides what a
record means. Sets have no order and no time; timers are the group's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from igmp.filter import NO_SOURCES, Mode
from igmp.messages import RecordType

INCLUDE, EXCLUDE = Mode.INCLUDE, Mode.EXCLUDE
IS_IN, IS_EX = RecordType.MODE_IS_INCLUDE, RecordType.MODE_IS_EXCLUDE
TO_IN, TO_EX = RecordType.CHANGE_TO_INCLUDE, RecordType.CHANGE_TO_EXCLUDE
ALLOW, BLOCK = RecordType.ALLOW_NEW_SOURCES, RecordType.BLOCK_OLD_SOURCES

Sources = frozenset[int]


# RFC 9776 6.2.1 a
@dataclass(slots=True)                  # not frozen: one is made for every record, and lives as long as it
class Step:
    """What one record does: the new state, and which timers to set (RFC 9776 section 6.4)."""

    mode: Mode
    running: Sources                    # sources with a timer: A of INCLUDE(A), X of EXCLUDE(X,Y)
    blocked: Sources = NO_SOURCES       # Y of EXCLUDE(X,Y)
    refresh: Sources = NO_SOURCES       # their timers become the group membership interval
    inherit: Sources = NO_SOURCES       # new ones whose timers become the group timer as it was
    restart: bool = False               # the group timer becomes the group membership interval
    ask: Sources = NO_SOURCES           # send Q(G, ask)
    ask_group: bool = False             # send Q(G)
    refused: bool = False               # some new sources were too many

    @property
    def is_member(self) -> bool:
        """Whether anything is wanted afterwards."""
        return self.mode is EXCLUDE or bool(self.running)


# x: sources with running timers, y: blocked sources, b: sources of the record.
# RFC 9776 6.4.1 a, 6.4.2 a
def _include_allow(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x | b, refresh=b)


# RFC 9776 6.4.2 b
def _include_block(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x, ask=x & b)


# RFC 9776 6.4.1 b
def _include_is_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x & b, b - x, restart=True)


# RFC 9776 6.4.2 c
def _include_to_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x & b, b - x, restart=True, ask=x & b)


# RFC 9776 6.4.2 d
def _include_to_include(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(INCLUDE, x | b, refresh=b, ask=x - b)


# RFC 9776 6.4.1 c, 6.4.2 e
def _exclude_allow(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b, y - b, refresh=b)


# RFC 9776 6.4.2 f
def _exclude_block(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b - y, y, inherit=b - x - y, ask=b - y)


# RFC 9776 6.4.1 d
def _exclude_is_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, b - y, y & b, refresh=b - x - y, restart=True)


# RFC 9776 6.4.2 g
def _exclude_to_exclude(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, b - y, y & b, inherit=b - x - y, restart=True, ask=b - y)


# RFC 9776 6.4.2 h
def _exclude_to_include(x: Sources, y: Sources, b: Sources) -> Step:
    return Step(EXCLUDE, x | b, y - b, refresh=b, ask=x - b, ask_group=True)


Row = Callable[[Sources, Sources, Sources], Step]
# RFC 9776 6.1 d
# RFC 4541 2.1.2 g
TABLE: dict[tuple[Mode, RecordType], Row] = {
    (INCLUDE, IS_IN): _include_allow,
    (INCLUDE, IS_EX): _include_is_exclude,
    (EXCLUDE, IS_IN): _exclude_allow,
    (EXCLUDE, IS_EX): _exclude_is_exclude,
    (INCLUDE, ALLOW): _include_allow,
    (INCLUDE, BLOCK): _include_block,
    (INCLUDE, TO_EX): _include_to_exclude,
    (INCLUDE, TO_IN): _include_to_include,
    (EXCLUDE, ALLOW): _exclude_allow,
    (EXCLUDE, BLOCK): _exclude_block,
    (EXCLUDE, TO_EX): _exclude_to_exclude,
    (EXCLUDE, TO_IN): _exclude_to_include,
}

# The same in the order of the numbers: hashing an enumeration takes longer than the row.
_INCLUDE_ROWS = [TABLE[INCLUDE, kind] for kind in RecordType]
_EXCLUDE_ROWS = [TABLE[EXCLUDE, kind] for kind in RecordType]


def row_of(mode: Mode, kind: RecordType) -> Row:
    """The row of `TABLE` for a record."""
    return (_EXCLUDE_ROWS if mode is EXCLUDE else _INCLUDE_ROWS)[kind - 1]


# What a group with older hosts makes of a record: ignored, or read without its sources (section 7.3.2).
IGNORED = frozenset({(2, BLOCK), (1, BLOCK), (1, TO_IN)})
SOURCELESS = frozenset({(2, TO_EX), (1, TO_EX)})


# RFC 9776 7.3.2 e f
def understood(compatibility: int, kind: RecordType, sources: Sources) -> Sources | None:
    """The sources a record stands for in a compatibility mode of 1, 2 or 3; None: the record is ignored."""
    if compatibility == 3:
        return sources
    if (compatibility, kind) in IGNORED:
        return None
    return NO_SOURCES if (compatibility, kind) in SOURCELESS else sources
