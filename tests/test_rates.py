import numpy as np
import pytest
from batches import Frame, batch_of, ip_packet, vnet
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane.forwarding import Egress
from forwarder.dataplane.frame import columns
from forwarder.dataplane.rates import BURST, LEAST, Buckets, PortRates, ip_bytes

MBIT = 1 << 20  # so that all sums are exact
MTU = 1500


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def passed(rates: PortRates, flows: list[int], size: int, now: float) -> list[int]:
    chosen = Egress(whole=np.arange(len(flows)))
    return rates.within(chosen, numbers(*flows), np.full(len(flows), size), now).whole.tolist()


def test_a_port_sends_its_burst_and_then_its_rate():
    rates = PortRates(8_000_000, None, MTU)
    assert len(passed(rates, [0] * 100, 1000, 10.0)) == 1_000_000 * BURST / 1000
    assert passed(rates, [0] * 100, 1000, 10.0) == []
    assert passed(rates, [0] * 100, 1000, 10.0105) == list(range(11))


def test_a_slow_port_has_room_for_some_packets():
    assert len(passed(PortRates(8000, None, MTU), [0] * 20, MTU, 10.0)) == LEAST
    assert Buckets(8000, MTU).burst == LEAST * MTU / 1000


def test_flows_are_limited_one_by_one():
    rates = PortRates(None, 8_000_000, MTU)
    flows = [7, 3] * 100 + [5]
    assert passed(rates, flows, 1000, 10.0) == [*range(100), 200]
    assert passed(rates, [3, 7, 5, 9], 1000, 10.0) == [2, 3]


def test_the_port_cuts_what_its_flows_leave():
    rates = PortRates(8_000_000, 4_000_000, MTU)
    assert passed(rates, [1] * 40 + [2] * 20 + [3] * 20, 1000, 10.0) == [*range(25), *range(40, 60), *range(60, 65)]


def test_a_dropped_frame_costs_nothing():
    rates = PortRates(None, 8_000_000, MTU)
    passed(rates, [1] * 1000, 1000, 10.0)
    assert passed(rates, [1] * 1000, 1000, 10.0 + BURST / 2) == list(range(25))
    rates = PortRates(8_000_000, 8_000_000, MTU)
    passed(rates, [1] * 50, 1000, 10.0)
    passed(rates, [2] * 50, 1000, 10.0)
    assert passed(rates, [2] * 99, 1000, 10.0 + BURST) == list(range(50))


def test_a_frame_larger_than_any_burst_passes_and_is_paid_for():
    rates = PortRates(80_000, None, MTU)
    assert passed(rates, [0, 0], 60_000, 10.0) == [0]
    owed = (60_000 - LEAST * MTU) / 10_000
    assert passed(rates, [0], 100, 10.0 + owed - 0.001) == []
    assert passed(rates, [0], 100, 10.0 + owed + 0.001) == [0]


def test_frames_keep_their_kind_and_order():
    chosen = Egress(whole=numbers(0, 2, 5), fragment=numbers(1, 4), cut=numbers(6), mtu=numbers(3))
    rates = PortRates(8000, None, MTU)
    within = rates.within(chosen, np.zeros(7, np.int64), np.full(7, MTU), 10.0)
    assert [each.tolist() for each in within] == [[0, 2], [1, 4], [], [3], [], [5, 6]]
    assert rates.within(Egress(whole=numbers(0)), numbers(0), numbers(1), 90.0).limited.size == 0


def super_frame(payload: int, gso_size: int) -> Frame:
    return Frame(ip_packet(payload=bytes(8 + payload)), vnet=vnet(1, 5, 42, gso_size, 34, 6))


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (Frame(ip_packet(payload=bytes(100)), padding=bytes(9)), 120),
        (super_frame(3000, 1000), 3000 + 3 * 28),
        (super_frame(3001, 1000), 3001 + 4 * 28),
        (super_frame(900, 1000), 928),
    ],
)
def test_bytes_on_the_wire(frame, size):
    header = columns(batch_of([frame, frame]), 14)
    assert ip_bytes(header, numbers(1)).tolist() == [size]


# Against a bucket that is filled and emptied frame by frame.


class ScalarBucket:
    def __init__(self, rate: int) -> None:
        self.rate, self.depth = rate / 8, max(rate / 8 * BURST, LEAST * MTU)
        self.left, self.at = self.depth, 0.0

    def refill(self, now: float) -> None:
        self.left, self.at = min(self.depth, self.left + (now - self.at) * self.rate), now


def scalar(port: ScalarBucket | None, flows: dict[int, ScalarBucket] | None, frames: list, now: float) -> list[int]:
    result = []
    for at, (flow, size) in enumerate(frames):
        buckets = [*([port] if port else []), *([flows[flow]] if flows else [])]
        for bucket in buckets:
            bucket.refill(now)
        if all(bucket.left > 1e-3 for bucket in buckets):
            result.append(at)
            for bucket in buckets:
                bucket.left -= size
    return result


batches = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 4), st.integers(20, 9000)), max_size=30), st.integers(1, 200)),
    max_size=10,
)


@given(batches, st.sampled_from([None, MBIT, 8 * MBIT]), st.sampled_from([None, MBIT, 2 * MBIT]))
def test_batches_pass_like_frames_one_by_one(made, rate, flow_rate):
    rates = PortRates(rate, flow_rate, MTU)
    port = ScalarBucket(rate) if rate else None
    flows = {flow: ScalarBucket(flow_rate) for flow in range(5)} if flow_rate else None
    now = 4.0
    for frames, milliseconds in made:
        now += milliseconds / 1024 + 1 / 7777
        rows, sizes = (numbers(*(frame[part] for frame in frames)) for part in (0, 1))
        within = rates.within(Egress(whole=np.arange(len(frames))), rows, sizes, now)
        assert within.whole.tolist() == scalar(port, flows, frames, now)
        assert sorted(within.whole.tolist() + within.limited.tolist()) == list(range(len(frames)))
