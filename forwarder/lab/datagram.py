"""What the lab's datagrams look like: a sealed 32-byte header, then a pattern that depends on the sequence.

    0 check   u32   MAGIC xor all other words of the header: any altered bit of it shows
    4 stream  u32   who numbers
    8 sequence u64  from 0, without gaps
   16 time    u64   CLOCK_MONOTONIC nanoseconds when it was handed to the kernel; one clock for all namespaces
   24 group   u32   where it was sent, host order
   28 length  u32   of the whole payload

All little-endian. Pure: arrays in, arrays out.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

HEADER: "np.dtype[np.void]" = np.dtype(
    [("check", "<u4"), ("stream", "<u4"), ("sequence", "<u8"), ("time", "<u8"), ("group", "<u4"), ("length", "<u4")]
)
SIZE = 32
LARGEST = 65507  # UDP payload of a 64 KiB IPv4 packet
MAGIC = np.uint32(0x6D636677)
PERIOD = 4096  # of the pattern's offset; a power of two
_STRIDE = 67  # odd, so that consecutive datagrams differ everywhere

Headers = npt.NDArray[np.void]

# PCG64's raw output is the same with every numpy; read-only.
PATTERN: bytes = np.random.PCG64(3918).random_raw((LARGEST + PERIOD) // 8 + 1).astype("<u8").tobytes()


def new_headers(count: int) -> Headers:
    """`count` empty headers, contiguous."""
    return np.zeros(count, HEADER)


def _folded(headers: Headers) -> npt.NDArray[np.uint32]:
    """Exclusive or of the eight 32-bit words of each header."""
    words = headers.view(np.uint64).reshape(len(headers), SIZE // 8)
    folded = words[:, 0] ^ words[:, 1] ^ words[:, 2] ^ words[:, 3]
    return (folded ^ folded >> np.uint64(32)).astype(np.uint32)


def seal(headers: Headers) -> None:
    """Sets `check` of every header."""
    headers["check"] = 0
    headers["check"] = MAGIC ^ _folded(headers)


def intact(headers: Headers, lengths: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which headers are as they were sealed, on a payload of `lengths` octets."""
    return np.asarray((_folded(headers) == MAGIC) & (headers["length"] == lengths), np.bool_)


def pattern_offset(sequences: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Where in PATTERN the rest of each datagram begins."""
    return (sequences * np.uint64(_STRIDE)) & np.uint64(PERIOD - 1)


def rest(sequence: int, length: int) -> bytes:
    """What follows the header of datagram `sequence` with a payload of `length` octets."""
    offset = sequence * _STRIDE % PERIOD
    return PATTERN[offset : offset + length - SIZE]
