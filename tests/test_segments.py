"""Every value of a shared segment has a place of its own: what is written under one name is read under that alone."""

import os
import resource
import time
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest

from forwarder.state import membership, route_reader, routes, segment, snapshot, worker_segment
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipReader, MembershipWriter, PortMembership
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.snapshot import SnapshotReader, SnapshotWriter
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import PortCounters, WorkerReader
from igmp.counters import COUNTERS

WORDS = ("ASSIGNED", "RING", "POSITION", "KIND", "DEAF", "REPLACED", "RX_PACKETS", "RX_BYTES", "TX_PACKETS", "TX_BYTES",
         "CHARGED", "USED_UNTIL")


@contextmanager
def closing(fd: int):
    try:
        yield fd
    finally:
        os.close(fd)


def test_all_that_the_agent_says_of_its_ports():
    with closing(membership.create(3)) as fd:
        writer, reader, expected = MembershipWriter(fd), MembershipReader(fd), {}
        for port in range(3):
            counters = {name: 1000 * port + number for number, name in enumerate(COUNTERS, 1)}
            writer.assign(port, 10 + port)
            writer.counters(port, counters)
            writer.version(port, 1 + port)
            writer.groups(port, 50 + port, 7)
            writer.role(port, port != 1, 0xFFFF_FFF0 + port)
            expected[port] = PortMembership(10 + port, port != 1, 0xFFFF_FFF0 + port, 1 + port, 50 + port, counters, 7)
        writer.beat(1_500_000_000)
        assert {port: reader.port(port) for port in range(3)} == expected
        assert [writer.read_counters(port) for port in range(3)] == [expected[port].counters for port in range(3)]
        assert (reader.heartbeat, reader.sequence) == (1.5, 3)
        assert [reader.querier(port, 10 + port) for port in range(3)] == [True, False, True]
        writer.assign(1, 99)
        assert reader.port(1) == PortMembership(99, None, 0, 0, 0, dict.fromkeys(COUNTERS, 0))
        assert {port: reader.port(port) for port in (0, 2)} == {port: expected[port] for port in (0, 2)}


def test_all_that_a_worker_says_of_itself_and_its_ports():
    with closing(worker_segment.create(0, 3, 8)) as fd:
        writer, reader = WorkerSegment(fd, writable=True), WorkerReader(fd)
        names = (worker_segment.HEARTBEAT, worker_segment.BATCHES, worker_segment.FRAMES)
        for number, word in enumerate(names, 1):
            writer.header[word] = number * 1_000_000_000
        writer.ports[:] = np.arange(writer.ports.size).reshape(writer.ports.shape) + 1
        assert (reader.heartbeat, reader.batches, reader.frames) == (1.0, 2_000_000_000, 3_000_000_000)
        assert writer.ports.shape == (3, worker_segment.BLOCK) == (3, len(WORDS) + len(REASONS))
        for port in range(3):
            word = {name: port * worker_segment.BLOCK + 1 + getattr(worker_segment, name) for name in WORDS}
            drops = {name: word["ASSIGNED"] + len(WORDS) + number for number, name in enumerate(REASONS)}
            counters = (word[name] for name in ("ASSIGNED", "RX_PACKETS", "RX_BYTES", "TX_PACKETS", "TX_BYTES"))
            assert reader.port(port) == PortCounters(*counters, drops, word["KIND"], word["REPLACED"])
        assert {getattr(worker_segment, name) for name in WORDS} == set(range(worker_segment.FIRST_REASON))


@pytest.mark.parametrize(("word", "gso"), [(0, None), (1, False), (2, True), (3, True)])
def test_what_the_kernel_takes(word, gso):
    with closing(worker_segment.create(0, 2, 8)) as fd:
        WorkerSegment(fd, writable=True).header[worker_segment.GSO] = word
        reader = WorkerReader(fd)
        assert (reader.gso, reader.batches, reader.frames, reader.heartbeat) == (gso, 0, 0, 0.0)


def test_flows_in_use_are_counted():
    with closing(worker_segment.create(0, 70, 20_000)) as fd:
        writer, reader = WorkerSegment(fd, writable=True), WorkerReader(fd)
        assert reader.flows == 0
        writer.flows.used[[1, 8191, 8192, 19_999]] = 1
        writer.flows.version[:], writer.flows.ingress[:] = 1, 1
        assert reader.flows == 4


def test_a_segment_that_is_shorter_than_it_says_is_refused():
    with closing(worker_segment.create(0, 3, 8)) as fd:
        WorkerSegment(fd, writable=True).header[worker_segment.MAX_FLOWS] = 9000
        with pytest.raises(ValueError, match="shorter than it says"):
            WorkerReader(fd)


@pytest.mark.parametrize("words", [1, 3])
def test_no_two_columns_of_flows_share_a_word(words):
    columns = FlowColumns.allocate(5, words)
    cells = [getattr(columns, field.name) for field in fields(FlowColumns)]
    for number, column in enumerate(cells, 1):
        assert len(column) == 5
        column[...] = number
    assert [set(column.ravel().tolist()) for column in cells] == [{number} for number in range(1, len(cells) + 1)]
    assert sum(column.size for column in cells) == 5 * FlowColumns.words_per_row(words)


