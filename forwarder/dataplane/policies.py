"""From the ports of a configuration to what the data plane must know of them. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from forwarder.dataplane.admission import PortPolicy, Prefix
from forwarder.packet.tpacket import ARPHRD_ETHER
from forwarder.state.ports import Port
from igmp.access import AccessList, Entry
from igmp.link import Network

_ROLES: dict[str, Literal["upstream", "downstream", "both"]] = {
    "upstream": "upstream", "downstream": "downstream", "both": "both"
}  # fmt: skip


def policy_of(port: Port) -> PortPolicy:
    """What the data plane must know of a port."""
    peers: Sequence[Prefix] = tuple((peer, 32) for peer in port.peers)
    settings, altnets = port.settings, None
    if settings.altnets is not None:
        altnets = tuple((network.address, network.prefix) for network in map(Network.parse, settings.altnets))
    return PortPolicy(
        index=port.index,
        role=_ROLES[port.role],
        up=port.up,
        networks=(*port.addresses, *peers),
        altnets=altnets,
        addresses=tuple(address for address, _ in port.addresses),
        access=_access(settings.allow, settings.deny, settings.boundary),
        priority=settings.priority,
        link_local_sources=settings.link_local_sources,
        assigned=port.assigned,
    )


@lru_cache(maxsize=4096)
def _access(allow: tuple[str, ...], deny: tuple[str, ...], boundary: tuple[str, ...]) -> AccessList:
    """The list that these texts say; one for all the ports of a wildcard."""
    return AccessList(
        allow=tuple(map(Entry.parse, allow)),
        deny=tuple(map(Entry.parse, deny)),
        boundary=tuple(map(Network.parse, boundary)),
    )


def ethernet_addresses(ports: Sequence[Port]) -> dict[int, bytes]:
    """Hardware addresses of the Ethernet ports that exist."""
    ethernet = (port for port in ports if port.ifindex and port.link_type == ARPHRD_ETHER)
    return {port.index: bytes.fromhex(port.mac.replace(":", "")) for port in ethernet}
