"""The functions every frame or every report goes through, batches of 1,024 datagrams of 1316 octets."""

import struct

import numpy as np
import pytest

from forwarder.dataplane.fib import Decision, Fib, PortPolicy
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.forwarding import verdicts
from forwarder.dataplane.frame import columns, decrement_ttl, set_destination_mac, source_word
from forwarder.dataplane.segmentation import gather
from forwarder.dataplane.transmit import Messages
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason
from igmp.messages import GroupRecord, RecordType, decode, encode_report
from tests.batches import Frame, address, batch_of, ip_packet, vnet, word_sum

COUNT, SIZE, CAPACITY = 1024, 1316, 65536
SOURCE, GROUP = address("10.0.0.1"), address("239.1.0.1")


def frames(groups: int) -> list[Frame]:
    """Unfinished datagrams as a local sender leaves them, of so many groups in turn."""
    made = []
    for number in range(groups):
        group, length = GROUP + number, SIZE + 8
        seed = word_sum(struct.pack("!IIBBH", SOURCE, group, 0, 17, length))
        datagram = struct.pack("!HHHH", 40000, 5000, length, seed) + bytes(SIZE)
        made.append(Frame(ip_packet(SOURCE, group, datagram, fragment=0x4000), vnet=vnet(1, 0, 0, 0, 34, 6), status=9))
    return [made[number % groups] for number in range(COUNT)]


@pytest.fixture(scope="module", params=[1, 100, 1000], ids=lambda groups: f"{groups}-groups")
def batch(request):
    return batch_of(frames(request.param))


@pytest.fixture
def header(batch):
    return columns(batch, 14)


@pytest.fixture(scope="module", params=[1, 10_000], ids=lambda flows: f"{flows}-flows")
def flows(request):
    """A table, and a batch of sources and groups among its flows."""
    words = np.zeros(FlowColumns.words_per_row(1) * CAPACITY, np.uint64)
    table = FlowTable(FlowColumns.over(words, CAPACITY, 1), (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F))
    for number in range(request.param):
        table.insert(0, SOURCE, GROUP + number, Decision(Reason.FORWARD, 2), 0.0)
    groups = GROUP + np.random.default_rng(1).integers(0, request.param, COUNT)
    return table, np.full(COUNT, SOURCE, np.uint32), groups.astype(np.uint32)


@pytest.fixture
def fib():
    fib = Fib()
    fib.set_ports([PortPolicy(0, "upstream")] + [PortPolicy(number, "downstream") for number in range(1, 5)])
    fib.set_queriers(0b11110)
    for number in range(1000):
        fib.set_route(GROUP + number, 32, None, 0, None, 0b11110)
    return fib


def test_reference(benchmark):
    """A vector of a thousand, sorted, compared and summed: what the others are measured in."""
    numbers = np.random.default_rng(0).integers(0, 1 << 40, COUNT)
    result = benchmark(lambda: int((numbers[np.argsort(numbers, kind="stable")] > 1 << 39).sum()))
    assert result


def test_columns(benchmark, batch):
    assert benchmark(columns, batch, 14).valid.all()


def test_verdicts(benchmark, header):
    decided = np.zeros(COUNT, np.uint8)
    assert not benchmark(verdicts, header, decided).any()


def test_gather(benchmark, batch, header):
    flow = (header.group - np.uint32(GROUP)).astype(np.int64)
    runs = benchmark(gather, header, batch, np.arange(COUNT), flow)
    assert runs.size.sum() == COUNT


def test_rewrite(benchmark, header):
    def rewrite():
        decrement_ttl(header.rows)
        set_destination_mac(header.rows, header.group)
        header.rows["source"] = source_word(b"\2\0\0\0\0\1")

    benchmark(rewrite)


def test_flow_lookup(benchmark, flows):
    table, sources, groups = flows
    assert (benchmark(table.lookup, 0, sources, groups) >= 0).all()


def test_flow_account(benchmark, flows):
    table, sources, groups = flows
    rows = table.lookup(0, sources, groups)
    benchmark(table.account, rows, np.full(COUNT, SIZE + 28), 1.0)


def test_decide(benchmark, fib):
    assert benchmark(fib.decide, 0, SOURCE, GROUP + 7).ports == 0b11110


def test_decide_a_thousand(benchmark, fib):
    pairs = np.uint64(SOURCE) << np.uint64(32) | np.uint64(GROUP) + np.arange(COUNT, dtype=np.uint64)
    assert np.count_nonzero(benchmark(fib.decide_all, 0, pairs).reasons) == COUNT - 1000


def test_fill_messages(benchmark):
    messages = Messages(COUNT)
    addresses = np.arange(COUNT, dtype=np.uint64) * np.uint64(64) + np.uint64(4096)
    benchmark(messages.fill, addresses, 44, addresses, np.full(COUNT, SIZE, np.uint64))
    assert messages.count == COUNT


def test_decode_report(benchmark):
    message = encode_report([GroupRecord(RecordType.CHANGE_TO_EXCLUDE, GROUP + number) for number in range(20)])
    assert len(benchmark(decode, message).records) == 20
