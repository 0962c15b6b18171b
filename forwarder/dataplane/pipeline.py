"""One batch on its way through: header columns, verdicts, counters, and on to the transmitter."""

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.forwarding import verdicts
from forwarder.dataplane.frame import NONE, Columns, Positions, columns
from forwarder.dataplane.pair_index import Key
from forwarder.dataplane.paths import Paths
from forwarder.dataplane.portions import portions
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.scalar import Scalar
from forwarder.dataplane.segmentation import HEADERS
from forwarder.dataplane.steady import Recognised, Steady
from forwarder.dataplane.transmitter import Going, Transmitter
from forwarder.state.flow_columns import Words
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.segment import split_bitmap
from forwarder.state.worker_segment import FIRST_REASON, RX_BYTES, RX_PACKETS

Reasons = npt.NDArray[np.uint8]


class Carried(NamedTuple):
    """A batch or portion that is done with: its frames, and the flows of these that can be gathered."""

    frames: int
    flows: int = 1


NOTHING = Carried(0)


class Pipeline:
    """Carries batches from any port to the ports that want them."""

    def __init__(self, decisions: Decisions, transmitter: Transmitter, key: Key) -> None:
        """`key`: what portions are dealt out by; who watches their order may learn it, so it is nobody else's."""
        self._decisions, self._transmitter, self._routes = decisions, transmitter, decisions.routes
        self._key = key
        self._paths = Paths(decisions.flows, transmitter.ports)
        self._scalar = Scalar(self._paths)
        self._steady = Steady(self._scalar, transmitter.capacity)
        self.use_segments(transmitter.segments)
        self.ports_changed()

    def carry(self, ingress: Attachment, limit: int, reach: int, few: int, now: float) -> Carried:
        """Carry what the ring of `ingress` has ready, `limit` frames at most, in the cheapest way that suits.

        The ring is asked for `reach` frames or so; what is beyond `limit` is carried by the calls that follow. `few`
        frames are carried singly.
        """
        ring, waiting = ingress.ring, ingress.portions
        listening = ingress.port.index in self._decisions.listening
        if waiting:
            frames = 0
        elif not (frames := ring.look(limit if listening or self._limited else reach)):
            return NOTHING
        try:
            if self._routes.pending:  # what is carried is decided by the routes there are when the ring has been read
                self._decisions.refresh()
            if frames > limit:
                waiting.extend(portions(ring.batch(), limit, self._key))
            if waiting:
                return self.forward(ingress, self._next_portion(waiting, limit), now)
            if listening:  # every frame may move its flow to another upstream
                return self.forward(ingress, ring.batch(), now)
            self._scalar.own = self._decisions.own
            if frames <= few:
                if (places := ring.singly()) and self._scalar.forward(ingress, places, now):
                    return Carried(frames)
            elif self.segments and (spans := ring.evenly()) and (found := self._steady.recognise(ingress, spans)):
                return self._forward_stream(found, now)
            return self.forward(ingress, ring.batch(), now)
        finally:
            if not waiting:
                ring.release()

    def _next_portion(self, waiting: deque[Batch], limit: int) -> Batch:
        """Dealt out again where it is more than may be carried now: there are more ports, or it takes longer."""
        portion = waiting.popleft()
        if len(portion.frame) > limit:
            waiting.extendleft(reversed(portions(portion, limit, self._key)))
            portion = waiting.popleft()
        return portion

    def _forward_stream(self, recognised: Recognised, now: float) -> Carried:
        self._transmitter.send_stream(recognised)
        stream, count = recognised.stream, recognised.frames
        stream.counters[RX_PACKETS] += count
        stream.counters[RX_BYTES] += count * stream.length
        self._decisions.flows.account_one(stream.path.row, count, count * (stream.size + HEADERS), now)
        return Carried(count)

    def forward(self, ingress: Attachment, batch: Batch, now: float) -> Carried:
        """Decide on every frame of a batch and send what is wanted."""
        header = columns(batch, ingress.link_header)
        rows, decided = self._decisions.of(ingress.port.index, header, now)
        reasons = self._verdicts(ingress, header, decided)
        self._count_received(ingress, header, batch)
        index = ingress.port.index
        if index in self._decisions.listening and self._decisions.heard(index, rows, decided, reasons, now):
            reasons = self._verdicts(ingress, header, decided)
        frames = self._account(ingress, header, rows, decided, reasons, now)
        if frames.size:
            runs = self._transmitter.arrange(header, batch, frames, rows[frames])
            heads = rows[runs.heads]
            going = Going(heads, self._decisions.flows.ports(heads), now)
            self._transmitter.send(header, batch, runs, going)
            return Carried(len(rows), runs.flows)
        return Carried(len(rows))

    def use_segments(self, segments: int) -> None:
        """The kernel takes so many datagrams in a UDP super-frame; 0: it takes none."""
        self.segments = self._transmitter.segments = segments
        self._scalar.segmentation = segments > 0

    def ports_changed(self, missing: int = 0) -> None:
        """Ports came, went, or are no longer what they were; those of the bitmap `missing` are up, but not attached."""
        words = split_bitmap(missing, self._decisions.flows.words)
        self._missing = np.array(words, np.uint64) if missing else None
        # A flow in portions comes once in a long loan: more than the buckets of a rate limit hold, and a silence to who
        # listens whether another upstream has to take over. Such rings lend what is carried at once.
        self._limited = any(port.limited for port in self._transmitter.ports.values())
        self._paths.forget()
        self._steady.forget()

    def _verdicts(self, ingress: Attachment, header: Columns, decided: Reasons) -> Reasons:
        """Reason of each frame; what a loop in the network brings back to us has us as its source."""
        reasons = verdicts(header, decided, ingress.threshold)
        returned = self._decisions.own.returned(ingress.port.index, header.rows) if ingress.link_header else NONE
        if returned.size:
            reasons = reasons.copy()
            reasons[returned] = Reason.BAD_SOURCE
        return reasons

    def _account(
        self, ingress: Attachment, header: Columns, rows: Positions, decided: Reasons, reasons: Reasons, now: float
    ) -> Positions:
        """Count every frame where it belongs, super-frames as their datagrams; which ones go on."""
        flows, octets = self._decisions.flows, header.total_length
        datagrams = header.datagrams if header.supers.size else None
        if datagrams is not None:
            octets = octets + header.repeated_headers
        lost = None if self._missing is None else self._lost(rows, reasons, self._missing)
        if lost is None and not np.count_nonzero(reasons):
            flows.account(rows, octets, now, datagrams)
            return np.arange(len(rows))
        elsewhere = (reasons == decided) & (flows.withheld.which[rows] != 0)    # counted where it would have left
        ingress.counters[FIRST_REASON:] += _by_reason(np.where(elsewhere, Reason.FORWARD, reasons), datagrams)
        as_decided = reasons == decided if lost is None else (reasons == decided) & ~lost
        flows.account(rows[as_decided], octets[as_decided], now, None if datagrams is None else datagrams[as_decided])
        other = ~as_decided
        if np.count_nonzero(other):
            flows.account_drops(rows[other], reasons[other], now, None if datagrams is None else datagrams[other])
        return np.flatnonzero(reasons == Reason.FORWARD)

    def _lost(self, rows: Positions, reasons: Reasons, missing: Words) -> npt.NDArray[np.bool_]:
        """Which frames are forwarded to `missing` ports alone."""
        lost: npt.NDArray[np.bool_] = (reasons == Reason.FORWARD) & (rows >= 0)
        lost[lost] = ~(self._decisions.flows.ports(rows[lost]) & ~missing).any(axis=1)
        return lost

    @staticmethod
    def _count_received(ingress: Attachment, header: Columns, batch: Batch) -> None:
        packets, octets = len(batch.length), int(batch.length.sum())
        if header.supers.size:
            further = header.datagrams - 1
            packets += int(further.sum())
            octets += int((header.repeated_headers + further * ingress.link_header).sum())
        ingress.counters[RX_PACKETS] += packets
        ingress.counters[RX_BYTES] += octets


def _by_reason(reasons: Reasons, datagrams: Positions | None) -> Words:
    """How many frames, or the datagrams in them, have each reason."""
    counts = np.bincount(reasons, datagrams, minlength=len(REASONS) + 1)[1:]
    return counts.astype(np.uint64)
