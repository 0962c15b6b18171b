"""Problems of a configuration told: file, line and key as they were written there, one line each."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from forwarder.config.files import ConfigurationError, plainly
from forwarder.config.toml_lines import Location, lines

COMMAND_LINE = "command line"
MOST_TOLD = 1000        # problems: a file of 16 MiB may have a million, which made a line of the log of 6 MB
PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
BARE = re.compile(r"[A-Za-z0-9_-]+")
ALIASES = {"downstreams": "interfaces"}     # of a route: the name it had, and its name now

Place = str | Location                      # words about the command line, or where in the file


@dataclass(frozen=True, slots=True)
class Source:
    """What a configuration was read from; None: nothing but the command line.

    `aliased`: numbers of routes that were written with a name of ALIASES.
    """

    path: Path | None = None
    text: str = ""
    aliased: frozenset[int] = frozenset()

    def refuse(self, problems: Iterable[tuple[Place, str]]) -> None:
        """Raise ConfigurationError if there are any; only then is the file looked through for lines."""
        told = [(self._written(place) if isinstance(place, tuple) else place, text) for place, text in problems]
        if not told:
            return
        told, more = told[:MOST_TOLD], len(told[MOST_TOLD:])
        known = lines(self.text, (place for place, _ in told if isinstance(place, tuple)))
        words = [f"{self._where(place, known)}: {text}" for place, text in told]
        raise ConfigurationError("\n".join([*words, *([f"{more} more problems"] if more else [])]))

    def _written(self, place: Location) -> Location:
        match place:
            case ("route", int(at), "interfaces", *rest) if at in self.aliased:
                return ("route", at, "downstreams", *rest)
        return place

    def _where(self, place: Place, known: dict[Location, int]) -> str:
        if isinstance(place, str):
            return place
        if self.path is None:
            return f"{COMMAND_LINE}: {key_of(place)}"
        return ":".join((plainly(self.path), *([str(known[place])] if place in known else []), f" {key_of(place)}"))


def take_aliases(plain: dict[str, object]) -> tuple[frozenset[int], list[tuple[Place, str]]]:
    """Give what a file says under a former name its name now; the routes that had one, and those that have both."""
    routes, aliased, problems = plain.get("route"), set(), list[tuple[Place, str]]()
    for at, table in enumerate(routes if isinstance(routes, list) else []):
        for former, name in ALIASES.items() if isinstance(table, dict) else ():
            if former in table and name in table:
                del table[former]
                problems.append((("route", at, former), f"is the former name of {name}, which is there too; delete it"))
            elif former in table:
                table[name] = table.pop(former)
                aliased.add(at)
    return frozenset(aliased), problems


def key_of(location: Location) -> str:
    """`interface[1].threshold` of ("interface", 1, "threshold")."""
    return "".join(_parts(location)).lstrip(".")


def location_of(key: str) -> Location:
    """The reverse of `key_of`, for keys without quotes."""
    return tuple(name or int(number) for name, number in PART.findall(key))


def _parts(location: Location) -> Iterator[str]:
    for part in location:
        if isinstance(part, int):
            yield f"[{part}]"
        else:       # quoted as in the file, where it may be anything
            yield f".{part if BARE.fullmatch(part) else json.dumps(part[:40])}"
