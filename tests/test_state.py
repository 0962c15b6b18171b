"""The shared segments: what one process writes, another reads, whatever happens in between."""

import os
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.membership import MembershipReader, MembershipWriter
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import REASONS
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import CHANGES, RouteKey, RouteWriter
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.state.snapshot import SnapshotReader, SnapshotWriter
from forwarder.state.worker_columns import WorkerSegment
from igmp.counters import COUNTERS
from igmp.heard import NOBODY, Heard

G = 0xEF010101


@pytest.fixture
def descriptor():
    """Opens segments and closes them at the end."""
    opened = []

    def keep(fd):
        opened.append(fd)
        return fd

    yield keep
    for fd in opened:
        os.close(fd)


class TestSnapshot:
    def test_a_reader_sees_each_value_once(self, descriptor):
        fd = descriptor(snapshot.create("test"))
        writer, reader = SnapshotWriter(fd), SnapshotReader(fd)
        assert reader.poll() is None
        writer.publish({"a": 1})
        writer.publish({"a": 2})
        assert reader.poll() == {"a": 2}
        assert reader.poll() is None

    def test_a_late_reader_sees_the_last_value(self, descriptor):
        fd = descriptor(snapshot.create("test"))
        SnapshotWriter(fd).publish({"a": list(range(1000))})
        assert SnapshotReader(fd).poll() == {"a": list(range(1000))}

    def test_damaged_content_is_not_taken(self, descriptor):
        fd = descriptor(snapshot.create("test"))
        writer, reader = SnapshotWriter(fd), SnapshotReader(fd)
        writer.publish({"a": 1})
        raw = segment.Segment(fd, writable=True)
        raw.words[snapshot.HEADER] ^= 1
        assert reader.poll() is None
        raw.words[snapshot.HEADER] ^= 1
        assert reader.poll() == {"a": 1}

    def test_too_much_is_refused(self, descriptor):
        writer = SnapshotWriter(descriptor(snapshot.create("test")))
        with pytest.raises(ValueError, match="does not fit"):
            writer.publish({"a": "x" * (snapshot.BUFFER_WORDS * 8)})

    def test_a_configuration_survives_the_journey(self, descriptor):
        interface = InterfaceSettings(name="eth0", role="upstream", altnets=("10.0.0.0/8",), threshold=3)
        port = Port(0, 1, "eth0", "upstream", interface, 7, True, "02:00:00:00:00:01", 9000, 1, ((1, 24),), (2,))
        configuration = Configuration(4, Settings(interface=(interface,)), (port,))
        fd = descriptor(snapshot.create("test"))
        SnapshotWriter(fd).publish(configuration.to_json())
        published = SnapshotReader(fd).poll()
        assert published is not None
        assert Configuration.from_json(published) == configuration


