"""Which groups and sources a port has to do with: allow and deny lists, and administrative boundaries (RFC 2365).

Rules of this file: pure values; one list says the same for membership and for data, in both directions of its port.
"""

from dataclasses import dataclass

from igmp.link import Network, is_multicast

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
class AccessList:
    """What a port admits: `allow` then `deny`, the last match wins; nothing of a `boundary` ever passes."""

    allow: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()
    boundary: tuple[Network, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether everything is admitted."""
        return not (self.allow or self.deny or self.boundary)

    def widens(self, before: "AccessList") -> bool:
        """Whether something may be admitted that `before` did not."""
        if self is before:      # as nearly always: ports without lists share OPEN
            return False
        allows = before.allow and (not self.allow or not set(self.allow) <= set(before.allow))
        return bool(allows or not set(before.deny + before.boundary) <= set(self.deny + self.boundary))

    def bounds(self, group: int) -> bool:
        """Whether a boundary keeps `group` off the port."""
        return any(network.contains(group) for network in self.boundary)

    def admits(self, source: int | None, group: int) -> bool:
        """Whether (source, group) may pass, boundary included; source None: a membership for any source.

        What nothing names is admitted, unless there is an allow list.
        """
        if self.bounds(group) or any(entry.matches(source, group) for entry in self.deny):
            return False
        return not self.allow or any(entry.matches(source, group) for entry in self.allow)

    def refusing(self, source: int | None, group: int) -> str:
        """By what (source, group) may not pass: "deny 239.1.0.0/16", or "allow", which names it not; empty: it may."""
        bound = (f"boundary {each}" for each in self.boundary if each.contains(group))
        denied = (f"deny {each}" for each in self.deny if each.matches(source, group))
        rule = next(bound, None) or next(denied, None) or ("" if self.admits(source, group) else "allow")
        return rule.replace("/32", "")


OPEN = AccessList()
