"""Segments between two running processes: readers see no mixtures and miss nothing.

On machines that keep the order of loads and stores this proves little of the fences; it would notice a second look left
out, a version that does not move, or an announcement before its content.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from forwarder.api.flows import WorkerFlows, page
from forwarder.api.pages import Page
from forwarder.dataplane.fib import Decision
from forwarder.dataplane.flows import FlowTable
from forwarder.state import membership, routes, segment, snapshot
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipReader, MembershipWriter
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.settings import InterfaceSettings
from forwarder.state.snapshot import SnapshotReader, SnapshotWriter
from igmp.link import parse_address

G, SECONDS = 0xEF010101, 0.7
KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)


@contextmanager
def beside(write: Callable[[int], None]) -> Iterator[None]:
    """Another process calls `write` with 1, 2, 3 and so on."""
    child = os.fork()
    if child == 0:
        number = 0
        try:
            while True:
                number += 1
                write(number)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def for_a_while(look: Callable[[], int]) -> int:
    """What `look` counted, in all."""
    seen, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        seen += look()
    return seen


def test_routes_that_move_between_rows():
    """Every key says its own name in its ports, four keys share three rows and a small ring."""
    fd = routes.create(3, 128, changes=16)
    reader = RouteReader(fd)

    def write(number: int) -> None:
        writer.delete(RouteKey(G + number % 4))
        group = G + (number + 2) % 4
        writer.set(RouteKey(group), number << 64 | group, "learned", number)

    told: dict[RouteKey, int] = {}

    def look() -> int:
        changes = reader.changes()
        for key, row in changes:
            if row is None:
                del told[key]
                continue
            assert row.ports & 0xFFFF_FFFF == key.group
            assert row.ports >> 64 == row.stamp
            assert told.get(key, 0) <= row.stamp
            told[key] = row.stamp
        return len(changes)

    writer = RouteWriter(fd)
    with beside(write):
        assert for_a_while(look) > 0
    list(RouteWriter(fd).adopt())
    while reader.pending:
        look()
    assert told == {row.key: row.stamp for row in RouteReader(fd).rows()}
    os.close(fd)


def test_flow_rows_that_are_given_to_other_flows():
    capacity = 4
    fd = segment.create("test-flows", capacity * FlowColumns.words_per_row(2))
    mapped = segment.Segment(fd, writable=True)
    columns = FlowColumns.over(np.frombuffer(mapped.memory, np.uint64), capacity, 2)
    flows = FlowTable(columns, KEY)
    ports = [Port(each, 1, str(each), "downstream", InterfaceSettings(name=str(each))) for each in range(128)]

    def write(number: int) -> None:
        source, decision = number, Decision(Reason.FORWARD, number << 64 | number)
        row = flows.insert(source % 7, source, G ^ source, decision, float(number))
        flows.account_one(row, 1, float(number))

    def look() -> int:
        rows = page([WorkerFlows(columns)], ports, Page(), 0)
        for row in rows:
            source, group = parse_address(row["source"]), parse_address(row["group"])
            assert group == G ^ source
            bits = {port for port in range(64) if source >> port & 1}
            assert set(map(int, row["downstreams"])) == bits | {64 + bit for bit in bits}
        return len(rows)

    with beside(write):
        assert for_a_while(look) > 0
    os.close(fd)


def test_snapshots_and_roles():
    fds = snapshot.create("test"), membership.create(1)
    values, roles = SnapshotReader(fds[0]), MembershipReader(fds[1])
    writers = SnapshotWriter(fds[0]), MembershipWriter(fds[1])

    def write(number: int) -> None:
        writers[0].publish({"number": number, "again": [number] * (number % 50)})
        writers[1].assign(0, number)
        writers[1].role(0, number % 2 == 0, number)

    last = [0]

    def look() -> int:
        stamp = roles.port(0).stamp
        assert not (stamp % 2 and roles.querier(0, stamp)), "the role of another owner"
        value = values.poll()
        if value is None:
            return 0
        assert value["again"] == [value["number"]] * (value["number"] % 50)
        assert value["number"] >= last[0]
        last[0] = value["number"]
        return 1

    with beside(write):
        assert for_a_while(look) > 0
    for fd in fds:
        os.close(fd)