class TestRoutes:
    def pair(self, descriptor, capacity=64, max_ports=64):
        fd = descriptor(routes.create(capacity, max_ports))
        return RouteWriter(fd), RouteReader(fd)

    def test_changes_are_seen_once(self, descriptor):
        writer, reader = self.pair(descriptor)
        writer.set(RouteKey(G), 0b110, "learned", 3)
        writer.set(RouteKey(G, source=7), 0b010, "learned", 3)
        seen = dict(reader.changes())
        assert seen[RouteKey(G)].ports == 0b110
        assert seen[RouteKey(G, source=7)].ports == 0b010
        assert list(reader.changes()) == []

    def test_a_deleted_route_is_none(self, descriptor):
        writer, reader = self.pair(descriptor)
        writer.set(RouteKey(G), 1, "learned", 1)
        list(reader.changes())
        writer.delete(RouteKey(G))
        assert list(reader.changes()) == [(RouteKey(G), None)]

    def test_a_reused_row_reports_both_keys(self, descriptor):
        writer, reader = self.pair(descriptor)
        writer.set(RouteKey(G), 1, "learned", 1)
        list(reader.changes())
        writer.delete(RouteKey(G))
        writer.set(RouteKey(G + 1), 2, "learned", 1)
        assert [(key.group, row and row.ports) for key, row in reader.changes()] == [(G, None), (G + 1, 2)]

    def test_two_that_leave_and_come_back_in_each_others_rows_are_never_gone(self, descriptor):
        writer, reader = self.pair(descriptor)
        for ports, key in ((1, RouteKey(G)), (2, RouteKey(G + 1))):
            writer.set(key, ports, "learned", 1)
        reader.changes()
        for key in (RouteKey(G), RouteKey(G + 1)):
            writer.delete(key)
        for ports, key in ((3, RouteKey(G)), (4, RouteKey(G + 1))):
            writer.set(key, ports, "learned", 1)
        assert {key.group: row and row.ports for key, row in reader.changes()} == {G: 3, G + 1: 4}

    def test_rows_are_looked_at_by_and_by_and_nothing_is_gone_before_the_last(self, descriptor):
        writer, reader = self.pair(descriptor)
        keys = [RouteKey(G + number) for number in range(9)]
        for turn in range(2):
            for key in keys:
                writer.delete(key)
            for key in keys:
                writer.set(key, turn + 1, "learned", 1)
            told = []
            while reader.pending:
                told += reader.changes(2)
            assert {(key, row and row.ports) for key, row in told} == {(key, turn + 1) for key in keys}

    def test_a_full_table_refuses_and_counts(self, descriptor):
        writer, reader = self.pair(descriptor, capacity=2)
        assert [writer.set(RouteKey(G + at), 1, "learned", 1) for at in range(3)] == [True, True, False]
        assert writer.refused == 1
        assert len(reader.rows()) == 2

    def test_a_lapped_reader_reads_everything(self, descriptor):
        writer, reader = self.pair(descriptor)
        writer.set(RouteKey(G + 1), 5, "learned", 1)
        for at in range(CHANGES + 10):
            writer.set(RouteKey(G), at, "learned", 1)
        assert {key.group: row.ports for key, row in reader.changes()} == {G: CHANGES + 9, G + 1: 5}
        for at in range(CHANGES + 10):
            writer.set(RouteKey(G), at, "learned", 1)
        assert [key.group for key, _ in reader.changes()] == [G], "only what moved is read again"

    def test_a_row_being_written_is_tried_again(self, descriptor):
        fd = descriptor(routes.create(8, 64))
        writer, reader = RouteWriter(fd), RouteReader(fd)
        writer.set(RouteKey(G), 1, "learned", 1)
        raw = segment.Segment(fd, writable=True)
        version = routes.HEADER + CHANGES
        raw.words[version] += 1
        assert list(reader.changes()) == []
        assert reader.pending
        raw.words[version] += 1
        assert [row.ports for _, row in reader.changes()] == [1]
        assert not reader.pending

    def test_a_successor_repairs_what_was_left_odd(self, descriptor):
        fd = descriptor(routes.create(8, 64))
        writer = RouteWriter(fd)
        writer.set(RouteKey(G), 1, "learned", 1)
        writer.set(RouteKey(G + 1), 2, "learned", 1)
        segment.Segment(fd, writable=True).words[routes.HEADER + CHANGES] += 1
        successor = RouteWriter(fd)
        assert [row and row.key.group for row in successor.adopt()] == [None, G + 1]
        assert [row.key.group for row in RouteReader(fd).rows()] == [G + 1]
        assert successor.set(RouteKey(G + 2), 4, "learned", 1)
        assert {row.key.group: row.ports for row in RouteReader(fd).rows()} == {G + 1: 2, G + 2: 4}

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 3)),
                              st.one_of(st.none(), st.integers(0, (1 << 130) - 1)), st.booleans()), max_size=60))
    def test_a_reader_that_looks_now_and_then_ends_with_the_writers_rows(self, steps):
        fd = routes.create(64, 130)
        try:
            writer, reader, model, seen = RouteWriter(fd), RouteReader(fd), {}, {}
            for group, source, ports, look in steps:
                key = RouteKey(G + group, source=source)
                if ports is None:
                    writer.delete(key)
                    model.pop(key, None)
                else:
                    writer.set(key, ports, "learned", 1)
                    model[key] = ports
                if look:
                    seen.update(reader.changes())
            seen.update(reader.changes())
            assert {key: row.ports for key, row in seen.items() if row} == model
            assert {row.key: row.ports for row in RouteReader(fd).rows()} == model
        finally:
            os.close(fd)

    def test_a_reader_beside_a_writing_process_never_sees_a_mixture(self, descriptor):
        """Both words of the bitmap always carry the same number."""
        fd = descriptor(routes.create(8, 128))
        writer = RouteWriter(fd)
        writer.set(RouteKey(G), 0, "learned", 1)
        child = os.fork()
        if child == 0:
            number = 0
            while True:
                number = (number + 1) & 0xFFFF_FFFF
                writer.set(RouteKey(G), number << 64 | number, "learned", 1)
        try:
            reader, values = RouteReader(fd), set()
            for _ in range(20000):
                for _, row in reader.changes():
                    assert row.ports >> 64 == row.ports & 0xFFFF_FFFF_FFFF_FFFF
                    values.add(row.ports)
                if len(values) > 50:
                    break
            assert values
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class TestMembership:
    def test_roles_counters_and_groups(self, descriptor):
        fd = descriptor(membership.create(4))
        writer, reader = MembershipWriter(fd), MembershipReader(fd)
        writer.assign(2, 5)
        assert reader.port(2).querier is None
        writer.role(2, True, 0x0A000001)
        writer.counters(2, {"report_v3": 7})
        writer.groups(2, 3)
        writer.version(2, 3)
        port = reader.port(2)
        assert (port.querier, port.querier_address, port.groups, port.igmp_version) == (True, 0x0A000001, 3, 3)
        assert port.counters["report_v3"] == 7
        assert reader.querier(2, 5)

    def test_a_former_owners_role_does_not_count(self, descriptor):
        fd = descriptor(membership.create(4))
        writer, reader = MembershipWriter(fd), MembershipReader(fd)
        writer.assign(1, 5)
        writer.role(1, True, 1)
        assert not reader.querier(1, 6)
        writer.assign(1, 6)
        assert reader.port(1).querier is None

    def test_assigning_again_keeps_everything(self, descriptor):
        fd = descriptor(membership.create(4))
        writer = MembershipWriter(fd)
        writer.assign(1, 5)
        writer.counters(1, {"rx_own": 2})
        MembershipWriter(fd).assign(1, 5)
        assert writer.read_counters(1)["rx_own"] == 2

    def test_what_was_heard_of_queriers_is_whole_again(self, descriptor):
        fd = descriptor(membership.create(4))
        writer, reader = MembershipWriter(fd), MembershipReader(fd)
        writer.assign(3, 5)
        assert writer.read_heard(3) == NOBODY
        heard = Heard(0xFFFF_FFFE, 1e7 + 0.5, 400.25, 17.125, 7, 31744.0)
        writer.heard(3, heard)
        writer.counters(3, dict.fromkeys(COUNTERS, 9))
        assert writer.read_heard(3) == heard
        assert writer.read_heard(2) == NOBODY
        assert reader.port(3).querier is None
        assert set(writer.read_counters(3).values()) == {9}

    def test_a_role_change_moves_the_sequence(self, descriptor):
        fd = descriptor(membership.create(4))
        writer, reader = MembershipWriter(fd), MembershipReader(fd)
        before = reader.sequence
        writer.role(0, False, 9)
        assert reader.sequence > before


