"""What arrived at many receivers, counted together: received, lost, reordered, duplicated. Pure numpy.

One call counts the datagrams of all receivers at once, so that its cost is per sweep and not per receiver; heavy loss
costs no more than none. A datagram is *lost* while its number lies in a gap that was jumped over, *reordered* when it
comes later and fills that gap, *duplicated* when it comes again. What never came after the last one is not known here:
the caller compares `received` with what was sent.
"""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
GAPS = 100_000  # remembered for telling reordered from duplicated


class Tally:
    """Counts for `receivers` receivers of streams `first`.. (`streams` of them)."""

    def __init__(self, receivers: int, first: int = 0, streams: int = 1) -> None:
        self._first, self._streams = first, streams
        self._expected = np.zeros(receivers * streams, np.int64)
        self.received = np.zeros((receivers, streams), np.int64)
        self.lost, self.reordered = np.zeros(receivers, np.int64), np.zeros(receivers, np.int64)
        self.duplicated, self.stray = np.zeros(receivers, np.int64), np.zeros(receivers, np.int64)
        self._gaps: list[tuple[int, int, int]] = []  # key, first missing, first not missing
        self._filled: set[tuple[int, int]] = set()

    def add(self, owners: Counts, streams: Counts, sequences: Counts) -> npt.NDArray[np.bool_]:
        """Counts datagrams in order of arrival at each receiver; which were of our streams."""
        offsets = streams - self._first
        ours = (offsets >= 0) & (offsets < self._streams)
        if not ours.all():
            self.stray += np.bincount(owners[~ours], minlength=len(self.stray))
            owners, offsets, sequences = owners[ours], offsets[ours], sequences[ours]
        if len(owners):
            self._add(owners * self._streams + offsets, sequences)
        return ours

    def _add(self, keys: Counts, sequences: Counts) -> None:
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys.astype(np.uint16) if keys.max() < 65536 else keys, kind="stable")
            keys, sequences = keys[order], sequences[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        present = keys[starts]
        surprise = np.empty(len(keys), np.int64)
        surprise[1:] = sequences[1:] - sequences[:-1] - 1
        surprise[starts] = sequences[starts] - self._expected[present]
        self.received.reshape(-1)[present] += np.diff(np.append(starts, len(keys)))
        if surprise.any():
            self._surprised(keys, sequences, surprise, starts)
        else:
            self._expected[present] = sequences[np.append(starts[1:], len(keys)) - 1] + 1

    def _surprised(self, keys: Counts, sequences: Counts, surprise: Counts, starts: Counts) -> None:
        """Gaps against the highest number so far (a late one must not open a second gap behind it)."""
        present = keys[starts]
        if (surprise < 0).any():
            surprise = self._against_highest(keys, sequences, starts)
        highest = np.maximum.reduceat(sequences, starts) + 1
        self._expected[present] = np.maximum(self._expected[present], highest)
        gaps = np.flatnonzero(surprise > 0)
        np.add.at(self.lost, keys[gaps] // self._streams, surprise[gaps])
        self._remember(keys[gaps], sequences[gaps], surprise[gaps])
        for at in np.flatnonzero(surprise < 0).tolist():
            self._late(int(keys[at]), int(sequences[at]))

    def _against_highest(self, keys: Counts, sequences: Counts, starts: Counts) -> Counts:
        surprise = np.empty(len(keys), np.int64)
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(keys)], strict=True):
            before = np.concatenate(([self._expected[keys[start]] - 1], sequences[start : end - 1]))
            surprise[start:end] = sequences[start:end] - np.maximum.accumulate(before) - 1
        return surprise

    def _remember(self, keys: Counts, sequences: Counts, widths: Counts) -> None:
        room = GAPS - len(self._gaps)
        if room > 0:
            firsts = sequences - widths
            self._gaps += zip(keys[:room].tolist(), firsts[:room].tolist(), sequences[:room].tolist(), strict=True)

    def _late(self, key: int, sequence: int) -> None:
        receiver = key // self._streams
        missing = any(k == key and first <= sequence < end for k, first, end in reversed(self._gaps))
        if missing and (key, sequence) not in self._filled:
            self._filled.add((key, sequence))
            self.reordered[receiver] += 1
            self.lost[receiver] -= 1
        else:
            self.duplicated[receiver] += 1
            self.received[receiver, key % self._streams] -= 1
