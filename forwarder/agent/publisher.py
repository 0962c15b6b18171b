"""What the protocol decided, as the shared segments say it: route rows, roles, counters; and the way back."""

import os
from collections.abc import Iterable, Mapping, Sequence

from forwarder.state.membership import MembershipWriter
from forwarder.state.ports import Port
from forwarder.state.routes import RouteKey, RouteRow, RouteWriter
from igmp.outputs import Role, Route
from igmp.proxy import Proxy


class Publisher:
    """The agent's side of the route and membership segments."""

    def __init__(self, routes: int, membership: int, bells: Sequence[int]) -> None:
        self._routes = RouteWriter(routes)
        self._membership = MembershipWriter(membership)
        self._bells = tuple(bells)
        self._changed = False
        self._assigned: dict[int, int] = {}
        self._counted_before: dict[int, dict[str, int]] = {}
        self._counting: dict[int, Mapping[str, int]] = {}
        self._inherited = _by_group(self._routes.rows())
        self.generation = 0

    def beat(self, now_ns: int) -> None:
        """I live."""
        self._membership.beat(now_ns)

    def assign(self, port: Port) -> None:
        """A port index belongs to this name: keep what was said of it, or start over for a new owner."""
        if self._assigned.get(port.index) == port.assigned:
            return
        self._assigned[port.index] = port.assigned
        self._membership.assign(port.index, port.assigned)
        self._counting.pop(port.index, None)

    def route(self, route: Route) -> None:
        """Write or delete a learned row."""
        key = RouteKey(route.group, 32, route.source)
        if route.present:
            self._routes.set(key, route.ports, "learned", self.generation)
        else:
            self._routes.delete(key)
        self._changed = True

    def role(self, role: Role) -> None:
        """Say who is querier on a port."""
        self._membership.role(role.port, role.querier, role.address)
        self._changed = True

    def wake(self) -> None:
        """Wake the workers if a route or a role changed since the last call."""
        if self._changed:
            self._changed = False
            for bell in self._bells:
                os.eventfd_write(bell, 1)

    def port(self, proxy: Proxy, index: int) -> None:
        """Publish counters, group count and version of a port."""
        counting = proxy.counters(index)
        if self._counting.get(index) is not counting:   # the protocol began anew: count on from what was said
            self._counting[index], self._counted_before[index] = counting, self._membership.read_counters(index)
        before = self._counted_before[index]
        counters = {name: before[name] + count for name, count in counting.items()}
        self._membership.counters(index, counters)
        self._membership.groups(index, proxy.group_count(index))
        self._membership.version(index, proxy.version(index))

    def restore(self, proxy: Proxy, index: int, now: float) -> None:
        """Give `proxy` back what a predecessor's rows say of a port."""
        for group, rows in self._inherited.items():
            bits = {row.key.source: bool(row.ports >> index & 1) for row in rows if row.stamp >= self._assigned[index]}
            any_source = bits.pop(None, False)
            listed = {source for source, wanted in bits.items() if source is not None and wanted != any_source}
            if any_source:
                proxy.restore(index, group, "exclude", (), listed, now)
            elif listed:
                proxy.restore(index, group, "include", listed, (), now)

    def reconcile(self, routes: Iterable[Route]) -> None:
        """Make the learned rows say what `routes` says, and nothing else."""
        wanted = {RouteKey(route.group, 32, route.source): route for route in routes}
        for rows in self._inherited.values():
            for row in rows:
                if row.key not in wanted:
                    self._routes.delete(row.key)
                    self._changed = True
                elif wanted[row.key].ports == row.ports:
                    del wanted[row.key]
        for route in wanted.values():
            self.route(route)
        self._inherited = {}
        self.wake()


def _by_group(rows: Iterable[RouteRow]) -> dict[int, list[RouteRow]]:
    groups: dict[int, list[RouteRow]] = {}
    for row in rows:
        if row.kind == "learned":
            groups.setdefault(row.key.group, []).append(row)
    return groups
