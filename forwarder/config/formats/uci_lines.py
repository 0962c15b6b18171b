"""The lines of a UCI file (OpenWrt): words with their quotes, and the sections that they make. Pure."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forwarder.config.formats.problems import LONGEST_TEXT, Problems
from forwarder.config.formats.translation import Origin
from forwarder.config.rules import quote

LONGEST_LINE = 4096     # characters: a network or a name takes some dozens
MOST_LINES = 1 << 16    # that say something: as many as 4,096 interfaces would take with sixteen options each
PIECE = re.compile(r"'(?P<single>[^']*)'|\"(?P<double>(?:\\.|[^\"\\])*)\"|\\(?P<escaped>.)|(?P<plain>[^\s'\"\\;#]+)")
ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Value:
    """What an option says, and where."""

    text: str
    origin: Origin


@dataclass(slots=True)
class Section:
    """`config TYPE [NAME]` and its options; one that is said several times has the last value, a list has all."""

    type: str
    origin: Origin
    options: dict[str, list[Value]] = field(default_factory=dict)

    def last(self, name: str) -> Value | None:
        """The value of an option."""
        return values[-1] if (values := self.options.get(name)) else None


def sections(text: str, path: Path, problems: Problems) -> list[Section]:
    """All sections in their order; a named one that comes again goes on."""
    found: list[Section] = []
    named: dict[tuple[str, str], Section] = {}
    current: Section | None = None
    for words, origin in _statements(text, path, problems):
        match words:
            case ["package", _]:
                pass        # the file's own name
            case ["config", type_, *name] if len(name) < 2:
                current = named.get((type_, name[0])) if name else None
                if current is None:
                    found.append(current := Section(type_, origin))
                    named.update({(type_, each): current for each in name})
            case ["option" | "list" as kind, name, value]:
                if current is None:
                    problems.add(origin, f"{kind} stands before the first config")
                    continue
                values = current.options.setdefault(name, [])
                if kind == "option":
                    values.clear()
                values.append(Value(value, origin))
            case [keyword, *_]:
                problems.add(origin, _misshapen(keyword))
    return found


def _misshapen(keyword: str) -> str:
    shapes = {
        "package": "package NAME", "config": "config TYPE [NAME]", "option": "option NAME VALUE",
        "list": "list NAME VALUE",
    }  # fmt: skip
    if keyword in shapes:
        return f"should be: {shapes[keyword]}"
    return f"unknown word {quote(keyword)}; a line begins with {', '.join(shapes)}"


def _statements(text: str, path: Path, problems: Problems) -> Iterator[tuple[list[str], Origin]]:
    said = 0
    for number, line in enumerate(io.StringIO(text), 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#":
            continue
        said += 1
        origin = Origin(path, number, stripped[:LONGEST_TEXT])
        if len(stripped) > LONGEST_LINE:
            problems.add(origin, f"a line has {LONGEST_LINE} characters at most, this one {len(stripped)}")
        elif said > MOST_LINES:
            problems.add(origin, f"there is room for {MOST_LINES} lines")
            return
        elif (parts := _parted(stripped)) is None:
            problems.add(origin, "a quote does not end in this line")
        else:
            yield from ((words, origin) for words in parts)


def _parted(line: str) -> list[list[str]] | None:
    """The words of each statement, which semicolons part; None where a quote has no end."""
    at, glued, parts = 0, False, list[list[str]]([[]])
    while at < len(line) and line[at] != "#":
        if match := PIECE.match(line, at):
            if not glued:
                parts[-1].append("")
            parts[-1][-1] += _plain(match)
            at, glued = match.end(), True
        elif line[at] in "'\"\\":
            return None
        else:
            if line[at] == ";":
                parts.append([])
            at, glued = at + 1, False
    return [words for words in parts if words]


def _plain(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return ESCAPE.sub(r"\1", match["double"])
    return str(next(each for each in (match["single"], match["escaped"], match["plain"]) if each is not None))
