"""Which interface is which port: configured names and existing links in, ports out. Pure.

A plain name has a port from the start, whether its interface exists or not. A wildcard gets a port for every link it
matches; such a name keeps its index after the link is gone, until the indexes are needed for others.
"""

from collections.abc import Mapping
from dataclasses import replace

from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings, Settings, covers, is_wildcard
from forwarder.supervisor.links import Link


class Assignment:
    """The lasting part: name -> (index, generation of its assignment)."""

    def __init__(self, max_ports: int) -> None:
        self._max_ports = max_ports
        self._ports: dict[str, tuple[int, int]] = {}

    def update(self, settings: Settings, links: Mapping[str, Link], generation: int) -> tuple[Port, ...]:
        """The ports of this moment in index order; names that find no free index are left out."""
        wanted = _wanted(settings, links)
        self._forget(settings, wanted)
        for name in wanted:
            if name not in self._ports and (index := self._free_index(wanted)) is not None:
                self._ports[name] = (index, generation)
        served = {name: chosen for name, chosen in wanted.items() if name in self._ports}
        ports = (_port(name, *self._ports[name], chosen, links) for name, chosen in served.items())
        return tuple(sorted(ports, key=lambda port: port.index))

    def _forget(self, settings: Settings, wanted: Mapping[str, InterfaceSettings]) -> None:
        for name in [name for name in self._ports if name not in wanted]:
            if _settings_of(name, settings) is None:
                del self._ports[name]

    def _free_index(self, wanted: Mapping[str, InterfaceSettings]) -> int | None:
        taken = {index for index, _ in self._ports.values()}
        for index in range(self._max_ports):
            if index not in taken:
                return index
        absent = next((name for name in self._ports if name not in wanted), None)
        return None if absent is None else self._ports.pop(absent)[0]


def _settings_of(name: str, settings: Settings) -> InterfaceSettings | None:
    """The first entry that names `name`: exact names before wildcards."""
    exact = (each for each in settings.interface if each.name == name)
    matching = (each for each in settings.interface if covers(each.name, name))
    chosen = next(exact, None) or next(matching, None)
    return None if chosen is None or chosen.role == "disabled" else chosen


def _wanted(settings: Settings, links: Mapping[str, Link]) -> dict[str, InterfaceSettings]:
    plain = [each.name for each in settings.interface if not is_wildcard(each.name)]
    existing = [name for name, link in sorted(links.items()) if not link.loopback]
    chosen = {name: _settings_of(name, settings) for name in [*plain, *existing]}
    return {name: each for name, each in chosen.items() if each is not None}


def _port(name: str, index: int, assigned: int, settings: InterfaceSettings, links: Mapping[str, Link]) -> Port:
    port = Port(index=index, assigned=assigned, name=name, role=settings.role, settings=settings)
    link = links.get(name)
    if link is None:
        return port
    return replace(
        port,
        ifindex=link.ifindex,
        up=link.up,
        mac=link.mac,
        mtu=link.mtu,
        link_type=link.link_type,
        addresses=link.addresses,
        peers=link.peers,
    )
