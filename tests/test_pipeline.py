"""Batches through the whole data plane of a worker, into sockets that keep messages apart."""

import os
import socket
import struct
from collections import deque
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from batches import Frame, address, ip_packet, vnet
from egress import TOGETHER
from rings import Kernel
from test_segmentation import datagram, seeded

from forwarder.dataplane.attachment import Attachment
from forwarder.dataplane.decisions import Decisions
from forwarder.dataplane.egress_drops import EgressDrops
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import source_word
from forwarder.dataplane.pipeline import Pipeline
from forwarder.dataplane.standby import GAP, HOLD_DOWN
from forwarder.dataplane.transmitter import Transmitter
from forwarder.state import membership, routes
from forwarder.state.egress_drops import read
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipReader, MembershipWriter
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.roles import arriving_threshold
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.settings import DataplaneSettings, IgmpSettings, InterfaceSettings, Settings
from forwarder.state.worker_segment import BLOCK, FIRST_REASON, RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

UP, UP2, D1, D2 = range(4)
KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
G, S = address("239.1.1.1"), address("10.99.0.1")
FAILOVER = 2.0       # not 1, which a product does not show


def port(index: int, role: str, **settings) -> Port:
    subnet = address(f"192.168.{index * 10}.1")
    interface = InterfaceSettings(name=f"port{index}", role=role, **settings)
    mac = f"02:00:00:00:00:0{index}"
    return Port(index, 1, interface.name, role, interface, 7, True, mac, addresses=((subnet, 24),))


class Wire:
    """A port as the pipeline sees it; `kernel` fills its ring, what is sent to it can be read at `far`."""

    link_header = 14

    def __init__(self, owner: Port) -> None:
        self.counters = np.zeros(BLOCK, np.uint64)
        self.kernel = Kernel()
        self.ring = self.kernel.ring
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.portions = deque()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.refresh(owner)

    def refresh(self, owner: Port) -> None:
        self.port, self.mac = owner, bytes.fromhex(owner.mac.replace(":", ""))
        self.source, self.limited = source_word(self.mac), owner.limited
        self.threshold = arriving_threshold(owner.role, owner.settings.threshold)

    def sending(self) -> int:
        return self.near.fileno()

    count = Attachment.count
    count_sent = Attachment.count_sent

    def received(self) -> list[bytes]:
        """The IPv4 packets that were sent here since the last call."""
        return [message[10 + self.link_header :] for message in self.messages()]

    def messages(self) -> list[bytes]:
        """The same behind their vnet and link headers."""
        found = []
        while True:
            try:
                found.append(self.far.recv(70_000))
            except BlockingIOError:
                return found

    def drops(self) -> dict[str, int]:
        found = dict(zip(REASONS, self.counters[FIRST_REASON:].tolist(), strict=True))
        return {reason: count for reason, count in found.items() if count}


