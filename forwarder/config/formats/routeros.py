"""`/routing igmp-proxy` of a RouterOS export, version 6 or 7, or of commands as the manual writes them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from forwarder.config.files import ConfigurationError
from forwarder.config.formats import meanings, proxies
from forwarder.config.formats.console import commands
from forwarder.config.formats.durations import seconds
from forwarder.config.formats.igmp_proxy_menus import ALL, MENU, Menus
from forwarder.config.formats.items import Item, Items
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.formats.values import interface_name, network, whole_number
from forwarder.config.rules import quote
from forwarder.state.settings import IgmpSettings

FORMAT = "routeros"
WILDCARD = "*"                                  # what `all` is here
MOST_THRESHOLD, BLOCKING = 0xFFFFFFFF, 256      # no TTL is as large as 256
LEAST_INTERVAL, MOST_INTERVAL = 1.0, 3600.0     # seconds, as the manual has them
IGMP = IgmpSettings()
RECOGNISED = re.compile(r"(?m)^(?:[^#\n]*[\s{;>])?/routing(?:/|[^\S\n]++)igmp-proxy\b")


def recognises(text: str, path: Path) -> bool:
    """Whether a file has such a menu."""
    return "igmp-proxy" in text and bool(RECOGNISED.search(text))


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What the menus of the proxy say; everything else in the file is passed over. Raises ConfigurationError."""
    menus, translation, problems = Menus(), Translation(FORMAT), Problems()
    for command in commands(text, path, MENU):
        with problems.of(command.origin):
            if words := menus.do(command):
                translation.warn(command.origin, words)
    interfaces = _enabled(translation, problems, menus.interfaces)
    problems.refuse()
    if not interfaces:
        raise ConfigurationError(f"{Origin(path, 1).place}: /routing igmp-proxy interface names no interface")
    outside = replace(outside, names={ALL: WILDCARD, **outside.names})
    served = _interfaces(translation, problems, interfaces, outside)
    _general(translation, problems, menus)
    for item in _enabled(translation, problems, menus.mfc):
        with problems.of(item.origin):
            _route(translation, item, served, outside)
    problems.refuse()
    return translation


def _enabled(translation: Translation, problems: Problems, items: Items) -> list[Item]:
    """Items that are not disabled; of the others it is told."""
    found = []
    for item in items.present():
        with problems.of(item.place("disabled")):
            if item.is_yes("disabled"):
                translation.warn(item.origin, "is disabled: left out")
            else:
                found.append(item)
    return found


# --- interfaces, and what holds for all of them ---


def _interfaces(
    translation: Translation, problems: Problems, enabled: Iterable[Item], outside: Outside
) -> dict[str, Item]:
    """The interfaces by the names that they have on the router."""
    served: dict[str, Item] = {}
    for item in enabled:
        name = item.value("interface")
        first = served.setdefault(name, item)
        if first is not item:
            problems.add(item.origin, f"{quote(name)} is named twice, first in line {first.origin.line}")
    if ALL in served:       # a wildcard is for what no other entry names
        served[ALL] = served.pop(ALL)
    origins = {name: item.place("interface") for name, item in served.items()}
    for name, at in proxies.numbers(translation, origins, outside, problems).items():
        _interface(translation, problems, at, served[name])
    proxies.one_upstream(translation, "RouterOS", next(iter(served.values())).origin)
    return served


def _interface(translation: Translation, problems: Problems, at: int, item: Item) -> None:
    with problems.of(item.place("upstream")):
        upstream = item.is_yes("upstream")
        translation.say(("interface", at, "role"), "upstream" if upstream else "downstream", item.place("upstream"))
        _subnets(translation, problems, at, item, upstream)
    if "threshold" in item:
        text, origin = item["threshold"]
        with problems.of(origin):
            _threshold(translation, at, whole_number(text, 0, MOST_THRESHOLD), origin)


def _subnets(translation: Translation, problems: Problems, at: int, item: Item, upstream: bool) -> None:
    origin = item.place("alternative-subnets")
    subnets = item.list("alternative-subnets")
    if upstream:
        proxies.own_subnets_alone(translation, at, origin)
    elif subnets:
        translation.warn(origin, "alternative-subnets have an effect upstream only: left out")
    for text in subnets if upstream else ():
        with problems.of(origin):
            meanings.sources(translation, at, network(text), origin)


def _threshold(translation: Translation, at: int, least: int, origin: Origin) -> None:
    """The least TTL that passes, as it is here."""
    if least == 0:
        translation.warn(origin, "threshold 0 is what 1 is: every TTL passes that has another hop left")
    elif least >= BLOCKING:
        translation.warn(origin, f"threshold {least} lets nothing pass, as {BLOCKING} does here: no TTL is that large")
    translation.say(("interface", at, "threshold"), min(max(least, 1), BLOCKING), origin)


def _general(translation: Translation, problems: Problems, menus: Menus) -> None:
    general = menus.values
    for name in ("query-interval", "query-response-interval"):
        with problems.of(general.place(name)):
            if name in general:
                value = seconds(general.value(name), LEAST_INTERVAL, MOST_INTERVAL)
                translation.say(("igmp", name.replace("-", "_")), value, general.place(name))
    _answers_before_the_next_question(translation, general)
    if "quick-leave" in general:
        with problems.of(general.place("quick-leave")):
            proxies.quick_leave(translation, general.is_yes("quick-leave"), general.place("quick-leave"))
    for at in proxies.of_role(translation, "downstream")[:1]:
        words = "RouterOS asks receivers in IGMPv2 only; here in IGMPv3, which older hosts answer as well"
        translation.warn(translation.origins["interface", at], f"{words} (igmp_version = 2 pins it)")


def _answers_before_the_next_question(translation: Translation, general: Item) -> None:
    """RouterOS takes a query-response-interval that is no shorter than query-interval, which RFC 9776 8.3 forbids."""
    said = translation.tables.get("igmp", {})
    interval = said.get("query_interval", IGMP.query_interval)
    if said.get("query_response_interval", IGMP.query_response_interval) >= interval:
        origin = general.place("query-response-interval" if "query-interval" not in general else "query-interval")
        translation.say(("igmp", "query_response_interval"), interval / 2, origin)
        words = "hosts have to answer before they are asked again: query_response_interval is half of query_interval"
        translation.warn(origin, words)


# --- static routes ---


def _route(translation: Translation, item: Item, served: dict[str, Item], outside: Outside) -> None:
    if "group" not in item:
        raise ValueError("group is missing")
    names = item.list("downstream-interfaces")
    upstream = item.value("upstream-interface")
    if missing := [name for name in (*names, *([upstream] if upstream else ())) if not {name, ALL} & served.keys()]:
        words = f"{quote(missing[0])} is no interface of the proxy, so RouterOS does not use this rule either: left out"
        translation.warn(item.origin, words)
        return
    at = translation.route({}, item.origin)
    for name in ("group", "source"):
        if item.value(name) not in ("", "0.0.0.0"):     # any source
            translation.say(("route", at, name), item.value(name), item.place(name))
    if upstream:
        name = interface_name(upstream, outside)
        translation.say(("route", at, "upstream"), name, item.place("upstream-interface"))
    origin = item.place("downstream-interfaces")
    translation.say(("route", at, "interfaces"), [], origin)
    for name in names:
        translation.add(("route", at, "interfaces"), interface_name(name, outside), origin)
