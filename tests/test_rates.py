import random

import numpy as np
import pytest
from batches import Frame, batch_of, ip_packet, vnet
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.forwarding import Egress
from forwarder.dataplane.frame import columns
from forwarder.dataplane.ledger import Account, Ledger
from forwarder.dataplane.rates import BURST, LEAST, Buckets, PortRates, datagrams, ip_bytes
from forwarder.state.worker_segment import BLOCK, CHARGED, USED_UNTIL

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


def super_frame(payload: int, gso_size: int, kind: int = 5, options: bytes = b"") -> Frame:
    start = 34 + len(options)
    packet = ip_packet(payload=bytes(8 + payload), options=options)
    return Frame(packet, vnet=vnet(1, kind, start + 8, gso_size, start, 6))


@pytest.mark.parametrize(
    ("frame", "size", "count"),
    [
        (Frame(ip_packet(payload=bytes(100)), padding=bytes(9)), 120, 1),
        (super_frame(3000, 1000), 3000 + 3 * 28, 3),
        (super_frame(3001, 1000), 3001 + 4 * 28, 4),
        (super_frame(900, 1000), 928, 1),
        (super_frame(3000, 1000, kind=3), 3008 + 4 * 20, 1),  # one datagram in four fragments
    ],
)
def test_bytes_on_the_wire(frame, size, count):
    header = columns(batch_of([frame, frame]), 14)
    assert (ip_bytes(header, numbers(1)).tolist(), datagrams(header, numbers(1)).tolist()) == ([size], [count])


def on_the_wire(frame: Frame) -> tuple[int, int]:
    """IP bytes and datagrams of a frame, packet by packet."""
    kind, size = frame.vnet[1], int.from_bytes(frame.vnet[4:6], "little")
    header, rest = (frame.packet[0] & 15) * 4, len(frame.packet)
    if kind == 0:
        return rest, 1
    repeated = header + (8 if kind == 5 else 0)
    rest -= repeated
    octets = packets = 0
    while rest > 0 or not packets:
        octets, packets, rest = octets + repeated + min(size, rest), packets + 1, rest - size
    return octets, packets if kind == 5 else 1


shapes = st.tuples(
    st.sampled_from([0, 1, 1472, 65_467, 65_493, 65_494, 65_507]) | st.integers(0, 65_507),
    st.sampled_from([1, 8, 1472, 65_507, 65_535]) | st.integers(1, 65_535),
    st.sampled_from([0, 3, 5]),
    st.sampled_from([b"", b"", bytes(40)]),
)


@settings(deadline=None)
@given(st.lists(shapes, min_size=1, max_size=4), st.data())
def test_super_frames_count_as_what_the_kernel_makes_of_them(drawn, data):
    frames = [super_frame(min(size, 65_507 - len(options)), *shape, options) for size, *shape, options in drawn]
    header = columns(batch_of(frames), 14)
    assert not header.defective
    chosen = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=5))
    octets, counts = ip_bytes(header, numbers(*chosen)), datagrams(header, numbers(*chosen))
    expected = [on_the_wire(frames[at]) for at in chosen]
    assert list(zip(octets.tolist(), counts.tolist(), strict=True)) == expected


# Against a bucket that is filled and emptied frame by frame.


class ScalarBucket:
    def __init__(self, rate: int, mtu: int) -> None:
        self.rate, self.depth = rate / 8, max(rate / 8 * BURST, LEAST * mtu)
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


offered = st.tuples(st.integers(0, 4), st.integers(20, 9000) | st.just(65_535))
batches = st.lists(st.tuples(st.lists(offered, max_size=30), st.integers(1, 200)), max_size=10)


@settings(deadline=None)
@given(
    batches,
    st.sampled_from([None, MBIT, 8 * MBIT]),
    st.sampled_from([None, MBIT, 2 * MBIT]),
    st.sampled_from([68, MTU, 65_535, 65_536]),
)
def test_batches_pass_like_frames_one_by_one(made, rate, flow_rate, mtu):
    rates = PortRates(rate, flow_rate, mtu)
    port = ScalarBucket(rate, mtu) if rate else None
    flows = {flow: ScalarBucket(flow_rate, mtu) for flow in range(5)} if flow_rate else None
    now = 4.0
    for frames, milliseconds in made:
        now += milliseconds / 1024 + 1 / 7777
        rows, sizes = (numbers(*(frame[part] for frame in frames)) for part in (0, 1))
        within = rates.within(Egress(whole=np.arange(len(frames))), rows, sizes, now)
        assert within.whole.tolist() == scalar(port, flows, frames, now)
        assert sorted(within.whole.tolist() + within.limited.tolist()) == list(range(len(frames)))


