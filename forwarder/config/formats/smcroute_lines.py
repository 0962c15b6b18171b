"""The lines of smcroute.conf(5): statements with their words by keyword, those of included files in their place. Pure.

Rules of this file: whatever a text holds becomes statements and problems, each with file and line. A file is read once,
however often it is included; one that includes itself is a problem.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forwarder.config.files import MOST_OCTETS, ConfigurationError
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside
from forwarder.config.rules import quote
from forwarder.units import size

MOST_FILES = 1000       # that are included, all together
LONGEST = 8192          # characters of a line: smcrouted takes fewer
MOST_STATEMENTS = 65536 # four times the routes for which there is room in a snapshot
KEYWORDS = {"mgroup": ("from", "source", "group"), "mroute": ("from", "source", "group", "to")}
OPTIONS = ("enable", "disable", "mrdisc", "ttl-threshold")      # of a phyint
STATEMENTS = ("phyint", "mgroup", "mroute", "include")
ALIASES = {"ssmgroup": "mgroup"}        # its name in versions before 2.0
FREE = ("to",)                          # as many words as there are, or none


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `kind` of STATEMENTS but `include`; `words` by keyword, `name` is the interface of a phyint."""

    kind: str
    origin: Origin
    words: dict[str, list[str]]
    name: str = ""


class Reader:
    """Reads files; what is wrong with them goes to `problems`."""

    def __init__(self, outside: Outside, problems: Problems) -> None:
        self._outside, self._problems = outside, problems
        self._read: set[str] = set()
        self._open: set[str] = set()
        self._octets = self._statements = 0

    def statements(self, text: str, path: Path) -> Iterator[Line]:
        """Those of a file, and of what it includes, in their order."""
        name = os.path.normpath(path)
        self._read.add(name)
        self._open.add(name)
        for number, line in enumerate(text.split("\n"), 1):
            if not (said := line[:LONGEST].partition("#")[0].split()):
                continue
            origin = Origin(path, number, line[:LONGEST].strip())
            self._statements += 1
            if self._statements > MOST_STATEMENTS:
                self._problems.add(origin, f"there are more than {MOST_STATEMENTS} statements")
                break
            if len(line) > LONGEST:
                self._problems.add(origin, f"is longer than {LONGEST} characters")
            else:
                yield from self._said(said[0], said[1:], origin)
        self._open.discard(name)

    def _said(self, kind: str, words: list[str], origin: Origin) -> Iterator[Line]:
        if kind == "include":
            yield from self._included(words, origin)
        elif statement := self._statement(ALIASES.get(kind, kind), words, origin):
            yield statement

    def _included(self, words: Sequence[str], origin: Origin) -> Iterator[Line]:
        if len(words) != 1:
            self._problems.add(origin, "include should be followed by one path or pattern")
            return
        for path, text in self._found(words[0], origin):
            name = os.path.normpath(path)
            if name in self._open:
                self._problems.add(origin, f"{quote(name)} includes itself")
            elif name not in self._read:
                self._octets += len(text)
                if len(self._read) >= MOST_FILES or self._octets > MOST_OCTETS:
                    self._problems.add(origin, f"more than {MOST_FILES} files or {size(MOST_OCTETS)} are included")
                    return
                yield from self.statements(text, path)

    def _found(self, pattern: str, origin: Origin) -> Sequence[tuple[Path, str]]:
        try:
            found = self._outside.included(pattern)
        except ConfigurationError as error:
            for line in str(error).splitlines():
                self._problems.add(origin, f"include: {line}")
            return ()
        if not found and not set("*?[") & set(pattern):
            self._problems.add(origin, f"include: there is no {quote(pattern)}")
        return found

    def _statement(self, kind: str, words: list[str], origin: Origin) -> Line | None:
        if kind == "phyint":
            return self._phyint(words, origin)
        if kind in KEYWORDS:
            return self._route_or_group(kind, words, origin)
        self._problems.add(origin, f"unknown statement {quote(kind)}{near(kind, (*STATEMENTS, *ALIASES))}")
        return None

    def _phyint(self, words: list[str], origin: Origin) -> Line | None:
        if not words:
            self._problems.add(origin, "phyint should be followed by an interface")
            return None
        name, *rest = words
        said: dict[str, list[str]] = {}
        while rest:
            option = rest.pop(0)
            if option not in OPTIONS:
                self._problems.add(origin, f"unknown option {quote(option)} of phyint{near(option, OPTIONS)}")
                return None
            said.pop({"enable": "disable", "disable": "enable"}.get(option, ""), None)     # the last one counts
            said[option] = [rest.pop(0)] if option == "ttl-threshold" and rest else []
        return Line("phyint", origin, said, name)

    def _route_or_group(self, kind: str, words: list[str], origin: Origin) -> Line | None:
        """Keywords in any order, each with a word behind it; `to` with all up to the next keyword."""
        said: dict[str, list[str]] = {}
        at = ""
        for word in words:
            if word in KEYWORDS[kind]:
                if word in said:
                    self._problems.add(origin, f"{word} is said twice")
                    return None
                at, said[word] = word, []
            elif at and (at in FREE or not said[at]):
                said[at].append(word)
            else:
                known = KEYWORDS[kind]
                self._problems.add(origin, f"unknown word {quote(word)} of {kind}{near(word, known)}")
                return None
        for keyword in ("from", "group", *said):
            if keyword not in FREE and not said.get(keyword):
                self._problems.add(origin, f"{kind} needs {keyword} and what belongs behind it")
                return None
        return Line(kind, origin, said)


def near(word: str, known: Sequence[str]) -> str:
    """Which of the known words may be meant, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
