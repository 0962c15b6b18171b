"""Decisions over real tables and segments: which flow gets what, what is bounded, and who keeps a row."""

import json
import os
import re
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from batches import address
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane import decisions, standby
from forwarder.dataplane.decisions import MOST_ROUTES, Decisions
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.room import PROBATION
from forwarder.state import membership, routes
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipReader, MembershipWriter
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.settings import DataplaneSettings, InterfaceSettings, Settings

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
UP, D1, D2 = range(3)
G, S = address("239.1.1.1"), address("10.99.0.1")


def port(index: int, role: str, assigned: int = 1, **settings) -> Port:
    interface = InterfaceSettings(name=f"port{index}", role=role, **settings)
    mac, subnet = f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}", address("172.16.0.1") + (index << 8)
    return Port(index, assigned, interface.name, role, interface, 7, True, mac, addresses=((subnet, 24),))


PORTS = port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream")


class World:
    """A worker's decisions, and the agent's hand in the segments they come from."""

    def __init__(self, *ports: Port, capacity: int = 64, limit: int = 512, max_ports: int = 64) -> None:
        self.descriptors = [routes.create(4096, max_ports), membership.create(max_ports)]
        self.routes, self.roles = RouteWriter(self.descriptors[0]), MembershipWriter(self.descriptors[1])
        self.columns = FlowColumns.allocate(capacity, -(-max_ports // 64))
        self.flows = FlowTable(self.columns, KEY)
        readers = RouteReader(self.descriptors[0]), MembershipReader(self.descriptors[1])
        self.decisions, self.limit, self.generation = Decisions(self.flows, *readers), limit, 0
        self.configure(*ports or PORTS)

    def configure(self, *ports: Port) -> None:
        self.generation += 1
        for each in ports:
            self.roles.assign(each.index, each.assigned)
            self.roles.role(each.index, True, 0)
        dataplane = DataplaneSettings(flow_limit=self.limit)
        self.decisions.configure(Configuration(self.generation, Settings(dataplane=dataplane), ports))

    def join(self, group: int, *ports: int, source: int | None = None) -> None:
        key = RouteKey(group, 32, source)
        assert self.routes.set(key, sum(1 << each for each in ports), "learned", self.generation)

    def leave(self, group: int) -> None:
        self.routes.delete(RouteKey(group))

    def frames(
        self, ingress: int, flows: list[tuple[int, int]] | np.ndarray, now: float = 1.0, defect: int = 0,
        ttl: int = 16, length: int = 100,
    ) -> list[Reason | int]:
        """What becomes of a batch of a frame each of these (source, group), in order: a reason or a port bitmap."""
        pairs = flows if isinstance(flows, np.ndarray) else np.array([s << 32 | g for s, g in flows], np.uint64)
        many = len(pairs)
        header = SimpleNamespace(
            pair=pairs, defect=np.full(many, defect, np.uint8), ttl=np.full(many, ttl, np.uint8),
            total_length=np.full(many, length),
        )  # fmt: skip
        rows, verdicts = self.decisions.of(ingress, header, now)
        self.decisions.heard(ingress, rows, verdicts, verdicts, now)
        forwarded = verdicts == Reason.FORWARD
        assert not (forwarded & (rows < 0)).any()
        known = rows[rows >= 0]
        own = self.columns.source[known] << np.uint64(32) | self.columns.group[known]
        assert (own == pairs[rows >= 0]).all(), "each row is that of its own flow"
        self.flows.account(rows, np.full(len(rows), 100), now)
        bitmaps = self.flows.ports(np.where(forwarded, rows, 0))[:, 0]
        found = zip(forwarded.tolist(), bitmaps.tolist(), verdicts.tolist(), strict=True)
        return [ports if ok else Reason(verdict) for ok, ports, verdict in found]

    def refresh(self) -> None:
        while self.decisions.routes.pending:
            self.decisions.refresh()

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextmanager
def world(*ports: Port, **how) -> Iterator[World]:
    made = World(*ports, **how)
    try:
        yield made
    finally:
        made.close()


def test_two_leaves_and_joins_back_to_back_end_with_both_groups_forwarded():
    with world() as plane:
        for group in (G, G + 1):
            plane.join(group, D1)
        plane.refresh()
        assert plane.frames(UP, [(S, G), (S, G + 1)]) == [1 << D1, 1 << D1]
        for group in (G, G + 1):
            plane.leave(group)
        for group in (G, G + 1):
            plane.join(group, D2)
        plane.refresh()
        assert plane.frames(UP, [(S, G), (S, G + 1), (S + 1, G)]) == [1 << D2] * 3


def test_a_route_that_is_deleted_while_a_port_is_added_does_not_stay():
    """The worker once read all rows for a new port, beside being told of changes; this one went between the two."""
    with world() as plane:

        class Between(RouteReader):
            def rows(self):
                found = super().rows()
                plane.leave(G)
                return found

        plane.decisions._routes = Between(plane.descriptors[0])
        plane.join(G, D1)
        plane.configure(*PORTS, port(3, "downstream", assigned=2))
        plane.leave(G)
        plane.refresh()
        assert plane.frames(UP, [(S, G)]) == [Reason.NO_MEMBERS]


def test_routes_say_nothing_of_a_port_whose_index_had_another_owner():
    with world() as plane:
        plane.join(G, D1, D2)
        plane.refresh()
        plane.configure(PORTS[UP], port(D1, "downstream", assigned=2), PORTS[D2])
        assert plane.frames(UP, [(S, G)]) == [1 << D2]
        plane.join(G, D1, D2)
        plane.refresh()
        assert plane.frames(UP, [(S, G)]) == [1 << D1 | 1 << D2]
        plane.configure(PORTS[UP], port(D1, "downstream", assigned=2), port(D2, "downstream", assigned=3))
        assert plane.frames(UP, [(S, G)]) == [1 << D1]


def test_many_changed_routes_are_taken_over_by_and_by():
    with world() as plane:
        for number in range(2 * MOST_ROUTES + 1):
            plane.join(G + number, D1)
        taken = 0
        while plane.decisions.routes.pending:
            plane.decisions.refresh()
            taken += 1
        assert taken == 3
        assert plane.frames(UP, [(S, G), (S, G + 2 * MOST_ROUTES)]) == [1 << D1] * 2


def test_a_first_configuration_takes_all_routes_there_are():
    with world() as plane:
        for number in range(2 * MOST_ROUTES):
            plane.join(G + number, D1)
        successor = Decisions(plane.flows, RouteReader(plane.descriptors[0]), MembershipReader(plane.descriptors[1]))
        successor.configure(Configuration(1, Settings(), PORTS))
        assert not successor.routes.pending


def test_new_flows_are_decided_in_the_order_in_which_they_came():
    with world(limit=3) as plane:
        plane.join(G, D1)
        plane.refresh()
        sources = [S + 9, S + 2, S + 9, S + 7, S, S + 8]
        expected = [1 << D1] * 4 + [Reason.FLOW_LIMIT] * 2
        assert plane.frames(UP, [(source, G) for source in sources]) == expected


def test_what_the_packets_of_a_flow_look_like_is_noted_when_it_is_decided():
    def noted(plane: World) -> list[tuple[int, int]]:
        return [(frame >> 8, frame & 0xFF) for frame in plane.columns.frame[plane.columns.used != 0].tolist()]

    with world() as plane:
        plane.join(G, D1)
        plane.refresh()
        plane.frames(UP, [(S, G), (S + 1, G)], ttl=1, length=65535)
        plane.frames(UP, [(S, G)], ttl=16, length=92)
        assert noted(plane) == [(65535, 1)] * 2
        plane.configure(*PORTS)
        plane.frames(UP, [(S, G)], ttl=16, length=92)
        assert noted(plane) == [(92, 16), (65535, 1)]


def test_what_a_batch_cannot_decide_waits_and_is_never_sent_by_its_former_decision(monkeypatch):
    with world() as plane:
        plane.join(G, D1)
        plane.refresh()
        batch = [(S + number, G) for number in range(9)]
        assert plane.frames(UP, batch) == [1 << D1] * 9
        plane.configure(port(UP, "upstream", deny=("239.1.1.1/32",)), *PORTS[1:])
        monkeypatch.setattr(type(plane.decisions._fib), "most_at_once", 4)
        seen = [plane.frames(UP, batch, now=1.1 + turn / 10) for turn in range(3)]
        assert [each.count(Reason.BOUNDARY) for each in seen] == [4, 8, 9]
        assert [each.count(Reason.FLOW_LIMIT) for each in seen] == [5, 1, 0]
        counted = [int(plane.columns.packets[row]) for row in range(9)]
        assert sorted(counted) == [2] + [3] * 4 + [4] * 4, "a frame that was not decided is not the flow's"


def test_that_wanted_flows_found_no_room_is_told_once_a_minute(caplog):
    with world(*PORTS, capacity=2) as plane:
        plane.join(G, D1)
        plane.refresh()
        for now in (*range(1, 70), 500):
            plane.frames(UP, [(S + at, G) for at in range(4)], float(now))
            plane.decisions.tidy(float(now))
    first, *later = caplog.messages
    assert re.fullmatch(r"port\d: no room for 239.1.1.1 of 10.99.0.4 among 2 flows "
                        r"\(2 times such a flow was dropped lately\): raise max_flows", first)
    assert len(later) == 2


def test_a_frame_in_hand_keeps_its_flows_row():
    """A flow was silent so long that its row may go, and comes back in the batch that needs room."""
    with world(port(UP, "upstream", deny=("239.1.1.2/32",)), *PORTS[1:], capacity=2) as plane:
        plane.join(G, D1)
        plane.join(G + 1, D2)
        plane.refresh()
        for _ in range(PROBATION):
            plane.frames(UP, [(S, G), (S, G + 2)], now=1.0)
        late = 500.0
        assert plane.frames(UP, [(S, G), (S, G + 1), (S + 1, G), (S + 2, G)], late) == [
            1 << D1, Reason.BOUNDARY, 1 << D1, Reason.FLOW_TABLE_FULL,
        ]  # fmt: skip


CHOICES = [(S + source, G + group) for source in range(4) for group in range(5)]
TURN = st.tuples(
    st.lists(st.sampled_from(CHOICES), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.01, 0.2, 3.0, 70.0]),
    st.sampled_from(["", "", "", "join", "configure", "tidy"]),
)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), st.lists(TURN, max_size=15))
def test_every_frame_goes_where_its_own_flow_goes_or_is_counted(capacity, limit, turns):
    """On tables so small that rows change hands all the time; G + 3 is denied, G + 4 is wanted by nobody."""
    ports = port(UP, "upstream", deny=(str_of(G + 3),)), *PORTS[1:]
    with world(*ports, capacity=capacity, limit=limit) as plane:
        wanted = {G: 1 << D1, G + 1: 1 << D2, G + 2: 1 << D1 | 1 << D2, G + 3: 1 << D1}
        for group, bitmap in wanted.items():
            plane.join(group, *(each for each in (D1, D2) if bitmap >> each & 1))
        plane.refresh()
        now = 1.0
        for batch, pause, what in turns:
            now += pause
            if what == "join":
                wanted[G] ^= 1 << D2
                plane.join(G, *(each for each in (D1, D2) if wanted[G] >> each & 1))
                plane.refresh()
            elif what == "configure":
                plane.configure(*ports)
            elif what == "tidy":
                plane.decisions.tidy(now)
            for (_, group), found in zip(batch, plane.frames(UP, batch, now), strict=True):
                refused = {G + 3: Reason.BOUNDARY, G + 4: Reason.NO_MEMBERS}.get(group)
                if refused:
                    assert found == refused
                else:
                    assert found in (wanted[group], Reason.FLOW_LIMIT, Reason.FLOW_TABLE_FULL)