# One limit, several workers.


class Workers:
    """Those that share a port's limit, their words, and what each sent when."""

    def __init__(self, count: int, rate: int, mtu: int = MTU) -> None:
        self.rate, self.mtu = rate, mtu
        self.rows = [np.zeros(BLOCK, np.uint64) for _ in range(count)]
        self.seen = [[row.copy() for row in self.rows] for _ in self.rows]
        self.rates = [self.started(number) for number in range(count)]
        self.sent: list[tuple[float, int, int]] = []  # when, by whom, how many bytes

    def started(self, number: int) -> PortRates:
        others = [row for at, row in enumerate(self.seen[number]) if at != number]
        return PortRates(self.rate, None, self.mtu, Account(self.rows[number], others))

    def restart(self, number: int) -> None:
        self.rates[number] = self.started(number)

    def at(self, now: float, batches: dict[int, list[int]]) -> None:
        """Workers, by number, have batches of these sizes at the same moment: none sees what the others are doing."""
        for number in batches:
            for copy, row in zip(self.seen[number], self.rows, strict=True):
                copy[:] = row
        for number, sizes in batches.items():
            flows = np.zeros(len(sizes), np.int64)
            passed = self.rates[number].within(Egress(whole=np.arange(len(sizes))), flows, numbers(*sizes), now)
            self.sent.append((now, number, sum(sizes[each] for each in passed.whole.tolist())))

    def total(self, start: float, end: float, number: int | None = None) -> int:
        return sum(octets for at, who, octets in self.sent if start <= at <= end and number in (None, who))

    def most(self, seconds: float) -> int:
        """Bytes in the fullest window of that length."""
        times = np.array([at for at, _, _ in self.sent])
        sums = np.concatenate(([0], np.cumsum([octets for _, _, octets in self.sent])))
        return int((sums[np.searchsorted(times, times + seconds, "right")] - sums[: len(times)]).max())


RATE = 8_000_000
SECOND = RATE // 8  # bytes
SIZES = (60, 576, 1316, 1500)


def random_load(workers: Workers, chance: random.Random, load: float, seconds: float, pauses: list[float]) -> None:
    """Batches at random times for random workers, some at the same moment; `load` times the limit in all."""
    now, count = 100.0, len(workers.rows)
    while now < 100.0 + seconds:
        step = chance.choice([0.0003, 0.004, 0.02, *pauses])
        acting = chance.sample(range(count), chance.choice([1, 1, 1, count]))
        size, now = chance.choice(SIZES), now + step
        workers.at(now, dict.fromkeys(acting, [size] * (1 + int(load * step * SECOND / size / len(acting)))))
        if chance.random() < 0.01:
            workers.restart(chance.randrange(count))


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=True), st.integers(2, 4), st.sampled_from([2.0, 8.0]))
def test_all_workers_together_keep_to_the_limit(chance, count, load):
    workers = Workers(count, RATE)
    random_load(workers, chance, load, 4.0, [])
    assert workers.most(2.0) <= 1.10 * 2 * SECOND + BURST * SECOND
    assert workers.total(101.0, 104.0) >= 0.95 * 3 * SECOND


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=True), st.integers(2, 4), st.sampled_from([2.0, 8.0]))
def test_pauses_give_nobody_more(chance, count, load):
    workers = Workers(count, RATE)
    random_load(workers, chance, load, 30.0, [0.3, 3.0])
    assert workers.most(2.0) <= 1.10 * 2 * SECOND + BURST * SECOND


@pytest.mark.parametrize("count", [2, 4])
def test_one_flow_alone_gets_the_whole_limit(count):
    workers = Workers(count, RATE)
    for step in range(4000):
        workers.at(100.0 + step / 1000, {1: [1000, 1000]})
    assert 0.95 * 4 * SECOND <= workers.total(100.0, 104.0) <= 4 * SECOND + BURST * SECOND + 1000


