"""The node `protocols igmp-proxy` as statements make it, one after the other: what is set, what is deleted again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from forwarder.config.formats.translation import Origin
from forwarder.config.formats.values import known

FLAGS = ("disable", "disable-quickleave")
SINGLE = ("role", "threshold")              # a later value takes the place of the former one
LEAVES = (*SINGLE, "alt-subnet", "whitelist")
VIFS = ("vif", "vif-s", "vif-c")            # an interface with a VLAN tag, as a node of the one that carries it
ROLES = ("upstream", "downstream", "disabled")


@dataclass(slots=True)
class Interface:
    """What is said of one interface: values of its leaves in their order, and where."""

    origin: Origin
    leaves: dict[str, dict[str, Origin]] = field(default_factory=dict)
    carries: bool = False

    @property
    def speaks(self) -> bool:
        """Whether it is one of the proxy's, and not only the way to its VIFs."""
        return bool(self.leaves) or not self.carries

    def last(self, leaf: str) -> tuple[str, Origin] | None:
        """The value of a leaf that has one."""
        return next(reversed(self.leaves.get(leaf, {}).items()), None)

    def all(self, leaf: str) -> Iterator[tuple[str, Origin]]:
        """The values of a leaf that has many."""
        yield from self.leaves.get(leaf, {}).items()

    def set(self, words: Sequence[str], origin: Origin) -> None:
        """Leaves and their values in turn: a line has one, what is written on one line in braces may have more."""
        for leaf, value in zip(words[::2], [*words[1::2], None], strict=False):
            known(leaf, LEAVES, "statement")
            if value is None:
                raise ValueError(f"{leaf} needs a value")
            if leaf == "role":
                known(value, ROLES, "role")
            values = self.leaves.setdefault(leaf, {})
            if leaf in SINGLE:
                values.clear()
            values.setdefault(value, origin)

    def delete(self, words: Sequence[str]) -> None:
        """A leaf, or one of its values; what was not set needs no deletion."""
        leaf, *values = words
        known(leaf, LEAVES, "statement")
        for value in values:
            self.leaves.get(leaf, {}).pop(value, None)
        if not values or not self.leaves.get(leaf):
            self.leaves.pop(leaf, None)


@dataclass(slots=True)
class IgmpProxy:
    """The node: where it was first spoken of, its flags, its interfaces by name."""

    origin: Origin | None = None
    flags: dict[str, Origin] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)

    def say(self, verb: str, words: Sequence[str], origin: Origin) -> None:
        """`verb` is "set" or "delete", `words` what follows igmp-proxy; raises ValueError."""
        self.origin = self.origin or origin
        if not words:
            if verb == "delete":
                self.origin, self.flags, self.interfaces = None, {}, {}
        elif known(words[0], (*FLAGS, "interface"), "statement") == "interface":
            self._interface(verb, words[1:], origin)
        elif len(words) > 1:
            raise ValueError(f"{words[0]} has no value")
        elif verb == "set":
            self.flags.setdefault(words[0], origin)
        else:
            self.flags.pop(words[0], None)

    def _interface(self, verb: str, words: Sequence[str], origin: Origin) -> None:
        name, rest = self._named(verb, words, origin)
        if verb == "set":
            self.interfaces.setdefault(name, Interface(origin)).set(rest, origin)
        elif not rest:
            self.interfaces.pop(name, None)
        elif name in self.interfaces:
            self.interfaces[name].delete(rest)

    def _named(self, verb: str, words: Sequence[str], origin: Origin) -> tuple[str, Sequence[str]]:
        """The interface that a statement is about, as eth0.10 for a VIF, and what it says of it."""
        if not words:
            if verb == "set":
                raise ValueError("interface needs a name")
            self.interfaces.clear()
            return "", ()
        name, rest = words[0], words[1:]
        while rest and rest[0] in VIFS:
            if len(rest) < 2:
                raise ValueError(f"{rest[0]} needs a number")
            if verb == "set":
                self.interfaces.setdefault(name, Interface(origin)).carries = True
            name, rest = f"{name}.{rest[1]}", rest[2:]
        return name, rest
