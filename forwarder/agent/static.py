"""Static routes and groups: configured names in, rows of the routes segment and memberships out. Pure.

A route whose `upstream` is no port yet has no row; names among its `interfaces` that are no port yet have no bit. So
a route becomes what it says as its interfaces appear, and without any it already keeps its group from being learned.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from forwarder.state.ports import Port
from forwarder.state.routes import RouteKey
from forwarder.state.settings import RouteSettings, covers, is_wildcard
from igmp.link import Network, parse_address


class StaticRow(NamedTuple):
    """What a static route says of one key: bit p of `ports` is port p; `kind` static, or block for nobody."""

    ports: int
    kind: str


def static_rows(routes: Iterable[RouteSettings], ports: Sequence[Port]) -> dict[RouteKey, StaticRow]:
    """The rows of all routes; where two name the same ingress, the one that does so without a wildcard counts."""
    rows: dict[RouteKey, StaticRow] = {}
    for route in sorted(routes, key=lambda route: not is_wildcard(route.upstream or "")):
        bitmap, kind = _bitmap(route, ports), "static" if route.interfaces else "block"
        for key in _keys(route, ports):
            rows[key] = StaticRow(bitmap if key.ingress is None else bitmap & ~(1 << key.ingress), kind)
    return rows


def memberships_of(groups: Iterable[str]) -> frozenset[tuple[int | None, int]]:
    """(source, group) of static groups written as "239.1.2.3" or "10.0.0.7,232.1.1.1"; source None for any."""
    split = (text.rpartition(",") for text in groups)
    return frozenset((_address(source) if comma else None, _address(group)) for source, comma, group in split)


def _keys(route: RouteSettings, ports: Sequence[Port]) -> Iterator[RouteKey]:
    """One key, or one for each port that `upstream` names now."""
    group = Network.parse(route.group)
    source = None if route.source is None else Network.parse(route.source)
    ingresses = [None] if route.upstream is None else [p.index for p in ports if covers(route.upstream, p.name)]
    for ingress in ingresses:
        yield RouteKey(
            group=group.network_address,
            plen=group.prefix,
            source=None if source is None else source.network_address,
            slen=32 if source is None else source.prefix,
            ingress=ingress,
            static=True,
        )


def _bitmap(route: RouteSettings, ports: Iterable[Port]) -> int:
    return sum(1 << port.index for port in ports if _goes_to(route, port))


def _goes_to(route: RouteSettings, port: Port) -> bool:
    """A wildcard means ports downstream only; another upstream gets what it is named for."""
    return any(
        each == port.name or (port.role == "downstream" and covers(each, port.name)) for each in route.interfaces
    )


def _address(text: str) -> int:
    return parse_address(text.strip())
