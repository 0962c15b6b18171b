"""What a configuration says and cannot have: routes without a way out, groups their own port refuses. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from forwarder.state.access import access_of, contribution_of
from forwarder.state.ports import Configuration, Port
from forwarder.state.settings import InterfaceSettings, RouteSettings, covers
from igmp.access import AccessList
from igmp.link import Network, parse_address

Key = tuple[int, int]   # of groups: prefix length, network


def route_note(route: RouteSettings, ports: Sequence[Port]) -> str | None:
    """Why a static route forwards nothing as things are, in words; None where it can, or is to block."""
    if not route.interfaces:
        return None
    if route.upstream is not None and (state := _state([route.upstream], ports)):
        return f"nothing comes in: {route.upstream} {state}"
    if state := _state(route.interfaces, ports):
        return f"goes nowhere: {', '.join(route.interfaces)} {state}"
    return None


class Lists:
    """The lists of a port, read once."""

    def __init__(self, own: InterfaceSettings) -> None:
        self._access = access_of(own)

    def refusing(self, source: int | None, group: int) -> str | None:
        """Which of them refuses a membership, in words; None where none does. `source` None: any."""
        reason = self._access.refusing(source, group).partition(" ")[0]
        return {"": None, "allow": "not among allow"}.get(reason, f"refused by {reason}")


def group_note(text: str, port: Port) -> str | None:
    """Which list of a port refuses a static group of its own, in words; None where none does."""
    words = Lists(port.settings).refusing(*_membership(text))
    return f"{words} of the same interface" if words else None


class Unasked:
    """Which groups are asked for on no upstream, since lists there refuse them."""

    def __init__(self, ports: Iterable[Port]) -> None:
        self._lists: dict[str, Lists] = {}
        self._contributions: dict[str, AccessList] = {}
        for port in ports:
            if port.role == "upstream":
                self._lists[port.name] = Lists(port.settings)
            elif port.settings.contribute is not None:
                self._contributions[port.name] = contribution_of(port.settings)

    def note(self, sources: Iterable[int | None], group: int, interface: str = "") -> str | None:
        """Why none of a group's sources (None: any source) is asked for, in words; None where one may be.

        `interface`: whose membership it is; what another contributes may be asked for all the same.
        """
        wanted, found = list(sources), None
        kept = self._contributions.get(interface)
        if kept is not None and self._lists and wanted and not any(kept.admits(source, group) for source in wanted):
            return f"not asked for upstream for {interface}: not among its contribute"
        for name, lists in self._lists.items():
            refusing = [lists.refusing(source, group) for source in wanted]
            if not refusing or None in refusing:
                return None
            found = f"not asked for upstream: {refusing[0]} of {name}"
        return found


def group_notes(configuration: Configuration) -> Iterator[tuple[Port, str, str]]:
    """Port, static group and why it is refused, of all of them."""
    for port in configuration.ports:
        if not access_of(port.settings).is_open:
            for text in (*configuration.static_groups(port), *port.settings.join):
                if note := group_note(text, port):
                    yield port, text, note


class Overruling:
    """Which learned routes do not count, since a static one says something else of their groups.

    A learned route is asked of for each length of prefix there is, not for each static route.
    """

    def __init__(self, routes: Iterable[RouteSettings], ports: Sequence[Port]) -> None:
        """A route whose `upstream` is none of `ports` is no route yet."""
        self._routes: dict[Key, list[RouteSettings]] = {}
        for route in routes:
            if route.upstream is not None and not any(covers(route.upstream, port.name) for port in ports):
                continue
            network = Network.parse(route.group)
            self._routes.setdefault((network.prefix, network.network_address), []).append(route)
        self._lengths = sorted({prefix for prefix, _ in self._routes}, reverse=True)

    def note(self, source: int | None, group: int) -> str | None:
        """What of a learned route is overruled, in words; None for nothing."""
        partly = None
        for route in self._of(group):
            if _speaks_of(route, source):
                return f"overruled by the static route {words_of_route(route)}"
            if source is None:
                partly = f"overruled for its sources by the static route {words_of_route(route)}"
        return partly

    def route(self, source: int, group: int) -> RouteSettings | None:
        """The static route that decides about a flow; None where what is learned does."""
        return next((route for route in self._of(group) if _speaks_of(route, source)), None)

    def _of(self, group: int) -> Iterator[RouteSettings]:
        """Those that hold the group, the longest prefix first."""
        for prefix in self._lengths:
            yield from self._routes.get((prefix, group >> 32 - prefix << 32 - prefix), ())


def _speaks_of(route: RouteSettings, source: int | None) -> bool:
    return route.source is None or (source is not None and Network.parse(route.source).contains(source))


def words_of_route(route: RouteSettings) -> str:
    """A route by what it speaks of."""
    source = f" source {route.source}" if route.source else ""
    return f"{route.group}{source}" + (f" from {route.upstream}" if route.upstream else "")


def _state(names: Sequence[str], ports: Sequence[Port]) -> str | None:
    """Why none of what is named could be used: `is missing` and so on; None where one could."""
    meant = [port for port in ports if any(covers(name, port.name) for name in names)]
    if any(port.state == "up" for port in meant):
        return None
    verb = "is" if len(names) == 1 else "are"
    return f"{verb} {'down' if any(port.ifindex for port in meant) else 'missing'}"


def _membership(text: str) -> tuple[int | None, int]:
    source, _, group = text.rpartition(",")
    return parse_address(source.strip()) if source else None, parse_address(group.strip())