class TestWorkerSegment:
    def test_counters_by_name(self, descriptor):
        fd = descriptor(worker_segment.create(0, 70, 128))
        writer, reader = WorkerSegment(fd, writable=True), worker_segment.WorkerReader(fd)
        writer.ports[69, worker_segment.RX_PACKETS] = 5
        writer.ports[69, worker_segment.FIRST_REASON + REASONS.index("mtu")] += np.uint64(2)
        writer.header[worker_segment.HEARTBEAT] = 2_000_000_000
        port = reader.port(69)
        assert (port.rx_packets, port.drops["mtu"], port.drops["malformed"]) == (5, 2, 0)
        assert reader.heartbeat == 2.0
        assert reader.gso is None

    def test_flow_rows_are_shared(self, descriptor):
        fd = descriptor(worker_segment.create(0, 70, 128))
        writer, reader = WorkerSegment(fd, writable=True), WorkerSegment(fd)
        writer.flows.ports[127, 1] = 9
        writer.flows.version[0] = 2
        assert reader.flows.ports.shape == (128, 2)
        assert (reader.flows.ports[127, 1], reader.flows.version[0]) == (9, 2)


@given(st.integers(0, (1 << 200) - 1))
def test_bitmaps_split_and_join(ports):
    assert segment.join_bitmap(segment.split_bitmap(ports, segment.bitmap_words(200))) == ports
