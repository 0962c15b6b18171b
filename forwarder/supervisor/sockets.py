"""The sockets of a port, as they are held here and lent to the children, and what kind of ring a port gets.

Because the supervisor keeps every socket, the ring of a killed worker goes on filling until its successor maps it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from socket import socket
from typing import NamedTuple

from forwarder.packet.packet_socket import RingLayout, is_bound, set_priority
from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3
from forwarder.process.lending import Key
from forwarder.state.ports import Port
from forwarder.state.roles import is_inward
from forwarder.state.settings import ProfileName


def _outlived(sock: socket) -> bool:
    """Whether the interface of a socket has gone; not as long as the system does not say: each look asks again."""
    try:
        return not is_bound(sock)
    except OSError:
        return False


class WorkerRing(NamedTuple):
    """A worker's ring."""

    socket: socket
    layout: RingLayout

    @property
    def number(self) -> int:
        """What tells it from all others: its inode."""
        return os.fstat(self.socket.fileno()).st_ino

    def outlived(self) -> bool:
        """Whether its interface has gone."""
        return _outlived(self.socket)


@dataclass(frozen=True, slots=True)
class PortSockets:
    """What one port needs, with a ring for each worker; `key` and `role` say for what they were opened.

    `refused`: what the kernel refused, so that the rings are smaller than was asked for.
    """

    key: Key
    role: str
    rings: tuple[WorkerRing, ...]
    transmit: socket
    igmp: socket
    refused: Exception | None = None

    @property
    def blocks(self) -> int:
        """Blocks of all rings."""
        return sum(ring.layout.block_nr for ring in self.rings)

    def fit(self, port: Port) -> bool:
        """Whether this port is what they were opened for; another role has another ring."""
        return (self.key, self.role) == (port.key, port.role)

    def outlived(self) -> bool:
        """Whether their interface has gone, even if one of its name and index is there: it came back from elsewhere."""
        return any(ring.outlived() for ring in self.rings) or any(map(_outlived, (self.transmit, self.igmp)))

    def with_ring(self, worker: int, ring: WorkerRing) -> "PortSockets":
        """The same with another ring for a worker."""
        return replace(self, rings=(*self.rings[:worker], ring, *self.rings[worker + 1 :]))

    def prioritise(self, priority: int) -> None:
        """Send IGMP with this skb priority from now on, whoever sends it; OSError."""
        set_priority(self.igmp, priority)

    def close(self) -> None:
        """Close the supervisor's copies."""
        for each in (*(ring.socket for ring in self.rings), self.transmit, self.igmp):
            each.close()


class Replacing(NamedTuple):
    """A worker's ring that is to take another's place."""

    key: Key
    role: str
    worker: int


class NewRing(NamedTuple):
    """A ring that takes the place of a worker's ring; `refused`: what the kernel refused of a larger one."""

    place: Replacing
    ring: WorkerRing
    refused: Exception | None = None

    def fits(self, sockets: PortSockets) -> bool:
        """Whether its place is one of these, of which there may be fewer by now, and its interface is still there."""
        there = (sockets.key, sockets.role) == self.place[:2] and self.place.worker < len(sockets.rings)
        return there and not self.ring.outlived()


class NewRings(NamedTuple):
    """Rings that take the place of all of a port's, for another number of workers; `refused` as of a new ring."""

    key: Key
    role: str
    rings: tuple[WorkerRing, ...]
    refused: Exception | None = None

    @property
    def blocks(self) -> int:
        """Blocks of all of them."""
        return sum(ring.layout.block_nr for ring in self.rings)

    def fit(self, sockets: PortSockets) -> bool:
        """Whether they are for these, and their interface is still there."""
        return (sockets.key, sockets.role) == (self.key, self.role) and not any(ring.outlived() for ring in self.rings)


@dataclass(frozen=True, slots=True)
class Demand:
    """The ports that there are, by index; those of `bridges` get all multicast only if they ask for everything.

    `coming`: others that there may be later; `priorities`: what IGMP is sent with, by index.
    """

    ports: Mapping[int, Port] = field(default_factory=dict)
    bridges: frozenset[int] = frozenset()
    coming: int = 0
    priorities: Mapping[int, int] = field(default_factory=dict)

    def fits(self, sockets: PortSockets) -> bool:
        """Whether there is a port that these are for; its interface may have gone and come back since."""
        port = self.ports.get(sockets.key[0])
        return port is not None and sockets.fit(port)

    def promiscuous(self, port: Port) -> bool:
        """Whether a port has to ask for everything."""
        return port.index in self.bridges


def ring_version(role: str, profile: ProfileName, super_frames: bool) -> int:
    """Blocks (TPACKET_V3) where streams come in; slots elsewhere, and in profile `latency`.

    Each ring of blocks has a timer that never rests, even when nothing flows. But where the kernel takes no UDP
    super-frames, each of them makes a ring of slots deaf, and costs a ring of blocks no more than itself.
    """
    if not super_frames:
        return TPACKET_V3
    return TPACKET_V3 if is_inward(role) and profile != "latency" else TPACKET_V2
