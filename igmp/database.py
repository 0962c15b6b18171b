"""The membership database of RFC 4605 section 4.1: what each downstream port wants of each group.

Rules of this file: everything costs by the ports that want something of one group, never by the number of groups or
of ports. Routes are put out only where they differ from what was put out before.
"""

from collections.abc import Container, Iterator, Mapping

from igmp.access import OPEN, AccessList
from igmp.filter import NOTHING, Filter, Mode, include, merge, rows
from igmp.outputs import Route

Wants = dict[int, Filter]               # by port, never empty filters
Ports = Container[int] | None           # None: all


# RFC 4605 3 d
class Database:
    """What ports want, and the routes that follow from it."""

    def __init__(self) -> None:
        self._wants: dict[int, Wants] = {}
        self._rows: dict[int, dict[int | None, int]] = {}       # routes as put out, by group
        self._contributions: dict[int, AccessList] = {}         # of ports that do not contribute all they want

    def __len__(self) -> int:
        return len(self._wants)

    def __iter__(self) -> Iterator[int]:
        return iter(self._wants)

    def set(self, port: int, group: int, wanted: Filter) -> None:
        """From now on `port` wants `wanted` of `group`."""
        ports = self._wants.get(group)
        if wanted:
            if ports is None:
                self._wants[group] = {port: wanted}
            else:
                ports[port] = wanted
        elif ports is not None:
            ports.pop(port, None)
            if not ports:
                del self._wants[group]

    def adopt(self, group: int, wants: Wants) -> None:
        """All that is wanted of `group`, of which there was nothing."""
        if wants:
            self._wants[group] = wants

    def contribute(self, port: int, contribution: AccessList) -> None:
        """What upstream ports are told of `port` is no more than that admits; its routes are those of all it wants."""
        if contribution.is_open:
            self._contributions.pop(port, None)
        else:
            self._contributions[port] = contribution

    def joint(self, wants: Mapping[int, Filter], group: int, access: AccessList, ports: Ports) -> Filter:
        """The part of what `ports` (None: all) contribute to `group` that `access` admits, from what each wants."""
        return joint(self._contributed(wants, group, ports), group, access)

    def admitted(self, group: int, access: AccessList, ports: Ports, more: Filter = NOTHING) -> Filter:
        """The part of what `ports` (None: all) contribute to `group`, and of `more`, that `access` admits."""
        wanted = self.joint(self._wants.get(group, {}), group, access, ports)
        return merge([wanted, restrict(more, group, access)]) if more else wanted

    def origins(self, group: int, access: AccessList, ports: Ports) -> tuple[int, ...]:
        """Those of `ports` (None: all) that contribute something to `group` that `access` admits."""
        wants = self._contributed(self._wants.get(group, {}), group, ports)
        return tuple(sorted(port for port, each in wants.items() if restrict(each, group, access)))

    def _contributed(self, wants: Mapping[int, Filter], group: int, ports: Ports) -> Mapping[int, Filter]:
        """Of what each port wants what counts upstream."""
        if ports is not None:
            wants = {port: each for port, each in wants.items() if port in ports}
        known = self._contributions
        if not known or known.keys().isdisjoint(wants):
            return wants
        return {port: restrict(each, group, known.get(port, OPEN)) for port, each in wants.items()}

    def changes(self, group: int) -> list[Route]:
        """The routes of `group` that are not as they were put out last."""
        before, wants = self._rows.pop(group, {}), self._wants.get(group)
        if wants is None:
            return [Route(group, source, 0, False) for source in before]
        after = self._rows[group] = rows(wants)
        changed = [Route(group, source, ports) for source, ports in after.items() if before.get(source) != ports]
        return changed + [Route(group, source, 0, False) for source in before if source not in after]

    def inherit(self, group: int, source: int | None, ports: int) -> None:
        """A route that stands since before a restart."""
        standing = self._rows.get(group)
        if standing is None:
            self._rows[group] = {source: ports}
        else:
            standing[source] = ports

    def rows(self, group: int) -> Mapping[int | None, int]:
        """The routes of `group` as they were put out last: ports (a bitmap) by source, None for any other."""
        return self._rows.get(group, {})

    def is_settled(self, group: int) -> bool:
        """Whether `changes` has nothing to tell."""
        return rows(self._wants.get(group, {})) == self._rows.get(group, {})

    def routes(self) -> list[Route]:
        """Every row that was put out and not deleted since."""
        return [Route(group, source, ports) for group, rows in self._rows.items() for source, ports in rows.items()]


# RFC 4605 4.1 c
def joint(wants: Mapping[int, Filter], group: int, access: AccessList) -> Filter:
    """The part of what ports want of `group` together that `access` admits, from what each wants."""
    if access.is_open:
        return merge(wants.values()) if wants else NOTHING
    return merge([restrict(each, group, access) for each in wants.values()])


def restrict(wanted: Filter, group: int, access: AccessList) -> Filter:
    """The part of `wanted` that `access` admits: a membership for any source is admitted whole or not at all."""
    if access.is_open:
        return wanted
    if wanted.mode is Mode.EXCLUDE:
        return wanted if access.admits(None, group) else NOTHING
    return include(source for source in wanted.sources if access.admits(source, group))
