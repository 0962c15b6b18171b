"""Frames that are longer than a slot of a V2 ring, as the kernel queues them whole at the socket (PACKET_COPY_THRESH).

They are queued in the order of their slots, and a slot says (TP_STATUS_COPY) that its frame was; it holds the beginning
of the frame, by which that is known again in the queue. For the two can be out of step: what a predecessor took from
the queue is missing for the slot that it did not give back, what an error kept us from taking is left over. A frame
that is not found, or is longer than an IPv4 packet can be, stays as its slot has it: truncated.
"""

from collections import deque
from collections.abc import Callable

import numpy as np

from forwarder.dataplane.ring import Batch, Place
from forwarder.packet.tpacket import LONGEST_PACKET, NET_V2, VNET_HDR_LENGTH

LONGEST = VNET_HDR_LENGTH + NET_V2 + LONGEST_PACKET
"""Most octets to take of a queued frame: more than any that is used, so that one that is too long is seen to be."""
SPARE = 64  # octets behind a private frame: whoever gathers headers reads 64 at once


class LongFrames:
    """The queue beside a ring; `queued` takes its next frame, behind its vnet header (b"" for none)."""

    def __init__(self, queued: Callable[[], bytes]) -> None:
        self._queued, self._kept = queued, deque[bytes]()

    def batch(self, shown: Place, beginning: bytes, status: int) -> Batch | None:
        """The whole frame of a slot, over a private buffer; None where it is not to be had.

        `shown` and `beginning` (its octets from `mac` on) are what the slot has of it.
        """
        link_header = shown.net - shown.mac
        queued = self._whole(shown.length, beginning)
        if not queued or shown.length > link_header + LONGEST_PACKET or link_header + VNET_HDR_LENGTH > NET_V2:
            return None
        words = np.empty(-(-(NET_V2 + LONGEST_PACKET + SPARE) // 8), np.uint64)
        octets, start = words.view(np.uint8), NET_V2 - link_header - VNET_HDR_LENGTH
        octets[start : start + len(queued)] = np.frombuffer(queued, np.uint8)
        return Batch(
            buffer=octets,
            words=words,
            frame=np.array([0]),
            mac=np.array([NET_V2 - link_header]),
            net=np.array([NET_V2]),
            snaplen=np.array([shown.length]),
            length=np.array([shown.length]),
            status=np.array([status], np.uint32),
        )

    def _whole(self, length: int, beginning: bytes) -> bytes:
        """What was queued for a slot, most often the first of the queue; empty where it is not there.

        What was queued before it will never be asked for; where it is not there, all is kept for slots to come.
        """
        size, passed = min(VNET_HDR_LENGTH + length, LONGEST), 0
        while passed < len(self._kept) or self._take():
            queued = self._kept[passed]
            passed += 1
            if len(queued) == size and queued.startswith(beginning, VNET_HDR_LENGTH):
                for _ in range(passed):
                    self._kept.popleft()
                return queued
        return b""

    def _take(self) -> bool:
        """Take one more frame from the queue."""
        if queued := self._queued():
            self._kept.append(queued)
        return bool(queued)
