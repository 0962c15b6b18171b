"""What may be changed while we run: static routes and static groups beside those of the configuration file. Pure.

What the file says cannot be taken away at run time; what was added stays until it is deleted, the file says it too,
or we end. A change is made as a whole or refused with words for whoever asked.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from forwarder.config import rules
from forwarder.state.ports import Added
from forwarder.state.settings import RouteSettings, Settings
from forwarder.supervisor.register import Register

MOST_ROUTES = 16_384    # added at run time: every change is published whole and read whole
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
    """A request that is not carried out, and why in words; `operation`: of a batch which, from 0."""

    def __init__(self, reason: Cause, words: str, operation: int | None = None) -> None:
        super().__init__(words)
        self.reason, self.operation = reason, operation


def apply(request: dict[str, Any], added: Added, settings: Settings) -> Added:
    """What is added once `request` is carried out; ChangeError.

    A request has `type` add, replace (routes only) or delete, `noun` routes or groups, and a `row`. Or its `type` is
    batch: then `requests` are carried out in their order, or none is.
    """
    register = Register(added, settings)
    if request.get("type") == "batch":
        grows = _carry_out_all(request.get("requests"), register)
    else:
        _carry_out(request, register)
        grows = request["type"] != "delete"
    changed = register.added
    if grows and (size := len(json.dumps(changed.to_json(), separators=(",", ":")))) > MOST_OCTETS:
        raise ChangeError(Cause.FULL, f"what was added at run time would take {size} bytes; {MOST_OCTETS} have room")
    return changed


def _carry_out_all(requests: Any, register: Register) -> bool:
    """Whether something may have been added; ChangeError with the number of the first that cannot be carried out."""
    if not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
        raise ChangeError(Cause.INVALID, "not a batch that can be carried out")
    for number, request in enumerate(requests):
        try:
            _carry_out(request, register)
        except ChangeError as error:
            raise ChangeError(error.reason, str(error), number) from error
    return any(request["type"] != "delete" for request in requests)


def _carry_out(request: dict[str, Any], register: Register) -> None:
    change = _CHANGES.get((str(request.get("type")), str(request.get("noun"))))
    row = request.get("row")
    if change is None or not isinstance(row, dict):
        raise ChangeError(Cause.INVALID, "not a request that can be carried out")
    change(row, register)


VERBS = {"add": "added", "replace": "replaced", "delete": "deleted"}


def describe(request: dict[str, Any]) -> str:
    """A change that was made, for the log."""
    if request["type"] == "batch":
        return _describe_batch(request["requests"])
    verb, row = VERBS[request["type"]], request["row"]
    values = {key: " ".join(row[key]) if isinstance(row[key], list) else row[key] for key in KEYS if row.get(key)}
    told = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"{verb} static {request['noun'].removesuffix('s')}: {told}"


def _describe_batch(requests: Sequence[dict[str, Any]]) -> str:
    """All in one line: how many of each kind."""
    kinds = Counter((each["noun"], VERBS[each["type"]]) for each in requests)
    told = [f"{many:,} static {noun[: -1 if many == 1 else None]} {verb}" for (noun, verb), many in kinds.items()]
    return f"batch: {', '.join(told) or 'nothing'}"


def still_added(added: Added, settings: Settings) -> Added:
    """What stays added beside other settings: what these say themselves is no longer an addition."""
    said = Register(added, settings)
    routes = tuple(route for identity, route in said.routes.items() if not said.says_route(identity))
    groups = tuple(
        (name, group) for name, group in added.groups
        if not said.says_group(name, group) and not rules.ssm_problem(group, settings)
    )  # fmt: skip
    return Added(routes, groups)


def ended_by(settings: Settings, added: Added) -> list[str]:
    """The static groups of `added` that these settings do not allow any more, in words."""
    return [f"{group} on {name}" for name, group in added.groups if rules.ssm_problem(group, settings)]


# --- routes ---


def _add_route(row: dict[str, Any], register: Register) -> None:
    """A route, or more ways out for one that was added; a route that blocks is no beginning of one that does not."""
    route = _valid_route(row, register, Cause.EXISTS)
    former = register.routes.get(rules.identity(route))
    if former is None:
        _put_route(route, register)
        return
    more = tuple(name for name in route.interfaces if name not in former.interfaces)
    if not more or not former.interfaces:
        raise ChangeError(Cause.EXISTS, f"{_words(route)} exists already; `mcfwd route replace` changes it")
    wider = replace(route, interfaces=(*former.interfaces, *more))
    _refuse_invalid(rules.of_route(wider))
    _put_route(wider, register)


def _replace_route(row: dict[str, Any], register: Register) -> None:
    """A route that was added gets other ways out, in one step; one that there is not, is added."""
    _put_route(_valid_route(row, register, Cause.CONFIGURED), register)


def _valid_route(row: dict[str, Any], register: Register, refusal: Cause) -> RouteSettings:
    route = _route(row)
    _refuse_invalid(rules.of_route(route))
    _refuse_invalid(rules.unknown_names(route, register.port_problem))
    if register.says_route(rules.identity(route)):
        raise ChangeError(refusal, f"{_words(route)} is in the configuration file already; change it there")
    return route


def _put_route(route: RouteSettings, register: Register) -> None:
    """In the place of what there was for the same packets."""
    identity = rules.identity(route)
    if identity not in register.routes and len(register.routes) >= MOST_ROUTES:
        raise ChangeError(Cause.FULL, f"no more than {MOST_ROUTES} routes can be added at run time")
    register.routes[identity] = route


def _delete_route(row: dict[str, Any], register: Register) -> None:
    route = _route(row)
    _refuse_invalid(rules.of_route(route))
    identity = rules.identity(route)
    former = register.routes.get(identity)
    if former is None:
        if register.says_route(identity):
            raise ChangeError(Cause.CONFIGURED, f"{_words(route)} is in the configuration file; change it there")
        raise ChangeError(Cause.UNKNOWN, f"there is no static {_words(route)}")
    if route.interfaces and set(route.interfaces) != set(former.interfaces):
        goes = ", ".join(former.interfaces) or "nobody"
        raise ChangeError(Cause.UNKNOWN, f"{_words(route)} goes to {goes}, not to {', '.join(route.interfaces)}")
    del register.routes[identity]


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


def _add_group(row: dict[str, Any], register: Register) -> None:
    asked = _group(row)
    if problem := register.port_problem(asked.interface):
        raise ChangeError(Cause.INVALID, f"interface: {problem}")
    if problem := rules.ssm_problem(asked.text, register.settings):
        raise ChangeError(Cause.INVALID, f"group: {problem}")
    if register.says_group(asked.interface, asked.text):
        raise ChangeError(Cause.EXISTS, f"{asked.words} is in the configuration file already")
    if (asked.interface, asked.text) in register.groups:
        raise ChangeError(Cause.EXISTS, f"{asked.words} exists already")
    if len(register.groups) >= MOST_GROUPS:
        raise ChangeError(Cause.FULL, f"no more than {MOST_GROUPS} static groups can be added at run time")
    register.groups[asked.interface, asked.text] = None


def _delete_group(row: dict[str, Any], register: Register) -> None:
    asked = _group(row)
    if (asked.interface, asked.text) in register.groups:
        del register.groups[asked.interface, asked.text]
        return
    if register.says_group(asked.interface, asked.text):
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
