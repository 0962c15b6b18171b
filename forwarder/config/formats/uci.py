"""OpenWrt's /etc/config/igmpproxy, of which its start script makes an igmpproxy.conf.

It names logical networks: `Outside.names` says which interfaces they are (`--map wan=eth0`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from forwarder.config.files import plainly
from forwarder.config.formats import meanings
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.formats.uci_lines import Section, Value, sections
from forwarder.config.rules import quote

FORMAT = "uci"
MARK = re.compile(r"^[ \t]*+config[ \t]++['\"]?(?:igmpproxy|phyint)\b", re.MULTILINE)
TRUE, FALSE = ("1", "on", "true", "yes", "enabled"), ("0", "off", "false", "no", "disabled")
LONGEST_NAME = 40       # characters of a network that are shown
ROLES = ("upstream", "downstream", "disabled")


def recognises(text: str, path: Path) -> bool:
    """Whether this is such a file."""
    return MARK.search(text) is not None


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What the file says; raises ConfigurationError."""
    reader = _Sections(outside)
    for section in sections(text, path, reader.problems):
        reader.section(section)
    reader.problems.refuse()
    reader.leave_quickly()
    return reader.translation


@dataclass(slots=True)
class _Sections:
    outside: Outside
    translation: Translation = field(default_factory=lambda: Translation(FORMAT))
    problems: Problems = field(default_factory=Problems)
    quickleave: Origin | None = None
    zone_told: bool = False
    firsts: dict[str, Origin] = field(default_factory=dict)     # by interface: the phyint that named it

    def section(self, section: Section) -> None:
        """One `config`."""
        if section.type not in OPTIONS:
            self.translation.warn(section.origin, f"no section of igmpproxy: left out; known are {', '.join(OPTIONS)}")
            return
        for name, values in section.options.items():
            if name not in OPTIONS[section.type]:
                known = ", ".join(OPTIONS[section.type])
                self.translation.warn(values[0].origin, f"unknown option: left out; known are {known}")
        at = self._phyint(section) if section.type == "phyint" else 0
        for name, take in OPTIONS[section.type].items():
            for value in section.options.get(name, ()):
                if take is not None and at is not None:
                    self._take(name, take, at, value)
        whitelist = section.last("whitelist")
        if whitelist is not None and at is not None and "allow" not in self.translation.tables["interface"][at]:
            words = "a whitelist without groups lets none pass"      # an empty list of ours would allow all
            self.translation.warn(whitelist.origin, words)
            self.translation.add(("interface", at, "deny"), str(meanings.MULTICAST), whitelist.origin)

    def _take(self, name: str, take: "Take", at: int, value: Value) -> None:
        try:
            take(self, at, value)
        except ValueError:
            self.problems.add(value.origin, f"{name} cannot be {quote(value.text)}")

    def _phyint(self, section: Section) -> int | None:
        """The interface of a section, with its role; None where there is none to be served."""
        network, direction = section.last("network"), section.last("direction")
        if network is None:
            self.problems.add(section.origin, "phyint without a network: add option network")
            return None
        if direction is None:
            self.translation.warn(section.origin, "phyint without a direction is disabled")
        elif direction.text not in ROLES:
            words = f"direction should be {', '.join(ROLES)}, not {quote(direction.text)}"
            self.problems.add(direction.origin, words)
            return None
        role = direction.text if direction is not None else "disabled"
        name = self.outside.names.get(network.text)
        if name is None:
            if role != "disabled":
                named = plainly(network.text[:LONGEST_NAME])
                words = f"which interface is the network {named}? say so by --map {named}=INTERFACE"
                self.problems.add(network.origin, words)
            return None
        return self._interface(name, role, network, direction or network)

    def _interface(self, name: str, role: str, network: Value, direction: Value) -> int | None:
        first = self.firsts.setdefault(name, network.origin)
        if first is not network.origin:
            self.problems.add(network.origin, f"{quote(name)} has a phyint already, in line {first.line}")
            return None
        at = self.translation.interface(name, network.origin)
        self.translation.say(("interface", at, "role"), role, direction.origin)
        if role == "upstream":      # where nothing is said igmpproxy takes sources of the interface's own subnet alone
            self.translation.say(("interface", at, "altnets"), [], direction.origin)
        return at

    def leave_quickly(self) -> None:
        """`quickleave` is one for all: each downstream interface has it."""
        if self.quickleave is None:
            return
        for at, interface in enumerate(self.translation.tables.get("interface", ())):
            if interface["role"] == "downstream":
                self.translation.say(("interface", at, "quick_leave"), True, self.quickleave)
        words = "quickleave is the safe kind here: a group ends at once where no other host is known to want it"
        self.translation.warn(self.quickleave, words)

    def take_quickleave(self, at: int, value: Value) -> None:
        """As config_get_bool reads it: what is neither counts as no."""
        if value.text not in TRUE + FALSE:
            self.translation.warn(value.origin, f"quickleave {quote(value.text)} is neither 1 nor 0: taken as 0")
        self.quickleave = value.origin if value.text in TRUE else None

    def take_verbose(self, at: int, value: Value) -> None:
        """How much is logged."""
        self.translation.warn(value.origin, "verbose has no key here: --log-level of `mcfwd run` says it")

    def take_zone(self, at: int, value: Value) -> None:
        """For the firewall, whose rules packet sockets do not meet."""
        if not self.zone_told:
            self.translation.warn(value.origin, "zone is not needed: what mcfwd receives and sends passes no firewall")
            self.zone_told = True

    def take_altnet(self, at: int, value: Value) -> None:
        """Networks of sources, several in a text perhaps."""
        for network in _listed(value.text):
            meanings.sources(self.translation, at, network, value.origin)

    def take_whitelist(self, at: int, value: Value) -> None:
        """Groups that may pass."""
        for network in _listed(value.text):
            meanings.groups(self.translation, at, network, value.origin)

    def take_blacklist(self, at: int, value: Value) -> None:
        """Groups that may not."""
        for network in _listed(value.text):
            meanings.groups(self.translation, at, network, value.origin, "deny")

    def take_threshold(self, at: int, value: Value) -> None:
        """A TTL that is not enough."""
        meanings.threshold_above(self.translation, at, _number(value.text, 1, 255), value.origin)

    def take_ratelimit(self, at: int, value: Value) -> None:
        """Handed to the kernel, which never did anything with it."""
        if _number(value.text, 0, 1 << 31):
            words = "ratelimit was never enforced by the kernel: left out; rate_limit of the interface would be"
            self.translation.warn(value.origin, words)


def _listed(text: str) -> list[str]:
    """The networks of a text; igmpproxy takes no offence at what ends them."""
    return [each.rstrip(",;") for each in text.split()]


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise ValueError(text)
    return int(text)


Take = Callable[[_Sections, int, Value], None]
OPTIONS: dict[str, dict[str, Take | None]] = {
    "igmpproxy": {"quickleave": _Sections.take_quickleave, "verbose": _Sections.take_verbose},
    "phyint": {
        "network": None, "direction": None, "zone": _Sections.take_zone, "altnet": _Sections.take_altnet,
        "whitelist": _Sections.take_whitelist, "blacklist": _Sections.take_blacklist,
        "threshold": _Sections.take_threshold, "ratelimit": _Sections.take_ratelimit,
    },
}  # fmt: skip
"""What an option of a section does; None: what makes the section's interface, before all others."""

STATEMENTS = tuple(f"{section} {option}" for section, options in OPTIONS.items() for option in options)
"""What the files say, as docs/migration.md names it."""
