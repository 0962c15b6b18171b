"""The kernel's side of a TPACKET_V3 ring, over a bytearray: blocks filled by hand as tpacket_rcv() fills them."""

import struct
from collections.abc import Sequence

from batches import NET, Frame

from forwarder.dataplane.ring import ReceiveRing
from forwarder.packet.tpacket import TP_STATUS_USER, RingLayout

LAYOUT = RingLayout(block_size=1 << 17, block_nr=8)
FIRST = 48  # offset_to_first_pkt without a private area


class Kernel:
    """Fills blocks in order; `ring` is what a worker reads."""

    def __init__(self, layout: RingLayout = LAYOUT) -> None:
        self.layout = layout
        self.buffer = bytearray(layout.size)
        self.block, self.sequence = 0, 1
        self.ring = ReceiveRing(self.buffer, layout, 0)

    def fill(self, frames: Sequence[Frame]) -> None:
        """Puts frames into blocks, as many as it takes, and retires these."""
        frames = list(frames)
        while frames:
            frames = frames[self._block(frames) :]

    def _block(self, frames: list[Frame]) -> int:
        start, places = self.block * self.layout.block_size, []
        at = start + FIRST
        for frame in frames:
            octets = frame.link + frame.packet + frame.padding
            captured = octets[: len(octets) - frame.cut]
            mac = NET - len(frame.link)
            size = (mac + len(captured) + 7) // 8 * 8
            if at + size > start + self.layout.block_size:
                break
            places.append((at, size))
            fields = (size, 0, 0, len(captured), len(octets), frame.status | TP_STATUS_USER, mac, NET)
            struct.pack_into("=6I2H", self.buffer, at, *fields)
            self.buffer[at + mac - 10 : at + mac + len(captured)] = frame.vnet + captured
            at += size
        struct.pack_into("=I", self.buffer, places[-1][0], 0)
        struct.pack_into("=4Iq", self.buffer, start + 8, TP_STATUS_USER, len(places), FIRST, at - start, self.sequence)
        self.block, self.sequence = (self.block + 1) % self.layout.block_nr, self.sequence + 1
        return len(places)
