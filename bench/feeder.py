"""A process that says what hosts would say, to the agent's sockets, as fast as it is heard.

The sockets are pairs of SOCK_SEQPACKET: message boundaries as on a packet socket, but a full queue holds the sender up
instead of losing what it says, so nothing has to be sent twice and the receiving end is always busy.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass

from igmp.link import group_mac, parse_address
from igmp.messages import GroupRecord, RecordType, encode_report
from igmp.packet import encode

FIRST_GROUP = parse_address("239.0.1.0")
V3_ROUTERS = parse_address("224.0.0.22")


@dataclass(frozen=True)
class Feed:
    """Version 3 reports about groups `first` to `last`, `together` records in one message, all of it `times` over."""

    port: int
    kind: int
    first: int
    last: int
    together: int = 1
    times: int = 1
    host: str = ""          # who says it; none: an address of the port's own

    @property
    def records(self) -> int:
        """How many records are said in all."""
        return (self.last - self.first) * self.times

    @property
    def messages(self) -> int:
        """How many reports."""
        return -(-(self.last - self.first) // self.together) * self.times

    def frames(self) -> list[bytes]:
        """The Ethernet frames of one time over."""
        groups = [FIRST_GROUP + number for number in range(self.first, self.last)]
        packs = (groups[at : at + self.together] for at in range(0, len(groups), self.together))
        return [self._frame([GroupRecord(RecordType(self.kind), group) for group in pack]) for pack in packs]

    def _frame(self, records: list[GroupRecord]) -> bytes:
        packet = encode(parse_address(self.host or f"10.0.{self.port}.9"), V3_ROUTERS, encode_report(records))
        return group_mac(V3_ROUTERS).to_bytes(6) + (0x0200_0000_0000 | self.port).to_bytes(6) + b"\x08\x00" + packet


class Feeder:
    """The process, made while ours is still small; it ends with us. `wires` are the agent's ends."""

    def __init__(self, ports: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(ports)]
        self.wires = [near for near, _ in pairs]
        self._orders, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork():
            orders.close()
            self._kept = [far for _, far in pairs]
            return
        self._orders.close()
        try:
            self._serve(orders, [far for _, far in pairs])
        finally:
            os._exit(0)

    def begin(self, feed: Feed) -> None:
        """Have it say all this."""
        self._orders.send(json.dumps(asdict(feed)).encode())

    @staticmethod
    def _serve(orders: socket.socket, wires: list[socket.socket]) -> None:
        while order := orders.recv(65536):
            feed = Feed(**json.loads(order))
            frames = feed.frames()
            for _ in range(feed.times):
                for frame in frames:
                    wires[feed.port].send(frame)
