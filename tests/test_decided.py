"""What a worker decides of flows: whose word a route row is, how many flows a batch may bring, which rows they take."""

from dataclasses import replace

import numpy as np
import pytest
from batches import address, ip_packet
from test_pipeline import D1, D2, KEY, UP, UP2, G, Plane, S, port

from forwarder.dataplane.admission import PortPolicy
from forwarder.dataplane.decisions import UNWANTED_SHARE, Decisions
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.policies import policy_of
from forwarder.dataplane.room import IDLE, UNWANTED_IDLE
from forwarder.packet.tpacket import ARPHRD_NONE
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey
from forwarder.state.settings import DataplaneSettings, IgmpSettings, InterfaceSettings, Settings
from igmp.access import AccessList, Entry
from igmp.link import Network

PORTS = port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream")
DATA = ip_packet(S, G)


@pytest.fixture
def plane():
    """Makes planes and closes them at the end."""
    made: list[Plane] = []

    def make(*ports, **how) -> Plane:
        made.append(Plane(*(ports or PORTS), **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def limited(world: Plane, flow_limit: int) -> None:
    world.generation += 1
    settings = Settings(dataplane=DataplaneSettings(flow_limit=flow_limit))
    world.decisions.configure(Configuration(world.generation, settings, PORTS))


def spray(count: int, first: int = 0, group: int = G, **fields) -> list[bytes]:
    return [ip_packet(S + first + number, group, **fields) for number in range(count)]


def reassigned(generation: int):
    """D2 with another owner since this generation."""
    return replace(PORTS[2], assigned=generation)


# --- whose word a row is ---


def test_a_row_says_nothing_of_a_port_that_got_another_owner_since(plane):
    world = plane()
    groups = [ip_packet(S, G + number) for number in range(3)]
    for number in range(3):
        world.join(D1, D2, group=G + number)
    assert world.frames(UP, *groups) == [0, 3, 3]
    world.configure(PORTS[0], PORTS[1], reassigned(2))
    world.roles.assign(D2, 2)
    world.roles.role(D2, True, 0)
    assert world.frames(UP, *groups) == [0, 3, 0]
    world.join(D1, D2)      # said of the new owner
    assert world.frames(UP, *groups) == [0, 3, 1]


def test_a_row_that_comes_late_says_nothing_of_the_new_owner_either(plane):
    world = plane()
    world.configure(PORTS[0], PORTS[1], reassigned(2))
    world.roles.assign(D2, 2)
    world.roles.role(D2, True, 0)
    world.routes.set(RouteKey(G), 1 << D1 | 1 << D2, "learned", 1)
    assert world.frames(UP, DATA) == [0, 1, 0]
    world.routes.set(RouteKey(G), 1 << D1 | 1 << D2, "learned", 2)
    assert world.frames(UP, DATA) == [0, 1, 1]


def test_a_port_without_the_word_of_its_agent_is_not_queried(plane):
    """The role that is known is that of the former owner."""
    world = plane()
    world.join(D2)
    assert world.frames(UP, DATA) == [0, 0, 1]
    world.configure(PORTS[0], PORTS[1], reassigned(2))
    world.join(D2)
    assert world.frames(UP, DATA) == [0, 0, 0]
    assert world.flow(UP).reason == Reason.NOT_QUERIER
    world.roles.assign(D2, 2)
    world.roles.role(D2, True, 0)
    world.decisions.refresh()
    assert world.frames(UP, DATA) == [0, 0, 1]


# RFC 4605 3 h
def test_roles_do_not_count_where_that_is_configured(plane):
    for everywhere in (False, True):
        world = plane(igmp=IgmpSettings(forward_when_not_querier=everywhere))
        world.roles.role(D1, False, 7)
        world.join(D1)
        world.decisions.refresh()
        assert world.frames(UP, DATA) == [0, int(everywhere), 0]


# RFC 4605 3 h
def test_a_port_may_say_for_itself_that_its_role_does_not_count(plane):
    for common, own, expected in ((False, True, [0, 1, 0]), (True, False, [0, 0, 1])):
        said = InterfaceSettings(name="down1", forward_when_not_querier=own)
        world = plane(PORTS[0], replace(PORTS[1], settings=said), *PORTS[2:],
                      igmp=IgmpSettings(forward_when_not_querier=common))
        for each in (D1, D2):
            world.roles.role(each, False, 7)
        world.join(D1, D2)
        world.decisions.refresh()
        assert world.frames(UP, DATA) == expected


def test_a_route_that_ends_ends_for_its_key_alone(plane):
    world = plane()
    world.join(D1)
    world.join(D2, source=S)
    assert world.frames(UP, DATA) == [0, 0, 1]
    world.routes.delete(RouteKey(G, source=S))
    assert world.frames(UP, DATA) == [0, 1, 0]
    world.routes.set(RouteKey(G, static=True), 1 << D2, "static", 1)
    assert world.frames(UP, DATA) == [0, 0, 1]
    world.routes.delete(RouteKey(G, static=True))
    assert world.frames(UP, DATA) == [0, 1, 0]


def test_a_route_of_many_groups_moves_the_flows_of_all(plane):
    world = plane()
    other = address("239.200.0.1")
    assert world.frames(UP, DATA, ip_packet(S, other)) == [0, 0, 0]
    world.routes.set(RouteKey(address("239.0.0.0"), 9, static=True), 1 << D1, "static", 1)
    assert world.frames(UP, DATA, ip_packet(S, other)) == [0, 1, 0]
    world.routes.set(RouteKey(address("239.0.0.0"), 8, static=True), 1 << D2, "static", 1)
    assert world.frames(UP, DATA, ip_packet(S, other)) == [0, 1, 1]


# --- how many flows, and which rows they take ---


def test_a_batch_brings_as_many_new_flows_as_are_allowed(plane):
    world = plane()
    limited(world, 3)
    world.join(D1)
    assert world.frames(UP, *spray(5)) == [0, 3, 0]
    assert world.wires[UP].drops() == {"flow_limit": 2}
    assert len(world.flows) == 3
    assert world.frames(UP, *spray(5)) == [0, 5, 0]     # three are known by now
    assert world.frames(UP, *spray(5)) == [0, 5, 0]
    assert world.wires[UP].drops() == {"flow_limit": 2}


def test_flows_that_nobody_wants_take_one_row_in_so_many(plane):
    world = plane(capacity=64)
    world.join(D1)
    share = 64 // UNWANTED_SHARE
    for number in range(40):
        assert world.frames(UP, ip_packet(S + number, G + 1)) == [0, 0, 0]
    assert len(world.flows) == share
    assert world.columns.packets[:share].tolist() == [1] * share    # the others count on the port alone
    assert world.wires[UP].drops() == {"no_members": 40}
    assert world.frames(UP, *spray(30, 100)) == [0, 30, 0]      # who is wanted finds room
    assert len(world.flows) == share + 30


def test_who_is_not_wanted_keeps_nobody_from_being_decided(plane):
    world = plane(capacity=64)
    limited(world, 3)
    for number in range(20):
        world.frames(UP, ip_packet(S + number, G + 1))
    world.join(D1)
    assert world.frames(UP, *spray(5, 50, G + 1), *spray(2, 60)) == [0, 2, 0]
    assert world.wires[UP].drops() == {"no_members": 25}


def test_what_is_not_wanted_of_a_host_downstream_is_only_counted_too(plane):
    world = plane(port(UP, "upstream", deny=("239.1.1.2",)), *PORTS[1:], capacity=64)
    source = address("192.168.20.9")
    for number in range(20):
        assert world.frames(D1, ip_packet(source + number, G + 1)) == [0, 0, 0]
    assert len(world.flows) == 64 // UNWANTED_SHARE
    assert world.frames(D1, ip_packet(source, G)) == [1, 0, 0]


def test_who_is_not_wanted_is_shown_again_when_the_others_are_gone(plane):
    world = plane(capacity=64)
    for number in range(20):
        world.frames(UP, ip_packet(S + number, G), now=1.0)
    world.decisions.tidy(2.0)
    assert len(world.flows) == 64 // UNWANTED_SHARE
    world.decisions.tidy(1.0 + IDLE + 1.0)
    assert len(world.flows) == 0
    world.frames(UP, ip_packet(S + 19, G), now=70.0)
    assert world.flow(UP, S + 19).reason == Reason.NO_MEMBERS


def test_a_flow_that_is_wanted_after_all_counts_as_unwanted_no_more(plane):
    world = plane(capacity=64)
    for number in range(20):
        world.frames(UP, ip_packet(S + number, G), now=1.0)
    world.join(D1)
    world.decisions.refresh()
    world.decisions.tidy(1.1)
    for number in range(20):
        world.frames(UP, ip_packet(S + number, G + 1), now=1.3)
    assert world.flow(UP, S + 7, G + 1).reason == Reason.NO_MEMBERS


def test_idle_flows_end_and_others_stay(plane):
    world = plane()
    world.join(D1)
    world.frames(UP, DATA, now=1.0)
    world.frames(UP, ip_packet(S + 1, G), now=1.0 + UNWANTED_IDLE + 20.0)
    world.decisions.tidy(IDLE + 0.9)
    assert len(world.flows) == 2
    world.decisions.tidy(IDLE + 1.1)
    assert len(world.flows) == 1
    assert world.row(UP) == -1
    assert world.frames(UP, DATA, now=IDLE + 2.0) == [0, 1, 0]


def test_a_full_table_is_said_so(plane):
    world = plane(capacity=4)
    world.join(D1)
    assert world.frames(UP, *spray(6)) == [0, 4, 0]
    assert world.wires[UP].drops() == {"flow_table_full": 2}


def test_frames_with_a_defect_make_no_flow(plane):
    world = plane()
    world.join(D1)
    assert world.frames(UP, BROKEN) == [0, 0, 0]
    assert (len(world.flows), world.wires[UP].drops()) == (0, {"malformed": 1})


# RFC 4605 4.2 d
def test_what_is_shown_follows_changes_though_no_frame_comes(plane):
    world = plane()
    world.frames(UP, DATA, now=1.0)
    assert world.flow(UP).reason == Reason.NO_MEMBERS
    world.join(D1)
    world.decisions.refresh()
    world.decisions.tidy(1.5)
    assert world.flow(UP).reason == Reason.FORWARD
    assert int(world.columns.ports[world.row(UP), 0]) == 1 << D1


def test_each_tidying_decides_again_as_many_as_a_batch_brings(plane):
    world = plane()
    limited(world, 2)
    for number in range(5):
        world.frames(UP, ip_packet(S + number, G), now=1.0)
    world.join(D1)
    world.decisions.refresh()
    forwarded = []
    for _ in range(3):
        world.decisions.tidy(1.5)
        used = world.columns.used != 0
        forwarded.append(int(np.count_nonzero(world.columns.ports[used, 0])))
    assert forwarded == [2, 4, 5]


# --- who listens ---


def test_frames_move_flows_between_upstreams_only_where_there_are_several(plane):
    world = plane()
    assert not world.decisions.listening
    world = plane(*PORTS[:1], port(UP2, "upstream"), *PORTS[1:])
    assert world.decisions.listening == {UP, UP2}


BROKEN = DATA[:10] + bytes((DATA[10] ^ 1, DATA[11])) + DATA[12:]
EXPIRED = ip_packet(S, G, ttl=1)


@pytest.mark.parametrize("others", [(), (EXPIRED,), (BROKEN,), (BROKEN, EXPIRED)])
@pytest.mark.parametrize("first", [UP, UP2])
def test_the_batch_that_moves_a_flow_is_taken_from_where_it_goes(plane, first, others):
    world = plane(PORTS[0], port(UP2, "upstream"), *PORTS[1:])
    world.join(D1)
    second = UP2 if first == UP else UP
    assert world.frames(first, DATA, now=10.0) == [0, 0, 1, 0]
    assert world.frames(second, DATA, now=10.1) == [0, 0, 0, 0]
    assert world.frames(second, *others, DATA, now=12.0) == [0, 0, 1, 0]
    assert world.frames(first, *others, DATA, now=12.1) == [0, 0, 0, 0]
    assert world.frames(first, *others, DATA, now=14.0) == [0, 0, 1, 0]


def test_a_successor_takes_every_flow_from_where_its_predecessor_did(plane):
    ports = PORTS[0], port(UP2, "upstream"), *PORTS[1:]
    world = plane(*ports)
    world.join(D1)
    flows = spray(3)
    assert world.frames(UP2, *flows, now=10.0) == [0, 0, 3, 0]
    assert world.frames(UP, *flows, now=10.0) == [0, 0, 0, 0]
    world.start(*ports)
    assert world.frames(UP, *flows, now=10.5) == [0, 0, 0, 0]
    assert world.frames(UP2, *flows, now=10.5) == [0, 0, 3, 0]


# --- what is known of ports ---


def test_it_does_not_matter_when_the_configuration_comes(plane):
    world = plane()
    fresh = Decisions(FlowTable(FlowColumns.allocate(8, 1), KEY), RouteReader(world.descriptors[0]),
                      MembershipReader(world.descriptors[1]))
    fresh.refresh()
    fresh.tidy(1.0)
    fresh.configure(Configuration(1, Settings(), ()))
    fresh.tidy(2.0)
    assert (len(fresh.flows), fresh.routes.pending, fresh.listening) == (0, False, frozenset())


def test_hardware_addresses_are_those_of_ethernet_ports_that_exist(plane):
    missing, tunnel = replace(PORTS[1], ifindex=0), replace(PORTS[2], link_type=ARPHRD_NONE)
    world = plane(PORTS[0], missing, tunnel)
    addresses = [bytes.fromhex(f"02000000000{index}") for index in (UP, D1, D2)]
    assert [world.decisions.own.has_sent(UP, mac) for mac in addresses] == [False, False, False]
    world = plane()
    assert [world.decisions.own.has_sent(UP, mac) for mac in addresses] == [False, True, True]


def test_the_policy_of_a_port_is_what_its_settings_say():
    settings = InterfaceSettings(
        name="eth0", role="upstream", priority=7, altnets=("10.0.0.0/8", "172.16.0.0/12"), threshold=9,
        allow=("239.1.0.0/16",), deny=("10.0.0.0/8,239.2.0.0/16",), boundary=("239.3.0.0/16",), rate_limit=1000,
        flow_rate_limit=100, link_local_sources=True,
    )  # fmt: skip
    made = Port(5, 1, "eth0", "upstream", settings, 7, True, mtu=9000, addresses=((0x0A000001, 24), (0x0A000101, 30)),
                peers=(0xC0000201,))
    assert policy_of(made) == PortPolicy(
        5, "upstream", True, ((0x0A000001, 24), (0x0A000101, 30), (0xC0000201, 32)),
        ((0x0A000000, 8), (0xAC100000, 12)), (0x0A000001, 0x0A000101),
        AccessList((Entry.parse("239.1.0.0/16"),), (Entry.parse("10.0.0.0/8,239.2.0.0/16"),),
                   (Network.parse("239.3.0.0/16"),)), 7, True, 1,
    )  # fmt: skip
    plain = Port(0, 1, "eth1", "downstream", InterfaceSettings(name="eth1"), up=False)
    assert policy_of(plain) == PortPolicy(0, "downstream", False, assigned=1)
