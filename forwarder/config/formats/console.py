"""The language of RouterOS's console, as far as exports and pasted commands have it: menus, verbs, words, quotes.

A `\\` at the end of a line continues it, in the middle of a value too: the blanks that begin the next line are none.
What scripts have beyond that (`:if`, variables) is passed over; commands in braces are commands.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.places import Lines, origin_of
from forwarder.config.formats.translation import Origin

MOST_WORDS = 256        # of a command; what is kept of a line of 16 MiB has to end
DEEPEST = 8             # menus in each other
VERBS = ("add", "set", "remove", "enable", "disable", "unset", "comment", "move", "print", "export", "find", "get",
         "edit", "monitor", "reset", "reset-counters")  # fmt: skip
QUOTING = re.compile(r'(?:\\\r?\n[^\S\n]*+)++|"|\\([0-9A-F]{2}|[\s\S])')
OCTETS = re.compile(r"\\[89A-F][0-9A-F]")      # a letter that is not ASCII is an escape for each octet of its UTF-8
ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "_": " "}
# Possessive: what a quote or a word took is never tried again, so a file takes time by its length alone.
TOKEN = re.compile(
    r'(?P<prompt>(?m:^)[^\S\n]*+\[[^\]\n@]{1,64}@[^\]\n]{1,64}\][^\S\n]*+(?P<menu>/[^>\n]{0,200})?>)'
    r'|(?P<blank>(?m:^)[^\S\n]*+\#[^\n]*+|[^\S\n]++|\\\r?\n[^\S\n]*+)'
    r'|(?P<end>\n++|[;{}])|(?P<bracket>[\[\]])'
    r'|(?P<word>(?:[^\s\\"\[\]{};]++|"(?:[^"\\]++|\\[\s\S])*+"|\\\r?\n[^\S\n]*+|\\[^\r\n])++)'
    r'|(?P<open>["\\])',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Command:
    """A verb and its words, in a menu such as ("routing", "igmp-proxy"); no verb: the menu is entered."""

    menu: tuple[str, ...]
    verb: str
    words: tuple[str, ...]      # as they stand there, "[" and "]" by themselves
    origin: Origin


def commands(text: str, path: Path, menu: tuple[str, ...]) -> Iterator[Command]:
    """What is said in a menu and those in it; raises ConfigurationError where it is not the language."""
    here: tuple[str, ...] = ()
    for at, end, line, words in _statements(text, path):
        if not (here == menu[: len(here)] or here[: len(menu)] == menu or words[0].startswith(("/", ".."))):
            continue        # of a menu elsewhere, as nearly all of an export
        if words[0].startswith(":") or words[0].endswith("="):      # a script's `:do`, and `on-error=` behind it
            continue
        there, verb, rest = _resolved(here, words)
        if not verb:
            here = there
        if there[: len(menu)] == menu:
            yield Command(there, verb, rest, origin_of(path, line, text, at, end))


def value_of(word: str) -> str:
    """What a word says, without quotes, escapes and the ends of lines in it."""
    if '"' not in word and "\\" not in word:
        return word
    plain = QUOTING.sub(_unescaped, word)
    if OCTETS.search(word):
        with suppress(UnicodeError):
            return plain.encode("latin-1").decode()
    return plain


def _unescaped(match: re.Match[str]) -> str:
    said = match[1] or ""       # none: a quote, or the end of a line
    return chr(int(said, 16)) if len(said) == 2 else ESCAPED.get(said, said)


def _statements(text: str, path: Path) -> Iterator[tuple[int, int, int, tuple[str, ...]]]:
    """Start, end, line and words of what ends with a line, a semicolon or a brace; a prompt's menu is one by itself."""
    lines, words, start, end = Lines(text), list[str](), 0, 0
    for token in TOKEN.finditer(text):      # every character is some token's
        kind, said = token.lastgroup, token[0]
        if kind == "open":
            what = "a quote that does not end" if said == '"' else "a line that is continued, and no other one"
            raise ConfigurationError(f"{Origin(path, lines.of(token.start())).place}: {what}")
        if kind in ("word", "bracket"):
            start, end = start if words else token.start(), token.end()
            words.append(said)
            if len(words) > MOST_WORDS:
                place = Origin(path, lines.of(start)).place
                raise ConfigurationError(f"{place}: a command of more than {MOST_WORDS} words")
        elif kind != "blank":
            if words:
                yield start, end, lines.of(start), tuple(words)
            words = []
            if kind == "prompt":
                yield token.start(), token.end(), lines.of(token.start()), tuple((token["menu"] or "/").split())
    if words:
        yield start, end, lines.of(start), tuple(words)


def _resolved(here: tuple[str, ...], words: tuple[str, ...]) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """The menu that a command is in, its verb, what follows: `/routing igmp-proxy` and `/routing/igmp-proxy` alike."""
    there = () if words[0].startswith("/") else here
    for at, word in enumerate(words):
        if "=" in word or word in ("[", "]") or len(there) > DEEPEST:
            return there, "?", words[at:]
        for part in value_of(word).split("/", DEEPEST):
            if part in VERBS:
                return there, part, words[at + 1 :]
            there = there[:-1] if part == ".." else (*there, part) if part else there
    return there, "", ()
