"""An interface of igmpproxy.conf, while it is read, and what it becomes when all is known of it."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from forwarder.config.formats import last_match
from forwarder.config.formats.last_match import ListEntry
from forwarder.config.formats.meanings import MULTICAST, is_groups, masked, threshold_above
from forwarder.config.formats.translation import Origin, Translation
from igmp.link import Network

ALL_GROUPS = str(MULTICAST)


@dataclass(slots=True)
class Phyint:
    """What was said of one: each with the statement that says it.

    `keys`: of our TOML, the last value wins; `groups`: whitelist and blacklist (False), in their order; `entries`:
    of `allow` and `deny` as we have them; `any_source`: igmpv3proxy's filter for what has none.
    """

    name: str
    origin: Origin
    role: tuple[str, Origin]
    threshold: tuple[int, Origin] | None = None
    sources: list[tuple[Network, Origin]] = field(default_factory=list)
    groups: list[tuple[Network, bool, Origin]] = field(default_factory=list)
    entries: list[tuple[str, str, Origin]] = field(default_factory=list)
    keys: dict[str, tuple[Any, Origin]] = field(default_factory=dict)
    any_source: Origin | None = None

    def tell(self, translation: Translation) -> None:
        """Add it to what the file becomes."""
        at = translation.interface(self.name, self.origin)
        translation.say(("interface", at, "role"), *self.role)
        if self.role[0] == "disabled":
            return
        self._tell_sources(translation, at)
        self._tell_groups(translation, at)
        if self.threshold is not None:
            threshold_above(translation, at, *self.threshold)
        for key, (value, origin) in self.keys.items():
            if key not in OF_DOWNSTREAM or self.role[0] == "downstream":
                translation.say(("interface", at, key), value, origin)

    def _tell_sources(self, translation: Translation, at: int) -> None:
        """Of an upstream nothing but its own networks and altnets is taken; groups are no sources."""
        place = ("interface", at, "altnets")
        if self.role[0] == "upstream":
            translation.say(place, [], self.origin)
        elif self.any_source:
            self.any_source = None if self.sources else self.any_source
        for network, origin in self.sources:
            text = masked(translation, str(network), origin)
            if not is_groups(text):
                translation.add(place, text, origin)
                continue
            taken = "taken as a list of groups (allow)"
            if text == ALL_GROUPS:
                taken = "left out, these are all"
            elif self.groups:
                taken = "left out, for whitelist and blacklist say which may pass"
            else:
                self.entries.append(("allow", text, origin))
            translation.warn(origin, f"{text} are groups, not networks of sources: {taken}")
        if self.any_source and not self.sources:
            translation.add(place, "0.0.0.0/0", self.any_source)

    def _tell_groups(self, translation: Translation, at: int) -> None:
        for key, text, origin in self.entries:
            translation.add(("interface", at, key), text, origin)
        usable = [entry for each in self.groups if (entry := _entry(translation, *each))]
        allow, deny = last_match.lists(usable)
        whitelist = next((origin for _, is_allowed, origin in self.groups if is_allowed), None)
        if whitelist and not allow:
            translation.warn(whitelist, "no whitelist of this interface names a group, so none passes, as in igmpproxy")
            deny = [(ALL_GROUPS, whitelist)]
        for key, entries in (("allow", allow), ("deny", deny)):
            for text, origin in entries:
                translation.add(("interface", at, key), text.removesuffix("/32"), origin)


OF_DOWNSTREAM = frozenset({"quick_leave", "igmp_version", "querier_address"})


def _entry(translation: Translation, network: Network, is_allowed: bool, origin: Origin) -> ListEntry[Origin] | None:
    """An entry of whitelist or blacklist as far as it is about groups; of hosts there are none to be matched."""
    plain = Network.parse(masked(translation, str(network), origin))
    if plain.prefix < MULTICAST.prefix and plain.contains(MULTICAST.address):
        return ListEntry(IPv4Network(ALL_GROUPS), is_allowed, origin)
    if is_groups(str(plain)):
        return ListEntry(IPv4Network(str(plain)), is_allowed, origin)
    words = f"{plain} are hosts, and this is a list of groups, so it matches none (altnet is for sources)"
    translation.warn(origin, words)
    return None
