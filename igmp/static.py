"""Memberships that the configuration asks for: members without a receiver, which never expire.

Rules of this file: pure bookkeeping; whether a port is up and what its access list admits is judged by the proxy.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, include, merge
from igmp.packet import is_trackable

Memberships = Collection[tuple[int | None, int]]        # (source, group); source None: any


@dataclass(frozen=True, slots=True)
class Static:
    """What is configured of one group on one port, and since when."""

    filter: Filter
    since: float


def filters_of(memberships: Memberships) -> dict[int, Filter]:
    """What is wanted of each group; groups that are never tracked are left out (224.0.0.0/24)."""
    filters: dict[int, Filter] = {}
    for source, group in memberships:
        if is_trackable(group):
            wanted = EVERYTHING if source is None else include([source])
            filters[group] = merge([filters.get(group, NOTHING), wanted])
    return filters


class StaticMemberships:
    """By port and group."""

    def __init__(self) -> None:
        self._ports: dict[int, dict[int, Static]] = {}

    def __bool__(self) -> bool:
        return bool(self._ports)

    def set(self, port: int, memberships: Memberships, now: float) -> list[int]:
        """Replace those of `port`; the groups that differ."""
        before = self._ports.pop(port, {})
        filters = filters_of(memberships)
        if filters:
            self._ports[port] = {
                group: old if (old := before.get(group)) and old.filter == wanted else Static(wanted, now)
                for group, wanted in filters.items()
            }
        return [group for group in {**before, **filters} if group not in filters or before.get(group) is None
                or before[group].filter != filters[group]]

    def groups(self, port: int) -> Iterable[int]:
        """The groups configured on a port."""
        return self._ports.get(port, {})

    def get(self, port: int, group: int) -> Static | None:
        """What is configured of a group on a port."""
        return self._ports.get(port, {}).get(group)

    def filter(self, port: int, group: int) -> Filter:
        """What is wanted by configuration of a group on a port."""
        static = self.get(port, group)
        return NOTHING if static is None else static.filter

    def learned(self, port: int, group: int, wanted: Filter) -> Filter:
        """The part of `wanted` that must be members', where what they and the configuration want was merged."""
        static = self.filter(port, group)
        if static.mode is not wanted.mode or not static:
            return wanted
        return NOTHING if wanted.mode is Mode.EXCLUDE else include(wanted.sources - static.sources)
