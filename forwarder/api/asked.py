"""What the query string of a GET asks for: `?group=&interface=&host=&source=&problems=&order=&offset=&limit=`.

What is not known, or what the noun does not have, is refused: whoever asked for some rows must not get all of them. For
the same reason an answer says in a header which parameters were followed; instances that know none of them do not.
"""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from forwarder.api.pages import Page
from forwarder.api.server import RefusedError
from forwarder.nouns import NOUNS
from igmp.link import Network

PAGE, LARGEST_PAGE = 1000, 10_000
LONGEST_NAME = 15       # IFNAMSIZ less its end (linux/if.h)

Value = TypeVar("Value")


def page_of(noun: str, query: Any) -> Page:
    """The rows that a query (aiohttp's multidict) asks for; raises RefusedError."""
    _refuse_unknown(noun, query)
    key, worst = query.get("order"), False
    if noun == "flows" and key == "worst":
        key, worst = None, True
    return Page(
        offset=_number(query, "offset", 0),
        limit=min(_number(query, "limit", PAGE), LARGEST_PAGE) if noun == "flows" else
              _number(query, "limit", sys.maxsize),
        groups=_all(query, "group", _network, 'should be a group or a network such as "239.0.0.0/8"'),
        worst=worst,
        interfaces=_all(query, "interface", _interface, 'should be a name or a wildcard such as "tap*"'),
        hosts=_all(query, "host", _network, 'should be an address or a network such as "10.0.0.0/8"'),
        sources=_all(query, "source", _network, 'should be an address or a network such as "10.0.0.0/8"'),
        problems=_flag(query, "problems"),
        key=_key(noun, key),
        descending=key is not None and key.startswith("-"),
    )  # fmt: skip


def followed(query: Iterable[str]) -> str:
    """What the header says of the parameters of a query that was answered."""
    return ", ".join(sorted(set(query)))


def _refuse_unknown(noun: str, query: Iterable[str]) -> None:
    known = NOUNS[noun].parameters
    if unknown := sorted(set(query) - set(known)):
        words = f"{noun} can be asked for by {', '.join(known)}" if known else f"{noun} takes none"
        raise RefusedError(400, f"{_quoted(unknown[0])}: no such parameter here; {words}")


def _key(noun: str, order: str | None) -> str | None:
    key = None if order is None else order.removeprefix("-")
    if key is not None and key not in NOUNS[noun].keys:
        keys = [*(["worst"] if noun == "flows" else []), *NOUNS[noun].keys]
        raise RefusedError(400, f"order: {noun} have no key {_quoted(key)}; they have {', '.join(keys)}")
    return key


def _all(query: Any, name: str, parse: Callable[[str], Value], words: str) -> tuple[Value, ...]:
    try:
        return tuple(dict.fromkeys(parse(text) for text in query.getall(name, ())))
    except ValueError as error:
        raise RefusedError(400, f"{name}: {words}") from error


def _network(text: str) -> Network:
    """Without host bits: that is what is compared."""
    parsed = Network.parse(text)
    return Network(parsed.network_address, parsed.prefix)


def _interface(text: str) -> str:
    if not 0 < len(text) <= 4 * LONGEST_NAME:       # a set of characters in a wildcard is longer than what it means
        raise ValueError(text)
    return text


def _flag(query: Any, name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("", "1", "true", "0", "false"):
        raise RefusedError(400, f'{name}: should be "true", or left out')
    return text in ("", "1", "true")


def _number(query: Any, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, f"{name}: should be a whole number, 0 or more")
    return int(text)


def _quoted(text: str) -> str:
    return json.dumps(text[:40], ensure_ascii=False)
