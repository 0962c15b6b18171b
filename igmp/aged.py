"""The groups of a port of whose older hosts a successor must be told something else than before.

Rules of this file: pure bookkeeping, a few at a time; a flood of groups is not remembered.
"""

import itertools
from collections.abc import Iterable, Mapping

from igmp.group import Group
from igmp.heard import OlderHosts


class Aged:
    """Those groups, the first that was noted first."""

    def __init__(self) -> None:
        self._groups: dict[int, None] = {}

    def note(self, group: Group, most: int) -> None:
        """A host of an older version was heard, or the group is no more; of more than `most` that is forgotten."""
        if group.had_older and len(self._groups) < most:
            self._groups[group.group] = None

    def review(self, groups: Iterable[int]) -> None:
        """A successor must be told of these again."""
        self._groups |= dict.fromkeys(groups)

    def take(self, groups: Mapping[int, Group], limit: int) -> list[OlderHosts]:
        """What is to be told of some, `limit` at most; `groups` are those that there are."""
        some = list(itertools.islice(self._groups, limit))
        for number in some:
            del self._groups[number]
        return [_told(number, groups.get(number)) for number in some]


def _told(number: int, group: Group | None) -> OlderHosts:
    return OlderHosts(number) if group is None else OlderHosts(number, group.v1_until, group.v2_until)
