"""One batch on its way through: header columns, verdicts, counters, and on to the transmitter."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.forwarding import verdicts
from forwarder.dataplane.frame import NONE, Columns, Positions, columns
from forwarder.dataplane.ring import Batch, Frame
from forwarder.dataplane.scalar import Scalar
from forwarder.dataplane.steady import Steady
from forwarder.dataplane.transmitter import Going, Transmitter
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.worker_segment import FIRST_REASON, RX_BYTES, RX_PACKETS

Reasons = npt.NDArray[np.uint8]


class Carried(NamedTuple):
    """A batch that is done with: its frames, flows of these that can be gathered, ports that any of them went to."""

    frames: int
    flows: int = 1
    ports: int = 0


class Pipeline:
    """Carries batches from any port to the ports that want them."""

    def __init__(self, decisions: Decisions, transmitter: Transmitter) -> None:
        self._decisions, self._transmitter = decisions, transmitter
        self._scalar = Scalar(decisions.flows, transmitter.ports)
        self._steady = Steady(self._scalar, decisions.flows, transmitter.fanout, transmitter.capacity)

    def forward(self, ingress: Attachment, batch: Batch, now: float) -> Carried:
        """Decide on every frame, by the routes there are now that the ring has been read, and send what is wanted."""
        if self._decisions.behind:
            self._decisions.refresh()
        if self._transmitter.segmentation and not self._decisions.listens(ingress.port.index):
            own = self._decisions.own.ours(ingress.port.index)
            if ports := self._steady.forward(ingress, batch, own, now):
                return Carried(len(batch.net), ports=ports)
        header = columns(batch, ingress.link_header)
        rows, decided = self._decisions.of(ingress.port.index, header, now)
        reasons = self._verdicts(ingress, header, decided)
        ingress.counters[RX_PACKETS] += len(rows)
        ingress.counters[RX_BYTES] += int(batch.length.sum())
        if self._decisions.heard(ingress.port.index, rows, decided, reasons, now):
            reasons = self._verdicts(ingress, header, decided)
        frames = self._account(ingress, header, rows, decided, reasons, now)
        if frames.size:
            runs = self._transmitter.arrange(header, batch, frames, rows[frames])
            heads = rows[runs.heads]
            going = Going(heads, self._decisions.flows.ports(heads), now)
            ports = self._transmitter.send(header, batch, runs, going)
            return Carried(len(rows), runs.flows, ports)
        return Carried(len(rows))

    def ports_changed(self) -> None:
        """Ports came, went, or are no longer what they were."""
        self._scalar.forget()

    def forward_few(self, ingress: Attachment, frames: list[Frame], now: float) -> bool:
        """Carry a handful of frames one by one, or none of them: False when one needs `forward`."""
        if self._decisions.behind or self._decisions.listens(ingress.port.index):
            return False
        own = self._decisions.own.ours(ingress.port.index)
        return self._scalar.forward(ingress, ingress.ring.view, frames, own, now)

    def _verdicts(self, ingress: Attachment, header: Columns, decided: Reasons) -> Reasons:
        """Reason of each frame; what a loop in the network brings back to us has us as its source."""
        reasons = verdicts(header, decided, ingress.port.settings.threshold)
        returned = self._decisions.own.returned(ingress.port.index, header.rows) if ingress.link_header else NONE
        if returned.size:
            reasons = reasons.copy()
            reasons[returned] = Reason.BAD_SOURCE
        return reasons

    def _account(
        self, ingress: Attachment, header: Columns, rows: Positions, decided: Reasons, reasons: Reasons, now: float
    ) -> Positions:
        """Count every frame where it belongs; which ones go on."""
        flows = self._decisions.flows
        if not np.count_nonzero(reasons):
            flows.account(rows, header.total_length, now)
            return np.arange(len(rows))
        counts = np.bincount(reasons, minlength=len(REASONS) + 1)[1:]
        ingress.counters[FIRST_REASON:] += counts.astype(np.uint64)
        as_decided = reasons == decided
        flows.account(rows[as_decided], header.total_length[as_decided], now)
        if not as_decided.all():
            flows.account_drops(rows[~as_decided], reasons[~as_decided], now)
        return np.flatnonzero(reasons == Reason.FORWARD)
