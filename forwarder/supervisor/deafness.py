"""Rings that their workers have found deaf (`dataplane.slot_ring`): whose turn it is to be replaced."""

from collections.abc import Callable, Sequence

from forwarder.state.worker_segment import WorkerReader

APART = 5.0
"""Least seconds between two replacements at a port: whoever deafens a ring on purpose costs us 100 ms of a thread."""


class DeafRings:
    """What the workers' segments say; `workers` are their descriptors."""

    def __init__(self, workers: Sequence[int]) -> None:
        self._not_before: dict[int, float] = {}
        self.read(workers)

    def read(self, workers: Sequence[int]) -> None:
        """These are the segments now."""
        self._workers = [WorkerReader(descriptor) for descriptor in workers]

    def due(self, now: float, ring: Callable[[int, int], int | None]) -> list[tuple[int, int]]:
        """(Port index, worker) of each ring to be replaced now: all of a port's that are deaf, if it is its time.

        `ring(index, worker)` is the number of the ring that a worker is lent now: a worker may speak of a former one.
        """
        found = [
            (index, worker)
            for worker, reader in enumerate(self._workers)
            for index, inode in reader.deaf().items()
            if now >= self._not_before.get(index, now) and inode == ring(index, worker)
        ]
        self._not_before |= {index: now + APART for index, _ in found}
        return found
