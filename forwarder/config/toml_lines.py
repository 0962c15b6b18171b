"""In which line of a TOML file something is said, for errors: read again only when there is one to tell.

Pure, and no second opinion on what TOML is: the text was taken by a parser that keeps no lines. Where it is not
understood here, or is long, nothing is said rather than something wrong.
"""

import json
import re
from collections.abc import Iterable, Iterator

Location = tuple[int | str, ...]        # ("interface", 3, "max_groups"), as pydantic has it

LONGEST = 1 << 19       # characters, a second at most, which a reload waits for; 2,000 interfaces take a third of it
TOKEN = re.compile(
    r'(?P<end>\n)|(?P<blank>[ \t\r]+|#[^\n]*)'
    r'|(?P<text>"""(?:\\[\s\S]|[^\\])*?"{3,5}|\'\'\'[\s\S]*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r'|(?P<mark>[\[\]{}=,.])|(?P<word>[^\s#"\'\[\]{}=,.]+)',
)  # fmt: skip


def lines(text: str, wanted: Iterable[Location]) -> dict[Location, int]:
    """The line, from 1, where each of `wanted` is said, or else the table that should say it; without those unknown."""
    asked = list(wanted)
    if len(text) > LONGEST:
        return {}
    try:
        found = _Reader(text, {path[:length] for path in asked for length in range(1, len(path) + 1)}).found()
    except (_NotUnderstoodError, RecursionError):
        return {}
    places = {path: _nearest(path, found) for path in asked}
    return {path: line for path, line in places.items() if line is not None}


def _nearest(path: Location, found: dict[Location, int]) -> int | None:
    """The line of what is there of a path: a list's element stands where the list does, a missing key in its table."""
    lengths = range(len(path), 0, -1)
    return next((found[path[:length]] for length in lengths if path[:length] in found), None)


class _NotUnderstoodError(Exception):
    """The text is not what was expected."""


class _Reader:
    """Goes through a text once; `prefixes` are the locations whose lines are kept.

    A token with quotes has them, so it is never mistaken for a mark.
    """

    def __init__(self, text: str, prefixes: set[Location]) -> None:
        self._prefixes = prefixes
        self._tokens = _tokens(text)
        self._tables: dict[Location, int] = {}      # of [[arrays]]: the number of the last
        self._found: dict[Location, int] = {}
        self._advance()

    def found(self) -> dict[Location, int]:
        """Lines by location; raises _NotUnderstoodError."""
        table: Location = ()
        while self._kind:
            if self._kind == "end":
                self._advance()
            elif self._token == "[":
                table = self._heading()
            else:
                self._pair(table)
        return self._found

    def _advance(self) -> None:
        self._kind, self._token, self._line = next(self._tokens, ("", "", 0))

    def _expect(self, token: str) -> None:
        if self._token != token:
            raise _NotUnderstoodError
        self._advance()

    def _note(self, path: Location, line: int) -> None:
        if path in self._prefixes:
            self._found.setdefault(path, line)

    def _heading(self) -> Location:
        """`[a.b]` or `[[a.b]]`: the location of the table that begins."""
        line = self._line
        self._expect("[")
        if double := self._token == "[":
            self._expect("[")
        path: Location = ()
        for part in self._key():
            path = (*self._inside(path), part)
            if not double and path not in self._tables:
                self._note(path, line)
        for _ in range(1 + double):
            self._expect("]")
        if double:
            self._tables[path] = self._tables.get(path, -1) + 1
        path = self._inside(path)
        self._note(path, line)
        return path

    def _inside(self, path: Location) -> Location:
        """The last element of a list of tables, where the path names one."""
        return (*path, self._tables[path]) if path in self._tables else path

    def _pair(self, table: Location) -> None:
        """`a.b = value`."""
        line, path = self._line, table
        for part in self._key():
            path = (*path, part)
            self._note(path, line)
        self._expect("=")
        self._value(path)

    def _key(self) -> list[str]:
        parts = [self._part()]
        while self._token == ".":
            self._advance()
            parts.append(self._part())
        return parts

    def _part(self) -> str:
        kind, token = self._kind, self._token
        self._advance()
        if kind == "word":
            return token
        if kind != "text":
            raise _NotUnderstoodError
        try:
            return token[1:-1] if token[0] == "'" else str(json.loads(token))
        except ValueError:
            raise _NotUnderstoodError from None

    def _value(self, path: Location) -> None:
        if self._token == "[":
            self._list(path)
        elif self._token == "{":
            self._inline(path)
        elif self._kind not in ("text", "word"):
            raise _NotUnderstoodError
        while self._kind in ("text", "word") or self._token == ".":     # 1.5 is three tokens, 1979-05-27 07:32 two
            self._advance()

    def _list(self, path: Location) -> None:
        self._expect("[")
        for at in self._items("]"):
            self._note((*path, at), self._line)
            self._value((*path, at))

    def _inline(self, path: Location) -> None:
        self._expect("{")
        for _ in self._items("}"):
            self._pair(path)

    def _items(self, end: str) -> Iterator[int]:
        """Numbers of what stands between commas; the caller reads each, this the rest up to `end`."""
        at = 0
        self._skip_lines()
        while self._token != end:
            yield at
            at += 1
            self._skip_lines()
            if self._token == ",":
                self._advance()
                self._skip_lines()
        self._advance()

    def _skip_lines(self) -> None:
        while self._kind == "end":
            self._advance()


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and line of what is not blank."""
    at, line = 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise _NotUnderstoodError
        at, kind, token = match.end(), str(match.lastgroup), match[0]
        if kind != "blank":
            yield kind, token, line
        line += token.count("\n")
