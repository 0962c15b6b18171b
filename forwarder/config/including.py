"""`include` of a TOML file: the tables of other files as if they stood in it.

Lists of tables get longer, other tables are put together; what is said twice is an error that names both places.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from forwarder.config.files import ConfigurationError, plainly
from forwarder.config.included import Include
from forwarder.config.placing import MOST_TOLD, Piece, Source, bounded, key_of
from forwarder.config.toml_lines import Location, lines

DEEPEST = 8             # files within files; nobody finds anything in more
Parse = Callable[[Path, bytes], tuple[str, dict[str, Any]]]
"""The text of a file and what it says; raises ConfigurationError."""


class _At(NamedTuple):
    """The number of a file, the first of all is 0, and where in it."""

    number: int
    inside: Location


class _Problem(NamedTuple):
    """`words` begin with a place where `at` is None, and end with one where there is a `first`."""

    at: _At | None
    words: str
    first: _At | None = None


class Including:
    """One configuration while its files are put together: what a file says, then what it includes."""

    def __init__(self, include: Include, parse: Parse, path: Path, text: str) -> None:
        self._include, self._parse = include, parse
        self._pieces = [Piece(path, text)]
        self._first: dict[Path, _At | None] = {path: None}      # where each was included
        self._elsewhere: dict[Location, _At] = {}
        self._problems: list[_Problem] = []

    def put_together(self, plain: dict[str, Any]) -> Source:
        """Add to what the first file says what others do; returns where everything stands. ConfigurationError."""
        self._include_all(_patterns(plain), 0, plain, 1)
        if self._problems:
            known = self._lines(self._problems[:MOST_TOLD])
            told = [_words(each, known) for each in self._problems[:MOST_TOLD]]
            raise ConfigurationError("\n".join(bounded(told, "problems", len(self._problems) - len(told))))
        elsewhere = {place: (at.number - 1, at.inside) for place, at in self._elsewhere.items()}
        return Source(*self._pieces[0], others=tuple(self._pieces[1:]), elsewhere=elsewhere)

    def _include_all(self, patterns: list[str], number: int, whole: dict[str, Any], depth: int) -> None:
        for index, pattern in enumerate(patterns):
            at = _At(number, ("include", index))
            if depth > DEEPEST:
                self._problems.append(_Problem(at, f"include: more than {DEEPEST} files within files"))
                return
            try:
                found = self._include(pattern, self._pieces[number].path)
            except ConfigurationError as error:
                self._problems.append(_Problem(at, f"include: {error}"))
                continue
            for path, octets in found:
                self._add(path, octets, at, whole, depth)

    def _add(self, path: Path, octets: bytes, at: _At, whole: dict[str, Any], depth: int) -> None:
        if path in self._first:
            first = self._first[path]
            words = "is included twice, first in" if first else "includes itself, by this"
            self._problems.append(_Problem(at, f"include: {plainly(path)} {words}", first))
            return
        self._first[path] = at
        try:
            text, plain = self._parse(path, octets)
        except ConfigurationError as error:
            self._problems.append(_Problem(None, str(error)))
            return
        number = len(self._pieces)
        self._pieces.append(Piece(path, text))
        patterns = _patterns(plain)
        for name, value in plain.items():
            self._merge(whole, name, value, number)
        self._include_all(patterns, number, whole, depth + 1)

    def _merge(self, whole: dict[str, Any], name: str, value: Any, number: int) -> None:
        """A key of a file, or a table."""
        former: Any = whole.get(name)
        if name not in whole:
            whole[name] = former = type(value)() if isinstance(value, dict) or _are_tables(value) else value
            self._elsewhere[name,] = _At(number, (name,))
        elif not _are_tables(former, value) and not (isinstance(former, dict) and isinstance(value, dict)):
            self._twice((name,), number)
            return
        if isinstance(value, dict):
            for key in value:
                self._merge_key(former, (name, key), value[key], number)
        elif _are_tables(value):
            for index, table in enumerate(value):
                self._elsewhere[name, len(former)] = _At(number, (name, index))
                former.append(table)

    def _merge_key(self, table: dict[str, Any], place: Location, value: Any, number: int) -> None:
        if place[-1] in table:
            self._twice(place, number)
        else:
            table[str(place[-1])] = value
            self._elsewhere[place] = _At(number, place)

    def _twice(self, place: Location, number: int) -> None:
        lengths = range(len(place), 0, -1)
        first = next((self._elsewhere[place[:n]] for n in lengths if place[:n] in self._elsewhere), _At(0, place))
        words = f"{key_of(place)}: is said twice, first in"
        self._problems.append(_Problem(_At(number, place), words, _At(first.number, place)))

    def _lines(self, problems: Iterable[_Problem]) -> dict[_At, str]:
        """FILE:LINE of what they name; each file is looked through once."""
        named = {at for problem in problems for at in (problem.at, problem.first) if at}
        places: dict[_At, str] = {}
        for number, (path, text) in enumerate(self._pieces):
            inside = [at.inside for at in named if at.number == number]
            found = lines(text, inside) if inside else {}
            places |= {_At(number, each): ":".join((plainly(path), *([str(found[each])] if each in found else [])))
                       for each in inside}  # fmt: skip
        return places


def _words(problem: _Problem, known: dict[_At, str]) -> str:
    place = f"{known[problem.at]}: " if problem.at else ""
    return f"{place}{problem.words}{f' {known[problem.first]}' if problem.first else ''}"


def _are_tables(*lists: Any) -> bool:
    return all(isinstance(each, list) and all(isinstance(table, dict) for table in each) for each in lists)


def _patterns(plain: dict[str, Any]) -> list[str]:
    """What a file includes, taken out of it; a key of another shape stays, which is told as of any key."""
    patterns = plain.get("include")
    if not (isinstance(patterns, list) and all(isinstance(each, str) for each in patterns)):
        return []
    del plain["include"]
    return list(patterns)
