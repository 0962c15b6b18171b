"""What a worker decides of flows: whose word a route row is, how many flows a batch may bring, which rows they take."""

from dataclasses import replace

import numpy as np
import pytest
from batches import address, ip_packet
from test_pipeline import D1, D2, UP, UP2, G, Plane, S, port

from forwarder.dataplane.decisions import UNWANTED_SHARE
from forwarder.dataplane.room import IDLE, UNWANTED_IDLE
from forwarder.state.ports import Configuration
from forwarder.state.reasons import Reason
from forwarder.state.routes import RouteKey
from forwarder.state.settings import DataplaneSettings, IgmpSettings, Settings

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
    world.join(D1, D2)
    assert world.frames(UP, DATA) == [0, 1, 1]
    world.configure(PORTS[0], PORTS[1], reassigned(2))
    world.roles.assign(D2, 2)
    world.roles.role(D2, True, 0)
    assert world.frames(UP, DATA) == [0, 1, 0]
    world.join(D1, D2)      # said of the new owner
    assert world.frames(UP, DATA) == [0, 1, 1]


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


def test_roles_do_not_count_where_that_is_configured(plane):
    for everywhere in (False, True):
        world = plane(igmp=IgmpSettings(forward_when_not_querier=everywhere))
        world.roles.role(D1, False, 7)
        world.join(D1)
        world.decisions.refresh()
        assert world.frames(UP, DATA) == [0, int(everywhere), 0]


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
    assert world.wires[UP].drops() == {"no_members": 40}
    assert world.frames(UP, *spray(30, 100)) == [0, 30, 0]      # who is wanted finds room
    assert len(world.flows) == share + 30


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
    broken = DATA[:10] + bytes((DATA[10] ^ 1, DATA[11])) + DATA[12:]
    assert world.frames(UP, broken) == [0, 0, 0]
    assert (len(world.flows), world.wires[UP].drops()) == (0, {"malformed": 1})


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
