"""What igmpv3proxy.conf has beside igmpproxy.conf: timers, filters, lists of networks, and defaults for interfaces."""

from typing import Any

from forwarder.config.formats import words
from forwarder.config.formats.igmpv3proxy_words import FLAGS, GLOBAL, LISTS, NUMBERS, WITH_NUMBER, WITH_TEXT
from forwarder.config.formats.meanings import is_groups, masked
from forwarder.config.formats.phyint import ALL_GROUPS, Phyint
from forwarder.config.formats.statements import Statements, WrongError
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.rules import quote
from igmp.link import Network, format_address


def networks(statements: Statements, keywords: frozenset[str]) -> list[Network]:
    """Of one or more; igmpproxy has one, and ends at what igmpv3proxy takes for the next."""
    found = [statements.network(keywords)]
    while statements.peek()[:1].isdecimal():
        found.append(statements.network(keywords))
    return found


def tell_role(statements: Statements, word: str) -> None:
    """An interface that is both is one of several LANs."""
    if word in ("updownstream", "defaultupdown"):
        statements.warn(f"{word} is taken as downstream: what comes from one such LAN goes to the others")


def option(word: str, phyint: Phyint, statements: Statements, keywords: frozenset[str]) -> None:
    """One of OPTIONS, of an interface. WrongError."""
    origin = statements.origin
    if word == "updownstream":
        phyint.role = ("downstream", origin)
        tell_role(statements, word)
    elif word == "quickleave":
        phyint.keys["quick_leave"] = (True, origin)
        statements.warn("quickleave is the safe kind here: a group ends at once when its last host leaves")
    elif word == "noquickleave":
        phyint.keys["quick_leave"] = (False, origin)
    elif word in NUMBERS:
        key, value = _number(word, statements, keywords)
        if key:
            phyint.keys[key] = (value, origin)
    elif word == "querierip":
        phyint.keys["querier_address"] = (_querier(statements, keywords), origin)
    elif word in LISTS:
        _list(word, phyint, statements, keywords)
    elif word == "defaultfilterany":
        phyint.any_source = origin
    else:
        _told(word, statements, keywords)


