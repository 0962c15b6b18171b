"""What counters were a few seconds ago, so that one question is enough to be told a rate.

Every PERIOD the counters of a worker that are in use are copied, and two such copies are kept: a rate is what was
counted since the older one. That is done whether somebody asks or not, or the first answer would have none; but a
worker that has carried no batch since the last copy has counted nothing, and costs one comparison. 65,536 flows cost
0.1 ms of this process, and nothing of the worker's. numpy is not needed for it, and not imported.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from forwarder.state.worker_segment import (
    ASSIGNED,
    BYTES,
    DROPPED,
    FIRST_SEEN,
    PACKETS,
    RX_BYTES,
    RX_PACKETS,
    TX_BYTES,
    TX_PACKETS,
    VERSION,
    PortCounters,
    WorkerReader,
)

PERIOD = 2_000_000_000
"""Nanoseconds between two samples: rates are those of the last 2 to 4 s."""
LEAST = 1_000_000_000
"""Nanoseconds that a rate is told of at least: in less there may be one batch or none."""
MOST_FLOWS = 1 << 18
"""Rows of which rates are known: 8 MiB a sample."""
TRAFFIC = (RX_PACKETS, RX_BYTES, TX_PACKETS, TX_BYTES)


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a worker at `at`, monotonic nanoseconds; of the ports by index `assigned` and TRAFFIC.

    Of the flow rows from the first on: uint64 of each, as bytes.
    """

    at: int
    batches: int
    assigned: tuple[int, ...]
    traffic: tuple[tuple[int, ...], ...]
    first_seen: bytes
    packets: bytes
    octets: bytes
    dropped: bytes


class Sampler:
    """The samples of one worker; `take` every second or so."""

    def __init__(self, worker: WorkerReader) -> None:
        self._worker = worker
        self._samples: list[Sample] = []    # two at most, the older one first
        self._rows = 0

    def take(self, now: int) -> None:
        """Copy the counters, where that is due and there is something new."""
        last = self._samples[-1] if self._samples else None
        if last is not None and now - last.at < PERIOD:
            return
        self._samples = [*self._samples[-1:], self._sample(now, last)]

    def before(self, now: int) -> Sample | None:
        """What a rate is to be measured from; None when nothing is known from LEAST ago or before."""
        return next((sample for sample in self._samples if now - sample.at >= LEAST), None)

    def _sample(self, now: int, last: Sample | None) -> Sample:
        worker, batches = self._worker, self._worker.batches
        if last is not None and last.batches == batches:
            return Sample(now, batches, last.assigned, last.traffic, last.first_seen, last.packets, last.octets,
                          last.dropped)  # fmt: skip
        self._rows = rows = min(_used(worker.flow_column(VERSION), self._rows), MOST_FLOWS)
        # first_seen first: of a row that becomes another flow's meanwhile nothing is taken for the new one's
        flows = [bytes(worker.flow_column(number)[:rows]) for number in (FIRST_SEEN, PACKETS, BYTES, DROPPED)]
        assigned = tuple(worker.port_column(ASSIGNED).tolist())
        traffic = tuple(tuple(worker.port_column(number).tolist()) for number in TRAFFIC)
        return Sample(now, batches, assigned, traffic, *flows)


def traffic_rates(
    before: Iterable[Sample | None], index: int, counted: PortCounters, now: int
) -> tuple[float, float, float, float] | None:
    """What a port receives and sends a second, packets and bytes of each, by samples of all workers; None: unknown."""
    samples = [sample for sample in before if sample is not None]
    own = [sample for sample in samples if sample.assigned[index] == counted.assigned]   # else it began meanwhile
    past = [sum(sample.traffic[at][index] for sample in own) for at in range(len(TRAFFIC))]
    present = counted.rx_packets, counted.rx_bytes, counted.tx_packets, counted.tx_bytes
    more = [new - old for new, old in zip(present, past, strict=True)]
    if not samples or min(more) < 0:
        return None
    seconds = (now - min(sample.at for sample in samples)) / 1e9
    rx_packets, rx_bytes, tx_packets, tx_bytes = (each / seconds for each in more)
    return rx_packets, rx_bytes, tx_packets, tx_bytes


def _used(versions: memoryview, known: int) -> int:
    """How many rows from the first on were ever used, `known` of which were before; rows are given out in their order.

    What was never used is hardly looked at: it takes no memory until somebody does.
    """
    step = 1
    while known + step <= len(versions) and versions[known + step - 1]:
        known += step
        step *= 2
    return bisect_left(range(min(known + step, len(versions))), True, lo=known, key=lambda row: not versions[row])
