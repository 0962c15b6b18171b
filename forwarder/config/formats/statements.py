"""Going through the words of igmpproxy.conf: what comes next, where it stands, and what was wrong with it."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from forwarder.config.files import ConfigurationError, plainly
from forwarder.config.formats import words
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.formats.words import Word
from forwarder.config.placing import MOST_TOLD, bounded
from forwarder.config.rules import quote
from forwarder.units import visible
from igmp.link import Network

DEEPEST = 8             # files within files
LONGEST_LINE = 200      # characters of a line that an origin keeps


class WrongError(Exception):
    """What is wrong with a statement; the next one may be right."""


class _OpenFile(NamedTuple):
    path: Path
    lines: list[str]
    rest: Iterator[Word]
    above: tuple[Path, ...]     # the files that include it


class Statements:
    """The words of a file and of those that it includes, one ahead."""

    def __init__(self, text: str, path: Path, outside: Outside, translation: Translation, longest: int) -> None:
        self.translation, self.origin = translation, Origin(path, 1)    # of the word that was taken last
        self._outside, self._longest = outside, longest
        self._files = [self._file(path, text, ())]
        self._here = self._files[0]     # the file of that word; it is done with when none comes behind it
        self._ahead = self._next()
        self._problems: list[str] = []
        self._more = 0

    def peek(self) -> str:
        """The next word, empty at the end."""
        return self._ahead.text if self._ahead else ""

    def take(self) -> Word:
        """The next word, of which there is one; `origin` is where it stands from now on."""
        word = self._ahead
        assert word is not None
        self._here = file = self._files[-1]
        self.origin = Origin(file.path, word.line, file.lines[word.line - 1][:LONGEST_LINE].strip())
        if word.joined:
            self.warn(f"{quote(word.text)} goes around a remark, which ends no word (put a blank before #)")
        if word.cut:
            self.warn(f"a word is longer than {self._longest} characters: what follows is taken for the next one")
        self._ahead = self._next()
        return word

    def skip(self, keywords: frozenset[str]) -> None:
        """Up to what may be a statement again."""
        while self._ahead and self._ahead.text not in keywords:
            self._ahead = self._next()

    def argument(self, what: str, keywords: frozenset[str] = frozenset()) -> str:
        """What has to follow; WrongError where the file ends, or the next statement begins."""
        text, statement = self.peek(), self.origin
        if not text or text in keywords:
            raise WrongError(f"{what} is missing")
        self.take()
        self.origin = statement     # what is told is told of that; its argument may stand in another line
        return text

    def number(self, what: str, keywords: frozenset[str], least: int, most: int) -> int:
        """A number that has to follow, as C reads it."""
        text = self.argument(what, keywords)
        value, is_whole = words.number(text)
        if not least <= value <= most:
            raise WrongError(f"{what} should be {least} to {most}, not {quote(text)}")
        if not is_whole:
            self.warn(f"{quote(text)} is read as {value}")
        return value

    def network(self, keywords: frozenset[str]) -> Network:
        """A network that has to follow, host bits and all."""
        text = self.argument("the network", keywords)
        try:
            found, is_plain = words.network(text)
        except ValueError:
            raise WrongError(f"should be a network such as 10.0.0.0/8, not {quote(text)}") from None
        if not is_plain:
            self.warn(f"{quote(text)} is read as {found}")
        return found

    def warn(self, told: str) -> None:
        """What to know of the statement that is being read."""
        self.translation.warn(self.origin, told)

    def wrong(self, told: str) -> None:
        """A problem of this statement."""
        if len(self._problems) < MOST_TOLD:
            self._problems.append(f"{self.origin.place}: {visible(told)}")
        else:
            self._more += 1

    def refuse(self) -> None:
        """Raise ConfigurationError if there are problems."""
        if self._problems:
            raise ConfigurationError("\n".join(bounded(self._problems, "problems", self._more)))

    def include(self, pattern: str) -> None:
        """Go on with the files that a pattern means, then behind this statement."""
        above = (*self._here.above, self._here.path)
        if len(above) > DEEPEST:
            raise WrongError(f"more than {DEEPEST} files within files")
        try:
            found = self._outside.included(pattern)
        except ConfigurationError as error:
            raise WrongError(str(error)) from error
        if loop := next((path for path, _ in found if path in above), None):
            raise WrongError(f"{plainly(loop)} includes itself by this")
        if self._ahead:
            self._files[-1] = self._files[-1]._replace(rest=chain([self._ahead], self._files[-1].rest))
        self._files += [self._file(path, text, above) for path, text in reversed(found)]
        self._ahead = self._next()

    def _file(self, path: Path, text: str, above: tuple[Path, ...]) -> _OpenFile:
        return _OpenFile(path, text.split("\n"), words.words(text, self._longest), above)

    def _next(self) -> Word | None:
        """The next word; the last file is the innermost, and is done with when it has no more."""
        while True:
            word = next(self._files[-1].rest, None)
            if word is not None or len(self._files) == 1:
                return word
            self._files.pop()
