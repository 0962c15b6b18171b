"""What a batch is on links of one MTU: frames that fit as they are, the others in fragments, all in their order. Pure.

Packets of the usual shape are fragmented all together; odd ones (options, super-frames to be cut) are divided as
bytes, one by one (`fragmentation`). Either is bounded: a neighbour that sends long packets must not stop the worker.
"""

import numpy as np

from forwarder.dataplane.forwarding import Mask, Outgoing
from forwarder.dataplane.fragmentation import OFFSET, divide
from forwarder.dataplane.frame import CSUM_OFFSET, IP_LENGTH, NO_OPTIONS, UDP_LENGTH, Columns, Positions, taken
from forwarder.dataplane.pieces import Pieces, Writer
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.segmentation import CSUM_START
from forwarder.packet.tpacket import LONGEST_PACKET

BUDGET = 4096
"""Fragments that leave in one batch, all ports together. One costs 2 µs, made and sent, on a slow core 5: two batches,
a breath, end within 50 ms. That is 97 datagrams of 8,900 bytes to seven ports, more than the usual buffer of a
receiver holds."""
ODD = 8
"""Fragments of the usual kind that one is worth which is made as bytes, in 5 to 8 µs."""
MOST = 2 * BUDGET
"""What one frame may be worth. The first that does not fit the budget is taken, or none of that size ever would be."""
IMPOSSIBLE = 1 << 32


class Division:
    """Divides the `frames`, positions in a batch (k,), for links of an MTU."""

    def __init__(self, header: Columns, batch: Batch, frames: Positions, leaving: Outgoing) -> None:
        """The rows of `header` are rewritten already, but for the source MAC."""
        self._header, self._batch, self._frames, self._leaving = header, batch, frames, leaving

    def pieces(self, wanted: Mask, mtu: int, segmentation: bool, most: int) -> Pieces:
        """Messages for the `wanted` frames (k,); to be divided are those of the first `most` fragments or some more.

        There are none for a packet that is too long and has DF set. `segmentation`: the kernel takes UDP_L4
        super-frames whose segments fit.
        """
        whole, slow, cut = self._kinds(wanted, mtu, segmentation)
        odd, expected = cut | ~self._is_usual(), self._expected(mtu)
        cost = np.where(slow, expected * np.where(odd, ODD, 1), 0)
        taken = slow & (np.cumsum(cost) - cost < most) & (cost <= MOST)
        number, count = self._header.datagrams[self._frames], np.where(taken, expected, whole)
        lost = np.where(slow & ~taken, number, 0)
        made = {at: self._divided(at, mtu) for at in np.flatnonzero(taken & odd).tolist()}
        for at, packets in made.items():
            count[at], lost[at] = sum(map(len, packets)), packets.count([])
        writer = Writer(self._header, self._batch, self._frames, Pieces.room(number, slow, lost, count))
        writer.whole(np.flatnonzero(whole))
        writer.fragments(np.flatnonzero(taken & ~odd), mtu)
        if made:
            writer.made(made)
        return writer.pieces

    def _kinds(self, wanted: Mask, mtu: int, segmentation: bool) -> tuple[Mask, Mask, Mask]:
        """Which of the `wanted` go as they are and which have to be divided, and which frames have to be cut."""
        too_long, cut = self._leaving.length > mtu, np.zeros(len(wanted), np.bool_)
        if self._leaving.udp_l4 is not None:
            cut = self._leaving.udp_l4 & (too_long | (not segmentation))
        return wanted & ~too_long & ~cut, wanted & (cut | too_long & ~self._leaving.dont_fragment), cut

    def _is_usual(self) -> Mask:
        """Which frames have neither options nor a checksum in an odd place, and end where a packet may end."""
        rows = taken(self._header.rows, self._frames)
        payload = self._header.total_length[self._frames] - IP_LENGTH
        usual: Mask = rows["version_ihl"] == NO_OPTIONS
        usual &= (rows["fragment"] & OFFSET).astype(np.int64) * 8 + payload <= LONGEST_PACKET
        placed = (rows["csum_start"] == CSUM_START) & (rows["csum_offset"] == CSUM_OFFSET)
        usual &= placed | (rows["flags"] == 0)
        return usual

    def _expected(self, mtu: int) -> Positions:
        """In how many fragments each frame goes, or at most, where later ones have less header."""
        frames, header = self._frames, self._header
        header_length, number = header.header_length[frames], header.datagrams[frames]
        payload = header.total_length[frames] - header_length
        segment = header.rows["gso_size"][frames] + np.int64(UDP_LENGTH)
        payload = np.where(number > 1, np.minimum(segment, payload), payload)
        exact = mtu - header_length
        room = exact & ~7  # of a fragment that is not the last
        further = np.maximum(-((exact - payload) // np.maximum(room, 8)), 0)
        result: Positions = np.where((room < 8) & (further > 0), IMPOSSIBLE, number * (1 + further))
        return result

    def _divided(self, at: int, mtu: int) -> list[list[bytes]]:
        """The packets of each datagram of a frame; none for one that cannot go."""
        try:
            return divide(self._batch, self._header, int(self._frames[at]), mtu)
        except ValueError:  # a checksum outside the packet, a fragment that ends too far
            return [[]] * int(self._header.datagrams[self._frames[at]])