def str_of(group: int) -> str:
    return ".".join(str(group >> shift & 255) for shift in (24, 16, 8, 0)) + "/32"


@pytest.mark.parametrize(("capacity", "known"), [(64, 20), (1024, 200), (65536, 2000)])
def test_beside_a_spray_of_sources_a_new_flow_is_let_in_and_known_ones_lose_nothing(capacity, known):
    """20,000 datagrams a second of random sources of a wanted group, in batches of 40."""
    random = np.random.default_rng(5)
    with world(capacity=capacity, limit=2000) as plane:
        plane.join(G, D1)
        plane.refresh()
        trusted = [(S + 1 + number, G) for number in range(known)]
        for turn in range(PROBATION):
            assert plane.frames(UP, trusted, 1.0 + turn / 100) == [1 << D1] * known
        for turn in range(capacity // 1000 + 1):                # until it is full of sprayed flows
            plane.frames(UP, spray(random, 1000), 2.0 + turn / 20)
        lost, admitted, start = 0, [], 2.1 + capacity / 20_000
        for turn in range(1000):                                # two seconds
            now = start + turn / 500
            newcomer = [(S, G)] if turn % 5 == 0 else []        # 100 a second
            mine = [trusted[turn * 7 % known]]
            batch = np.concatenate([spray(random, 40), np.array([s << 32 | g for s, g in mine + newcomer], np.uint64)])
            found = plane.frames(UP, batch, now)[40:]
            lost += found[0] != 1 << D1
            admitted += [now - start] * (found[1:] == [1 << D1])
        assert lost == 0
        assert admitted
        assert admitted[0] < 1.0
        assert len(admitted) > 150, "and stays"


def spray(random, count: int) -> np.ndarray:
    sources = random.integers(0x0B000000, 0x7E000000, count, np.uint64)
    return sources << np.uint64(32) | np.uint64(G)


def test_a_flow_of_a_reused_row_stands_by_like_any_other():
    ports = port(UP, "upstream"), port(3, "upstream"), *PORTS[1:]
    with world(*ports, capacity=2) as plane:
        plane.join(G, D1)
        plane.join(G + 1, D1)
        plane.refresh()
        assert plane.frames(UP, [(S, G)], 1.0) == [1 << D1]
        assert plane.frames(3, [(S, G + 1)], 100.0) == [1 << D1]
        assert plane.frames(UP, [(S, G + 1)], 100.1) == [Reason.STANDBY_DUPLICATE]


def two_upstreams(**first) -> tuple[Port, ...]:
    return port(UP, "upstream", **first), port(3, "upstream"), *PORTS[1:]


def test_flows_that_change_upstreams_do_so_by_and_by(monkeypatch):
    """A port falls silent, or gets another priority, under thousands of flows: some change hands in each batch."""
    monkeypatch.setattr(decisions, "MOST_AT_ONCE", 4)
    monkeypatch.setattr(standby, "MOST_AT_ONCE", 4)
    batch = [(S + number, G) for number in range(10)]
    with world(*two_upstreams()) as plane:
        plane.join(G, D1)
        plane.refresh()
        for turn in range(3):
            plane.frames(UP, batch, 1.0 + turn / 100)
        assert plane.frames(UP, batch, 1.1) == [1 << D1] * 10
        for turn in range(3):
            plane.frames(3, batch, 1.2 + turn / 100)
        assert plane.frames(3, batch, 1.3) == [Reason.STANDBY_DUPLICATE] * 10
        taken = [plane.frames(3, batch, 5.0 + turn / 100).count(1 << D1) for turn in range(4)]
        assert taken == [4, 8, 10, 10]
        plane.configure(*two_upstreams(priority=7))
        seen = [plane.frames(3, batch, 5.1 + turn / 100) for turn in range(3)]
        assert [(each.count(1 << D1), each.count(Reason.FLOW_LIMIT)) for each in seen] == [(4, 6), (8, 2), (10, 0)]
        assert plane.frames(UP, batch, 5.2).count(1 << D1) == 0


def test_what_changed_upstreams_and_could_not_be_decided_is_not_sent(monkeypatch):
    batch = [(S + number, G) for number in range(6)]
    with world(*two_upstreams()) as plane:
        plane.join(G, D1)
        plane.refresh()
        plane.frames(UP, batch, 1.0)
        plane.frames(3, batch, 1.1)
        monkeypatch.setattr(type(plane.decisions._fib), "most_at_once", 4)
        found = plane.frames(3, batch, 5.0)
        assert (found.count(1 << D1), found.count(Reason.FLOW_LIMIT)) == (4, 2)


def test_an_upstream_that_may_no_longer_have_a_flow_leaves_it_to_the_other():
    with world(*two_upstreams()) as plane:
        plane.join(G, D1)
        plane.refresh()
        for ingress, expected in ((UP, 1 << D1), (3, Reason.STANDBY_DUPLICATE)):
            assert plane.frames(ingress, [(S, G)], 1.0) == [expected]
        plane.configure(*two_upstreams(deny=("239.1.1.1/32",)))
        assert plane.frames(UP, [(S, G)], 1.1) == [Reason.BOUNDARY]
        plane.frames(3, [(S, G)], 1.1)
        assert plane.frames(3, [(S, G)], 1.3) == [1 << D1], "long before the failover time is over"


def test_damaged_frames_make_no_flows():
    with world() as plane:
        plane.join(G, D1)
        plane.refresh()
        plane.frames(UP, [(S, G)], defect=int(Reason.MALFORMED))
        assert len(plane.flows) == 0


def test_what_a_worker_computes_from_a_configuration_is_linear():
    """2,000 ports with lists of one wildcard: far from the square of their number in time and memory."""
    def configured(count: int) -> tuple[float, int]:
        ports = [port(index, "downstream" if index else "upstream", deny=("239.1.0.0/16",)) for index in range(count)]
        plain = json.loads(json.dumps(Configuration(1, Settings(), tuple(ports)).to_json()))
        with world(max_ports=2048) as plane:
            began = time.process_time()
            plane.decisions.configure(Configuration.from_json(plain))
            took = time.process_time() - began
            tracemalloc.start()
            plane.decisions.configure(Configuration.from_json(plain))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return took, peak

    few, many = configured(250), configured(2000)
    assert many[1] < 50 << 20
    assert many[1] < 16 * few[1]
    assert many[0] < 1.0


# --- ports that are both ---


def routed(plane: World, ingress: int, *ports: int) -> None:
    """A static route of G for one ingress."""
    key = RouteKey(G, 32, None, ingress=ingress, static=True)
    assert plane.routes.set(key, sum(1 << each for each in ports), "static", plane.generation)


def test_a_flow_that_two_ports_bring_is_taken_from_the_first_as_long_as_it_comes_there():
    with world(port(UP, "both"), port(D1, "both"), port(D2, "both")) as plane:
        for ingress in (UP, D1, D2):
            routed(plane, ingress, *{UP, D1, D2} - {ingress})
        plane.refresh()
        assert plane.frames(UP, [(S, G)]) == [1 << D1 | 1 << D2]
        assert plane.frames(D1, [(S, G), (S + 1, G)]) == [Reason.WRONG_INTERFACE, 1 << UP | 1 << D2]
        assert plane.frames(UP, [(S, G), (S + 1, G)]) == [1 << D1 | 1 << D2, Reason.WRONG_INTERFACE]
        for now in range(2, 70):                            # the first one is silent for longer than a row is kept
            plane.frames(D1, [(S, G)], float(now))
            plane.decisions.tidy(float(now))
        assert plane.frames(D1, [(S, G)], 70.0) == [1 << UP | 1 << D2]


def test_a_flow_moves_to_another_port_at_once_when_the_link_of_the_first_goes():
    ports = port(UP, "both"), port(D1, "both"), port(D2, "both")
    with world(*ports) as plane:
        for ingress in (UP, D1):
            routed(plane, ingress, D2)
        plane.refresh()
        assert plane.frames(UP, [(S, G)]) == [1 << D2]
        assert plane.frames(D1, [(S, G)]) == [Reason.WRONG_INTERFACE]
        plane.configure(replace(ports[UP], up=False), *ports[1:])
        assert plane.frames(D1, [(S, G)]) == [1 << D2]


@pytest.mark.parametrize(("first", "second"), [(UP, D1), (D1, UP)])
def test_what_an_upstream_brings_too_is_taken_from_one_of_the_two(first, second):
    with world(port(UP, "upstream"), port(D1, "both"), port(D2, "downstream")) as plane:
        for ingress in (UP, D1):
            routed(plane, ingress, D2)
        plane.refresh()
        assert plane.frames(first, [(S, G)]) == [1 << D2]
        assert plane.frames(second, [(S, G)]) == [Reason.WRONG_INTERFACE]


def test_ports_that_are_both_are_not_listened_to_frame_by_frame():
    with world(port(UP, "both"), port(D1, "both")) as plane:
        assert plane.decisions.listening == frozenset()
