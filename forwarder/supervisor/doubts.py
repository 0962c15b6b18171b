"""What is doubtful about a configuration on this machine as it is now, in words. Pure.

Nothing of this keeps an instance from running: `mcfwd check` says it beforehand, `mcfwd run` logs it (`telling`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from forwarder.state.contradictions import group_notes, route_note, words_of_route
from forwarder.state.names import near
from forwarder.state.ports import Configuration, Port
from forwarder.state.ring_memory import full, least_memory, octets
from forwarder.state.roles import is_inward
from forwarder.state.settings import Settings, is_wildcard
from forwarder.supervisor.assignment import Entries
from forwarder.supervisor.links import KernelLink, enslaved
from forwarder.supervisor.ring_lending import RingLending, ports_that_may_come
from forwarder.units import LISTED, listed, size

Links = Mapping[str, KernelLink]
NAMELESS = "has no IPv4 address: we ask there from 0.0.0.0, and any other querier wins; better set querier_address"
HOMELESS = "has no IPv4 address: we report there from 0.0.0.0, which some routers ignore; better give it one"


class Doubt(NamedTuple):
    """`about` is the same for as long as it is the same doubt, though its words may come to name others."""

    about: str
    words: str


class Surroundings(NamedTuple):
    """The interface of the `default` route, the way to remote sources; those that the kernel forwards multicast on.

    `twins`: indexes of those that another instance serves (`claims`).
    """

    default: str | None = None
    kernel_routed: frozenset[str] = frozenset()
    twins: frozenset[int] = frozenset()


ALONE = Surroundings()


def doubts(configuration: Configuration, links: Links, around: Surroundings = ALONE) -> Iterator[Doubt]:
    """All there is to say."""
    yield from _states(configuration.ports, links)
    yield from unexpected(configuration, links)
    yield from _memory(configuration.settings, configuration.ports)
    yield from _direction(configuration.ports, around.default)
    yield from others(configuration.ports, around)


def unexpected(configuration: Configuration, links: Links) -> Iterator[Doubt]:
    """Of `doubts` those that come while we run and that no change of a port's state tells."""
    yield from _masters(configuration.ports, links)
    yield from _room(configuration.settings, configuration.ports, links)
    yield from _static(configuration)


def ring_octets(settings: Settings, ports: Sequence[Port]) -> dict[int, int]:
    """Bytes of all rings of each port, by index, as they are given when `mcfwd run` starts."""
    sizes = settings.dataplane
    lending = RingLending(sizes.ring_memory, sizes.workers)
    parts = lending.parts(ports, ports_that_may_come(settings, len(ports)), 0.0)
    return {index: octets(blocks * sizes.workers) for index, blocks in parts.items()}


def _states(ports: Sequence[Port], links: Links) -> Iterator[Doubt]:
    bare = _bare([port for port in ports if not (port.ifindex and enslaved(links[port.name]))])
    missing = [port.name for port in ports if port.state == "missing"]
    found = {
        "does not exist yet and will be waited for": missing,
        "is down": [port.name for port in ports if port.state == "down"],
        HOMELESS: [port.name for port in bare if is_inward(port.role) and (port.role == "upstream" or port.joins)],
        NAMELESS: [port.name for port in bare if port.role == "downstream"],
    }
    for words, names in found.items():
        if names:
            meant = _meant(names, ports, links) if names is missing else ""
            yield Doubt(f"ports {words}", f"{listed(names)} {words if len(names) == 1 else _plural(words)}{meant}")


def _meant(missing: Sequence[str], ports: Sequence[Port], links: Links) -> str:
    """Which links may have been meant by names that no link has: such as are no port, for the first few names."""
    others = links.keys() - {port.name for port in ports}
    alike = [each for name in missing[:LISTED] for each in near(name, others, 2)]
    return f"; did you mean {listed(list(dict.fromkeys(alike)))}?" if alike else ""


def _bare(ports: Sequence[Port]) -> list[Port]:
    """Those that are up without an address, where none was given to ask with."""
    return [port for port in ports if port.state == "up" and not (port.addresses or port.settings.querier_address)]


def _plural(words: str) -> str:
    first, _, rest = words.partition(" ")
    return f"{ {'does': 'do', 'is': 'are', 'has': 'have'}[first]} {rest}"


