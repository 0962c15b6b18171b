"""Shared memory between processes: a `memfd` seen as aligned native uint64 words.

A segment has exactly one writing process. Single words are stored and loaded whole (8-byte aligned accesses), which
is all that the layouts above this file rely on.
"""

import mmap
import os

WORD = 8


def create(name: str, words: int) -> int:
    """A new sparse memfd of `words` zeroed uint64, as an inheritable-on-request descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(fd, words * WORD)
    return fd


class Segment:
    """A mapped memfd: `words` is a writable (or read-only) memoryview of uint64."""

    def __init__(self, fd: int, writable: bool = False) -> None:
        size = os.fstat(fd).st_size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.memory = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self.bytes = memoryview(self.memory)
        self.words = self.bytes.cast("Q")

    def close(self) -> None:
        """Unmap; every view taken from this segment must be gone."""
        self.words.release()
        self.bytes.release()
        self.memory.close()


def bitmap_words(max_ports: int) -> int:
    """How many uint64 a port bitmap takes."""
    return -(-max_ports // 64)


def split_bitmap(ports: int, words: int) -> list[int]:
    """A port bitmap as uint64 words, port 0 in bit 0 of the first."""
    return [(ports >> (64 * word)) & 0xFFFF_FFFF_FFFF_FFFF for word in range(words)]


def join_bitmap(words: list[int]) -> int:
    """The inverse of `split_bitmap`."""
    ports = 0
    for at, word in enumerate(words):
        ports |= int(word) << (64 * at)
    return ports
