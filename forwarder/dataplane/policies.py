"""From the ports of a configuration to what the data plane must know of them. Pure."""

from collections.abc import Sequence
from typing import Literal

from forwarder.dataplane.admission import PortPolicy, Prefix
from forwarder.packet.tpacket import ARPHRD_ETHER
from forwarder.state.access import access_of
from forwarder.state.ports import Port
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
        access=access_of(settings),
        priority=settings.priority,
        link_local_sources=settings.link_local_sources,
        assigned=port.assigned,
    )


def ethernet_addresses(ports: Sequence[Port]) -> dict[int, bytes]:
    """Hardware addresses of the Ethernet ports that exist."""
    ethernet = (port for port in ports if port.ifindex and port.link_type == ARPHRD_ETHER)
    return {port.index: bytes.fromhex(port.mac.replace(":", "")) for port in ethernet}
