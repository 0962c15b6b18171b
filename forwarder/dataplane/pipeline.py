"""One batch on its way through: header columns, verdicts, counters, and on to the transmitter."""

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.forwarding import verdicts
from forwarder.dataplane.frame import Columns, Positions, columns
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.transmitter import Going, Transmitter
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.worker_segment import FIRST_REASON, RX_BYTES, RX_PACKETS

Reasons = npt.NDArray[np.uint8]


class Pipeline:
    """Carries batches from any port to the ports that want them."""

    def __init__(self, decisions: Decisions, transmitter: Transmitter) -> None:
        self._decisions, self._transmitter = decisions, transmitter

    def forward(self, ingress: Attachment, batch: Batch, now: float) -> int:
        """Decide on every frame and send what is wanted; how many frames there were. The batch is then done with."""
        header = columns(batch, ingress.link_header)
        rows, decided = self._decisions.of(ingress.port.index, header, now)
        reasons = verdicts(header, decided, ingress.port.settings.threshold)
        ingress.counters[RX_PACKETS] += len(rows)
        ingress.counters[RX_BYTES] += int(batch.length.sum())
        if self._decisions.heard(ingress.port.index, rows, decided, reasons, now):
            reasons = verdicts(header, decided, ingress.port.settings.threshold)
        frames = self._account(ingress, header, rows, decided, reasons, now)
        if frames.size:
            rows = rows[frames]
            going = Going(rows, self._decisions.flows.ports(rows), now)
            self._transmitter.send(header, batch, ingress.ring.address, frames, going)
        return len(batch.length)

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
