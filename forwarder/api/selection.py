"""Those of an answer's rows that are asked for, in the order that is asked for. Pure.

Flows are chosen from their columns (`flow_choice`), before there are rows of them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from forwarder.api.pages import Page
from forwarder.api.views import Row
from forwarder.nouns import NOUNS
from forwarder.ordering import ordered
from igmp.link import Network

SERVED = frozenset(("max_hosts",))      # such a host is not tracked, and gets what it asks for
PROBLEMS: dict[str, Callable[[Row], bool]] = {
    "interfaces": lambda row: row["state"] != "up" or row["degraded"] is not None,
    "groups": lambda row: row["note"] is not None,
    "routes": lambda row: row["note"] is not None,
    "refusals": lambda row: row["reason"] not in SERVED,
}

Test = Callable[[Row], bool]


def select(noun: str, rows: Sequence[Row], page: Page) -> tuple[list[Row], int]:
    """The rows of a page, and how many there are of which it is one."""
    tests = list(_tests(noun, page))
    found = [row for row in rows if all(test(row) for test in tests)] if tests else list(rows)
    if page.key is not None:
        found = ordered(found, page.key, descending=page.descending)
    return found[page.offset :][: page.limit], len(found)


def _tests(noun: str, page: Page) -> Iterable[Test]:
    filters = NOUNS[noun].filters
    if page.interfaces:
        yield lambda row: any(map(page.means, _texts(row, filters["interface"])))
    for name, networks in (("group", page.groups), ("host", page.hosts), ("source", page.sources)):
        if networks:
            yield _naming(filters[name], networks)
    if page.problems:
        yield PROBLEMS[noun]


def _naming(keys: Sequence[str], networks: Sequence[Network]) -> Test:
    """Whether a row names an address in one of `networks`, or a network that has some of theirs."""
    return lambda row: any(_overlap(Network.parse(text), each) for text in _texts(row, keys) for each in networks)


def _overlap(one: Network, other: Network) -> bool:
    return one.contains(other.address) if one.prefix <= other.prefix else other.contains(one.address)


def _texts(row: Row, keys: Iterable[str]) -> Iterable[str]:
    """Names or addresses of a row: of each key one, several, or none."""
    for key in keys:
        value: Any = row[key]
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                yield each["address"] if isinstance(each, dict) else each
