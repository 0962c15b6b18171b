"""igmpproxy.conf: words in any number of lines, read as igmpproxy reads them, and the keys of igmpv3proxy.

Of an interface the first `phyint` counts. What igmpproxy ends at is an error here; what it does and nobody expects is
told. Its `quickleave` leaves upstream at once and then asks who is left; here it is the kind that knows who is left.
"""

from itertools import islice
from pathlib import Path

from forwarder.config.formats import igmpv3proxy, igmpv3proxy_words, words
from forwarder.config.formats.phyint import Phyint
from forwarder.config.formats.statements import Statements, WrongError
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.rules import quote
from igmp.link import Network

FORMAT = "igmpproxy"
LONGEST_NAME = 15               # IFNAMSIZ less its zero
LARGEST_TABLE = 536870912       # octets, of hashtablesize
LOOKED_AT = 20_000              # words that tell what a file is
ROLES = ("upstream", "downstream", "disabled")
GLOBAL = frozenset({"phyint", "quickleave", "hashtablesize", "defaultdown", "rescanvif", "chroot", "user"})
OPTIONS = frozenset({*ROLES, "ratelimit", "threshold", "altnet", "whitelist", "blacklist"})
KEYWORDS = GLOBAL | OPTIONS | igmpv3proxy_words.KEYWORDS
FOREIGN = frozenset({"mgroup", "mroute", "enable", "disable", "ttl-threshold", "mrdisc", "pinstance", "metric"})
NO_COUNTERPART = {
    "chroot": "has no counterpart: what parses and forwards has a user of its own, and opens no files",
    "user": "has no counterpart in this file: see [process] user",
    "hashtablesize": "has no counterpart: hosts are told apart by their addresses, up to max_hosts",
}


def recognises(text: str, path: Path) -> bool:
    """It begins with one of its words and has `phyint`, as smcroute and mrouted have, but none of their words."""
    found = [each.text for each in islice(words.words(text), LOOKED_AT)]
    return bool(found) and found[0] in KEYWORDS and "phyint" in found and FOREIGN.isdisjoint(found)


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """See `translation`."""
    is_v3 = any(word.text in igmpv3proxy_words.ONLY for word in words.words(text))
    translation = Translation(FORMAT)
    longest = words.LONGEST_V3 if is_v3 else words.LONGEST
    file = _Configuration(Statements(text, path, outside, translation, longest), is_v3)
    file.read(text)
    file.statements.refuse()
    file.finish(path)
    file.statements.refuse()
    return translation


