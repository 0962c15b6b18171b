"""A value that is replaced as a whole: two buffers of JSON, the valid one named last.

Words: 0 sequence, 1 active buffer, 2-3 lengths, 4-5 CRC-32, then the two buffers. The writer fills the idle buffer,
then its length and CRC, then `active`, then `sequence`. A reader that finds them inconsistent keeps what it had and
tries again at its next breath; it never waits.

The checksum says whether a copy is whole. The fences (see `segment`) see to it that who finds a new `sequence` finds
the buffer that it speaks of: otherwise the one before, which is as whole, could be taken for the new one for good.
"""

import json
import zlib
from typing import Any

from forwarder.state import fence, segment

HEADER = 8
SEQUENCE, ACTIVE, LENGTH, CRC = 0, 1, 2, 4
BUFFER_WORDS = 1 << 19
WORDS = HEADER + 2 * BUFFER_WORDS


def create(name: str) -> int:
    """A new empty snapshot segment (sparse: only what is written takes memory)."""
    return segment.create(name, WORDS)


def _span(which: int, length: int) -> slice:
    start = (HEADER + which * BUFFER_WORDS) * segment.WORD
    return slice(start, start + length)


class SnapshotWriter:
    """The one writer of a snapshot segment."""

    def __init__(self, fd: int) -> None:
        self._segment = segment.Segment(fd, writable=True)

    @property
    def sequence(self) -> int:
        """How often something was published."""
        return self._segment.words[SEQUENCE]

    def publish(self, value: dict[str, Any]) -> None:
        """Replace the value; ValueError when it does not fit."""
        encoded = json.dumps(value, separators=(",", ":")).encode()
        if len(encoded) > BUFFER_WORDS * segment.WORD:
            raise ValueError(f"a snapshot of {len(encoded)} bytes does not fit")
        words = self._segment.words
        idle = 1 - words[ACTIVE] if words[SEQUENCE] else 0
        self._segment.bytes[_span(idle, len(encoded))] = encoded
        words[LENGTH + idle] = len(encoded)
        words[CRC + idle] = zlib.crc32(encoded)
        words[ACTIVE] = idle
        fence.release()
        words[SEQUENCE] += 1


class SnapshotReader:
    """One of any number of readers."""

    def __init__(self, fd: int) -> None:
        self._segment = segment.Segment(fd)
        self._seen = 0

    def poll(self) -> dict[str, Any] | None:
        """The value when it changed since the last call, else None (also while it is being replaced)."""
        words = self._segment.words
        sequence = words[SEQUENCE]
        if sequence == self._seen:
            return None
        fence.acquire()
        active = words[ACTIVE] & 1
        length = min(words[LENGTH + active], BUFFER_WORDS * segment.WORD)
        encoded = bytes(self._segment.bytes[_span(active, length)])
        fence.acquire()
        if zlib.crc32(encoded) != words[CRC + active] or words[SEQUENCE] != sequence:
            return None
        self._seen = sequence
        try:
            value: dict[str, Any] = json.loads(encoded)
        except ValueError:  # a CRC that fits by chance: what is there is no value, and the next one may be
            return None
        return value
