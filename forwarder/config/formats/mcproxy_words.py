"""The words of an mcproxy.conf: a stream in which statements end with semicolons. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forwarder.config.formats.problems import LONGEST_TEXT
from forwarder.config.formats.translation import Origin
from forwarder.config.rules import quote

MOST_WORDS = 1 << 17    # of a file: a table of 4,096 entries takes 20,000 to 40,000
WORD = re.compile(
    r'(?P<blank>[ \t\r\f\v\n]++|#[^\n]*+)|(?P<word>[A-Za-z0-9_]++(?:\.[A-Za-z0-9_]++)*+)'
    r'|(?P<text>"[^"\n]*+")|(?P<mark>==>|[:.{}()\-/*|;@])|(?P<odd>.)',
    re.DOTALL,
)  # fmt: skip
PARTS_OF_NAMES = frozenset(".-@")


class StatementError(Exception):
    """A statement that cannot be understood: what is wrong with it, from the word on at which this shows."""

    def __init__(self, words: str, line: int) -> None:
        super().__init__(words)
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    """One word or mark; `kind` is word, text (in quotes), mark, odd or end (of the file)."""

    kind: str
    text: str
    line: int
    start: int
    stop: int


class Words:
    """Goes through a file once; `here` is the word that comes next."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path, self.cut = text, path, 0    # cut: the line from which on nothing was read
        self._words = self._all()
        self.advance()

    def advance(self) -> Token:
        """The word that was next; after it the next one is."""
        taken, self.here = getattr(self, "here", None), next(self._words)
        return taken or self.here

    def is_mark(self, *marks: str) -> bool:
        """Whether one of these comes next; `;` and the end of the file are one for this."""
        if self.here.kind == "end":
            return ";" in marks
        return self.here.kind == "mark" and self.here.text in marks

    def is_word(self, *words: str) -> bool:
        """Whether one of these keywords comes next, in large or small letters."""
        return self.here.kind == "word" and self.here.text.lower() in words

    def expect(self, *marks: str) -> str:
        """The mark that comes next; StatementError where it is none of these."""
        if not self.is_mark(*marks):
            raise self.unexpected(" or ".join(marks))
        return self.advance().text

    def keyword(self, *words: str) -> str:
        """The keyword that comes next, in small letters; StatementError where it is none of these."""
        if not self.is_word(*words):
            raise self.unexpected(" or ".join(words))
        return self.advance().text.lower()

    def name(self, what: str) -> str:
        """A name, which may have dots, dashes and more inside, or be in quotes; StatementError."""
        if self.here.kind == "text":
            return self.advance().text[1:-1]
        if self.here.kind != "word":
            raise self.unexpected(what)
        last = self.advance()
        start = last.start
        while self.here.start == last.stop and (self.here.kind == "word" or self.here.text in PARTS_OF_NAMES):
            last = self.advance()
        return self._text[start : last.stop]

    def has_name(self) -> bool:
        """Whether a name comes next."""
        return self.here.kind in ("word", "text")

    def unexpected(self, wanted: str) -> StatementError:
        """That something else was expected than what comes next."""
        found = "the end of the file" if self.here.kind == "end" else quote(self.here.text)
        return StatementError(f"expected {wanted}, not {found}", self.here.line)

    def skip(self) -> None:
        """Go on behind the statement."""
        while self.here.kind != "end" and not self.is_mark(";"):
            self.advance()
        self.advance()

    def origin(self, first: Token) -> Origin:
        """Where a statement or entry began that ends before what comes next; a text of several lines is cut."""
        stop = min(self.here.start, first.start + LONGEST_TEXT)
        return Origin(self._path, first.line, self._text[first.start : stop].partition("\n")[0].rstrip())

    def _all(self) -> Iterator[Token]:
        line, said = 1, 0
        for match in WORD.finditer(self._text):
            if match.lastgroup == "blank":
                line += match[0].count("\n")
                continue
            said += 1
            if said > MOST_WORDS:
                self.cut = line
                break
            yield Token(str(match.lastgroup), match[0], line, match.start(), match.end())
        while True:
            yield Token("end", "", line, len(self._text), len(self._text))
