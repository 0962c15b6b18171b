"""Who leaves a flow table that is full: which rows may go, and which of them first.

A flow may stay IDLE seconds without a frame, one that nobody wants UNWANTED_IDLE. One that few frames were seen of
is on probation: it may go sooner, and after its first frame at once. So a spray of sources that come once each passes
through the rows it found free, and neither keeps out a new flow that goes on, nor costs one its row that has gone on.

Who has been due longest goes first, and nobody whose frames are in hand. Pure.
"""

import numpy as np

from forwarder.dataplane.frame import Positions
from forwarder.state.flow_columns import FlowColumns, Words
from forwarder.state.reasons import Reason

IDLE = 60.0
UNWANTED_IDLE = 2.0
PROBATION = 8
"""Frames until a flow is trusted to go on."""
SECOND = 1_000_000_000


def leaving(columns: FlowColumns, high: int, held: Positions, now: float, most: int) -> Positions:
    """The rows below `high` that make room, `most` at most; none of `held`, in which -1 is nobody."""
    due = columns.last_seen[:high] + _patience(columns, high)
    may_go = due < np.uint64(now * SECOND)
    may_go &= columns.used[:high] != 0
    may_go[held[held >= 0]] = False
    (rows,) = may_go.nonzero()
    return rows[np.argpartition(due[rows], most)[:most]] if len(rows) > most else rows


def _patience(columns: FlowColumns, high: int) -> Words:
    """Nanoseconds that each row may be without a frame."""
    seen = columns.packets[:high] + columns.dropped[:high]
    patience = np.full(high, IDLE * SECOND, np.uint64)
    patience[(columns.reason[:high] != Reason.FORWARD) | (seen < PROBATION)] = UNWANTED_IDLE * SECOND
    patience[seen == 1] = 0
    return patience
