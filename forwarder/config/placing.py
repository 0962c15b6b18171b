"""Problems of a configuration told: file, line and key as they were written there, one line each."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from forwarder.config.files import ConfigurationError, plainly
from forwarder.config.toml_lines import Location, lines

COMMAND_LINE = "command line"
MOST_TOLD = 1000        # problems: a file of 16 MiB may have a million, which made a line of the log of 6 MB
PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
BARE = re.compile(r"[A-Za-z0-9_-]+")
NUMBERED = re.compile(r"\b(interface|route)\[(\d+)\]")      # as problems name another table
ALIASES = {"downstreams": "interfaces"}     # of a route: the name it had, and its name now

Place = str | Location                      # words about the command line, or where in the file


class Piece(NamedTuple):
    """A file of several that are one configuration."""

    path: Path
    text: str


class Whence(Protocol):
    """Whoever knows where things were said."""

    def refuse(self, problems: Iterable[tuple[Place, str]]) -> None:
        """Raise ConfigurationError if there are any problems."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a configuration was read from; None: nothing but the command line.

    `aliased`: numbers of routes that were written with a name of ALIASES. `others`: the files that `path` includes, and
    `elsewhere`: by tables and keys that stand in one of them, its number there from 0, and where in it.
    """

    path: Path | None = None
    text: str = ""
    aliased: frozenset[int] = frozenset()
    others: tuple[Piece, ...] = ()
    elsewhere: Mapping[Location, tuple[int, Location]] = field(default_factory=dict)

    def refuse(self, problems: Iterable[tuple[Place, str]]) -> None:
        """Raise ConfigurationError if there are any; only then are files looked through for lines."""
        refuse(problems, self._told)

    def _called(self, place: Location) -> str:
        """How a problem of another table names this one, where there are several files."""
        piece, inside = self.found(place)
        return key_of(inside) if piece is None else f"{key_of(inside)} of {plainly(piece.path)}"

    def found(self, place: Location) -> tuple[Piece | None, Location]:
        """The file in which something stands, and where in it."""
        place = self._written(place)
        for length in range(len(place), 0, -1) if self.elsewhere else ():
            if place[:length] in self.elsewhere:
                number, inside = self.elsewhere[place[:length]]
                return self.others[number], (*inside, *place[length:])
        return None if self.path is None else Piece(self.path, self.text), place

    def _told(self, problems: list[tuple[Place, str]]) -> Iterator[str]:
        found = [(place if isinstance(place, str) else self.found(place), words) for place, words in problems]
        wanted: dict[Piece, list[Location]] = {}
        for at, _ in found:
            if not isinstance(at, str) and at[0]:
                wanted.setdefault(at[0], []).append(at[1])
        known = {piece: lines(piece.text, inside) for piece, inside in wanted.items()}
        for at, words in found:
            words = NUMBERED.sub(lambda match: self._called((match[1], int(match[2]))), words) if self.others else words
            yield f"{at if isinstance(at, str) else _where(*at, known)}: {words}"

    def _written(self, place: Location) -> Location:
        match place:
            case ("route", int(at), "interfaces", *rest) if at in self.aliased:
                return ("route", at, "downstreams", *rest)
        return place


def refuse(problems: Iterable[tuple[Place, str]], told: Callable[[list[tuple[Place, str]]], Iterable[str]]) -> None:
    """Raise ConfigurationError if there are any, with what `told` makes of so many, a line each."""
    all_problems = list(problems)
    if all_problems:
        lines_told = list(told(all_problems[:MOST_TOLD]))
        raise ConfigurationError("\n".join(bounded(lines_told, "problems", len(all_problems) - len(lines_told))))


def bounded(words: list[str], what: str, more: int = 0) -> list[str]:
    """The first of them, and a line that counts the rest and `more`."""
    rest = len(words[MOST_TOLD:]) + more
    return [*words[:MOST_TOLD], *([f"{rest} more {what}"] if rest else [])]


def _where(piece: Piece | None, place: Location, known: Mapping[Piece, Mapping[Location, int]]) -> str:
    if piece is None:
        return f"{COMMAND_LINE}: {key_of(place)}"
    line = known[piece].get(place)
    return ":".join((plainly(piece.path), *([str(line)] if line else []), f" {key_of(place)}"))


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