def _masters(ports: Sequence[Port], links: Links) -> Iterator[Doubt]:
    for port in ports:
        if port.ifindex and (words := enslaved(links[port.name])):
            yield Doubt(words, words)


def _room(settings: Settings, ports: Sequence[Port], links: Links) -> Iterator[Doubt]:
    """Interfaces that find no port, by the entry that means them."""
    if len(ports) < settings.dataplane.ports:       # whoever wants one has one
        return
    served = {port.name for port in ports}
    left: dict[str, list[str]] = {}
    for name, entry in Entries(settings).wanted(links).items():
        if name not in served:
            left.setdefault(entry.name, []).append(name)
    for entry_name, names in left.items():
        of = f" of {entry_name}" if names != [entry_name] else ""
        find = "find" if len(names) > 1 else "finds"
        cure = "raise max_ports in [dataplane], which is fixed at start"
        yield Doubt(f"room {entry_name}", f"{listed(names)}{of} {find} no port: {cure}")


def _static(configuration: Configuration) -> Iterator[Doubt]:
    """Static routes and groups that look right and do nothing, and ports that have none though they need them."""
    if not configuration.routes and (names := [port.name for port in configuration.ports if port.role == "both"]):
        words = f"{'are' if len(names) > 1 else 'is'} both, and there is no static route: nothing comes or goes there"
        yield Doubt("no routes", f"{listed(names)} {words}")
    notes: dict[object, str | None] = {}    # thousands of routes go few ways, each of which looks at all ports
    for route in configuration.routes:
        ways = route.upstream, route.interfaces
        if ways not in notes:
            notes[ways] = route_note(route, configuration.ports)
        if note := notes[ways]:
            words = f"static route {words_of_route(route)} {note}"
            yield Doubt(words, words)
    refused: dict[tuple[str, str], list[str]] = {}      # a range may be thousands
    for port, group, note in group_notes(configuration):
        refused.setdefault((port.name, note), []).append(group)
    for (name, note), groups in refused.items():
        one = len(groups) == 1
        words = f"static group{'' if one else 's'} {listed(groups)} of {name} {'is' if one else 'are'} {note}"
        yield Doubt(words, words)


def _memory(settings: Settings, ports: Sequence[Port]) -> Iterator[Doubt]:
    sizes, rings = settings.dataplane, ring_octets(settings, ports)
    wanted = sum(octets(full(port.role)) for port in ports) * sizes.workers
    if sum(rings.values()) < wanted:
        words = f"receive rings will be smaller than they should: {size(wanted)} of ring_memory wanted"
        yield Doubt("small rings", words)
    if without := [port.name for port in ports if not rings[port.index]]:
        words = f"{listed(without)} will be degraded: nothing of ring_memory is left for a receive ring there"
        yield Doubt("no rings", words)
    needed = least_memory(sizes.ports, sizes.workers)
    if any(is_wildcard(each.name) for each in settings.interface) and needed > sizes.ring_memory:
        words = f"max_ports interfaces would need {size(needed)} of ring_memory; the last to come will be degraded"
        yield Doubt("rings of max_ports", words)


def _direction(ports: Sequence[Port], default: str | None) -> Iterator[Doubt]:
    """What is odd about the roles, given where the default route leads."""
    if any(port.name == default and port.role == "downstream" for port in ports):
        words = f"{default} has the default route and is downstream: remote sources usually come from there"
        yield Doubt("default route", words)


def others(ports: Sequence[Port], around: Surroundings) -> Iterator[Doubt]:
    """Other forwarders on the same links, which may come at any time."""
    if names := [port.name for port in ports if port.name in around.kernel_routed]:
        words = f"the kernel's multicast routing is in use on {listed(names)} too (igmpproxy, smcroute, pimd)"
        yield Doubt("kernel routing", f"{words}: what both forward arrives twice")
    # an upstream alone may be shared: each instance serves receivers of its own
    if names := [port.name for port in ports if port.role == "downstream" and port.ifindex in around.twins]:
        words = f"another mcfwd serves {listed(names)} already: what both forward arrives twice"
        yield Doubt("another instance", f"{words}; stop one of them")
