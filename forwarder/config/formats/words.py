"""The words of igmpproxy.conf, and its numbers and addresses: as C reads them, with what that makes of odd ones."""

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

from igmp.link import Network

LONGEST = 29            # octets of a word; what follows is the next word
LONGEST_V3 = 127        # of igmpv3proxy
PART = re.compile(r"(?P<blank>[ \t\r\n]+)|(?P<remark>#[^\n]*\n?)|(?P<word>[^ \t\r\n#]+)")
NUMBER = re.compile(r"\s*([+-]?\d+)")
NONE = 0xFFFFFFFF       # of inet_addr: an error, and 255.255.255.255


class Word(NamedTuple):
    """What stands between blanks, in the line in which it begins.

    `joined`: a remark inside of it was taken out; `cut`: it goes on in the next word, for it is too long.
    """

    text: str
    line: int
    joined: bool = False
    cut: bool = False


def words(text: str, longest: int = LONGEST) -> Iterator[Word]:
    """The words of a text. A remark goes to the end of its line, which does not end the word that it stands in."""
    word, began, joined, line, after_remark = "", 1, False, 1, False
    for match in PART.finditer(text):
        if match.lastgroup == "blank" and word:
            yield Word(word, began, joined)
            word, joined = "", False
        elif match.lastgroup == "word":
            if word:
                joined = joined or after_remark
            else:
                began = line
            word += match[0]
            while len(word) >= longest:
                yield Word(word[:longest], began, joined, cut=len(word) > longest)
                word, began, joined = word[longest:], line, False
        after_remark = match.lastgroup == "remark"
        line += match[0].count("\n")
    if word:
        yield Word(word, began, joined)


def number(text: str) -> tuple[int, bool]:
    """As atoi: the number at the beginning, 0 where there is none; and whether that is all of the text."""
    match = NUMBER.match(text)
    return (int(match[1][:12]), match.end() == len(text)) if match else (0, False)


def address(text: str) -> int:
    """As inet_addr: 10.1 is 10.0.0.1, 0x0a000001 and 012.0.0.1 too; ValueError."""
    try:
        value = int.from_bytes(socket.inet_aton(text), "big")
    except OSError as error:
        raise ValueError(text) from error
    if value == NONE or not text.isascii():
        raise ValueError(text)
    return value


def network(text: str) -> tuple[Network, bool]:
    """A network, host bits and all, of "10.0.0.0/8", and whether it is written as people would; ValueError."""
    parts = [part for part in text.split("/") if part]
    if not parts:
        raise ValueError(text)
    at = address(parts[0])
    prefix, whole = number(parts[1]) if len(parts) > 1 else (32, True)
    if not 0 <= prefix <= 32:
        raise ValueError(text)
    found = Network(at, prefix)
    return found, whole and text in (str(found), str(found).removesuffix("/32"))
