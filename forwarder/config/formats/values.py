"""Values of foreign statements that several formats have: names, networks, numbers, and what nearly is a keyword."""

import difflib
from collections.abc import Collection

from forwarder.config.formats.translation import Outside
from forwarder.config.rules import name_problem, quote
from forwarder.state.settings import is_wildcard
from igmp.link import Network

LONGEST_KEYWORD = 40    # characters: more are no slip of the pen, and to compare them takes time by their length
MOST_DIGITS = 10        # of 4,294,967,295, the largest number that a format knows


def interface_name(text: str, outside: Outside) -> str:
    """What an interface is called here: what `--map` makes of it, or the same; ValueError where that is no name."""
    name = outside.names.get(text, text)
    problem = name_problem(name)
    if problem is None and name == text and is_wildcard(name):     # what --map says may well be one
        problem = f"{quote(name)} would be a wildcard here"
    if problem is None:
        return name
    raise ValueError(f"{problem}; give it another name with --map {quote(text)}=NAME")


def network(text: str) -> str:
    """A network, or a single address, as it stands; ValueError says what it should be."""
    try:
        Network.parse(text)
    except ValueError as error:
        raise ValueError(f'should be a network such as "10.0.0.0/8", not {quote(text)}') from error
    return text


def whole_number(text: str, least: int, most: int) -> int:
    """A number in decimal digits; ValueError where it is none from `least` to `most`."""
    digits = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    if not digits or not least <= int(text) <= most:
        raise ValueError(f"should be a whole number from {least} to {most}, not {quote(text)}")
    return int(text)


def known(word: str, words: Collection[str], what: str) -> str:
    """`word`, which is one of `words`; ValueError names what it is near to, or all."""
    if word in words:
        return word
    close = difflib.get_close_matches(word[:LONGEST_KEYWORD], words, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(words)}"
    raise ValueError(f"unknown {what} {quote(word)}; {hint}")
