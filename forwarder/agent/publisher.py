"""What the protocol decided, as the shared segments say it: route rows, roles, counters; and what stood before."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from forwarder.agent.owners import Owners
from forwarder.agent.static import StaticRow
from forwarder.state.membership import MembershipWriter
from forwarder.state.ports import Port
from forwarder.state.routes import RouteKey, RouteRow, RouteWriter
from igmp.counters import SOCKET_COUNTERS
from igmp.heard import Heard, OlderHosts
from igmp.outputs import Role, Route
from igmp.proxy import Proxy

OLDER_AT_ONCE = 512             # groups of a port whose older hosts are written at once: 1 ms
TX_FAILED, RX_QUEUE_FULL = SOCKET_COUNTERS


class Publisher:
    """The agent's side of the route and membership segments."""

    def __init__(self, routes: int, membership: int, bells: Sequence[int]) -> None:
        self._routes = RouteWriter(routes)
        self._membership = MembershipWriter(membership)
        self._bells = tuple(bells)
        self._changed = False
        self._owners = Owners()
        self._counted_before: dict[int, dict[str, int]] = {}
        self._counting: dict[int, Mapping[str, int]] = {}
        self._told: dict[int, object] = {}      # what was published last, of each port
        self._failed, self._lost = Counter[int](), Counter[int]()
        self._static: dict[RouteKey, RouteRow] = {}
        self._said: dict[int, int] = {}         # ports of the inherited rows, by stamp
        self.generation = 0

    @property
    def refused(self) -> int:
        """How many routes found no room in the segment."""
        return self._routes.refused

    def beat(self, now_ns: int) -> None:
        """I live."""
        self._membership.beat(now_ns)

    def inherited(self) -> Iterator[RouteRow | None]:
        """What a predecessor learned, row by row, None for other rows: all of them before anything is written."""
        for row in self._routes.adopt():
            if row is not None and row.key.static:
                self._static[row.key] = row
            elif row is not None:
                self._said[row.stamp] = self._said.get(row.stamp, 0) | row.ports
                yield row
                continue
            yield None

    def inherited_older(self) -> Iterator[tuple[int, OlderHosts] | None]:
        """Of which groups of which ports a predecessor heard older hosts, row by row, None for free ones."""
        for row in self._membership.older.adopt():
            yield None if row is None else (row[0], OlderHosts(*row[1:]))

    def heirs(self) -> int:
        """Bitmap of the ports whose owners of today the inherited rows speak of; to be asked once, ports assigned."""
        said, self._said = self._said, {}
        former = 0
        for stamp, ports in said.items():
            former |= ports & self._owners.since(stamp)
        return ~former

    def assign(self, port: Port) -> None:
        """A port index belongs to this name: keep what was said of it, or start over for a new owner."""
        if not self._owners.assign(port.index, port.assigned):
            return
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
            if former is None or (former.ports, former.kind) != row or former.ports & self._owners.since(former.stamp):
                if self._routes.set(key, row.ports, row.kind, self.generation):
                    self._static[key] = RouteRow(key, row.ports, row.kind, self.generation)
                self._changed = True

    def role(self, role: Role, heard: Heard) -> None:
        """Say who is querier on a port, and what was heard of it."""
        self._membership.heard(role.port, heard)
        self._membership.role(role.port, role.querier, role.address)
        self._changed = True

    def heard(self, index: int) -> Heard:
        """What a predecessor heard of other queriers of a port, which is assigned."""
        return self._membership.read_heard(index)

    def wake(self) -> None:
        """Wake the workers if a route or a role changed since the last call."""
        if self._changed:
            self._changed = False
            for bell in self._bells:
                os.eventfd_write(bell, 1)

    def ring(self, bells: Iterable[int]) -> None:
        """These wake the workers from now on; those before are closed."""
        former, self._bells = self._bells, tuple(bells)
        for bell in former:
            os.close(bell)
        self._changed = True    # who has just begun may have looked before the last change, and heard no bell

    def failed(self, index: int) -> None:
        """Something could not be sent on a port."""
        self._failed[index] += 1

    def port(self, proxy: Proxy, index: int, lost: int = 0) -> None:
        """Publish counters, group count and version of a port; `lost`: packets more that the kernel had no room for."""
        counting = proxy.counters(index)
        if self._counting.get(index) is not counting:   # the protocol began anew: count on from what was said
            self._counting[index], self._counted_before[index] = counting, self._membership.read_counters(index)
            del self._failed[index], self._lost[index]
            self._told.pop(index, None)
        self._lost[index] += lost
        for older in proxy.take_older(index, OLDER_AT_ONCE):
            self._membership.older.set(index, older.group, older.v1_until, older.v2_until)
        said = proxy.group_count(index), proxy.held_count(index), proxy.version(index), proxy.heard(index)
        told = dict(counting), self._failed[index], self._lost[index], said
        if self._told.get(index) == told:       # most of many ports: writing it all takes four times as long
            return
        self._told[index] = told
        before = self._counted_before[index]
        counters = {name: before[name] + count for name, count in counting.items()}
        counters[TX_FAILED] = before[TX_FAILED] + self._failed[index]
        counters[RX_QUEUE_FULL] = before[RX_QUEUE_FULL] + self._lost[index]
        self._membership.counters(index, counters)
        groups, held, version, heard = said
        self._membership.groups(index, groups, held)
        self._membership.version(index, version)
        self._membership.heard(index, heard)
