"""The text of a batch: commands one a line, into operations of `POST /v1/batch`. Pure.

A line is split as a shell would split it, and means what the command line would mean by it: what may stand in it is
read from the commands themselves. Nothing is expanded or executed.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from forwarder.state.batch import COMMANDS
from forwarder.units import visible

# a comment to the end of the line, or a word: plain characters, escaped ones, and quotes with what is in them
PIECE = re.compile(r"""[ \t]*(?:(\#.*)|((?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+))""", re.VERBOSE | re.DOTALL)
QUOTING = re.compile(r"""['"\\]""")
BLANK = " \t\r"
LONGEST_TOLD = 60       # characters of a word in an error

Operation = dict[str, Any]


class LineError(Exception):
    """Why a line is no command."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """What may stand behind a command: arguments in their order, options by what they set, those that may repeat."""

    arguments: tuple[str, ...]
    options: dict[str, str]
    repeated: frozenset[str] = field(default_factory=frozenset)


def numbered(text: str) -> Iterator[tuple[int, list[str] | LineError]]:
    """The lines that say something, by number from 1, each in words; whatever ends them (CRLF too)."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        try:
            if words := words_of(line.strip(BLANK)):
                yield number, words
        except LineError as error:
            yield number, error


def words_of(line: str) -> list[str]:
    """A line without blanks around it, split as by a POSIX shell that expands nothing; raises LineError."""
    words, at = list[str](), 0
    while at < len(line):
        piece = PIECE.match(line, at)
        if piece is None:
            rest = line[at:].lstrip(BLANK)
            quoted = "'" in rest or '"' in rest
            raise LineError("a quote is not closed" if quoted else f"cannot be read at {_told(rest)}")
        if piece[1]:
            break
        words += shlex.split(piece[2]) if QUOTING.search(piece[2]) else [piece[2]]     # 40 µs, 0.3 µs
        at = piece.end()
    return words


def operation_of(words: Sequence[str], syntaxes: dict[str, Syntax]) -> Operation:
    """The operation of a line's words, with or without `mcfwd` before them; raises LineError."""
    said = list(words[1:] if words[:1] == ["mcfwd"] else words)
    command = " ".join(said[:2])
    if command not in COMMANDS:
        raise LineError(f"unknown command {_told(command)}; known are {', '.join(COMMANDS)}")
    return {"command": command, **_values(iter(said[2:]), syntaxes[command])}


def _values(words: Iterator[str], syntax: Syntax) -> Operation:
    values: Operation = {}
    arguments, options_end = iter(syntax.arguments), False
    for word in words:
        if options_end or not word.startswith("-") or word == "-":
            name = next(arguments, None)
            if name is None:
                raise LineError(f"{_told(word)} is too much")
            values[name] = word
        elif word == "--":
            options_end = True
        else:
            _take_option(word, words, syntax, values)
    if missing := next(arguments, None):
        raise LineError(f"{missing} is missing")
    return values


def _take_option(word: str, words: Iterator[str], syntax: Syntax, values: Operation) -> None:
    option, equals, value = word.partition("=")
    name = syntax.options.get(option)
    if name is None:
        raise LineError(f"unknown option {_told(option)}; known are {', '.join(syntax.options)}")
    if not equals and (value := next(words, "")) == "":
        raise LineError(f"{option} needs a value")
    if name in syntax.repeated:
        values.setdefault(name, []).append(value)
    elif name in values:
        raise LineError(f"{option} is there twice")
    else:
        values[name] = value


def _told(text: str) -> str:
    shown = visible(text)
    return f'"{shown if len(shown) <= LONGEST_TOLD else shown[:LONGEST_TOLD] + "..."}"'
