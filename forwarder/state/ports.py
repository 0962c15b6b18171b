"""Ports: numbered attachments to interfaces, and the configuration snapshot that carries them.

A port index belongs to a configured name for as long as the name is configured: a link that is deleted and made
again keeps its index and gets a new `ifindex`. When an index goes to another name, `assigned` (the generation of the
snapshot that did so) tells readers which older rows speak of the former owner.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from forwarder.state.settings import (
    InterfaceSettings,
    RouteSettings,
    Settings,
    covers,
    interface_from_json,
    interface_to_json,
)
from forwarder.state.static_groups import members


@dataclass(frozen=True, slots=True)
class Port:
    """One port as the supervisor sees it; `ifindex` 0 is an interface that does not exist now."""

    index: int
    assigned: int
    name: str
    role: str
    settings: InterfaceSettings
    ifindex: int = 0
    up: bool = False
    mac: str = "00:00:00:00:00:00"
    mtu: int = 1500
    link_type: int = 1
    addresses: tuple[tuple[int, int], ...] = ()
    peers: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Whose sockets it has: index, assignment, ifindex, link type. What is lent for another is not for this port.

        The user of a tap may make it a link of another type while it is down (TUNSETLINK), and frames are another thing
        then, or nothing that we understand.
        """
        return self.index, self.assigned, self.ifindex, self.link_type

    @property
    def limited(self) -> bool:
        """Whether what leaves by this port has a rate limit."""
        return bool(self.settings.rate_limit or self.settings.flow_rate_limit)

    @property
    def joins(self) -> bool:
        """Whether its own configuration joins groups there."""
        return bool(self.settings.join or self.settings.static_groups)

    @property
    def state(self) -> str:
        """`up`, `down` or `missing`."""
        if not self.ifindex:
            return "missing"
        return "up" if self.up else "down"


_VALUES = attrgetter(*[each.name for each in fields(Port) if each.name != "settings"])
_ROUTE = attrgetter("group", "source", "upstream", "interfaces")


@dataclass(frozen=True, slots=True)
class Added:
    """What was added to the configuration at run time: static routes, and (interface or wildcard, static group)."""

    routes: tuple[RouteSettings, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` takes them; of a route without the names of the fields: there may be thousands.

        With them 10,000 routes took 880 kB of a snapshot, and twice the time.
        """
        return {"routes": [_ROUTE(route) for route in self.routes], "groups": self.groups}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Added":
        """What `to_json` says."""
        return cls(
            routes=tuple(
                RouteSettings(group=group, source=source, upstream=upstream, interfaces=tuple(interfaces))
                for group, source, upstream, interfaces in plain["routes"]
            ),
            groups=tuple((interface, group) for interface, group in plain["groups"]),
        )


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the supervisor publishes: the validated settings, the ports, and what was added at run time."""

    generation: int
    settings: Settings
    ports: tuple[Port, ...]
    added: Added = Added()

    @property
    def routes(self) -> tuple[RouteSettings, ...]:
        """All static routes."""
        return self.settings.route + self.added.routes

    def static_groups(self, port: Port) -> tuple[str, ...]:
        """All static groups of a port, one by one, as text."""
        return members(port.settings.static_groups) + tuple(
            group for interface, group in self.added.groups if covers(interface, port.name)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` takes them; a port names its entry of the settings by number."""
        entries = {id(entry): number for number, entry in enumerate(self.settings.interface)}
        return {
            "generation": self.generation,
            "settings": self.settings.to_json(),
            "ports": [_plain(port, entries.get(id(port.settings))) for port in self.ports],
            "added": self.added.to_json(),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Configuration":
        """The configuration of `to_json`."""
        settings = Settings.from_json(plain["settings"])
        return cls(
            generation=plain["generation"],
            settings=settings,
            ports=tuple(_port(each, settings.interface) for each in plain["ports"]),
            added=Added.from_json(plain["added"]),
        )


def _plain(port: Port, entry: int | None) -> list[Any]:
    """The values of a port, its settings first: of thousands without the names of the fields."""
    return [interface_to_json(port.settings) if entry is None else entry, *_VALUES(port)]


def _port(plain: Sequence[Any], entries: Sequence[InterfaceSettings]) -> Port:
    settings, index, assigned, name, role, ifindex, up, mac, mtu, link_type, addresses, peers = plain
    entry = entries[settings] if isinstance(settings, int) else interface_from_json(settings)
    networks = tuple([(address, prefix) for address, prefix in addresses])
    return Port(index, assigned, name, role, entry, ifindex, up, mac, mtu, link_type, networks, tuple(peers))