class Plane:
    """Ports, a pipeline between them, and the agent's hand in the shared segments."""

    def __init__(self, *ports: Port, igmp: IgmpSettings | None = None, capacity: int = 64, few: int = 0) -> None:
        self.descriptors = [routes.create(64, 64), membership.create(64)]
        self.routes, self.roles = RouteWriter(self.descriptors[0]), MembershipWriter(self.descriptors[1])
        self.igmp, self.generation, self.few = igmp or IgmpSettings(), 0, few
        self.wires = {each.index: Wire(each) for each in ports}
        self.counters = np.zeros((64, BLOCK), np.uint64)
        for index, wire in self.wires.items():
            wire.counters = self.counters[index]
        self.columns = FlowColumns.allocate(capacity, 1)
        for each in ports:
            self.roles.assign(each.index, each.assigned)
            self.roles.role(each.index, True, 0)
        self.start(*ports)

    def start(self, *ports: Port) -> None:
        """A worker starts, over the flows of its predecessor."""
        readers = RouteReader(self.descriptors[0]), MembershipReader(self.descriptors[1])
        self.flows = FlowTable(self.columns, KEY)
        self.decisions = Decisions(self.flows, *readers)
        self.drops = EgressDrops(self.flows)
        self.flows.withheld.count = self.drops.withheld(self.counters)
        self.transmitter = Transmitter(self.wires, TOGETHER, 1024, self.counters, drops=self.drops)
        self.limit = 1024       # frames that are carried at once
        self.pipeline = Pipeline(self.decisions, self.transmitter, KEY)
        self.configure(*ports)

    def configure(self, *ports: Port) -> None:
        self.generation += 1
        settings = Settings(igmp=self.igmp, dataplane=DataplaneSettings(failover_time=FAILOVER))
        self.decisions.configure(Configuration(self.generation, settings, ports))
        for each in ports:
            self.wires[each.index].refresh(each)

    def join(self, *ports: int, group: int = G, source: int | None = None) -> None:
        self.routes.set(RouteKey(group, 32, source), sum(1 << each for each in ports), "learned", self.generation)

    def frames(self, ingress: int, *packets: bytes, now: float = 1.0) -> list[int]:
        """These packets come in by `ingress`: how many left by each port."""
        return self.carry(ingress, [Frame(packet) for packet in packets], now)

    def carry(self, ingress: int, frames: list[Frame], now: float) -> list[int]:
        wire = self.wires[ingress]
        wire.kernel.fill(frames)
        while self.pipeline.carry(wire, self.limit, 1024, self.few, now).frames:
            pass
        self.raw = {index: each.messages() for index, each in self.wires.items()}
        starts = {index: 10 + each.link_header for index, each in self.wires.items()}
        self.sent = {index: [each[starts[index] :] for each in raw] for index, raw in self.raw.items()}
        return [len(packets) for packets in self.sent.values()]

    def row(self, ingress: int, source: int = S, group: int = G) -> int:
        return int(self.flows.lookup(ingress, np.array([source], np.uint32), np.array([group], np.uint32))[0])

    def flow(self, ingress: int, source: int = S, group: int = G) -> SimpleNamespace:
        row = self.row(ingress, source, group)
        assert row >= 0
        return SimpleNamespace(reason=Reason(int(self.columns.reason[row])), packets=int(self.columns.packets[row]))

    def close(self) -> None:
        for wire in self.wires.values():
            wire.near.close()
            wire.far.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@pytest.fixture(params=[0, 6], ids=["together", "singly"])
