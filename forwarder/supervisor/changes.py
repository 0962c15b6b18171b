"""What may be changed while we run: static routes and static groups beside those of the configuration file. Pure.

What the file says cannot be taken away at run time; what was added stays until it is deleted, the file says it too,
or we end. A change is made as a whole or refused with words for whoever asked.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from forwarder.config import rules
from forwarder.state.ports import Added
from forwarder.state.settings import RouteSettings, Settings, covers

MOST_ROUTES = 1024      # added at run time: every change is published whole and read whole
MOST_GROUPS = 4096
MOST_OCTETS = 1 << 20   # of JSON: a quarter of a snapshot, half of which is for ports, whatever addresses they get
KEYS = ("interface", "group", "source", "upstream", "interfaces")


class Cause(Enum):
    """Why a request is refused."""

    INVALID = "invalid"
    EXISTS = "exists"
    UNKNOWN = "unknown"
    CONFIGURED = "configured"           # it is in the configuration file
    FULL = "full"
    CONFIGURATION = "configuration"     # the file cannot be taken over
    FAULT = "fault"                     # ours


class ChangeError(Exception):
    """A request that is not carried out, and why in words."""

    def __init__(self, reason: Cause, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def apply(request: dict[str, Any], added: Added, settings: Settings) -> Added:
    """What is added once `request` is carried out; ChangeError.

    A request has `type` add, replace (routes only) or delete, `noun` routes or groups, and a `row`.
    """
    change = _CHANGES.get((str(request.get("type")), str(request.get("noun"))))
    row = request.get("row")
    if change is None or not isinstance(row, dict):
        raise ChangeError(Cause.INVALID, "not a request that can be carried out")
    changed = change(row, added, settings)
    if request["type"] != "delete" and (size := len(json.dumps(asdict(changed)))) > MOST_OCTETS:
        raise ChangeError(Cause.FULL, f"what was added at run time would take {size} bytes; {MOST_OCTETS} have room")
    return changed


def describe(request: dict[str, Any]) -> str:
    """A change that was made, for the log."""
    verb = {"add": "added", "replace": "replaced", "delete": "deleted"}[request["type"]]
    row = request["row"]
    values = {key: " ".join(row[key]) if isinstance(row[key], list) else row[key] for key in KEYS if row.get(key)}
    told = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"{verb} static {request['noun'].removesuffix('s')}: {told}"


def still_added(added: Added, settings: Settings) -> Added:
    """What stays added beside other settings: what these say themselves is no longer an addition."""
    said = {rules.identity(route) for route in settings.route}
    routes = tuple(route for route in added.routes if rules.identity(route) not in said)
    groups = tuple(
        (name, group) for name, group in added.groups
        if not _is_configured(name, group, settings) and not rules.ssm_problem(group, settings)
    )  # fmt: skip
    return Added(routes, groups)


def ended_by(settings: Settings, added: Added) -> list[str]:
    """The static groups of `added` that these settings do not allow any more, in words."""
    return [f"{group} on {name}" for name, group in added.groups if rules.ssm_problem(group, settings)]


# --- routes ---


def _add_route(row: dict[str, Any], added: Added, settings: Settings) -> Added:
    """A route, or more ways out for one that was added; a route that blocks is no beginning of one that does not."""
    route = _valid_route(row, settings, Cause.EXISTS)
    former = _added_before(route, added)
    if former is None:
        return _with_route(route, added)
    more = tuple(name for name in route.interfaces if name not in former.interfaces)
    if not more or not former.interfaces:
        raise ChangeError(Cause.EXISTS, f"{_words(route)} exists already; `mcfwd route replace` changes it")
    wider = replace(route, interfaces=(*former.interfaces, *more))
    _refuse_invalid(rules.of_route(wider))
    return _with_route(wider, added)


def _replace_route(row: dict[str, Any], added: Added, settings: Settings) -> Added:
    """A route that was added gets other ways out, in one step; one that there is not, is added."""
    return _with_route(_valid_route(row, settings, Cause.CONFIGURED), added)


def _valid_route(row: dict[str, Any], settings: Settings, refusal: Cause) -> RouteSettings:
    route = _route(row)
    _refuse_invalid(rules.of_route(route))
    _refuse_invalid(rules.unknown_names(route, settings))
    if rules.identity(route) in map(rules.identity, settings.route):
        raise ChangeError(refusal, f"{_words(route)} is in the configuration file already; change it there")
    return route


def _added_before(route: RouteSettings, added: Added) -> RouteSettings | None:
    identity = rules.identity(route)
    return next((each for each in added.routes if rules.identity(each) == identity), None)


def _with_route(route: RouteSettings, added: Added) -> Added:
    """With this route in the place of what there was for the same packets."""
    former = _added_before(route, added)
    if former is not None:
        return replace(added, routes=tuple(route if each is former else each for each in added.routes))
    if len(added.routes) >= MOST_ROUTES:
        raise ChangeError(Cause.FULL, f"no more than {MOST_ROUTES} routes can be added at run time")
    return replace(added, routes=(*added.routes, route))


def _delete_route(row: dict[str, Any], added: Added, settings: Settings) -> Added:
    route = _route(row)
    _refuse_invalid(rules.of_route(route))
    identity = rules.identity(route)
    kept = tuple(each for each in added.routes if rules.identity(each) != identity)
    if len(kept) == len(added.routes):
        if identity in map(rules.identity, settings.route):
            raise ChangeError(Cause.CONFIGURED, f"{_words(route)} is in the configuration file; change it there")
        raise ChangeError(Cause.UNKNOWN, f"there is no static {_words(route)}")
    [former] = set(added.routes) - set(kept)
    if route.interfaces and set(route.interfaces) != set(former.interfaces):
        goes = ", ".join(former.interfaces) or "nobody"
        raise ChangeError(Cause.UNKNOWN, f"{_words(route)} goes to {goes}, not to {', '.join(route.interfaces)}")
    return replace(added, routes=kept)


def _route(row: dict[str, Any]) -> RouteSettings:
    interfaces = row.get("interfaces") or []
    if not isinstance(interfaces, list) or not all(isinstance(each, str) for each in interfaces):
        raise ChangeError(Cause.INVALID, "interfaces: should be a list of interface names")
    return RouteSettings(
        group=_text(row, "group"),
        source=_optional_text(row, "source"),
        upstream=_optional_text(row, "upstream"),
        interfaces=tuple(interfaces),
    )


def _words(route: RouteSettings) -> str:
    source = f" source {route.source}" if route.source else ""
    return f"route {route.group}{source}" + (f" from {route.upstream}" if route.upstream else "")


# --- groups ---


@dataclass(frozen=True, slots=True)
class _StaticGroup:
    interface: str
    text: str

    @property
    def words(self) -> str:
        source, _, group = self.text.rpartition(",")
        return f"static group {group}{f' source {source}' if source else ''} on {self.interface}"


def _add_group(row: dict[str, Any], added: Added, settings: Settings) -> Added:
    asked = _group(row)
    if not rules.may_be_port(asked.interface, settings):
        raise ChangeError(Cause.INVALID, f"interface: no [[interface]] covers {rules.quote(asked.interface)}")
    if problem := rules.ssm_problem(asked.text, settings):
        raise ChangeError(Cause.INVALID, f"group: {problem}")
    if _is_configured(asked.interface, asked.text, settings):
        raise ChangeError(Cause.EXISTS, f"{asked.words} is in the configuration file already")
    if (asked.interface, asked.text) in added.groups:
        raise ChangeError(Cause.EXISTS, f"{asked.words} exists already")
    if len(added.groups) >= MOST_GROUPS:
        raise ChangeError(Cause.FULL, f"no more than {MOST_GROUPS} static groups can be added at run time")
    return replace(added, groups=(*added.groups, (asked.interface, asked.text)))


def _delete_group(row: dict[str, Any], added: Added, settings: Settings) -> Added:
    asked = _group(row)
    kept = tuple(each for each in added.groups if each != (asked.interface, asked.text))
    if len(kept) < len(added.groups):
        return replace(added, groups=kept)
    if _is_configured(asked.interface, asked.text, settings):
        raise ChangeError(Cause.CONFIGURED, f"{asked.words} is in the configuration file; change it there")
    raise ChangeError(Cause.UNKNOWN, f"there is no {asked.words}")


def _group(row: dict[str, Any]) -> _StaticGroup:
    interface, group, source = _text(row, "interface"), _text(row, "group"), _optional_text(row, "source")
    if problem := rules.name_problem(interface):
        raise ChangeError(Cause.INVALID, f"interface: {problem}")
    text = group.strip() if source is None else f"{source.strip()},{group.strip()}"
    if problem := rules.membership_problem(text):
        raise ChangeError(Cause.INVALID, f"{'group' if source is None else 'source and group'}: {problem}")
    return _StaticGroup(interface, text)


def _is_configured(name: str, text: str, settings: Settings) -> bool:
    wanted = rules.membership(text)
    exact = [each for each in settings.interface if each.name == name]
    meant = exact or [each for each in settings.interface if covers(each.name, name)][:1]
    return any(wanted == rules.membership(each) for interface in meant for each in interface.static_groups)


# --- what was asked ---


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        wrong = "is missing" if value is None else "is empty" if value == "" else "should be text"
        raise ChangeError(Cause.INVALID, f"{key}: {wrong}")
    return value


def _optional_text(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else _text(row, key)


def _refuse_invalid(problems: Iterable[rules.Problem]) -> None:
    found = [f"{key}: {text}" for key, text in problems]
    if found:
        raise ChangeError(Cause.INVALID, "\n".join(found))


_CHANGES = {
    ("add", "routes"): _add_route,
    ("replace", "routes"): _replace_route,
    ("delete", "routes"): _delete_route,
    ("add", "groups"): _add_group,
    ("delete", "groups"): _delete_group,
}
