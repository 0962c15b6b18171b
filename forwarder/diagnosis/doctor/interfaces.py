"""Interfaces of the configuration: there, up, hearing, with an address. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, InterfaceFacts
from forwarder.diagnosis.doctor.finding import ERROR, NOTE, WARNING, Finding, Kind, command, in_turn
from forwarder.units import listed

UNUSABLE = Kind("unusable interface", ERROR)
ENSLAVED = Kind("port of a master", ERROR)
DEGRADED = Kind("degraded interface", ERROR)
MISSING = Kind("missing interface", WARNING)
DOWN = Kind("interface down", WARNING)
NO_CARRIER = Kind("no carrier", WARNING)
NO_ADDRESS = Kind("no address", WARNING)
MACVLANS = Kind("macvlans on top", WARNING)
MACVLAN_MODE = Kind("macvlan apart", NOTE)

APART = ("private", "vepa", "passthru", "source")
LONGEST_NAME = 15       # of an interface


def findings(facts: Facts) -> Iterator[Finding]:
    """Of each interface what keeps it from working; what is behind that is not asked."""
    served = {each.name for each in facts.interfaces}
    for each in facts.interfaces:
        if found := _useless(each, facts.known):
            yield found
            continue
        if each.bare and not each.peer:     # the recipe for programs of this host wants none
            yield NO_ADDRESS.mended(each.name, f"{each.name} {each.bare}",
                                    command("ip", "address", "add", "ADDRESS/PREFIX", "dev", each.name),
                                    "an address of its network that nobody has")  # fmt: skip
        yield from _macvlans(each, served)


def _useless(each: InterfaceFacts, known: tuple[str, ...]) -> Finding | None:
    name = each.name
    if each.unusable:
        return UNUSABLE.found(name, each.unusable, "name another interface in the configuration")
    if each.state == "missing":
        return MISSING.found(name, f"{name} does not exist; it is waited for, and nothing is forwarded there",
                             f"make it, or name one that exists: {listed(known, empty='there is none')}")  # fmt: skip
    if each.enslaved:
        if each.master_kind == "openvswitch":
            return ENSLAVED.mended(name, each.enslaved, command("ovs-vsctl", "del-port", name), "or name its bridge")
        free = command("ip", "link", "set", "dev", name, "nomaster")
        return ENSLAVED.mended(name, each.enslaved, free, "or name its master in the configuration")
    if not each.admin_up:
        return DOWN.mended(name, f"{name} is down: nothing comes in or leaves there",
                           command("ip", "link", "set", "dev", name, "up"))  # fmt: skip
    if each.state == "down":
        return NO_CARRIER.found(name, f"{name} is set up, but there is nothing at its other end (no carrier)",
                                "plug in the cable, or set up the other end")  # fmt: skip
    if each.degraded:
        words, _, remedy = each.degraded.partition("; what helps: ")
        return DEGRADED.found(name, f"{name} is not served: {words}", remedy or "see the log of the instance")
    return None


def _macvlans(each: InterfaceFacts, served: set[str]) -> Iterator[Finding]:
    """Links of this host on the same device; who is on one hears only others of mode bridge."""
    name = each.name
    if each.macvlans and not served.intersection(each.macvlans):
        own = f"mcfwd-{name}"[:LONGEST_NAME]
        yield MACVLANS.mended(
            name, f"{name} carries the macvlan {listed(each.macvlans)}: programs there neither hear what mcfwd sends by"
            f" {name} nor are heard",
            in_turn(command("ip", "link", "add", "link", name, "name", own, "type", "macvlan", "mode", "bridge"),
                    command("ip", "link", "set", "dev", own, "up")),
            f"and name {own} in place of {name} in the configuration",
        )  # fmt: skip
    if each.macvlan_mode in APART:
        yield MACVLAN_MODE.mended(
            name, f"{name} is a macvlan of mode {each.macvlan_mode}: others on its device are not reached by it",
            command("ip", "link", "set", "dev", name, "type", "macvlan", "mode", "bridge"),
        )  # fmt: skip
