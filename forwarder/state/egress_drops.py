"""What flows lost at single ports that they should have left by, and why: a small table in a worker's segment.

A row is four words: `where` (ingress << 32 | egress << 16 | reason; 0: unused), `pair` (source << 32 | group), packets,
and when the flow was seen last when some of them were counted: what is not so any more must not look as if it were. It
names its flow by what the flow is, not by the row that it has, so it says nothing wrong of the next flow in that row.
Whoever is replaced is unused first. Readers copy the table between two looks at `where` and `pair`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from forwarder.state import fence
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import DROP_WORDS, DROPS

if TYPE_CHECKING:       # who only has losses to tell needs no numpy
    from forwarder.state.flow_columns import Words

MOST, WORDS = DROPS, DROP_WORDS
WHERE, PAIR, PACKETS, SEEN = range(WORDS)
LAST_REASON = max(Reason)


class FlowDrop(NamedTuple):
    """`packets` of the flow (ingress, source << 32 | group) that were not sent by the port `egress`.

    `seen`: monotonic nanoseconds when the flow was seen last, then.
    """

    ingress: int
    pair: int
    egress: int
    reason: Reason
    packets: int
    seen: int


def place(ingress: int, egress: int, reason: int) -> int:
    """The word `where`."""
    return ingress << 32 | egress << 16 | reason


def read(table: "Words") -> Iterator[FlowDrop]:
    """All rows of a table (rows, WORDS) that hold still; a reason that is none is not passed on."""
    before = table[:, :PACKETS].copy()
    fence.acquire()
    packets, seen = table[:, PACKETS].copy(), table[:, SEEN].copy()
    fence.acquire()
    still = (table[:, :PACKETS] == before).all(axis=1) & (before[:, WHERE] != 0)
    for at in still.nonzero()[0].tolist():
        where = int(before[at, WHERE])
        if 0 < where & 0xFFFF <= LAST_REASON:
            reason = Reason(where & 0xFFFF)
            flow, egress = (where >> 32, int(before[at, PAIR])), where >> 16 & 0xFFFF
            yield FlowDrop(*flow, egress, reason, int(packets[at]), int(seen[at]))
