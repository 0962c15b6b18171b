"""What `mcfwd show` is asked: words of the command line as parameters of a question to the instance."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from forwarder.client import PAGE, Client, understood
from forwarder.nouns import NOUNS
from forwarder.ordering import ordered
from igmp.link import Network, is_multicast

LONGEST_NAME = 15       # octets: IFNAMSIZ less its end (linux/if.h)
WILDCARD = re.compile(r"[*?\[]")
MULTICAST = 4           # the prefix of 224/4
KINDS = {"group": "groups", "interface": "interfaces", "host": "hosts", "source": "sources"}


@dataclass(frozen=True, slots=True)
class Question:
    """A noun, `limit` rows at most, by `key` in this or the other direction; `filters` are parameters of the API."""

    noun: str
    limit: int | None = None
    filters: tuple[tuple[str, str], ...] = ()
    key: str | None = None
    descending: bool = False

    @property
    def missed(self) -> str:
        """What is said where nothing is left of the noun's rows by the filters."""
        words = " ".join(value for name, value in self.filters if name != "problems")
        ailing = " with a problem" if ("problems", "true") in self.filters else ""
        return f"no {self.noun}{ailing}{' for ' if words else ''}{words}"

    def answer(self, client: Client, worst: bool = False, limit: int | None = None) -> Any:
        """What an instance says, None where its agent is silent; NoAnswerError or RequestError.

        `limit` in place of its own; `worst`: as `Client.get` has it.

        Rows that fit into one page are put in order by the instance. More are asked for as they stand: pages of an
        order that changes meanwhile would repeat some and lack others.
        """
        most = limit or self.limit
        if self.key is None:
            return client.get(self.noun, most, worst, self.filters)
        if most is not None and most <= PAGE:
            order = ("order", f"{'-' if self.descending else ''}{self.key}")
            return client.get(self.noun, most, filters=(*self.filters, order))
        rows = client.get(self.noun, filters=self.filters)
        with understood():
            return rows and ordered(rows, self.key, descending=self.descending)[:most]


def parse(
    noun: str, words: Iterable[str], *, problems: bool = False, order: str | None = None, reverse: bool = False,
    limit: int | None = None,
) -> Question:
    """A question by the words of the command line; ValueError says what is wrong with them."""
    if problems and not NOUNS[noun].problems:
        having = ", ".join(name for name, each in NOUNS.items() if each.problems)
        raise ValueError(f"--problems: {noun} have none of their own; {having} have")
    filters = dict.fromkeys((_kind(noun, word), word) for word in words)
    key, descending = _order(noun, order)
    if reverse and key is None:
        raise ValueError("--reverse: goes with --sort")
    every = (*filters, *([("problems", "true")] if problems else []))
    return Question(noun, limit, every, key, descending != reverse)


def _order(noun: str, order: str | None) -> tuple[str | None, bool]:
    key, keys = None if order is None else order.removeprefix("-"), NOUNS[noun].keys
    if key is not None and key not in keys:
        known = f"they have {', '.join(keys)}" if keys else "they are no rows"
        raise ValueError(f"--sort: {noun} have no {key[:40]!r}; {known}")
    return key, order is not None and order.startswith("-")


def _kind(noun: str, word: str) -> str:
    """By which parameter a word chooses rows of a noun."""
    filters = NOUNS[noun].filters
    kind = _form(word)
    if kind == "host" and "host" not in filters:
        kind = "source"
    if kind not in filters:
        known = f"they can be chosen by {', '.join(filters)}" if filters else "all of them are shown"
        raise ValueError(f"{word[:40]!r} is a {_name(kind)}, and {noun} have no {KINDS[kind]} to choose by; {known}")
    return kind


def _name(kind: str) -> str:
    return "network or address" if kind in ("host", "source") else kind if kind == "group" else "name of an interface"


def _form(word: str) -> str:
    """group, host or interface, by the form of a word: `host` stands for sources too."""
    if re.fullmatch(r"[0-9./]+", word):
        try:
            network = Network.parse(word)
        except ValueError:
            raise ValueError(f"{word[:40]!r} is no IPv4 address or network") from None
        return "group" if is_multicast(network.address) and network.prefix >= MULTICAST else "host"
    _check_name(word)
    return "interface"


def _check_name(word: str) -> None:
    if ":" in word:
        raise ValueError(f"{word[:40]!r} is no IPv4 address, and no interface has a colon in its name")
    if not word or re.search(r"[\s/]", word) or not _fits(word):
        raise ValueError(f"{word[:40]!r} is no group, address or name of an interface")


def _fits(word: str) -> bool:
    try:
        return len(word.encode()) <= LONGEST_NAME * (4 if WILDCARD.search(word) else 1)
    except UnicodeEncodeError:      # octets that are no UTF-8; such a name cannot be asked for
        return False
