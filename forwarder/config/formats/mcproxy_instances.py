"""The instances of an mcproxy.conf and what is said of their interfaces.

Instances forward apart from each other. Here there is one, so those that have the same upstream interfaces are one;
others are refused, since what one of them carries would reach the receivers of another.
"""

from dataclasses import dataclass, field

from forwarder.config.files import plainly
from forwarder.config.formats.mcproxy_tables import MOST_OF_ALL, Pair
from forwarder.config.formats.mcproxy_words import StatementError
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.rules import quote

MOST_INTERFACES = 4096      # as many ports as there can be
SHORTEST_FAILOVER, LONGEST_FAILOVER = 0.05, 31744.0     # seconds, of [dataplane] failover_time
FILTERED = {"upstream": "in", "downstream": "out"}      # the direction in which a role's list has its counterpart here


@dataclass(slots=True)
class Instances:
    """All of a file; names of interfaces by instance and role."""

    translation: Translation
    known: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    upstream: list[str] = field(default_factory=list)                       # of all of them
    served: set[str] = field(default_factory=set)

    def add(self, name: str, upstream: list[str], downstream: list[str], origin: Origin) -> None:
        """One more; StatementError where it cannot be one with the others."""
        if name in self.known:
            raise StatementError(f"there is an instance {quote(name)} already", origin.line)
        if self.known and upstream != self.upstream:
            words = f"instance {quote(name)} has other upstream interfaces than {quote(next(iter(self.known)))}"
            words = f"{words}, and forwards apart from it: run another mcfwd for it, with a file and socket of its own"
            raise StatementError(words, origin.line)
        new = downstream if self.known else [*upstream, *downstream]
        if len(self.served) + len(new) > MOST_INTERFACES:
            raise StatementError(f"there is room for {MOST_INTERFACES} interfaces", origin.line)
        if len(set(new)) < len(new) or not self.served.isdisjoint(new):
            raise StatementError(f"an interface of instance {quote(name)} is named twice", origin.line)
        self.known[name], self.upstream = {"upstream": upstream, "downstream": downstream}, upstream
        self._serve("upstream", upstream, origin)
        self._serve("downstream", downstream, origin)

    def _serve(self, role: str, names: list[str], origin: Origin) -> None:
        for place, name in enumerate(names, 1):
            if name in self.served:     # upstream, of a former instance
                continue
            self.served.add(name)
            at = self.translation.interface(name, origin)
            self.translation.say(("interface", at, "role"), role, origin)
            if role == "upstream" and len(names) > 1:       # the first has the highest priority
                self.translation.say(("interface", at, "priority"), place, origin)

    def named(self, name: str, role: str, interface: str, line: int) -> list[str]:
        """The interfaces that a filter of an instance is about; `*` is all of a role. StatementError for others."""
        if name not in self.known:
            raise StatementError(f"there is no instance {quote(name)} before this", line)
        names = self.known[name][role]
        if interface != "*" and interface not in names:
            raise StatementError(f"{quote(interface)} is no {role} interface of instance {quote(name)}", line)
        return names if interface == "*" else [interface]


@dataclass(slots=True)
class Filters:
    """Lists and rules of interfaces."""

    translation: Translation
    instances: Instances
    taken: set[tuple[str, str, str]] = field(default_factory=set)           # interface, role, direction
    size: int = 0

    def add(
        self, kind: str, entries: list[Pair], names: list[str], role: str, direction: str, origin: Origin
    ) -> None:
        """A whitelist or blacklist of interfaces of a role; StatementError where they have one."""
        for name in names:
            if (name, role, direction) in self.taken:
                raise StatementError(f"{quote(name)} has a filter for {role} {direction} already", origin.line)
            self.taken.add((name, role, direction))
        if FILTERED[role] != direction:
            what = "what comes from senders there" if role == "downstream" else "what is sent there"
            self.translation.warn(origin, f"{what} cannot be filtered apart from what receivers get: left out")
            return
        self.size += len(names) * len(entries)
        if self.size > MOST_OF_ALL:
            raise StatementError(f"all filters together have room for {MOST_OF_ALL} entries", origin.line)
        self._warn(kind, entries, origin)
        for name in names:
            self._list(self.translation.interface(name, origin), kind == "whitelist", entries, origin)

    def _warn(self, kind: str, entries: list[Pair], origin: Origin) -> None:
        self.translation.warn(origin, f"a {kind} holds here for both directions of its interface")
        for entry in entries:
            if entry.interface and self.instances.upstream != [entry.interface]:
                words = f"{plainly(entry.interface)} has no counterpart: taken for what comes by any interface"
                self.translation.warn(entry.origin, words)
        if kind == "whitelist" and any(entry.names_sources for entry in entries):
            words = "entries with a source admit joins that name it, and no others (IGMPv3)"
            self.translation.warn(origin, words)

    def _list(self, at: int, allows: bool, entries: list[Pair], origin: Origin) -> None:
        for entry in entries:
            self.translation.add(("interface", at, "allow" if allows else "deny"), entry.text, entry.origin)
        if allows and not entries:      # an empty list of ours would allow all
            self.translation.add(("interface", at, "deny"), "224.0.0.0/4", origin)

    def match(self, how: str, milliseconds: int, names: list[str], side: str, origin: Origin) -> None:
        """How several upstream interfaces share what comes; `side` is role and direction."""
        if side != "upstream in" or how == "all":
            words = "of several upstreams that bring a flow one is used here, by priority"
            self.translation.warn(origin, f"rulematching {how} of {side} has no counterpart: {words}")
        elif how == "mutex":
            seconds = min(max(milliseconds / 1000, SHORTEST_FAILOVER), LONGEST_FAILOVER)
            self.translation.say(("dataplane", "failover_time"), seconds, origin)
            for name in names if len(names) > 1 else ():    # who comes first has the flow
                self.translation.say(("interface", self.translation.interface(name, origin), "priority"), 1, origin)
