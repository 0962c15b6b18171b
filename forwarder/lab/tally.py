"""What arrived, by stream: received, lost, duplicated, reordered, altered. Pure numpy; no clock, no socket.

A batch in which every stream goes on where it stopped (nearly all are) costs a handful of vector operations
whatever the number of streams; only streams with a surprise are looked at one datagram at a time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forwarder.lab.datagram import Headers

WINDOW = 4096  # sequence numbers remembered per stream; what comes later than that counts as duplicated
STREAMS = 65536  # stream numbers are below


@dataclass(frozen=True, slots=True)
class StreamTally:
    """One stream; times are monotonic seconds, `last_sent` is the sender's time of the newest datagram."""

    stream: int
    group: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    altered: int
    bytes: int
    first_sequence: int
    first: float
    last: float
    last_sent: float


class Tally:
    """Counts by stream; rows of the arrays are streams in order of appearance."""

    def __init__(self) -> None:
        self.altered = 0  # datagrams whose header cannot be believed
        self._row_of = np.full(STREAMS, -1, np.int64)
        self._streams: list[int] = []
        self._expected = np.zeros(0, np.uint64)  # highest sequence + 1
        self._lowest = np.zeros(0, np.uint64)
        self._seen = np.zeros((0, WINDOW), np.uint64)  # sequence + 1, at sequence mod WINDOW
        self._counts = np.zeros((0, 5), np.int64)  # distinct, duplicated, reordered, altered, bytes
        self._times = np.zeros((0, 3), np.int64)  # first, last, last sent: nanoseconds
        self._group = np.zeros(0, np.uint32)

    def add(self, headers: Headers, altered: npt.NDArray[np.bool_], arrivals: npt.NDArray[np.int64]) -> None:
        """Counts intact headers; `altered` marks those with a damaged rest, `arrivals` monotonic nanoseconds."""
        if not len(headers):
            return
        self._admit(headers, arrivals)
        rows = self._row_of[headers["stream"]]
        order = np.argsort(rows, kind="stable")
        rows, headers, altered, arrivals = rows[order], headers[order], altered[order], arrivals[order]
        counts = np.bincount(rows, minlength=len(self._streams))
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        position = (np.arange(len(rows)) - starts[rows]).astype(np.uint64)
        surprising = headers["sequence"] != self._expected[rows] + position
        self._note(rows, headers, altered, arrivals)
        odd = np.zeros(len(self._streams), np.bool_)
        odd[rows[surprising]] = True
        self._in_order(rows, headers, counts, odd)
        for row in np.flatnonzero(odd):
            self._one_by_one(int(row), headers["sequence"][rows == row].tolist())

    def _admit(self, headers: Headers, arrivals: npt.NDArray[np.int64]) -> None:
        unknown = self._row_of[headers["stream"]] < 0
        if not unknown.any():
            return
        fresh, first = np.unique(headers["stream"][unknown], return_index=True)
        positions = np.flatnonzero(unknown)[first]
        grown = len(self._streams) + len(fresh)
        self._row_of[fresh] = np.arange(len(self._streams), grown)
        self._streams += fresh.tolist()
        sequences = headers["sequence"][positions]
        self._expected = np.concatenate([self._expected, sequences])
        self._lowest = np.concatenate([self._lowest, sequences])
        self._seen = np.concatenate([self._seen, np.zeros((len(fresh), WINDOW), np.uint64)])
        self._counts = np.concatenate([self._counts, np.zeros((len(fresh), 5), np.int64)])
        times = np.repeat(arrivals[positions, None], 3, axis=1)
        self._times = np.concatenate([self._times, times])
        self._group = np.concatenate([self._group, headers["group"][positions]])

    def _note(
        self,
        rows: npt.NDArray[np.int64],
        headers: Headers,
        altered: npt.NDArray[np.bool_],
        arrivals: npt.NDArray[np.int64],
    ) -> None:
        streams = len(self._streams)
        self._counts[:, 4] += np.bincount(rows, headers["length"], minlength=streams).astype(np.int64)
        if altered.any():
            self._counts[:, 3] += np.bincount(rows[altered], minlength=streams)
        self._times[rows, 1] = arrivals  # of repeated rows the last one stays
        self._times[rows, 2] = headers["time"]

    def _in_order(
        self,
        rows: npt.NDArray[np.int64],
        headers: Headers,
        counts: npt.NDArray[np.int64],
        odd: npt.NDArray[np.bool_],
    ) -> None:
        even = np.where(odd, 0, counts)
        self._expected += even.astype(np.uint64)
        self._counts[:, 0] += even
        kept = ~odd[rows] if odd.any() else slice(None)
        sequences = headers["sequence"][kept]
        self._seen[rows[kept], (sequences % WINDOW).astype(np.int64)] = sequences + np.uint64(1)

    def _one_by_one(self, row: int, sequences: list[int]) -> None:
        expected, lowest = int(self._expected[row]), int(self._lowest[row])
        distinct = duplicated = reordered = 0
        seen = self._seen[row]
        for sequence in sequences:
            at = sequence % WINDOW
            if sequence + WINDOW < expected or int(seen[at]) == sequence + 1:
                duplicated += 1
                continue
            distinct += 1
            reordered += sequence < expected
            seen[at] = sequence + 1
            expected, lowest = max(expected, sequence + 1), min(lowest, sequence)
        self._expected[row], self._lowest[row] = expected, lowest
        self._counts[row, :3] += (distinct, duplicated, reordered)

    def streams(self) -> list[StreamTally]:
        """A row for each stream that was heard, in order of appearance."""
        return [self._stream(row, stream) for row, stream in enumerate(self._streams)]

    def _stream(self, row: int, stream: int) -> StreamTally:
        distinct, duplicated, reordered, altered, octets = self._counts[row].tolist()
        first, last, last_sent = (self._times[row] / 1e9).tolist()
        lowest = int(self._lowest[row])
        lost = int(self._expected[row]) - lowest - distinct
        return StreamTally(
            stream=stream,
            group=int(self._group[row]),
            received=distinct,
            lost=lost,
            duplicated=duplicated,
            reordered=reordered,
            altered=altered,
            bytes=octets,
            first_sequence=lowest,
            first=first,
            last=last,
            last_sent=last_sent,
        )
