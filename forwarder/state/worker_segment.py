"""What a worker says of itself, word by word: how its segment is made and laid out, and what others read of it.

Every value is one uint64 word with one writer; counters only grow, so a reader needs no lock. A worker that was
killed leaves it all behind for its successor, which counts on from there. The worker itself, and who shows flows, see
the same words as numpy columns (`worker_columns`); the supervisor, and the API until flows are asked for, do without:
numpy takes 6 MiB of each process that imports it.
"""

import os
from dataclasses import dataclass

from forwarder.state import segment
from forwarder.state.reasons import REASONS

HEADER = 16
MAX_PORTS, MAX_FLOWS, HEARTBEAT, BATCHES, FRAMES, GSO, FLOWS = 0, 1, 2, 3, 4, 5, 6
PLAIN, GSO_TAKEN, GSO_MORE = 1, 2, 3
"""What the kernel takes: no UDP super-frames, those of up to 64 datagrams, of up to 128; 0 before it was asked."""
# Of a port's ring: the inode of its socket, the position in it, its TPACKET version (0: none yet), the inode of the
# last one that the kernel filled no more, and how many of those were replaced.
ASSIGNED, RING, POSITION, KIND, DEAF, REPLACED, RX_PACKETS, RX_BYTES, TX_PACKETS, TX_BYTES = range(10)
CHARGED, USED_UNTIL, FIRST_REASON = range(10, 13)
"""The first two are for the other workers, where a port has a rate limit (`dataplane/ledger.py`)."""
BLOCK = FIRST_REASON + len(REASONS)
COUNTS = (RX_PACKETS, RX_BYTES, TX_PACKETS, TX_BYTES, *range(FIRST_REASON, BLOCK))
"""What of a port's row is a sum over all frames."""
DROPS, DROP_WORDS = 4096, 4
"""Rows of `egress_drops`, and words of one: what a person reads of is the newest; the counters of ports know of all."""
FLOW_WORDS = 13
"""Words of a flow row besides its bitmap: the columns of `flow_columns`."""
PORTION = 8192  # words that are copied at a time
# Numbers of columns: which flow rows are in use, and what rates are made of.
VERSION, USED, PACKETS, BYTES, DROPPED, FIRST_SEEN = 0, 1, 6, 7, 8, 11


@dataclass(frozen=True, slots=True)
class PortCounters:
    """One port's row, dropped frames by reason; `ring` is the TPACKET version of its ring, None before it has one."""

    assigned: int
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    drops: dict[str, int]
    ring: int | None = None
    ring_replacements: int = 0


def create(index: int, max_ports: int, max_flows: int) -> int:
    """A new segment for worker `index`."""
    flows = max_flows * (FLOW_WORDS + segment.bitmap_words(max_ports))
    fd = segment.create(f"mcfwd-worker-{index}", HEADER + max_ports * BLOCK + DROPS * DROP_WORDS + flows)
    try:
        header = segment.Segment(fd, writable=True)
    except OSError:
        os.close(fd)
        raise
    header.words[MAX_PORTS], header.words[MAX_FLOWS] = max_ports, max_flows
    header.close()
    return fd


def hand_on(former: int, fd: int) -> None:
    """Copy what a worker that has ended leaves to a new segment of as many ports; of flows what there is room for.

    OSError where they cannot be mapped: nothing is copied then. What stood in the new one is written over.

    Flows lie in columns, as many words long as there are flows at most (`flow_columns`), bitmaps last, row by row.
    """
    old, new = segment.Segment(former), segment.Segment(fd, writable=True)
    try:
        most, words = new.words[MAX_FLOWS], segment.bitmap_words(new.words[MAX_PORTS])
        flows = HEADER + new.words[MAX_PORTS] * BLOCK + DROPS * DROP_WORDS
        new.words[MAX_FLOWS + 1 : flows] = old.words[MAX_FLOWS + 1 : flows]
        had = old.words[MAX_FLOWS]
        for column, width in (*((column, 1) for column in range(FLOW_WORDS)), (FLOW_WORDS, words)):
            many = min(had, most) * width
            source, target = flows + column * had, flows + column * most
            new.words[target : target + many] = old.words[source : source + many]
    finally:
        old.close()
        new.close()


def add(dismissed: int, fd: int) -> None:
    """Add what a worker has carried who is replaced by nobody to a segment that no worker has yet; OSError as above."""
    old, new = segment.Segment(dismissed), segment.Segment(fd, writable=True)
    try:
        for at in (BATCHES, FRAMES):
            new.words[at] += old.words[at]
        for row in range(HEADER, HEADER + new.words[MAX_PORTS] * BLOCK, BLOCK):
            if new.words[row + ASSIGNED] == old.words[row + ASSIGNED]:
                for at in COUNTS:
                    new.words[row + at] += old.words[row + at]
    finally:
        old.close()
        new.close()


class WorkerReader:
    """Any other process's side."""

    def __init__(self, fd: int) -> None:
        self._words = segment.Segment(fd).words
        self.max_ports, self._max_flows = self._words[MAX_PORTS], self._words[MAX_FLOWS]
        self._ports_end = HEADER + self.max_ports * BLOCK
        self._flows_start = self._ports_end + DROPS * DROP_WORDS
        if self._flows_start + FLOW_WORDS * self._max_flows > len(self._words):
            raise ValueError("a worker's segment is shorter than it says")

    @property
    def heartbeat(self) -> float:
        """When the worker last lived, monotonic seconds."""
        return self._words[HEARTBEAT] / 1e9

    @property
    def batches(self) -> int:
        """Batches since the segment was made."""
        return self._words[BATCHES]

    @property
    def frames(self) -> int:
        """Frames in those batches."""
        return self._words[FRAMES]

    @property
    def flows(self) -> int:
        """How many flow rows are in use, of which each says 1."""
        column = self.flow_column(USED)
        return sum(bytes(column[at : at + PORTION]).count(1) for at in range(0, len(column), PORTION))

    @property
    def gso(self) -> bool | None:
        """Whether the kernel takes segmentation-offloaded sends; None before it was asked."""
        return {PLAIN: False, GSO_TAKEN: True, GSO_MORE: True}.get(self._words[GSO])

    def flow_column(self, number: int) -> memoryview:
        """A column of the flow rows: one word each."""
        at = self._flows_start + number * self._max_flows
        return self._words[at : at + self._max_flows]

    def port_column(self, number: int) -> memoryview:
        """A column of the ports' rows: one word for each index, BLOCK words apart."""
        return self._words[HEADER + number : self._ports_end : BLOCK]

    def port(self, index: int) -> PortCounters:
        """The counters of one port."""
        at = HEADER + index * BLOCK
        row = self._words[at : at + BLOCK].tolist()
        drops = dict(zip(REASONS, row[FIRST_REASON:], strict=True))
        traffic = row[RX_PACKETS], row[RX_BYTES], row[TX_PACKETS], row[TX_BYTES]
        return PortCounters(row[ASSIGNED], *traffic, drops, row[KIND] or None, row[REPLACED])

    def deaf(self) -> dict[int, int]:
        """Ports whose ring got nothing more, by index: the inode of that ring."""
        return {index: inode for index, inode in enumerate(self.port_column(DEAF).tolist()) if inode}