def test_flows_lie_behind_the_counters_of_all_ports():
    with closing(worker_segment.create(0, 70, 8)) as fd:
        writer = WorkerSegment(fd, writable=True)
        writer.ports[:] = 7
        for field in fields(FlowColumns):
            assert not getattr(writer.flows, field.name).any()
            getattr(writer.flows, field.name)[...] = 9
        assert (writer.ports == 7).all()
        assert writer.header.tolist()[2:] == [0] * 14


def test_reasons_are_numbered_without_a_gap():
    assert [reason.value for reason in Reason] == list(range(len(Reason)))
    assert tuple(reason.name.lower() for reason in Reason)[1:] == REASONS


# --- snapshots ---


def test_the_largest_value_fits_and_one_octet_more_does_not():
    room = snapshot.BUFFER_WORDS * segment.WORD
    assert room == 4 << 20
    with closing(snapshot.create("test")) as fd:
        writer, reader = SnapshotWriter(fd), SnapshotReader(fd)
        fits = {"a": "x" * (room - len('{"a":""}'))}
        for value in (fits, {"b": 1}, {**fits, "a": "y" * len(fits["a"])}):     # in both buffers
            writer.publish(value)
            assert reader.poll() == value
        with pytest.raises(ValueError, match="does not fit"):
            writer.publish({"a": fits["a"] + "x"})
        assert reader.poll() is None
        assert SnapshotReader(fd).poll() == {"a": "y" * len(fits["a"])}


def test_values_take_turns_so_that_one_is_always_whole():
    with closing(snapshot.create("test")) as fd:
        writer, late = SnapshotWriter(fd), SnapshotReader(fd)
        for number in range(5):
            writer.publish({"number": number})
            raw = segment.Segment(fd, writable=True)
            former, active = raw.words[snapshot.ACTIVE] ^ 1, raw.words[snapshot.ACTIVE]
            spoilt = (snapshot.HEADER + former * snapshot.BUFFER_WORDS)
            raw.words[spoilt] = 0       # whoever writes next writes here
            raw.close()
            assert active == number % 2
            assert SnapshotReader(fd).poll() == {"number": number}
        assert writer.sequence == 5
        assert late.poll() == {"number": 4}


def test_a_snapshot_takes_only_the_memory_that_is_written():
    with closing(snapshot.create("test")) as fd:
        SnapshotWriter(fd).publish({"a": 1})
        assert os.fstat(fd).st_blocks * 512 <= 4 * resource.getpagesize()


# --- routes ---


def test_a_reader_that_was_not_lapped_looks_only_at_what_changed():
    """All rows of a large table take a while: some changes must not cost that."""
    with closing(routes.create(20_000, 64)) as fd:
        writer = routes.RouteWriter(fd)
        for number in range(20_000):
            writer.set(routes.RouteKey(0xEF000000 + number), 1, "learned", 1)
        reader = route_reader.RouteReader(fd)
        assert sum(1 for _ in reader.changes()) == 20_000
        begun = time.process_time()
        for number in range(20):
            writer.set(routes.RouteKey(0xEF000000 + number), 2, "learned", 1)
            assert [key.group for key, _ in reader.changes()] == [0xEF000000 + number]
        assert time.process_time() - begun < 0.05


@pytest.mark.parametrize("before", [routes.CHANGES // 2, routes.CHANGES // 2 + 1, routes.CHANGES - 1, routes.CHANGES])
def test_a_reader_misses_nothing_however_late_it_comes(before):
    with closing(routes.create(8, 64)) as fd:
        writer, reader = routes.RouteWriter(fd), route_reader.RouteReader(fd)
        keys = [routes.RouteKey(0xEF000000 + number) for number in range(4)]
        for key in keys:
            writer.set(key, 1, "learned", 1)
        dict(reader.changes())
        writer.delete(keys[3])
        for number in range(before - 2):
            writer.set(keys[0], number, "learned", 1)
        writer.set(keys[1], 9, "learned", 1)
        seen = dict(reader.changes())
        assert (seen[keys[0]].ports, seen[keys[1]].ports, seen[keys[3]]) == (before - 3, 9, None)
        assert not reader.pending


def test_every_field_of_a_route_comes_back():
    rows = [
        routes.RouteRow(routes.RouteKey(0xEF010203, 24, 0x0A000000, 8, 5, True), 1 << 69 | 1, "block", 1 << 40),
        routes.RouteRow(routes.RouteKey(0xEF010203, 24, None, 32, None, True), 0, "static", 3),
        routes.RouteRow(routes.RouteKey(0xEF010203, 24, None, 32, None, False), (1 << 70) - 1, "learned", 0),
        routes.RouteRow(routes.RouteKey(0, 0, 0, 0, 0, False), 2, "learned", 7),
    ]
    with closing(routes.create(8, 70)) as fd:
        writer, reader = routes.RouteWriter(fd), route_reader.RouteReader(fd)
        for row in rows:
            assert writer.set(row.key, row.ports, row.kind, row.stamp)
        assert reader.rows() == rows
        assert dict(reader.changes()) == {row.key: row for row in rows}
        assert list(routes.RouteWriter(fd).adopt()) == rows
