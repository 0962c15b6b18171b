"""The tables of an mcproxy.conf: pairs of groups and sources, as entries of our lists. Pure.

    table NAME { (GROUP | SOURCE) … (table OTHER) (table { … }) }

Either may be an address, a network, a range or `*`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, summarize_address_range

from forwarder.config.formats.mcproxy_words import StatementError, Words
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.rules import quote

DEEPEST = 32            # tables inside each other
MOST_ENTRIES = 4096     # of a table, after ranges became networks: each is looked at for each new flow
MOST_OF_ALL = 1 << 14   # of all tables, what they have from others included
LAST = (1 << 32) - 1
GROUPS = IPv4Address("224.0.0.0"), IPv4Address("239.255.255.255")
SOURCES = IPv4Address("0.0.0.0"), IPv4Address("223.255.255.255")
Range = tuple[IPv4Address, IPv4Address]


@dataclass(frozen=True, slots=True)
class Pair:
    """An entry of a list of ours; `interface`: only what comes in by it, which has no counterpart."""

    text: str
    origin: Origin
    interface: str = ""

    @property
    def names_sources(self) -> bool:
        """Whether it is about some sources only."""
        return "," in self.text


@dataclass(slots=True)
class Tables:
    """All that have a name, and how each is read."""

    translation: Translation
    known: dict[str, list[Pair]] = field(default_factory=dict)
    total: int = 0

    def define(self, words: Words) -> None:
        """`NAME { … }` behind `table`, as a statement of its own."""
        line, name = words.here.line, words.name("the name of a table")
        if name in self.known:
            raise StatementError(f"there is a table {quote(name)} already", line)
        self.known[name] = self._box(words, 1)

    def read(self, words: Words, depth: int = 1) -> list[Pair]:
        """`table NAME`, or `table [NAME] { … }`, where one is used."""
        words.keyword("table")
        line = words.here.line
        if depth > DEEPEST:
            raise StatementError(f"tables are inside each other {DEEPEST} deep at most", line)
        name = words.name("the name of a table") if words.has_name() else ""
        if words.is_mark("{") or not name:
            return self._box(words, depth)
        if name not in self.known:
            raise StatementError(f"there is no table {quote(name)} before this", line)
        return self.known[name]

    def _box(self, words: Words, depth: int) -> list[Pair]:
        words.expect("{")
        entries: list[Pair] = []
        while not words.is_mark("}"):
            line = words.here.line
            more = self._rule(words, depth)
            entries += more
            self.total += len(more)
            if len(entries) > MOST_ENTRIES:
                raise StatementError(f"a table has room for {MOST_ENTRIES} entries, ranges as networks", line)
            if self.total > MOST_OF_ALL:
                raise StatementError(f"all tables together have room for {MOST_OF_ALL} entries", line)
        words.expect("}")
        return entries

    def _rule(self, words: Words, depth: int) -> list[Pair]:
        first = words.here
        interface = words.name("(") if words.has_name() else ""
        words.expect("(")
        if words.is_word("table"):
            entries = self.read(words, depth + 1)
            words.expect(")")
            return entries
        groups = _part(words)
        words.expect("|")
        sources = _part(words)
        words.expect(")")
        origin = words.origin(first)
        return [Pair(text, origin, interface) for text in self._entries(groups, sources, origin)]

    def _entries(self, groups: Range | None, sources: Range | None, origin: Origin) -> Iterator[str]:
        if groups is None or sources is None:
            self.translation.warn(origin, "IPv6 is not forwarded here: left out")
            return
        kept = _within(groups, GROUPS), _within(sources, SOURCES)
        for what, range_, part in zip(("groups", "sources"), (groups, sources), kept, strict=True):
            if part is None:
                self.translation.warn(origin, f"{_text(*range_)} holds no {what}: left out")
                return
        named, from_ = kept[0] or groups, kept[1] or sources
        anyone = [""] if sources == (IPv4Address(0), IPv4Address(LAST)) else [f"{each}," for each in _networks(*from_)]
        yield from (source + group for group in _networks(*named) for source in anyone)


def _part(words: Words) -> Range | None:
    """An address, network or range, from the first to the last address; None where it is of IPv6."""
    line, first = words.here.line, _address(words, 0)
    if words.is_mark("/"):
        words.advance()
        prefix = words.name("a prefix length")
        if first is None:
            return None
        if not (prefix.isdigit() and len(prefix) < 3 and int(prefix) <= 32):
            raise StatementError(f"a prefix length is 0 to 32, not {quote(prefix)}", line)
        network = IPv4Network((first, int(prefix)), strict=False)
        return network.network_address, network.broadcast_address
    if words.is_mark("-"):
        words.advance()
        last = _address(words, LAST)
        if first is None or last is None:
            return None
        if last < first:
            raise StatementError(f"{first} to {last} is no range", line)
        return first, last
    if first is None:
        return None
    return first, IPv4Address(LAST) if first == IPv4Address(0) else first


def _address(words: Words, any_: int) -> IPv4Address | None:
    """An address; `any_` where it is `*`; None where it is of IPv6."""
    if words.is_mark("*"):
        words.advance()
        return IPv4Address(any_)
    line, text = words.here.line, ""
    while words.here.kind == "word" or words.is_mark(":"):
        text += words.advance().text
        if len(text) > 64:      # longer than any address
            break
    try:
        return IPv4Address(text)
    except AddressValueError:
        pass
    try:
        IPv6Address(text)
    except AddressValueError:
        raise StatementError(f"expected an address, a network, a range or *, not {quote(text)}", line) from None
    return None


def _within(range_: Range, bounds: Range) -> Range | None:
    first, last = max(range_[0], bounds[0]), min(range_[1], bounds[1])
    return (first, last) if first <= last else None


def _networks(first: IPv4Address, last: IPv4Address) -> list[str]:
    return [str(each).removesuffix("/32") for each in summarize_address_range(first, last)]


def _text(first: IPv4Address, last: IPv4Address) -> str:
    return str(first) if first == last else f"{first}-{last}"
