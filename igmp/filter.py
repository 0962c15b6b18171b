"""Source filters of one group, how several merge into one, and which ports each source goes to.

Rules of this file: pure values; INCLUDE of no sources is no membership; addresses are int.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

NO_SOURCES: frozenset[int] = frozenset()


class Mode(StrEnum):
    """Filter mode (RFC 9776 section 3.1)."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class Filter:
    """The sources let through: those listed (INCLUDE) or all others (EXCLUDE)."""

    mode: Mode
    sources: frozenset[int] = NO_SOURCES

    def __bool__(self) -> bool:
        return self.mode is Mode.EXCLUDE or bool(self.sources)

    def admits(self, source: int) -> bool:
        """Whether packets of `source` pass."""
        return (source in self.sources) == (self.mode is Mode.INCLUDE)


NOTHING = Filter(Mode.INCLUDE)
EVERYTHING = Filter(Mode.EXCLUDE)


def include(sources: Iterable[int]) -> Filter:
    """Only `sources`."""
    return Filter(Mode.INCLUDE, frozenset(sources)) or NOTHING


def exclude(sources: Iterable[int]) -> Filter:
    """All but `sources`."""
    listed = frozenset(sources)
    return Filter(Mode.EXCLUDE, listed) if listed else EVERYTHING


# RFC 9776 3.2 a b
# RFC 4605 4.1 f
def merge(filters: Collection[Filter]) -> Filter:
    """The least filter that lets through what any of `filters` does (RFC 9776 section 3.2, RFC 4605 section 4.1)."""
    if len(filters) == 1:
        return next(iter(filters))                      # shared, not copied: most groups have one port
    excluded = [each.sources for each in filters if each.mode is Mode.EXCLUDE]
    included = NO_SOURCES.union(*(each.sources for each in filters if each.mode is Mode.INCLUDE))
    if not excluded:
        return include(included)
    return exclude(frozenset.intersection(*excluded) - included)


# RFC 9776 6.3 a b
def rows(filters: Mapping[int, Filter]) -> dict[int | None, int]:
    """Port bitmap by source, None for any other, from the filter of each port.

    A source has a row exactly when its ports differ from those of any other; a row of no ports blocks its source.
    """
    anyone = 0
    for port, each in filters.items():
        if each.mode is Mode.EXCLUDE:
            anyone |= 1 << port
    bitmaps: dict[int | None, int] = {None: anyone} if anyone else {}
    for port, each in filters.items():
        for source in each.sources:
            bitmaps[source] = bitmaps.get(source, anyone) ^ 1 << port   # listed: the opposite of any other
    return bitmaps


def filters(bitmaps: Mapping[int | None, int], ports: int) -> dict[int, Filter]:
    """What each of `ports` (a bitmap) wants, where it wants something: the inverse of `rows`."""
    anyone = bitmaps.get(None, 0)
    wanted = dict.fromkeys(_bits(anyone & ports), EVERYTHING)
    if len(bitmaps) == (None in bitmaps):
        return wanted                                   # by far the most frequent
    listed: dict[int, list[int]] = {}
    for source, bitmap in bitmaps.items():
        if source is not None:
            for port in _bits((bitmap ^ anyone) & ports):
                listed.setdefault(port, []).append(source)
    return wanted | {port: (exclude if port in wanted else include)(sources) for port, sources in listed.items()}


def _bits(bitmap: int) -> Iterator[int]:
    """The numbers of the bits that are set, ascending."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest
