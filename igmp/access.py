"""Which groups and sources a port has to do with: lists in an order, and administrative boundaries (RFC 2365).

Rules of this file: pure values; one list says the same for membership and for data, in both directions of its port.
"""

from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from igmp.link import Network, is_multicast

WORDS = ("allow", "deny")
_GROUPS = 0xE0000000                    # 224.0.0.0/4


@dataclass(frozen=True, slots=True)
class Entry:
    """A network of groups, and of sources; source None is any source, and any-source memberships."""

    group: Network
    source: Network | None = None

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """From "239.0.0.0/8", or "10.0.0.0/8,239.0.0.0/8" with the source first; raises ValueError."""
        first, comma, second = (part.strip() for part in text.partition(","))
        group = Network.parse(second if comma else first)
        source = Network.parse(first) if comma else None
        if not Network(group.address, min(group.prefix, 4)).contains(_GROUPS):
            raise ValueError(f"{group} is not a network of groups")
        if source is not None and source.prefix >= 4 and is_multicast(source.address):
            raise ValueError(f"{source} is not a network of sources")
        return cls(group, source)

    def __str__(self) -> str:
        return str(self.group) if self.source is None else f"{self.source},{self.group}"

    def matches(self, source: int | None, group: int) -> bool:
        """Whether it names (source, group); source None, a membership for any source, has no part in a source's."""
        if not self.group.contains(group):
            return False
        return self.source is None or (source is not None and self.source.contains(source))


@dataclass(frozen=True, slots=True)
class Rule:
    """An entry with a word before it: what it names may pass (`allow`), or may not."""

    allows: bool
    entry: Entry

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """From "deny 239.1.1.1" or "allow 10.0.0.0/8,232.0.0.0/8"; an entry alone allows. Raises ValueError."""
        word, *rest = text.split(None, 1) or [""]
        if word not in WORDS:
            return cls(True, Entry.parse(text))
        return cls(word == "allow", Entry.parse(rest[0] if rest else ""))

    def __str__(self) -> str:
        return f"{'allow' if self.allows else 'deny'} {self.entry}"


@dataclass(frozen=True, slots=True)
class AccessList:
    """What a port admits: nothing of a `boundary` ever; else what the first of `rules` that names it says.

    What nothing names is admitted, unless something is allowed: then that is all there is. `rules` are all in the order
    in which they count, `rows` the same with those together that follow each other and say the same.
    """

    allow: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()
    boundary: tuple[Network, ...] = ()
    ordered: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    rows: tuple[tuple[bool, tuple[Entry, ...]], ...] = field(init=False, repr=False, compare=False)
    admits_others: bool = field(init=False, repr=False, compare=False)          # what no rule names

    def __post_init__(self) -> None:
        denied = [Rule(False, entry) for entry in self.deny]
        rules = (*self.ordered, *denied, *(Rule(True, entry) for entry in self.allow))
        alike = groupby(rules, attrgetter("allows"))
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "rows", tuple((allows, tuple(rule.entry for rule in row)) for allows, row in alike))
        object.__setattr__(self, "admits_others", not any(rule.allows for rule in rules))

    @property
    def is_open(self) -> bool:
        """Whether everything is admitted."""
        return not (self.rules or self.boundary)

    def widens(self, before: "AccessList") -> bool:
        """Whether something may be admitted that `before` did not."""
        if self is before:      # as nearly always: ports without lists share OPEN
            return False
        if self.ordered or before.ordered:      # an entry may hide what follows it: another order may be wider
            return self.rules != before.rules or not set(before.boundary) <= set(self.boundary)
        allows = before.allow and (not self.allow or not set(self.allow) <= set(before.allow))
        return bool(allows or not set(before.deny + before.boundary) <= set(self.deny + self.boundary))

    def bounds(self, group: int) -> bool:
        """Whether a boundary keeps `group` off the port."""
        return any(network.contains(group) for network in self.boundary)

    def admits(self, source: int | None, group: int) -> bool:
        """Whether (source, group) may pass, boundary included; source None: a membership for any source."""
        if self.bounds(group):
            return False
        for rule in self.rules:
            if rule.entry.matches(source, group):
                return rule.allows
        return self.admits_others

    def refusing(self, source: int | None, group: int) -> str:
        """By what (source, group) may not pass: "deny 239.1.0.0/16", or "allow", which names it not; empty: it may."""
        bound = next((each for each in self.boundary if each.contains(group)), None)
        if bound is not None:
            return f"boundary {bound}".replace("/32", "")
        rule = next((each for each in self.rules if each.entry.matches(source, group)), None)
        if rule is None:
            return "" if self.admits_others else "allow"
        return "" if rule.allows else str(rule).replace("/32", "")


OPEN = AccessList()