def plane(request):
    """Makes planes, which carry a handful of frames together or singly, and closes them at the end."""
    made: list[Plane] = []

    def make(*ports: Port, **how) -> Plane:
        made.append(Plane(*ports, few=request.param, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def two_upstreams(**second) -> tuple[Port, ...]:
    return port(UP, "upstream"), port(UP2, "upstream", **second), port(D1, "downstream"), port(D2, "downstream")


DATA = ip_packet(S, G)


def test_frames_go_where_they_are_wanted(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.join(D1)
    assert world.frames(UP, DATA, ip_packet(S, G + 1), ip_packet(S, G, ttl=1), DATA) == [0, 2, 0]
    assert world.sent[D1][0][8] == 63
    assert world.wires[UP].drops() == {"no_members": 1, "ttl_expired": 1}
    assert int(world.wires[D1].counters[TX_PACKETS]) == 2


# RFC 4605 4.2 d
def test_routes_that_came_after_the_worker_woke_up_count_for_what_it_reads_now(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    assert world.frames(UP, DATA) == [0, 0, 0]
    world.join(D1)
    assert world.decisions.routes.pending
    assert world.frames(UP, DATA) == [0, 1, 0]
    assert not world.decisions.routes.pending
    world.join(D2)
    assert world.frames(UP, DATA) == [0, 0, 1]


def test_what_comes_in_by_the_wrong_interface_is_counted_for_its_flow(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.join(D1, D2)
    source = address("192.168.20.9")  # of D1
    stray = ip_packet(source, G)
    assert world.frames(D2, stray, stray, ip_packet(source, G, ttl=1)) == [0, 0, 0]
    assert world.frames(D1, stray) == [1, 0, 1]
    wrong, right = world.flow(D2, source), world.flow(D1, source)
    assert (wrong.reason, wrong.packets) == (Reason.WRONG_INTERFACE, 3)
    assert (right.reason, right.packets) == (Reason.FORWARD, 1)
    assert world.wires[D2].drops() == {"wrong_interface": 3}


def test_lists_of_settings_bound_data_both_ways(plane):
    world = plane(
        port(UP, "upstream", boundary=("239.255.0.0/16",)),
        port(D1, "downstream", allow=("10.99.0.0/16,239.0.0.0/8",), deny=("239.1.2.0/24",)),
        port(D2, "downstream"),
    )
    for group in (G, G + 0x100, address("239.255.1.1")):
        world.join(D1, D2, group=group)
    assert world.frames(UP, DATA) == [0, 1, 1]
    assert world.frames(UP, ip_packet(S, G + 0x100)) == [0, 0, 1]
    assert world.frames(UP, ip_packet(address("10.98.0.1"), G)) == [0, 0, 1]
    assert world.frames(UP, ip_packet(S, address("239.255.1.1"))) == [0, 0, 0]
    assert world.frames(D2, ip_packet(address("192.168.30.9"), address("239.255.1.1"))) == [0, 0, 0]
    assert world.frames(D1, ip_packet(address("192.168.20.9"), G)) == [0, 0, 0]
    world.decisions.tidy(2.0)
    assert [world.wires[each].drops() for each in (UP, D1, D2)] == [{"boundary": 2}, {"boundary": 4}, {}]


def told(world: Plane) -> dict[tuple[str, str], int]:
    """What flows lost, by the name of the port and the reason."""
    return {(f"port{each.egress}", each.reason.name.lower()): each.packets for each in read(world.drops.table)}


def test_who_is_not_served_is_counted_there_and_not_where_it_came_in(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.roles.role(D1, False, address("192.168.20.2"))
    world.join(D1, D2)
    assert world.frames(UP, DATA, DATA) == [0, 0, 2]
    world.decisions.tidy(2.0)
    assert [world.wires[each].drops() for each in (UP, D1, D2)] == [{}, {"not_querier": 2}, {}]
    world.join(D1)
    assert world.frames(UP, DATA) == [0, 0, 0]
    world.decisions.tidy(3.0)
    assert [world.wires[each].drops() for each in (UP, D1, D2)] == [{}, {"not_querier": 3}, {}]
    world.roles.role(D1, True, 0)
    world.decisions.refresh()
    assert world.frames(UP, DATA) == [0, 1, 0]
    world.decisions.tidy(4.0)
    assert told(world) == {(f"port{D1}", "not_querier"): 3}


def test_what_a_port_drops_is_told_of_the_flow(plane):
    long = ip_packet(S, G, payload=bytes(1400), fragment=0x4000)
    small = replace(port(D1, "downstream"), mtu=1400)
    world = plane(port(UP, "upstream"), small, port(D2, "downstream", threshold=65))
    world.join(D1, D2)
    assert world.frames(UP, long, long) == [0, 0, 0]
    assert told(world) == {(f"port{D1}", "mtu"): 2, (f"port{D2}", "ttl_threshold"): 2}


def test_the_threshold_of_a_port_that_is_both_is_of_what_leaves(plane):
    both = [port(index, "both", threshold=65) for index in (UP, D1)]
    world = plane(*both, port(D2, "both"))
    for ingress in (UP, D2):
        key = RouteKey(G, 32, None, ingress=ingress, static=True)
        world.routes.set(key, (1 << UP | 1 << D1 | 1 << D2) & ~(1 << ingress), "static", world.generation)
    assert world.frames(UP, ip_packet(S, G, ttl=64), ip_packet(S, G, ttl=65)) == [0, 1, 2]
    assert world.frames(UP, ip_packet(S, G, ttl=2)) == [0, 0, 1]
    assert world.frames(UP, ip_packet(S, G, ttl=1)) == [0, 0, 0]
    assert world.wires[D1].drops() == {"ttl_threshold": 2}
    assert world.wires[UP].drops() == {"ttl_expired": 1}


def test_what_an_upstream_brings_too_came_back_by_a_loop(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.join(D2)
    source = address("10.99.0.1")
    copy = ip_packet(source, G)
    assert world.frames(D1, copy) == [0, 0, 0]
    assert world.wires[D1].drops() == {"source_not_allowed": 1}     # nobody knows better yet
    assert world.frames(UP, copy) == [0, 0, 1]
    world.decisions.tidy(2.0)
    assert world.frames(D1, copy, ip_packet(address("10.99.0.2"), G)) == [0, 0, 0]
    assert world.wires[D1].drops() == {"source_not_allowed": 2, "wrong_interface": 1}
    world.frames(D1, copy, now=50.0)
    world.decisions.tidy(70.0)
    world.frames(D1, copy, now=71.0)
    assert world.wires[D1].drops() == {"source_not_allowed": 3, "wrong_interface": 2}


def test_ssm_upstream_off(plane):
    for ssm_upstream in (True, False):
        ports = port(UP, "upstream"), port(D1, "downstream")
        world = plane(*ports, igmp=IgmpSettings(ssm_upstream=ssm_upstream))
        assert world.frames(D1, ip_packet(address("192.168.20.9"), address("232.1.1.1"))) == [int(ssm_upstream), 0]
        assert world.frames(D1, ip_packet(address("192.168.20.9"), G)) == [1, 0]


def test_a_rate_limit_holds_for_its_port_alone(plane):
    limited = port(D1, "downstream", rate_limit=80_000)  # room for 6000 bytes at first
    world = plane(port(UP, "upstream"), limited, port(D2, "downstream"))
    world.join(D1, D2)
    packets = [ip_packet(S, G, bytes(980), identification=number) for number in range(10)]
    assert world.frames(UP, *packets) == [0, 6, 10]
    assert [packet[4:6] for packet in world.sent[D1]] == [packet[4:6] for packet in packets[:6]]
    assert world.wires[D1].drops() == {"rate_limited": 4}
    assert world.frames(UP, *packets, now=1.2) == [0, 2, 10]
    world.configure(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    assert world.frames(UP, *packets, now=1.2) == [0, 10, 10]
    assert (world.wires[UP].drops(), world.wires[D2].drops()) == ({}, {})


def test_a_flow_rate_limit_holds_for_each_flow(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream", flow_rate_limit=80_000))
    world.join(D1)
    batch = [ip_packet(S + flow, G, bytes(980)) for flow in (0, 1, 0, 0, 0, 0, 0, 0, 1, 0)]
    assert world.frames(UP, *batch) == [0, 8]
    assert [packet[15] - (S & 255) for packet in world.sent[D1]] == [0, 1, 0, 0, 0, 0, 0, 1]


def test_fragments_count_against_the_limit_in_their_place(plane):
    small = replace(port(D1, "downstream", rate_limit=80_000), mtu=1000)
    world = plane(port(UP, "upstream"), small)
    world.join(D1)
    large, short = ip_packet(S, G, bytes(1480)), ip_packet(S, G, bytes(480))
    assert world.frames(UP, short, large, short, large, large) == [0, 6]
    assert [len(packet) for packet in world.sent[D1]] == [500, 996, 524, 500, 996, 524]
    assert world.wires[D1].drops() == {"rate_limited": 1}


STEADY = [datagram(number, flow=(S, G), fragment=0x4000) for number in range(20)]


# RFC 4605 4.2 c
def test_a_stream_goes_where_it_is_wanted_now_although_another_flow_was_looked_up_meanwhile(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.pipeline.use_segments(64)
    world.join(D1)
    world.join(D1, group=G + 1)
    for now in (1.0, 1.1):
        assert world.carry(UP, STEADY, now) == [0, 1, 0]
    assert world.frames(UP, ip_packet(S, G + 1), now=1.2) == [0, 1, 0]
    world.join(D2)
    assert world.frames(UP, ip_packet(S, G + 1), now=1.3) == [0, 1, 0]
    assert world.carry(UP, STEADY, 1.4) == [0, 0, 1]


def test_a_steady_stream_is_limited_like_any_other(plane):
    limited = port(D1, "downstream", rate_limit=80_000)
    world = plane(port(UP, "upstream"), limited, port(D2, "downstream"))
    world.pipeline.use_segments(64)
    world.join(D1, D2)
    sent = [world.carry(UP, STEADY, 1.0 + number / 1000) for number in range(4)]
    assert [counts[2] for counts in sent] == [1, 1, 1, 1]       # whole
    assert 40 <= sum(counts[1] for counts in sent) < 80         # one by one, while there is room
    assert world.wires[D1].drops()["rate_limited"] > 0


def test_a_steady_stream_of_two_upstreams_is_watched_like_any_other(plane):
    world = plane(*two_upstreams(priority=2))
    world.pipeline.use_segments(64)
    world.join(D1)
    for number in range(12):
        now = 10.0 + number / 4
        assert world.carry(UP, STEADY, now) == [0, 0, 1, 0]
        assert world.carry(UP2, STEADY, now + 0.01) == [0, 0, 0, 0]
    assert world.wires[UP2].drops() == {"standby_duplicate": 240}


def test_one_copy_of_a_flow_that_two_upstreams_deliver(plane):
    world = plane(*two_upstreams(priority=2))
    world.join(D1)
    for number in range(8):
        now = 10.0 + number / 4
        assert world.frames(UP, DATA, DATA, now=now) == [0, 0, 2, 0]
        assert world.frames(UP2, DATA, DATA, now=now + 0.01) == [0, 0, 0, 0]
    standby = world.flow(UP2)
    assert (world.flow(UP).reason, standby.reason, standby.packets) == (Reason.FORWARD, Reason.STANDBY_DUPLICATE, 16)
    assert world.wires[UP2].drops() == {"standby_duplicate": 16}
    assert world.frames(UP2, DATA, now=11.75 + FAILOVER - 0.01) == [0, 0, 0, 0]
    assert world.frames(UP2, DATA, DATA, now=11.75 + FAILOVER) == [0, 0, 2, 0]
    assert world.frames(UP, DATA, now=12.8) == [0, 0, 0, 0]
    assert (world.flow(UP).reason, world.flow(UP2).reason) == (Reason.STANDBY_DUPLICATE, Reason.FORWARD)


def test_a_flow_goes_back_after_the_hold_down(plane):
    world = plane(*two_upstreams(priority=2))
    world.join(D1)
    taken = []
    for now in np.arange(10.0, 25.0, 0.25).tolist():
        for ingress in (UP, UP2) if now >= 12.0 else (UP2,):
            if world.frames(ingress, DATA, now=now)[D1]:
                taken.append((now, ingress))
    back = 12.0 + HOLD_DOWN * FAILOVER
    assert {ingress for now, ingress in taken if now < back} == {UP2}
    assert {ingress for now, ingress in taken if now > back + GAP * FAILOVER} == {UP}
    assert len(taken) >= 59


def test_a_link_down_moves_its_flows(plane):
    up, second, d1, d2 = two_upstreams(priority=2)
    world = plane(up, second, d1, d2)
    world.join(D1)
    world.frames(UP, DATA, now=10.0)
    assert world.frames(UP2, DATA, now=10.0) == [0, 0, 0, 0]
    world.configure(replace(up, up=False), second, d1, d2)
    assert world.frames(UP2, DATA, now=10.0 + GAP * FAILOVER) == [0, 0, 1, 0]
    world.configure(up, second, d1, d2)
    assert world.frames(UP, DATA, now=10.2) == [0, 0, 0, 0]
    assert world.frames(UP2, DATA, now=10.3) == [0, 0, 1, 0]


def test_expired_frames_hold_no_flow(plane):
    world = plane(*two_upstreams(priority=2))
    world.join(D1)
    for number in range(8):
        world.frames(UP, ip_packet(S, G, ttl=1), now=10.0 + number / 4)
        sent = world.frames(UP2, DATA, now=10.01 + number / 4)
    assert sent == [0, 0, 1, 0]
    assert world.wires[UP].drops() == {"ttl_expired": 8}


def test_standing_by_survives_leave_and_join(plane):
    world = plane(*two_upstreams(priority=1))
    world.join(D1)
    for now in np.arange(10.0, 20.0, 0.25).tolist():
        if now == 13.0:
            world.join()
        if now == 16.0:
            world.join(D2)
        sent = world.frames(UP2, DATA, now=now)
        assert sum(sent) == int(not 13.0 <= now < 16.0)
        assert world.frames(UP, DATA, now=now) == [0, 0, 0, 0]
        world.decisions.tidy(now)
    assert world.flow(UP).reason == Reason.STANDBY_DUPLICATE


def test_a_successor_worker_takes_from_the_same_upstream(plane):
    ports = two_upstreams(priority=1)
    world = plane(*ports)
    world.join(D1)
    assert world.frames(UP2, DATA, now=10.0) == [0, 0, 1, 0]
    assert world.frames(UP, DATA, now=10.0) == [0, 0, 0, 0]
    world.start(*ports)
    assert world.frames(UP, DATA, now=10.5) == [0, 0, 0, 0]
    assert world.frames(UP2, DATA, now=10.5) == [0, 0, 1, 0]


def test_many_flows_stand_by_without_counting_as_unwanted(plane):
    """Half of a table may be standing by: rows for flows that nobody wants are few, these are not such."""
    world = plane(*two_upstreams(), capacity=64)
    world.join(D1)
    packets = [ip_packet(S + number, G) for number in range(30)]
    assert world.frames(UP, *packets, now=10.0) == [0, 0, 30, 0]
    assert world.frames(UP2, *packets, now=10.1) == [0, 0, 0, 0]
    world.decisions.tidy(10.2)
    assert world.wires[UP2].drops() == {"standby_duplicate": 30}
    assert world.frames(UP2, *packets, now=10.0 + FAILOVER) == [0, 0, 30, 0]


def test_an_upstream_that_may_not_have_the_group_is_no_rival(plane):
    world = plane(*two_upstreams(priority=0, deny=("239.1.1.1",)))
    world.join(D1)
    assert world.frames(UP2, DATA, now=10.0) == [0, 0, 0, 0]
    assert world.frames(UP, DATA, now=10.0) == [0, 0, 1, 0]
    assert world.wires[UP2].drops() == {"boundary": 1}
    assert world.frames(D1, ip_packet(address("192.168.20.9"), G)) == [1, 0, 0, 0]


def test_a_reused_row_is_another_flow(plane):
    world = plane(*two_upstreams(), capacity=2)
    world.join(D1)
    world.join(D1, group=G + 1)
    assert world.frames(UP, DATA, now=10.0) == [0, 0, 1, 0]
    assert world.frames(UP2, DATA, now=60.0) == [0, 0, 1, 0]
    assert world.frames(UP2, ip_packet(S, G + 1), now=71.0) == [0, 0, 1, 0]
    for now in (71.5, 72.0):
        assert world.frames(UP2, DATA, now=now) == [0, 0, 1, 0]
        assert world.frames(UP2, ip_packet(S, G + 1), now=now) == [0, 0, 1, 0]


def test_what_came_in_is_counted(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"))
    world.frames(UP, DATA, DATA)
    assert int(world.wires[UP].counters[RX_PACKETS]) == 2


SUPER = Frame(ip_packet(S, G, seeded(S, G, bytes(2500)), fragment=0x4000), vnet=vnet(1, 5, 42, 1000, 34, 6))


def test_super_frames_count_as_their_datagrams(plane):
    """Interfaces, flows and drops: what a second forwarder in a row says is what the first says it has sent."""
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.pipeline.use_segments(64)
    world.join(D1)
    expired = replace(SUPER, packet=ip_packet(S, G, SUPER.packet[20:], ttl=1, fragment=0x4000))
    unwanted = replace(SUPER, packet=ip_packet(S, G + 1, seeded(S, G + 1, bytes(2500)), fragment=0x4000))
    octets = 2500 + 3 * 28
    dropped = {"ttl_expired": 3, "no_members": 3}
    for frames, drops in (([SUPER, Frame(DATA)], {}), ([SUPER, expired, unwanted], dropped)):
        before = world.wires[UP].counters.copy()
        world.carry(UP, frames, 1.0)
        assert len(world.sent[D1]) == len(frames) - len(drops)
        received = world.wires[UP].counters - before
        assert int(received[RX_PACKETS]) == (4 if not drops else 9)
        assert int(received[RX_BYTES]) == (octets + 42 + 48 + 14 if not drops else 3 * (octets + 42))
        assert world.wires[UP].drops() == drops
    row = world.row(UP)
    assert (int(world.columns.packets[row]), int(world.columns.bytes[row])) == (7, 2 * octets + 48)
    assert (int(world.columns.dropped[row]), int(world.columns.ttl_expired[row])) == (3, 3)
    assert int(world.wires[D1].counters[TX_PACKETS]) == 7
    assert int(world.wires[D1].counters[TX_BYTES]) == 2 * octets + 48 + 7 * 14


def test_a_flow_whose_only_way_out_is_not_there_yet_is_not_forwarded(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.join(D2)
    wire = world.wires.pop(D2)
    world.pipeline.ports_changed(1 << D2)
    assert world.frames(UP, DATA, DATA, ip_packet(S, G, ttl=1)) == [0, 0]
    row = world.row(UP)
    assert (int(world.columns.packets[row]), int(world.columns.dropped[row])) == (0, 3)
    assert world.counters[D2, FIRST_REASON + Reason.TRANSMIT_FAILED - 1] == 2
    world.wires[D2] = wire
    world.pipeline.ports_changed()
    assert world.frames(UP, DATA, DATA)[-1] == 2
    assert (int(world.columns.packets[row]), int(world.columns.dropped[row])) == (2, 3)


def test_beside_a_port_that_is_not_there_yet_flows_that_nobody_wants_are_counted_as_ever(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    world.join(D2)
    world.pipeline.ports_changed(1 << D1)
    assert world.frames(UP, DATA, *[ip_packet(S, G + 1)] * 3) == [0, 0, 1]
    rows = world.row(UP), world.row(UP, group=G + 1)
    assert [(int(world.columns.packets[row]), int(world.columns.dropped[row])) for row in rows] == [(1, 0), (3, 0)]


def test_what_the_kernel_could_not_fill_is_neither_forwarded_nor_counted(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"))
    world.join(D1)
    kernel = world.wires[UP].kernel
    kernel.fill([Frame(DATA)] * 3)
    struct.pack_into("=I", kernel.buffer, 48 + 20, 0)  # the first has no TP_STATUS_USER
    world.pipeline.carry(world.wires[UP], 1024, 1024, world.few, 1.0)
    assert len(world.wires[D1].received()) == 2
    assert int(world.wires[UP].counters[RX_PACKETS]) == 2


@pytest.mark.parametrize("size", [65493, 65494, 65507])
def test_the_longest_datagrams_of_a_stream(plane, size):
    up, down = port(UP, "upstream"), replace(port(D1, "downstream"), mtu=65535)
    world = plane(up, down)
    world.pipeline.use_segments(64)
    world.join(D1)
    frames = [datagram(number, size, flow=(S, G), fragment=0x4000) for number in range(2)]
    world.carry(UP, frames, 1.0)
    assert len(world.sent[D1]) == 2
    assert {len(packet) for packet in world.sent[D1]} == {size + 28}


def test_a_datagram_without_checksum_in_the_middle_of_a_stream_stays_without(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"))
    world.pipeline.use_segments(64)
    world.join(D1)
    frames = [datagram(number, 100, flow=(S, G), fragment=0x4000, how="valid") for number in range(20)]
    world.carry(UP, frames, 1.0)
    assert len(world.sent[D1]) == 1
    frames[7] = datagram(7, 100, flow=(S, G), fragment=0x4000, how="none")
    world.carry(UP, frames, 1.0)
    assert len(world.sent[D1]) == 3  # those before, it, those behind
    assert world.sent[D1][1][26:28] == bytes(2)


def test_link_local_sources_are_for_labs_that_say_so(plane):
    up, down = port(UP, "upstream"), port(D1, "downstream")
    world = plane(up, down)
    world.join(D1)
    packet = ip_packet(address("169.254.7.9"), G)
    assert world.frames(UP, packet, DATA) == [0, 1]
    assert world.wires[UP].drops() == {"bad_source": 1}
    world.configure(port(UP, "upstream", link_local_sources=True), down)
    assert world.frames(UP, packet, ip_packet(address("0.1.2.3"), G)) == [0, 1]
    world.configure(up, down)
    assert world.frames(UP, packet) == [0, 0]


def test_a_full_table_sends_no_frame_where_another_flow_goes(plane):
    """What is denied on the ingress was once sent out, by a row that its flow had lost to another in the same batch."""
    up, down = port(UP, "upstream", deny=("239.1.1.2/32",)), (port(D1, "downstream"), port(D2, "downstream"))
    world = plane(up, *down, capacity=2)
    world.join(D1)
    world.join(D2, group=G + 2)
    denied, other = ip_packet(S, G + 1), ip_packet(S, G + 2)
    for _ in range(8):
        assert world.frames(UP, DATA, denied, now=1.0) == [0, 1, 0]
    assert world.frames(UP, denied, DATA, other, denied, other, now=500.0) == [0, 1, 0]
    assert world.wires[UP].drops() == {"boundary": 10, "flow_table_full": 2}
    assert world.frames(UP, other, now=1000.0) == [0, 0, 1]
