"""What one agent left in the segment, its successor takes over: as it was, in short turns, each row looked at once."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from effort import lines
from hypothesis import given
from hypothesis import strategies as st
from test_filter import FILTERS

from forwarder.agent import succession
from forwarder.agent.publisher import Publisher
from forwarder.state import membership, routes
from forwarder.state.ports import Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.settings import InterfaceSettings
from igmp.filter import rows
from igmp.link import Link, Network
from igmp.outputs import Output, Route, Send
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

UP, FIRST = 0, 0xEF010000


class Successor:
    """An agent without sockets: its shared segments, its protocol, and what it sent after it took over."""

    def __init__(self, fds: tuple[int, int], ports: int) -> None:
        self.publisher, self.proxy = Publisher(*fds, []), Proxy(lambda: 0.5)
        self.publisher.generation = 2
        self.sent: list[Output] = []
        self.ports = ports

    def succeed(self) -> "Successor":
        for _ in self.turns():
            pass
        self.begin()
        while self.proxy.is_restoring:
            self.step()
        return self

    def turns(self) -> Iterator[None]:
        """Those of a loop while the rows are read."""
        return iter(succession.inherit(self.publisher, self.proxy).__await__())

    def begin(self) -> None:
        for index in range(self.ports + 1):
            settings = InterfaceSettings(name=f"tap{index}", role="downstream" if index else "upstream")
            self.publisher.assign(Port(index, 1, settings.name, settings.role, settings))
            self.proxy.add_port(index, PortOptions("downstream" if index else "upstream"))
            self.proxy.port_up(index, Link((Network(0x0A000001 + (index << 8), 24),)), 0.0)
        self.proxy.restore(self.publisher.heirs(), 0.0)

    def step(self) -> None:
        for output in self.proxy.expire(0.0):
            if isinstance(output, Route):
                self.publisher.route(output)
            self.sent.append(output)


@contextmanager
def segments(capacity: int, ports: int) -> Iterator[tuple[int, int]]:
    fds = routes.create(capacity, ports + 1), membership.create(ports + 1)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def write(fd: int, groups: int, ports: int) -> None:
    """As agents write them: a row for each group, here of one port each."""
    writer = RouteWriter(fd)
    for number in range(groups):
        writer.set(RouteKey(FIRST + number), 2 << number % ports, "learned", 1)


def table(fd: int) -> dict[RouteKey, int]:
    return {row.key: row.ports for row in RouteReader(fd).rows()}


@given(st.lists(st.dictionaries(st.integers(1, 5), FILTERS.filter(bool), min_size=1), max_size=8))
def test_rows_written_and_restored_are_the_same_rows(wants):
    with segments(256, 5) as fds:
        writer = RouteWriter(fds[0])
        for number, each in enumerate(wants):
            for source, ports in rows(each).items():
                writer.set(RouteKey(FIRST + number, source=source), ports, "learned", 1)
        before = table(fds[0])
        successor = Successor(fds, 5).succeed()
        assert table(fds[0]) == before
        assert [each for each in successor.sent if isinstance(each, (Send, Route))] == []
        assert successor.publisher.refused == 0


def test_a_static_group_elsewhere_takes_no_receiver_away():
    """It is said before any port has got back what it had."""
    with segments(64, 3) as fds:
        RouteWriter(fds[0]).set(RouteKey(FIRST), 0b0110, "learned", 1)
        successor = Successor(fds, 3)
        list(successor.turns())
        successor.begin()
        for output in successor.proxy.set_static(3, {(None, FIRST)}, 0.0):
            assert not isinstance(output, Route)
        while successor.proxy.is_restoring:
            successor.step()
        assert table(fds[0]) == {RouteKey(FIRST): 0b1110}


def test_a_row_costs_the_same_whatever_the_number_of_others_and_of_ports():
    """Lines that are run for it: 60 ports of 4,000 groups took 38 s when every port looked at every row."""
    def cost(groups: int, ports: int) -> int:
        with segments(4096, ports) as fds:
            write(fds[0], groups, ports)
            return lines(Successor(fds, ports).succeed)

    per_row = [(cost(4000, ports) - cost(2000, ports)) / 2000 for ports in (2, 60)]
    assert per_row[1] < 1.2 * per_row[0]
    assert cost(4000, 2) < 2.2 * cost(2000, 2)


def test_many_rows_are_taken_over_in_little_time():
    """Seconds of processor time: it takes a quarter of one."""
    with segments(30_000, 60) as fds:
        write(fds[0], 30_000, 60)
        begun = time.process_time()
        successor = Successor(fds, 60).succeed()
        assert time.process_time() - begun < 2.0
        assert sum(map(successor.proxy.group_count, range(1, 61))) == 30_000


def test_others_have_their_turn_between_portions():
    with segments(4096, 4) as fds:
        write(fds[0], 4096, 4)
        assert len(list(Successor(fds, 4).turns())) >= 4096 // succession.PORTION


def test_nothing_is_written_before_all_rows_are_known():
    with segments(64, 4) as fds:
        write(fds[0], 8, 4)
        writer = RouteWriter(fds[0])
        with pytest.raises(AssertionError):
            writer.set(RouteKey(FIRST), 1, "learned", 1)
        assert len([row for row in writer.adopt() if row is not None]) == 8
        assert writer.set(RouteKey(FIRST), 1, "learned", 1)
        assert len(table(fds[0])) == 8