def test_workers_that_look_at_the_same_moment_pay_for_it_afterwards():
    workers = Workers(4, RATE)
    for step in range(2000):
        workers.at(100.0 + step / 500, dict.fromkeys(range(4), [1000] * 8))
    assert workers.total(100.0, 104.0) <= 4 * SECOND + 4 * BURST * SECOND + 8000


def test_a_worker_that_seldom_sends_is_not_charged_for_what_was_paid_for_long_ago():
    workers = Workers(2, RATE)
    for step in range(4000):
        workers.at(100.0 + step / 1000, {0: [500]} if step % 997 else {0: [500], 1: [1316]})
    assert workers.total(100.0, 104.0, 0) == 4000 * 500
    assert workers.total(100.0, 104.0, 1) == 5 * 1316


def test_a_worker_that_seldom_sends_knows_of_a_burst_that_is_just_over():
    """At a low rate, where a burst is a matter of seconds: all send one, one after the other."""
    workers = Workers(4, 48_000)
    workers.at(100.0, {number: [60] for number in range(4)})
    for number in range(4):
        workers.at(110.0 + number / 1000, {number: [1500] * 20})
    assert workers.total(110.0, 111.0) <= LEAST * 1500 + 4 * 1500
    assert workers.total(110.0, 111.0, 0) == LEAST * 1500


def test_a_successor_goes_on_with_an_empty_bucket():
    workers = Workers(2, RATE)
    workers.at(100.0, {0: [1000] * 200})
    workers.restart(0)
    workers.at(100.001, {0: [1000] * 200})
    assert workers.total(100.0005, 101.0) <= 2000


def test_a_frame_larger_than_any_burst_is_paid_for_by_all():
    workers = Workers(2, 80_000)
    workers.at(100.0, {0: [60_000]})
    owed = (60_000 - LEAST * MTU) / 10_000
    for late in (0.001, 2.0, owed - 0.001, owed + 0.001):
        workers.at(100.0 + late, {1: [100]})
    assert [octets for _, who, octets in workers.sent if who] == [0, 0, 0, 100]


def test_words_that_start_over_are_neither_a_debt_nor_a_gift():
    workers = Workers(2, RATE)
    for step in range(100):
        workers.at(100.0 + step / 100, {0: [1000] * 9, 1: [1000]})
    workers.rows[0][:] = 0
    workers.at(101.0, {1: [1000] * 200})
    assert workers.total(101.0, 101.0, 1) <= (BURST + 0.01) * SECOND + 1000
    workers.rows[0][CHARGED], workers.rows[0][USED_UNTIL] = 1 << 62, 1 << 62
    for step in range(400):
        workers.at(101.0 + step / 100, {1: [1000] * 9})
    assert workers.total(102.0, 105.0, 1) >= 0.85 * 3 * SECOND


def test_a_higher_limit_does_not_wait_for_what_was_owed_under_a_lower_one():
    workers = Workers(2, 8000)
    workers.at(100.0, {0: [60_000], 1: [60_000]})
    workers.rate = RATE
    workers.restart(0)
    for step in range(100):
        workers.at(100.0 + step / 100, {0: [1000] * 20})
    assert workers.total(100.5, 101.0) >= 0.95 * SECOND / 2


@pytest.mark.parametrize("mtu", [68, 65_535, 65_536])
def test_datagrams_as_large_as_they_can_be_are_limited_like_others(mtu):
    workers = Workers(3, RATE, mtu)
    for step in range(600):
        workers.at(100.0 + step / 100, {step % 3: [65_535]})
    burst = max(BURST * SECOND, LEAST * mtu)
    assert workers.total(102.0, 106.0) >= 0.95 * 4 * SECOND
    assert workers.most(2.0) <= 2 * SECOND + burst + 65_535


def test_only_several_workers_have_accounts():
    rows = [np.zeros((3, BLOCK), np.uint64) for _ in range(3)]
    assert Ledger(rows[0], []).account(1) is None
    accounts = [Ledger(own, [row for row in rows if row is not own]).account(2) for own in rows]
    accounts[0].publish(100, 5.0)
    accounts[1].publish(10, 4.0)
    assert [account.heard() for account in accounts] == [(10, 5.0), (100, 5.0), (110, 5.0)]
    assert [account.heard() for account in accounts] == [(0, 5.0)] * 3
