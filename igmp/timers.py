"""The only place deadlines live.

Rules of this file: a deadline is absolute monotonic seconds; moving one later costs no heap entry, because the entry
already there is put back when it comes up too early; superseded entries never outnumber the live ones by much.
"""

import heapq
import math
import sys
from collections.abc import Iterator
from typing import Generic, TypeVar

SLACK = 64                              # superseded entries tolerated in a small queue

K = TypeVar("K", int, tuple[int, int])


class TimerQueue(Generic[K]):
    """Deadlines by key, one for each; keys due at the same instant fire in ascending order."""

    __slots__ = ("_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []          # for every key at least one entry, none of its first too late

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: K, when: float) -> None:
        """Fire `key` at `when` seconds, whatever was set before."""
        old = self._when.get(key)
        self._when[key] = when
        if old is None or when < old:
            heapq.heappush(self._heap, (when, key))
            if len(self._heap) > 2 * len(self._when) + SLACK:
                self._rebuild()

    def cancel(self, key: K) -> None:
        """Forget `key`; nothing happens when it is not set."""
        self._when.pop(key, None)

    def clear(self) -> None:
        """Forget all keys."""
        self._when.clear()
        self._heap.clear()

    def get(self, key: K) -> float | None:
        """When `key` fires, None when it is not set."""
        return self._when.get(key)

    @property
    def deadline(self) -> float:
        """When `expire` must next be called; inf when nothing is set."""
        heap = self._heap
        while heap:
            at, key = heap[0]
            when = self._when.get(key)
            if when == at:
                return at
            if when is None or when < at:               # cancelled, or fires by an earlier entry
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (when, key))
        return math.inf

    def expire(self, now: float, limit: int = sys.maxsize) -> Iterator[K]:
        """Each key due at `now`, earliest first, `limit` at most; it is forgotten before it is given."""
        for _ in range(limit):
            if self.deadline > now:
                return
            key = heapq.heappop(self._heap)[1]
            del self._when[key]
            yield key

    def _rebuild(self) -> None:
        self._heap = [(when, key) for key, when in self._when.items()]
        heapq.heapify(self._heap)
