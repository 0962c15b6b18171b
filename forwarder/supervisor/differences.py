"""What one configuration says and another did not, for the log and for whoever asked for the reload. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from forwarder.state.settings import InterfaceSettings, RouteSettings, Settings

FIXED = ("dataplane", "control", "process")     # tables that are read at start only
LONGEST = 100       # characters of a value


def ignored(former: Settings, settings: Settings) -> list[str]:
    """The keys that a reload cannot take over, with their tables: dataplane.workers."""
    return [f"{table}.{key}" for table in FIXED
            for key, _, _ in _keys(getattr(former, table), getattr(settings, table))]  # fmt: skip


def differences(former: Settings, settings: Settings) -> list[str]:
    """What a reload changes, one line each: of keys what they are and were, of interfaces and routes what came or went.
    """
    return [
        *(f"igmp.{key} is {new}, was {old}" for key, old, new in _keys(former.igmp, settings.igmp)),
        *_interfaces(former.interface, settings.interface),
        *(f"{_route(route)} is gone" for route in _without(former.route, settings.route)),
        *(f"{_route(route)} is new" for route in _without(settings.route, former.route)),
    ]


def _interfaces(before: Iterable[InterfaceSettings], after: Iterable[InterfaceSettings]) -> Iterator[str]:
    former, current = ({each.name: each for each in entries} for entries in (before, after))
    for name in former.keys() - current.keys():
        yield f"{name} is gone"
    for name, entry in current.items():
        if name not in former:
            yield f"{name} is new ({entry.role})"
        elif entry != former[name]:
            yield from (f"{name}: {key} is {new}, was {old}" for key, old, new in _keys(former[name], entry))


def _keys(former: Any, current: Any) -> Iterator[tuple[str, str, str]]:
    """The keys of a table that differ, with both values as text."""
    for each in fields(former):
        old, new = getattr(former, each.name), getattr(current, each.name)
        if old != new:
            yield each.name, _text(old), _text(new)


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
    return f"route {route.group}{source}{way} to {', '.join(route.downstreams) or 'nobody'}"
