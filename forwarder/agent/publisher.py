"""What the protocol decided, as the shared segments say it: route rows, roles, counters; and the way back."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from forwarder.agent.static import StaticRow
from forwarder.state.membership import MembershipWriter
from forwarder.state.ports import Port
from forwarder.state.routes import RouteKey, RouteRow, RouteWriter
from igmp.counters import SOCKET_COUNTERS
from igmp.outputs import Role, Route
from igmp.proxy import Proxy

TX_FAILED, RX_QUEUE_FULL = SOCKET_COUNTERS
Memberships = Collection[tuple[int | None, int]]        # (source, group), source None for any


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
        self._failed, self._lost = Counter[int](), Counter[int]()
        inherited = self._routes.rows()
        self._inherited = _by_group(inherited)
        self._static = {row.key: row for row in inherited if row.key.static}
        self.generation = 0

    @property
    def refused(self) -> int:
        """How many routes found no room in the segment."""
        return self._routes.refused

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

    def set_static(self, rows: Mapping[RouteKey, StaticRow]) -> None:
        """Make the static rows say this and nothing else; learned ones stay beside them."""
        for key in self._static.keys() - rows.keys():
            del self._static[key]
            self._routes.delete(key)
            self._changed = True
        for key, row in rows.items():
            former = self._static.get(key)
            if former is None or (former.ports, former.kind) != row or not self._speaks_of_today(former):
                if self._routes.set(key, row.ports, row.kind, self.generation):
                    self._static[key] = RouteRow(key, row.ports, row.kind, self.generation)
                self._changed = True

    def _speaks_of_today(self, row: RouteRow) -> bool:
        """Whether no port of the row has got another owner since it was written."""
        return all(assigned <= row.stamp for index, assigned in self._assigned.items() if row.ports >> index & 1)

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

    def failed(self, index: int) -> None:
        """Something could not be sent on a port."""
        self._failed[index] += 1

    def port(self, proxy: Proxy, index: int, lost: int = 0) -> None:
        """Publish counters, group count and version of a port; `lost`: packets more that the kernel had no room for."""
        counting = proxy.counters(index)
        if self._counting.get(index) is not counting:   # the protocol began anew: count on from what was said
            self._counting[index], self._counted_before[index] = counting, self._membership.read_counters(index)
            del self._failed[index], self._lost[index]
        self._lost[index] += lost
        before = self._counted_before[index]
        counters = {name: before[name] + count for name, count in counting.items()}
        counters[TX_FAILED] = before[TX_FAILED] + self._failed[index]
        counters[RX_QUEUE_FULL] = before[RX_QUEUE_FULL] + self._lost[index]
        self._membership.counters(index, counters)
        self._membership.groups(index, proxy.group_count(index))
        self._membership.version(index, proxy.version(index))

    def restore(self, proxy: Proxy, index: int, static: Memberships, now: float) -> None:
        """Give `proxy` back what a predecessor's rows say of a port, apart from what is static there."""
        for group, rows in self._inherited.items():
            bits = {row.key.source: bool(row.ports >> index & 1) for row in rows if row.stamp >= self._assigned[index]}
            any_source = bits.pop(None, False)
            listed = {source for source, wanted in bits.items() if source is not None and wanted != any_source}
            if any_source and (None, group) not in static:
                proxy.restore(index, group, "exclude", (), listed, now)
            elif not any_source and (learned := {source for source in listed if (source, group) not in static}):
                proxy.restore(index, group, "include", learned, (), now)

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
        if not row.key.static:
            groups.setdefault(row.key.group, []).append(row)
    return groups
