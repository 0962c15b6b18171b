"""The columns of flow rows: aligned uint64 arrays over shared memory, or over plain memory in tests.

A worker writes them, any process reads them. `version` is odd while a row is being rewritten; a row whose
`version` is 0 was never used. `used` is 1 for a live row. Counters grow without touching `version`. `first_seen` and
`last_seen` are monotonic nanoseconds of frames; the first tells a flow from the next one in its row. `frame` is
length << 8 | TTL of an IPv4 packet of the flow, the last one that came when it was decided; 0: not known.

Readers copy rows between two looks at their versions, with a fence after the first look and one before the second; the
worker has one before and one after the content of the rows it rewrites (see `segment`). One fence serves many rows.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from forwarder.state.worker_segment import FLOW_WORDS

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FlowColumns:
    """`capacity` rows; every column is uint64 of shape (capacity,), `ports` of shape (capacity, words)."""

    version: Words
    used: Words
    ingress: Words
    source: Words
    group: Words
    reason: Words
    packets: Words
    bytes: Words
    dropped: Words
    ttl_expired: Words
    last_seen: Words
    first_seen: Words
    frame: Words
    ports: Words

    @staticmethod
    def words_per_row(words: int) -> int:
        """How many uint64 one row takes with bitmaps of `words` words."""
        return FLOW_WORDS + words

    @classmethod
    def over(cls, memory: Words, capacity: int, words: int) -> "FlowColumns":
        """Columns laid one after the other in `memory`, capacity * words_per_row(words) uint64."""
        names = [field.name for field in fields(cls)][:-1]
        columns = {name: memory[at * capacity : (at + 1) * capacity] for at, name in enumerate(names)}
        start = len(names) * capacity
        return cls(**columns, ports=memory[start : start + capacity * words].reshape(capacity, words))

    @classmethod
    def allocate(cls, capacity: int, words: int) -> "FlowColumns":
        """Columns in private memory."""
        return cls.over(np.zeros(capacity * cls.words_per_row(words), np.uint64), capacity, words)
