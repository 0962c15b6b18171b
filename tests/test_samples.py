import numpy as np
import pytest

from forwarder.api.samples import LEAST, MOST_FLOWS, PERIOD, Sampler, _used, traffic_rates
from forwarder.state import worker_segment
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import PortCounters, WorkerReader

SECOND = 1_000_000_000
TRAFFIC = [worker_segment.RX_PACKETS, worker_segment.RX_BYTES, worker_segment.TX_PACKETS, worker_segment.TX_BYTES]


class Rig:
    """A worker's segment and what samples it."""

    def __init__(self) -> None:
        descriptor = worker_segment.create(0, 8, 64)
        self.worker, reader = WorkerSegment(descriptor, writable=True), WorkerReader(descriptor)
        self.sampler = Sampler(reader)

    def count(self, row: int, packets: int) -> None:
        """So many packets of 100 bytes of a flow, and in a port's row, in one batch."""
        flows, ports = self.worker.flows, self.worker.ports
        if not flows.version[row]:
            flows.version[row], flows.used[row], flows.first_seen[row] = 2, 1, SECOND
        flows.packets[row] += packets
        flows.bytes[row] += 100 * packets
        ports[1, worker_segment.ASSIGNED] = 5
        ports[1, TRAFFIC] += np.array([packets, 100 * packets, 2 * packets, 200 * packets], np.uint64)
        self.worker.header[worker_segment.BATCHES] += 1


def test_two_samples_are_kept_and_the_older_one_is_what_rates_begin_at():
    rig = Rig()
    assert rig.sampler.before(SECOND) is None
    for at in range(8):
        rig.count(0, 10)
        rig.sampler.take(at * SECOND)
    before = rig.sampler.before(8 * SECOND)
    assert before is not None
    assert (before.at, np.frombuffer(before.packets, np.uint64).tolist()) == (4 * SECOND, [50])


def test_no_rate_is_told_of_less_than_a_second():
    rig = Rig()
    rig.sampler.take(0)
    assert rig.sampler.before(LEAST - 1) is None
    assert rig.sampler.before(LEAST) is not None


def test_a_worker_that_carried_nothing_is_not_copied_again():
    rig = Rig()
    rig.count(0, 10)
    rig.sampler.take(0)
    rig.worker.flows.packets[0] = 99        # which no batch did: what is seen is the copy
    for at in range(1, 5):
        rig.sampler.take(at * PERIOD)
    before = rig.sampler.before(5 * PERIOD)
    assert before is not None
    assert (before.at, np.frombuffer(before.packets, np.uint64)[0]) == (3 * PERIOD, 10)


def test_only_rows_that_were_ever_used_are_copied():
    rig = Rig()
    for row in range(37):
        rig.count(row, 1)
    rig.sampler.take(0)
    before = rig.sampler.before(LEAST)
    assert before is not None
    assert {len(each) for each in (before.first_seen, before.packets, before.octets, before.dropped)} == {37 * 8}


@pytest.mark.parametrize("known", [0, 1, 30])
@pytest.mark.parametrize("used", [30, 31, 63, 64])
def test_the_end_of_the_used_rows_is_found_from_wherever_it_was(known, used):
    versions = memoryview(np.where(np.arange(64) < used, np.uint64(2), np.uint64(0)))
    assert _used(versions, known) == used
    assert _used(versions[:0], 0) == 0
    assert MOST_FLOWS >= 65536


def counted(assigned: int, packets: int) -> PortCounters:
    return PortCounters(assigned, packets, 100 * packets, 2 * packets, 200 * packets, {})


def test_a_port_has_the_rates_of_what_was_counted_since():
    rig = Rig()
    rig.count(0, 10)
    rig.sampler.take(0)
    samples = [rig.sampler.before(2 * SECOND)]
    assert traffic_rates(samples, 1, counted(5, 30), 2 * SECOND) == (10.0, 1000.0, 20.0, 2000.0)
    assert traffic_rates([*samples, None], 1, counted(5, 10), 2 * SECOND) == (0.0, 0.0, 0.0, 0.0)


def test_what_an_index_counted_for_its_former_owner_is_nothing_to_the_next_one():
    rig = Rig()
    rig.count(0, 1000)
    rig.sampler.take(0)
    samples = [rig.sampler.before(2 * SECOND)]
    assert traffic_rates(samples, 1, counted(6, 4), 2 * SECOND) == (2.0, 200.0, 4.0, 400.0)


def test_a_port_that_counted_less_than_before_has_no_rate():
    """As one whose worker began anew."""
    rig = Rig()
    rig.count(0, 1000)
    rig.sampler.take(0)
    assert traffic_rates([rig.sampler.before(2 * SECOND)], 1, counted(5, 4), 2 * SECOND) is None
    assert traffic_rates([None], 1, counted(5, 4), SECOND) is None
    assert traffic_rates([], 1, counted(5, 4), SECOND) is None
