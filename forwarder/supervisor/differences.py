"""What one configuration says and another did not, for the log and for whoever asked for the reload. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from forwarder.state.settings import InterfaceSettings, RouteSettings, Settings

FIXED = ("control", "process")      # tables that are read at start only
FIXED_SIZES = ("ring_memory", "max_ports", "max_routes")
"""Of `[dataplane]` what is, too: they size what all processes have mapped, and what of the system was asked for."""
LONGEST = 100       # characters of a value


class Difference(NamedTuple):
    """One thing that a reload changes; of a key `old` and `new` are its values."""

    what: str
    key: str = ""
    old: object = None
    new: object = None

    @property
    def words(self) -> str:
        """What it is and was; made when it is said, since of thousands only some are."""
        return f"{self.what}{self.key} is {_text(self.new)}, was {_text(self.old)}" if self.key else self.what


def taken(former: Settings, settings: Settings) -> Settings:
    """What of a new configuration is taken over by one that runs; the rest is as it was."""
    sizes = replace(settings.dataplane, **{key: getattr(former.dataplane, key) for key in FIXED_SIZES})
    return replace(settings, dataplane=sizes, control=former.control, process=former.process)


def ignored(former: Settings, settings: Settings) -> list[str]:
    """The keys that a reload cannot take over, with their tables: dataplane.max_ports."""
    before, after = former.dataplane, settings.dataplane
    sizes = [f"dataplane.{key}" for key, _, _ in _keys(before, after) if key in FIXED_SIZES]
    return sizes + [f"{table}.{key}" for table in FIXED
                    for key, _, _ in _keys(getattr(former, table), getattr(settings, table))]  # fmt: skip


def differences(former: Settings, settings: Settings) -> list[Difference]:
    """What a reload changes: of keys what they are and were, of interfaces and routes what came or went."""
    return [
        *(Difference("igmp.", *each) for each in _keys(former.igmp, settings.igmp)),
        *(Difference("dataplane.", *each) for each in _keys(former.dataplane, taken(former, settings).dataplane)),
        *_interfaces(former.interface, settings.interface),
        *(Difference(f"{_route(route)} is gone") for route in _without(former.route, settings.route)),
        *(Difference(f"{_route(route)} is new") for route in _without(settings.route, former.route)),
    ]


def _interfaces(before: Iterable[InterfaceSettings], after: Iterable[InterfaceSettings]) -> Iterator[Difference]:
    former, current = ({each.name: each for each in entries} for entries in (before, after))
    for name in former.keys() - current.keys():
        yield Difference(f"{name} is gone")
    for name, entry in current.items():
        if name not in former:
            yield Difference(f"{name} is new ({entry.role})")
        elif vars(entry) != vars(former[name]):
            yield from (Difference(f"{name}: ", *key) for key in _said(former[name], entry))


def _said(former: InterfaceSettings, current: InterfaceSettings) -> Iterator[tuple[str, Any, Any]]:
    """`_keys` of an interface: of forty only those that one of the two says."""
    for name in vars(former) | vars(current):
        old, new = getattr(former, name), getattr(current, name)
        if old != new:
            yield name, old, new


def _keys(former: Any, current: Any) -> Iterator[tuple[str, Any, Any]]:
    """The keys of a table that differ, with both values."""
    names, values_of = _fields(current.__class__)
    for name, old, new in zip(names, values_of(former), values_of(current), strict=True):
        if old != new:
            yield name, old, new


@cache
def _fields(table: Any) -> tuple[list[str], Callable[[Any], tuple[Any, ...]]]:
    """The keys of a table, and what gets their values; its class comes first, since of one key there is no tuple."""
    names = ["__class__", *(each.name for each in fields(table))]
    return names, attrgetter(*names)


def _text(value: object) -> str:
    """A value as a file would say it; null where it says nothing."""
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _without(routes: Iterable[RouteSettings], others: Iterable[RouteSettings]) -> list[RouteSettings]:
    known = set(others)
    return [route for route in routes if route not in known]


def _route(route: RouteSettings) -> str:
    source = f" source {route.source}" if route.source else ""
    way = f" from {route.upstream}" if route.upstream else ""
    return f"route {route.group}{source}{way} to {', '.join(route.interfaces) or 'nobody'}"
