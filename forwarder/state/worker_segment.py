"""What a worker says of itself: heartbeat, batches, per-port counters, ring positions, and its flow rows.

Every value is one uint64 word with one writer; counters only grow, so a reader needs no lock. A worker that was
killed leaves it all behind for its successor, which counts on from there.
"""

from dataclasses import dataclass

import numpy as np

from forwarder.state import egress_drops, segment
from forwarder.state.flow_columns import FlowColumns, Words
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
    flows = max_flows * FlowColumns.words_per_row(segment.bitmap_words(max_ports))
    drops = egress_drops.MOST * egress_drops.WORDS
    fd = segment.create(f"mcfwd-worker-{index}", HEADER + max_ports * BLOCK + drops + flows)
    header = segment.Segment(fd, writable=True)
    header.words[MAX_PORTS], header.words[MAX_FLOWS] = max_ports, max_flows
    header.close()
    return fd


class WorkerSegment:
    """The words as numpy columns: `ports` (max_ports, BLOCK), `drops` (rows, WORDS) of `state.egress_drops`."""

    def __init__(self, fd: int, writable: bool = False) -> None:
        self.segment = segment.Segment(fd, writable)
        memory: Words = np.frombuffer(self.segment.memory, np.uint64)
        self.header = memory[:HEADER]
        max_ports, max_flows = int(self.header[MAX_PORTS]), int(self.header[MAX_FLOWS])
        self.ports = memory[HEADER : HEADER + max_ports * BLOCK].reshape(max_ports, BLOCK)
        at = HEADER + max_ports * BLOCK
        after = at + egress_drops.MOST * egress_drops.WORDS
        self.drops = memory[at:after].reshape(egress_drops.MOST, egress_drops.WORDS)
        self.flows = FlowColumns.over(memory[after:], max_flows, segment.bitmap_words(max_ports))


class WorkerReader(WorkerSegment):
    """Any other process's side."""

    @property
    def heartbeat(self) -> float:
        """When the worker last lived, monotonic seconds."""
        return int(self.header[HEARTBEAT]) / 1e9

    @property
    def batches(self) -> int:
        """Batches since the segment was made."""
        return int(self.header[BATCHES])

    @property
    def frames(self) -> int:
        """Frames in those batches."""
        return int(self.header[FRAMES])

    @property
    def gso(self) -> bool | None:
        """Whether the kernel takes segmentation-offloaded sends; None before it was asked."""
        return {PLAIN: False, GSO_TAKEN: True, GSO_MORE: True}.get(int(self.header[GSO]))

    def port(self, index: int) -> PortCounters:
        """The counters of one port."""
        row = self.ports[index].tolist()
        drops = dict(zip(REASONS, row[FIRST_REASON:], strict=True))
        traffic = row[RX_PACKETS], row[RX_BYTES], row[TX_PACKETS], row[TX_BYTES]
        return PortCounters(row[ASSIGNED], *traffic, drops, row[KIND] or None, row[REPLACED])
