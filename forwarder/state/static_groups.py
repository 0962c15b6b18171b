"""Static groups as the configuration has them, with ranges, and the single memberships that they mean. Pure.

Here alone ranges are made single: whoever asks `members`, by `Configuration.static_groups` or in the rules of the
configuration, sees one source and one group each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from igmp.link import Network, format_address, parse_address

MOST_OF_PORT = 4096     # as many as a downstream port keeps of members (max_groups)
MOST = 65536            # of all interfaces: upstream each is repeated at every query, and has a row for each port

Membership = tuple[int | None, int]     # source (None: any), group


class AddressRangeError(ValueError):
    """A range that cannot be one, in words that follow its text."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses from `first` to `last`, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "AddressRange":
        """From "239.1.1.1", "239.1.1.1-239.1.1.64" or "239.1.1.0/26"; raises ValueError."""
        first, dash, last = (part.strip() for part in text.partition("-"))
        if dash:
            return cls(*_ascending(parse_address(first), parse_address(last)))
        network = Network.parse(first)
        if network.address != network.network_address:
            plain = Network(network.network_address, network.prefix)
            raise AddressRangeError(f"has host bits set; write {plain}")
        return cls(network.address, network.broadcast)

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def meets(self, network: Network) -> bool:
        """Whether they have an address in common."""
        return self.first <= network.broadcast and network.network_address <= self.last


def _ascending(first: int, last: int) -> tuple[int, int]:
    if last < first:
        raise AddressRangeError(f"is no range: {format_address(last)} comes before {format_address(first)}")
    return first, last


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """One entry: groups, and sources before a comma, None without."""

    sources: AddressRange | None
    groups: AddressRange

    @classmethod
    def parse(cls, text: str) -> "StaticEntry":
        """From "239.1.2.3" or "10.0.0.7,232.1.1.1", each of which may be a range; raises ValueError."""
        source, comma, group = text.rpartition(",")
        return cls(AddressRange.parse(source) if comma else None, AddressRange.parse(group))

    def __len__(self) -> int:
        return len(self.groups) * (1 if self.sources is None else len(self.sources))

    def __iter__(self) -> Iterator[Membership]:
        for group in self.groups:
            for source in (None,) if self.sources is None else self.sources:
                yield source, group


def is_single(text: str) -> bool:
    """Whether an entry is written without a range."""
    return "-" not in text and "/" not in text


def size(texts: Iterable[str]) -> int:
    """How many memberships valid entries are."""
    return sum(1 if is_single(text) else len(StaticEntry.parse(text)) for text in texts)


@lru_cache(maxsize=1024)
def members(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Each membership of valid entries once, as text, in their order; those without a range as they were written."""
    if all(map(is_single, texts)):
        return texts
    known = (text for text in texts for text in ((text,) if is_single(text) else map(_text, StaticEntry.parse(text))))
    return tuple(dict.fromkeys(known))


@lru_cache(maxsize=1024)
def memberships(texts: tuple[str, ...]) -> frozenset[Membership]:
    """The same as numbers."""
    return frozenset(each for text in texts for each in StaticEntry.parse(text))


def _text(membership: Membership) -> str:
    source, group = membership
    return format_address(group) if source is None else f"{format_address(source)},{format_address(group)}"
