"""Which routes smcrouted has after reading its lines, since their order counts there, and here what is more specific.

* Lines of the same interface, group and source are one route that goes everywhere they say.
* One source and one group (an entry of the kernel's) go before networks and any source, and come by one interface: the
  last line says which.
* Of the others the first that has a datagram counts. A line that is behind one which has all of it never does; if it is
  about a wildcard, not for the interfaces that the other one is about, which get a route that says the same. Where two
  lines have a part of each other only (one the longer source, the other the longer group), here the one does that
  `[[route]]` puts first: a route for a source, then the longer group.

Seen with smcrouted 2.5.6. Pure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from forwarder.config.formats.translation import Origin
from forwarder.state.settings import covers, is_wildcard
from igmp.link import Network

MOST_LOOKS = 1 << 20        # at interfaces that a wildcard of a line may mean: some seconds

Key = tuple[int, int, str]              # network of sources, of groups; interface


@dataclass(slots=True)
class StaticRoute:
    """`source` None is any; `out` in the order of the lines, `origin` is the first of them."""

    ingress: str
    group: Network
    source: Network | None
    out: dict[str, None]
    origin: Origin

    @property
    def lengths(self) -> tuple[int, int]:
        """Prefix lengths of source and group."""
        return self.source.prefix if self.source else 0, self.group.prefix


class Routes:
    """Lines in, routes out; what becomes of a line that does not count is told by `tell`."""

    def __init__(self, tell: Callable[[Origin, str], None]) -> None:
        self._tell = tell
        self._routes: dict[tuple[Network, Network | None, str], StaticRoute] = {}
        self._single: dict[tuple[Network, Network | None], str] = {}        # by which interface they come
        self._others: dict[tuple[int, int], dict[Key, StaticRoute]] = {}    # by prefix lengths
        self._wildcards: dict[str, None] = {}
        self._names: dict[str, None] = {}
        self._instead: dict[tuple[Network, Network | None, str], StaticRoute] = {}  # of what a wildcard says
        self._looks = 0

    def add(self, route: StaticRoute) -> None:
        """The next line."""
        identity = route.group, route.source, route.ingress
        if known := self._routes.get(identity):
            known.out |= route.out
            return
        if route.lengths == (32, 32):
            self._take_over(route)
        elif not self._is_said(route) and (first := self._covering(route, route.ingress)):
            self._add_to_named(route)
            words = f"{first.origin.place} comes first and has all of it, so smcrouted never takes it"
            self._tell(route.origin, f"{words}: left out")
            return
        else:
            self._others.setdefault(route.lengths, {})[self._key(route, route.lengths, route.ingress)] = route
            self._except(route)
        (self._wildcards if is_wildcard(route.ingress) else self._names)[route.ingress] = None
        self._routes[identity] = route

    def __iter__(self) -> Iterator[StaticRoute]:
        """Those that count; what a wildcard says of an interface that has a route of its own is said of that too."""
        for (group, source, ingress), route in self._routes.items():
            for wildcard in () if is_wildcard(ingress) else self._wildcards:
                other = self._routes.get((group, source, wildcard))
                if other is not None and covers(wildcard, ingress):
                    route.out |= {name: None for name in other.out if name != ingress}
            yield route
        for (group, source, ingress), first in self._instead.items():
            yield replace(first, group=group, source=source, ingress=ingress, out=dict(first.out))

    def _take_over(self, route: StaticRoute) -> None:
        """A source and group of which another interface was said before."""
        place = route.group, route.source
        former = self._routes.get((*place, self._single.get(place, "")))
        if former is not None and not is_wildcard(former.ingress) and not is_wildcard(route.ingress):
            del self._routes[*place, former.ingress]
            words = f"takes it from {route.ingress} alone, though {former.origin.place} says {former.ingress}"
            self._tell(route.origin, f"smcrouted {words}: that line is left out")
        self._single[place] = route.ingress

    def _is_said(self, route: StaticRoute) -> bool:
        """Whether a wildcard has said as much of its interface before."""
        place = route.group, route.source
        if (*place, route.ingress) in self._instead:
            return False
        return any((*place, each) in self._routes for each in self._wildcards if covers(each, route.ingress))

    def _add_to_named(self, route: StaticRoute) -> None:
        """What a wildcard says too late for others is still said of interfaces that have such a route."""
        for name in self._meant(route):
            if known := self._routes.get((route.group, route.source, name)):
                known.out |= route.out

    def _except(self, route: StaticRoute) -> None:
        """What a wildcard says is not for interfaces that have an earlier line for all of it."""
        for name in self._meant(route):
            identity = route.group, route.source, name
            if identity not in self._routes and (first := self._covering(route, name)):
                self._instead[identity] = first

    def _meant(self, route: StaticRoute) -> Iterator[str]:
        """The interfaces of routes before that a wildcard means."""
        for name in self._names if is_wildcard(route.ingress) and self._looks < MOST_LOOKS else ():
            self._looks += 1
            if covers(route.ingress, name):
                yield name

    def _covering(self, route: StaticRoute, name: str) -> StaticRoute | None:
        """An earlier line that has all that this one has, of an interface."""
        ways = [name, *(each for each in self._wildcards if covers(each, name))]
        sources, groups = route.lengths
        for lengths, known in self._others.items():
            if lengths[0] <= sources and lengths[1] <= groups and lengths != route.lengths:
                for ingress in ways:
                    if found := known.get(self._key(route, lengths, ingress)):
                        return found
        return None

    @staticmethod
    def _key(route: StaticRoute, lengths: tuple[int, int], ingress: str) -> Key:
        source = route.source.address if route.source else 0
        return source >> 32 - lengths[0], route.group.address >> 32 - lengths[1], ingress
