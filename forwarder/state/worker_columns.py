"""A worker's segment (`worker_segment`) as numpy columns: how the worker writes it, and how its flows are read."""

import numpy as np

from forwarder.state import egress_drops, segment
from forwarder.state.flow_columns import FlowColumns, Words
from forwarder.state.worker_segment import BLOCK, HEADER, MAX_FLOWS, MAX_PORTS


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
