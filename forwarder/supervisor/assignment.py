"""Which interface is which port: configured names and existing links in, ports out. Pure.

A plain name has a port from the start, whether its interface exists or not. A wildcard gets a port for every link it
matches; such a name keeps its index after the link is gone, until the indexes are needed for others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings, Settings, covers, is_wildcard
from forwarder.supervisor.links import KernelLink


@dataclass(frozen=True, slots=True)
class Assignment:
    """The lasting part: name -> (index, generation of its assignment). Never changed: `updated` makes the next one."""

    max_ports: int
    names: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def updated(
        self, settings: Settings, links: Mapping[str, KernelLink], generation: int
    ) -> tuple["Assignment", tuple[Port, ...]]:
        """What lasts from this moment on, and its ports in index order; names that find no free index are left out."""
        entries = Entries(settings)
        wanted = entries.wanted(links)
        names = {name: kept for name, kept in self.names.items() if name in wanted or entries.of(name)}
        taken = {index for index, _ in names.values()}
        free = iter([index for index in range(self.max_ports) if index not in taken])
        absent = iter([name for name in names if name not in wanted])
        for name in wanted:
            if name in names:
                continue
            if (index := next(free, None)) is None:
                if (former := next(absent, None)) is None:
                    break
                index = names.pop(former)[0]
            names[name] = index, generation
        ports = (_port(name, *names[name], chosen, links) for name, chosen in wanted.items() if name in names)
        return Assignment(self.max_ports, names), tuple(sorted(ports, key=attrgetter("index")))


class Entries:
    """Which entry speaks of a name: the one that has it, or else the first wildcard that matches it."""

    def __init__(self, settings: Settings) -> None:
        self._plain = [each.name for each in settings.interface if not is_wildcard(each.name)]
        self._exact = {each.name: each for each in reversed(settings.interface)}
        self._wildcards = [each for each in settings.interface if is_wildcard(each.name)]

    def of(self, name: str) -> InterfaceSettings | None:
        """None also where that entry says `disabled`."""
        chosen = self._exact.get(name)
        if chosen is None:
            chosen = next((each for each in self._wildcards if covers(each.name, name)), None)
        return None if chosen is None or chosen.role == "disabled" else chosen

    def wanted(self, links: Mapping[str, KernelLink]) -> dict[str, InterfaceSettings]:
        """Every name that should have a port, in the order in which they get them, with the entry that says so."""
        existing = [name for name, link in sorted(links.items()) if not link.loopback]
        chosen = {name: self.of(name) for name in [*self._plain, *existing]}
        return {name: each for name, each in chosen.items() if each is not None}


def _port(name: str, index: int, assigned: int, settings: InterfaceSettings, links: Mapping[str, KernelLink]) -> Port:
    link = links.get(name)
    if link is None:
        return Port(index, assigned, name, settings.role, settings)
    return Port(
        index,
        assigned,
        name,
        settings.role,
        settings,
        ifindex=link.ifindex,
        up=link.up,
        mac=link.mac,
        mtu=link.mtu,
        link_type=link.link_type,
        addresses=link.addresses,
        peers=link.peers,
    )
