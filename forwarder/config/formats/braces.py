"""The language of config.boot (Vyatta, EdgeOS, VyOS): words, quotes, comments, braces; a line ends a statement.

Commands (`set protocols ...`) have the same words and quotes, no braces, and `#` before a comment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.places import Lines
from forwarder.config.formats.translation import Origin

MOST_WORDS = 64         # of a statement; real ones have a dozen, and what is kept of a line of 16 MiB has to end
ESCAPE = re.compile(r"\\([\s\S])")
# Possessive: what a quote or a run of words took is never tried again, so a file takes time by its length alone.
TOKEN = re.compile(
    r"""(?P<blank>(?m:^)[^\S\n]*+(?:\#|//)[^\n]*+|[^\S\n]++|/\*[\s\S]*?\*/)"""
    r"""|(?P<end>\n++|[{}])"""
    r"""|(?P<double>"(?:[^"\\]++|\\[\s\S])*+")|(?P<single>'[^']*+')"""
    r"""|(?P<open>["']|/\*)"""
    r"""|(?P<word>[^\s{}]++)""",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """Words and what ends them: a line ("\\n"), a block that they open ("{"), or the end of the one they are in ("}").

    `line` from 1; it stands from `start` to `end` in the text.
    """

    words: tuple[str, ...]
    ending: str
    line: int
    start: int
    end: int


def statements(text: str, path: Path) -> Iterator[Statement]:
    """What a file says, blocks as they open and close; raises ConfigurationError where it is not the language."""
    lines, words, start, end = Lines(text), list[str](), 0, 0
    for token in _tokens(text, path):
        kind, said = token.lastgroup, token[0]
        if kind == "blank":
            continue
        start, end = start if words else token.start(), end if said[0] == "\n" else token.end()
        if kind != "end":
            words.append(_plain(kind, said))
            if len(words) > MOST_WORDS:
                place = Origin(path, lines.of(start)).place
                raise ConfigurationError(f"{place}: a statement of more than {MOST_WORDS} words")
        elif words or said[0] != "\n":
            yield Statement(tuple(words), said[0], lines.of(start), start, end)
            words = []
    if words:
        yield Statement(tuple(words), "\n", lines.of(start), start, end)


def _tokens(text: str, path: Path) -> Iterator[re.Match[str]]:
    for token in TOKEN.finditer(text):      # every character is some token's
        if token.lastgroup == "open":
            what = "a comment" if token[0] == "/*" else "a quote"
            raise ConfigurationError(f"{Origin(path, Lines(text).of(token.start())).place}: {what} that does not end")
        yield token


def _plain(kind: str | None, said: str) -> str:
    if kind == "double":
        return ESCAPE.sub(r"\1", said[1:-1])
    return said[1:-1] if kind == "single" else said