class Globals:
    """What was said of no interface: defaults of all of them, and of `[igmp]`."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[Any, Origin]] = {}      # of interfaces
        self._igmp: dict[str, tuple[Any, Origin]] = {}
        self._ssm: list[tuple[str, Origin]] = []
        self._threshold: tuple[int, Origin] | None = None
        self._any_source: Origin | None = None

    def take(self, word: str, statements: Statements, keywords: frozenset[str]) -> bool:
        """Whether the word is one of GLOBAL, with what belongs to it. WrongError."""
        if word not in GLOBAL:
            return False
        word, origin = word.removeprefix("default") if word != "defaultfilterany" else word, statements.origin
        if word == "include":
            statements.include(statements.argument("the name of the file", keywords))
        elif word == "threshold":
            self._threshold = (statements.number("the TTL", keywords, 1, 255), origin)
        elif word in ("defaultfilterany", "filterany"):
            self._any_source = origin
        elif word == "quickleave":
            self._keys["quick_leave"] = (True, origin)
        elif word == "querierip":
            self._keys["querier_address"] = (_querier(statements, keywords), origin)
        elif word == "ssmrange":
            self._ssm += [(masked(statements.translation, str(each), origin), origin)
                          for each in networks(statements, keywords)]  # fmt: skip
        elif word in NUMBERS:
            key, value = _number(word, statements, keywords)
            (self._igmp if NUMBERS[word].is_shared else self._keys)[key] = (value, origin)
        else:
            _told(word, statements, keywords)
        return True

    def fill(self, phyint: Phyint) -> None:
        """Give an interface what it does not say itself."""
        phyint.threshold = phyint.threshold or self._threshold
        phyint.any_source = phyint.any_source or self._any_source
        phyint.keys = {**self._keys, **phyint.keys}

    def tell(self, translation: Translation) -> None:
        """Add `[igmp]` to what the file becomes."""
        for key, (value, origin) in self._igmp.items():
            if key:
                translation.say(("igmp", key), value, origin)
        for text, origin in self._ssm:
            translation.add(("igmp", "ssm_range"), text, origin)


def _number(word: str, statements: Statements, keywords: frozenset[str]) -> tuple[str, float]:
    """Our key and its value; no key where 0 says that there is none."""
    key, most, is_code, _ = NUMBERS[word]
    value = statements.number("the number", keywords, 0 if word == "lastmembercount" else 1, most)
    if is_code:
        return key, _tenths(value) / 10
    return ("" if value == 0 else key), float(value) if key == "query_interval" else value


def _tenths(code: int) -> int:
    """Of a Max Resp Code: from 128 on it has an exponent (RFC 9776 section 4.1.1)."""
    return code if code < 128 else (code & 15 | 16) << ((code >> 4 & 7) + 3)


def _querier(statements: Statements, keywords: frozenset[str]) -> str:
    text = statements.argument("the address", keywords)
    try:
        address = format_address(words.address(text))
    except ValueError:
        raise WrongError(f"should be an address, not {quote(text)}") from None
    statements.warn("the address of queries is that of the interface; this one counts where it has none")
    return address


def _list(word: str, phyint: Phyint, statements: Statements, keywords: frozenset[str]) -> None:
    origin = statements.origin
    if word == "filter":
        _filters(phyint, statements, keywords)
        return
    found = networks(statements, keywords)
    if word == "ssmrange":
        statements.warn("ssmrange holds for all interfaces here: write it outside of phyint")
    elif word == "deniednet":
        phyint.entries += [("deny", f"{masked(statements.translation, str(each), origin)},{ALL_GROUPS}", origin)
                           for each in found]  # fmt: skip
    elif word in ("altnet", "allowednet"):
        phyint.sources += [(each, origin) for each in found]
    else:
        phyint.groups += [(each, word == "whitelist", origin) for each in found]


def _filters(phyint: Phyint, statements: Statements, keywords: frozenset[str]) -> None:
    """Each is networks of sources and of groups, or of groups alone, `up`, `down` or nothing, and what happens."""
    origin = statements.origin
    while True:
        found = [masked(statements.translation, str(each), origin) for each in networks(statements, keywords)]
        if len(found) > 2 or not is_groups(found[-1]):
            raise WrongError("should be networks of sources and of groups, and then allow or block")
        if statements.peek() in ("up", "down"):
            statements.warn("filters hold in both directions here")
        if statements.peek() in ("up", "down", "updown", "both"):
            statements.argument("the direction")
        action = statements.argument("allow or block", keywords)
        if action in ("ratelimit", "r"):
            statements.number("the rate", keywords, 0, 1 << 31)
            statements.warn("ratelimit of a filter has no counterpart: see rate_limit and flow_rate_limit")
        elif action in ("allow", "a", "block", "b"):
            key = "allow" if action[0] == "a" else "deny"
            if key == "deny" and any(each[0] == "allow" for each in phyint.entries):
                statements.warn("what is blocked is blocked, also where a filter before it allows it")
            phyint.entries.append((key, ",".join(found), origin))
        else:
            raise WrongError(f"should be allow or block, not {quote(action)}")
        if not statements.peek()[:1].isdecimal():
            return


def _told(word: str, statements: Statements, keywords: frozenset[str]) -> None:
    """What has no counterpart, and what is so as ever."""
    if word in WITH_TEXT:
        statements.argument("what it is", keywords)
    elif word in WITH_NUMBER or word == "ratelimit":
        statements.number("the number", keywords, 0, 1 << 31)
    elif word not in FLAGS:
        return
    words_ = WITH_TEXT.get(word) or WITH_NUMBER.get(word) or FLAGS.get(word) or "has no counterpart: nothing needs it"
    statements.warn(f"{word} {words_}")
