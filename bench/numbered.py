"""The bench's datagrams: sixteen octets that say whose and which, then the time where there is room. Pure.

    0 check   u32   MAGIC xor the other three words xor the payload length times a constant: damage shows
    4 stream  u32   who numbers; a trial uses numbers of its own, so that a late datagram is known as one
    8 sequence u64  from 0, without gaps
   16 time    u64   CLOCK_REALTIME nanoseconds, the clock of the kernel's receive stamps, just before the kernel got
                    it (only of stamped streams)

Little-endian. The lab's own header (32 octets, `forwarder.lab.datagram`) does not fit a 64-octet Ethernet frame, the
first size of RFC 2544 and RFC 3918: such a frame carries 18 octets of UDP payload.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

HEADER: "np.dtype[np.void]" = np.dtype([("check", "<u4"), ("stream", "<u4"), ("sequence", "<u8"), ("time", "<u8")])
SIZE = HEADER.itemsize
SMALLEST = 16
MAGIC = np.uint32(0x3918_2432)
LENGTH = 0x9E3779B1  # odd: every length gives another word
FRAME_OVERHEAD = 14 + 20 + 8 + 4  # Ethernet, IPv4, UDP and frame check sequence around a payload

Words = npt.NDArray[np.uint64]


def payload(frame: int) -> int:
    """UDP payload octets of an Ethernet frame of `frame` octets with its frame check sequence."""
    return frame - FRAME_OVERHEAD


def seal(headers: npt.NDArray[np.void], length: int) -> None:
    """Sets `check` of headers whose payloads are `length` octets long."""
    sequence = headers["sequence"]
    folded = (sequence ^ sequence >> np.uint64(32)).astype(np.uint32)
    headers["check"] = _magic(length) ^ headers["stream"] ^ folded


def intact(words: Words, lengths: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which headers, given as (n, 3) words, are as they were sealed for a payload of `lengths` octets."""
    folded = words[:, 0] ^ words[:, 1]
    folded ^= folded >> np.uint64(32)
    expected = np.uint64(MAGIC) ^ (lengths.astype(np.uint64) * np.uint64(LENGTH))
    return np.asarray((folded ^ expected) & np.uint64(0xFFFFFFFF) == 0, np.bool_)


def streams(words: Words) -> npt.NDArray[np.int64]:
    """Stream numbers of (n, 3) words."""
    return (words[:, 0] >> np.uint64(32)).astype(np.int64)


def _magic(length: int) -> np.uint32:
    return np.uint32(int(MAGIC) ^ (length * LENGTH & 0xFFFFFFFF))