class _Configuration:
    """What was said so far, of all and of each interface; `is_v3`: in the words of igmpv3proxy."""

    def __init__(self, statements: Statements, is_v3: bool) -> None:
        self.statements, self._is_v3 = statements, is_v3
        self._options = OPTIONS | (igmpv3proxy_words.OPTIONS if is_v3 else frozenset())
        self._globals = igmpv3proxy.Globals()
        self._default: tuple[str, Origin] | None = None     # the role of what has none, from here on
        self._quick_leave: Origin | None = None
        self._phyints: dict[str, Phyint] = {}

    def read(self, text: str) -> None:
        """All statements; one that is wrong is told, and the next one is read."""
        if not self.statements.peek():
            self.statements.wrong("there is no statement in it, with which igmpproxy does not start")
        while self.statements.peek():
            word = self.statements.take()
            try:
                self._global(word.text, word.joined)
            except WrongError as error:
                self.statements.wrong(f"{word.text}: {error}")
        if text[-1:] not in ("", "\n", " ", "\t", "\r") and "#" not in text.rpartition("\n")[2]:
            self.statements.warn("no line ends behind the last word, of which igmpproxy may take more than it has")

    def finish(self, path: Path) -> None:
        """What follows when all is known."""
        translation = self.statements.translation
        unlisted = [] if self._default is None else [Phyint("*", self._default[1], self._default)]
        for phyint in (*self._phyints.values(), *unlisted):     # `defaultdown` is about those that are not listed, too
            self._globals.fill(phyint)
            if self._quick_leave is not None:
                phyint.keys.setdefault("quick_leave", (True, self._quick_leave))
            self._tell(phyint)
        self._globals.tell(translation)
        if all(each["role"] != "upstream" for each in translation.tables.get("interface", ())):
            words_ = "no phyint is upstream: igmpproxy would not start; here what comes from one LAN goes to others"
            translation.warn(Origin(path, 1), words_)

    def _global(self, word: str, is_joined: bool) -> None:
        statements = self.statements
        if word == "phyint":
            self._phyint()
        elif word == "quickleave":
            self._quick_leave = statements.origin
            statements.warn("quickleave is the safe kind here: a group ends at once when its last host leaves")
        elif word == "defaultdown":
            self._default = ("downstream", statements.origin)
        elif word == "rescanvif":       # as it is always; igmpv3proxy has seconds behind it
            if statements.peek().isdecimal():
                statements.argument("")
        elif word == "hashtablesize":
            statements.number("the number of octets", KEYWORDS, 1, LARGEST_TABLE)
            statements.warn(f"{word} {NO_COUNTERPART[word]}")
        elif word in NO_COUNTERPART:
            statements.argument("what it is", KEYWORDS)
            statements.warn(f"{word} {NO_COUNTERPART[word]}")
        elif role := igmpv3proxy_words.DEFAULT_ROLES.get(word):
            self._default = (role, statements.origin)
            igmpv3proxy.tell_role(statements, word)
        elif not self._globals.take(word, statements, KEYWORDS):
            statements.skip(KEYWORDS)
            raise WrongError(self._unknown(word, is_joined))

    def _unknown(self, word: str, is_joined: bool) -> str:
        if word in OPTIONS or word in igmpv3proxy_words.OPTIONS:
            return "belongs to a phyint, and none stands before it"
        return "is unknown" + (" (a remark does not end a word: put a blank before #)" if is_joined else "")

    # --- phyint ---

    def _name(self) -> str:
        """That of a phyint; where there is none, its options are passed over: whose they are is told already."""
        try:
            name = self.statements.argument("the name of the interface", KEYWORDS)
            if len(name.encode()) > LONGEST_NAME:
                raise WrongError(f"{quote(name)} is longer than {LONGEST_NAME} characters")
        except WrongError:
            self.statements.skip(KEYWORDS - OPTIONS - igmpv3proxy_words.OPTIONS)
            raise
        return name

    def _phyint(self) -> None:
        statements, name = self.statements, self._name()
        origin = statements.origin
        phyint = Phyint(self._without_alias(name), origin, self._default or ("", origin))
        first = self._phyints.setdefault(phyint.name, phyint)
        while statements.peek() in self._options:
            word = statements.take().text
            try:
                self._option(word, phyint)
            except WrongError as error:
                statements.wrong(f"{word}: {error}")
        self._end(phyint, first)

    def _without_alias(self, name: str) -> str:
        interface, colon, _ = name.partition(":")
        if colon and interface:
            self.statements.warn(f"{quote(name)} is an address of {interface}, which is taken as a whole")
            return interface
        if not set(name).isdisjoint("*?["):
            self.statements.warn(f"{quote(name)} is a wildcard here, and only a name to igmpproxy")
        return name

    def _end(self, phyint: Phyint, first: Phyint) -> None:
        """The last word on roles; of a name that comes again nothing counts."""
        translation = self.statements.translation
        if not phyint.role[0]:
            phyint.role = ("disabled", phyint.origin)
            if first is phyint:
                translation.warn(phyint.origin, f"{phyint.name} has no role: it is disabled")
        if first is not phyint:
            words_ = f"{phyint.name} is named again: only what {first.origin.place} says of it counts"
            translation.warn(phyint.origin, words_)

    def _option(self, word: str, phyint: Phyint) -> None:
        statements = self.statements
        if word in ROLES:
            phyint.role = (word, statements.origin)
        elif word == "threshold":
            phyint.threshold = (statements.number("the TTL", KEYWORDS, 1, 255), statements.origin)
        elif word == "ratelimit":
            if statements.number("the rate", KEYWORDS, 0, 1 << 31):
                statements.warn("ratelimit limits nothing in igmpproxy: left out (see rate_limit)")
        elif word == "altnet":
            phyint.sources += [(network, statements.origin) for network in self._networks()]
        elif word in ("whitelist", "blacklist"):
            phyint.groups += [(network, word == "whitelist", statements.origin) for network in self._networks()]
        else:
            igmpv3proxy.option(word, phyint, statements, KEYWORDS)

    def _networks(self) -> list[Network]:
        return igmpv3proxy.networks(self.statements, KEYWORDS)

    def _tell(self, phyint: Phyint) -> None:
        try:
            phyint.tell(self.statements.translation)
        except ValueError as error:
            self.statements.origin = phyint.origin
            self.statements.wrong(f"phyint {phyint.name}: {error}")

