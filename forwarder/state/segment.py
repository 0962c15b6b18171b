"""Shared memory between processes: a `memfd` seen as aligned native uint64 words.

A segment has exactly one writing process, and any number of readers, which never wait. Single words are stored and
loaded whole (8-byte aligned accesses). What several words say together is ordered by one of them, in one of three ways:

* **A version of a row** (`routes`, `flow_columns`): odd while the row is being rewritten. Writer: odd version, fence,
  content, fence, even version. Reader: version, fence, content, fence, version again. If the second look finds the same
  even version, no store of a rewriting came between the two: each begins by making the version odd, before any content,
  and the second look comes after all of it. Otherwise the copy is thrown away, and the reader comes again.
* **A sequence** (`routes`, `snapshot`, `membership`) that counts what was said: content, fence, then the sequence.
  Reader: sequence, fence, content. So it sees at least what was counted. It may see more, and then the sequence moves
  once more, and it comes again: what is announced is never missed, though it may be seen twice.
* **A checksum** over the whole (`snapshot`): right whatever the order was; the fences merely make it seldom wrong.

The fences (`fence`) are nothing on x86, which does not reorder loads with loads nor stores with stores. Where they are
something (arm64), leaving one out makes the reasoning above wrong, not only slow: a control dependency (looking at the
version before the content) does not keep a later load behind an earlier one there, and a lock is no fence.

Words that stand for themselves (heartbeats, counters) need none of this.
"""

import mmap
import os

WORD = 8


def create(name: str, words: int) -> int:
    """A new sparse memfd of `words` zeroed uint64, as an inheritable-on-request descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, words * WORD)
    except OSError:
        os.close(fd)
        raise
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
