"""Taking memberships back after a restart: from the routes that a predecessor put out and that still stand.

Rules of this file: a group is taken back whole, on all its ports together, and before anything that is heard of it is
worked on; so what is learned is never overwritten by what is restored, and no route forgets a port that was not looked
at yet. Routes are made equal to what is wanted when nothing waits any more. Upstream nothing is said of what routers
were told by the predecessor; a General Query there has to wait until there is a whole answer.
"""

from collections.abc import Iterable

from igmp.database import restrict
from igmp.filter import Filter, Mode, filters
from igmp.heard import OlderHosts
from igmp.inheritance import Inheritance
from igmp.merging import Merging
from igmp.messages import Message, Query
from igmp.outputs import Output
from igmp.ports import ProxyPorts
from igmp.timers import TimerQueue

RESTORING = -2                          # the timer of no port: groups wait to be taken back
PORTION = 512                           # taken back in one call, groups and their ports: some 2 ms

Found = dict[int, dict[int, Filter]]    # what is wanted, by group and port


class Restoration:
    """Does the work a few groups at a time."""

    def __init__(self, ports: ProxyPorts, merging: Merging, inheritance: Inheritance, timers: TimerQueue[int]) -> None:
        self._ports, self._merging, self._inheritance, self._timers = ports, merging, inheritance, timers
        self._older: dict[int, dict[int, OlderHosts]] = {}      # by port and group, until all was given back
        self._postponed: dict[tuple[int, int], Query] = {}      # General Queries by upstream port and version
        self.has_begun = False                                  # before that `some` has nobody to give anything back to

    def __bool__(self) -> bool:
        return bool(self._inheritance or self._postponed)

    def inherit(self, group: int, source: int | None, ports: int) -> None:
        """A route that stands: bit p of `ports` is port p."""
        self._merging.database.inherit(group, source, ports)
        self._inheritance.add(group)

    def inherit_older(self, port: int, older: OlderHosts) -> None:
        """A group of `port` has older hosts."""
        self._older.setdefault(port, {})[older.group] = older

    def begin(self, ports: int, now: float) -> None:
        """Those of `ports` (a bitmap) that are up get back what was theirs, in the calls of `some` that follow."""
        up = sum(1 << port for port in self._ports.links) & ports
        hosts = sum(1 << port for port in self._ports.hosts)
        self._inheritance.begin(up & ~hosts, up & hosts)
        self.has_begun = True
        if not self:
            self._forget_older()
        self._arm(now)

    def postpones(self, port: int, message: Message) -> bool:
        """Whether a message heard upstream has to wait: the newest General Query of each version does."""
        if not self._inheritance or not isinstance(message, Query) or message.group:
            return False
        self._postponed[port, message.version] = message
        return True

    def prepare(self, message: Message, now: float) -> None:
        """Take back what `message` speaks of, before it is worked on."""
        groups = [message.group] if isinstance(message, Query) else [record.group for record in message.records]
        self._take_back([group for group in groups if self._inheritance.take(group)], now)

    def some(self, now: float) -> list[Output]:
        """Take back about PORTION memberships more, or settle what differs; the last call answers what waited."""
        self._take_back(self._next(), now)
        if self._inheritance.is_waiting:
            self._arm(now)
            return []
        self._forget_older()
        outputs = self._settle(now)
        self._arm(now)
        return outputs

    def _forget_older(self) -> None:
        """All was given back; what was of groups that are no more need not be remembered."""
        for port, groups in self._older.items():
            if port in self._ports.queriers:
                self._ports.queriers[port].members.aged.review(groups)
        self._older.clear()

    def _arm(self, now: float) -> None:
        if self:
            self._timers.set(RESTORING, now)

    def _next(self) -> list[int]:
        """Groups that wait, until they have PORTION memberships together."""
        groups, left, rows = [], PORTION, self._merging.database.rows
        while left > 0 and (group := self._inheritance.next()) is not None:
            groups.append(group)
            for ports in rows(group).values():
                left -= ports.bit_count() + 1
        return groups

    def _take_back(self, groups: Iterable[int], now: float) -> None:
        rows, heirs = self._merging.database.rows, self._inheritance.heirs
        found = self._admitted({group: filters(rows(group), heirs) for group in groups})
        self._give_back(found, now)
        told_all = self._merging.upstreams.adopt(found, self._inheritance.told)
        for group, wants in found.items():
            self._merge(group, wants)
            if not told_all or not self._merging.database.is_settled(group):
                self._inheritance.unsettle(group)

    def _admitted(self, found: Found) -> Found:
        """What the lists of today leave of it, and the ranges where any source is none."""
        options = self._ports.options
        rules = next((options[port].rules for port in self._ports.queriers), None)
        for group in filter(rules.is_ssm, found) if rules else ():
            found[group] = {port: each for port, each in found[group].items() if each.mode is Mode.INCLUDE}
        lists = {port: access for port in self._ports.queriers if not (access := options[port].access).is_open}
        for group, wants in found.items() if lists else ():
            for port in wants.keys() & lists.keys():
                wants[port] = restrict(wants[port], group, lists[port])
                if not wants[port]:
                    del wants[port]
        return found

    def _give_back(self, found: Found, now: float) -> None:
        """To each port its members."""
        static, members = self._merging.static, dict[int, dict[int, Filter]]()
        for group, wants in found.items():
            for port, wanted in wants.items():
                learned = static.learned(port, group, wanted) if static else wanted
                if learned:
                    members.setdefault(port, {})[group] = learned
        for port, groups in members.items():
            querier = self._ports.queriers[port]
            querier.restore(groups, self._older.get(port, {}), now)
            self._timers.set(port, querier.deadline)

    def _merge(self, group: int, wants: dict[int, Filter]) -> None:
        merging = self._merging
        if not merging.static:
            merging.database.adopt(group, wants)
            return
        for port in wants:
            learned = self._ports.queriers[port].filter(group)
            merging.database.set(port, group, merging.effective(port, group, learned))

    def _settle(self, now: float) -> list[Output]:
        outputs = self._merging.work_out(self._inheritance.settle(PORTION), now)
        while self._postponed and not self._inheritance:
            (port, _), query = self._postponed.popitem()
            host = self._ports.hosts.get(port)
            if host is not None and port in self._ports.links:
                outputs += self._merging.conclude([(port, host.receive(query, now))], now)
                self._timers.set(port, host.deadline)
        return outputs
