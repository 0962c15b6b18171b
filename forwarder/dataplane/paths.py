"""Where flows lead: what is the same for every frame of a flow that is simply forwarded, kept until it changes.

A path is known for flows that are decided and forwarded, to ports that are all attached and have no rate limit. The
others need a look at every frame and have none. Paths are forgotten together: when something is decided anew
(`FlowTable.changes`) and when ports change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.forwarding import LOWEST_TTL
from forwarder.dataplane.frame import ETHERTYPE_IPV4
from igmp.link import group_mac

MOST_PATHS = 4096
"""Some 4 MB; who sends to more flows than that at a time gets them decided from the table each time."""


@dataclass(frozen=True, slots=True)
class Way:
    """One port a flow leaves by: its descriptor, the link header of the flow there, and how much longer that is."""

    port: Attachment
    fd: int
    link: bytes
    longer: int
    counters: memoryview


@dataclass(frozen=True, slots=True)
class Path:
    """Where a flow leads: its row, its ways, the least MTU and the lowest TTL that passes all thresholds."""

    row: int
    ways: tuple[Way, ...]
    mtu: int
    threshold: int


class Paths:
    """The paths of flows in `flows` to the ports of `ports`, by index."""

    def __init__(self, flows: FlowTable, ports: Mapping[int, Attachment]) -> None:
        self.flows, self._ports = flows, ports
        self._paths: dict[tuple[int, int], Path] = {}
        self._decided = -1
        self.generation = 0  # grows whenever paths are forgotten

    def forget(self) -> None:
        """Ports or what is known of them changed."""
        self._paths.clear()
        self.generation += 1

    def holds(self, generation: int) -> bool:
        """Whether paths of this generation are still true."""
        return self.generation == generation and self._decided == self.flows.changes

    def find(self, ingress: Attachment, pair: int) -> Path | None:
        """The path of the flow source << 32 | group that comes in by `ingress`; None: look at every frame."""
        if self._decided != self.flows.changes or len(self._paths) > MOST_PATHS:
            self._decided = self.flows.changes
            self.forget()
        key = (ingress.port.index, pair)
        return self._paths.get(key) or self._follow(key, ingress)

    def _follow(self, key: tuple[int, int], ingress: Attachment) -> Path | None:
        row, bitmap = self.flows.forwarded(*key)
        ports = [port for index, port in sorted(self._ports.items()) if bitmap >> index & 1]
        if not bitmap or len(ports) < bitmap.bit_count() or any(port.limited for port in ports):
            return None
        destination = group_mac(key[1] & 0xFFFF_FFFF).to_bytes(6, "big")
        ways = tuple(_way(port, destination, ingress.link_header) for port in ports)
        thresholds = [ingress.threshold, *(port.port.settings.threshold for port in ports)]
        path = self._paths[key] = Path(
            row, ways, min(port.port.mtu for port in ports), max(LOWEST_TTL, *thresholds)
        )
        return path


def _way(port: Attachment, destination: bytes, link_header: int) -> Way:
    link = destination + port.mac + ETHERTYPE_IPV4 if port.link_header else b""
    return Way(port, port.sending(), link, port.link_header - link_header, port.counters.data)
