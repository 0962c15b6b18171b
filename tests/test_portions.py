"""A batch in portions: nothing is lost or doubled, flows stay whole and in order."""

from random import Random

import pytest
from batches import Frame, batch_of, ip_packet
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import D1, UP, UP2, Plane, port
from worker_rig import Rig
from worker_rig import port as port_of_rig

from forwarder.dataplane.portions import _buckets, portions

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
G, S = 0xEF010101, 0x0A630001


def flow_of(batch, at: int) -> bytes:
    net = int(batch.net[at])
    return bytes(batch.buffer[net + 12 : net + 20])


@settings(max_examples=200)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 60), st.integers(0, 1 << 32))
def test_portions_are_the_batch_dealt_out_by_flow(frames, flows, most, seed):
    random = Random(seed)
    known = [(S + random.randrange(256), G + random.randrange(1 << 20)) for _ in range(flows)]
    batch = batch_of([Frame(ip_packet(*random.choice(known))) for _ in range(frames)])
    dealt = portions(batch, most, KEY)
    sizes = [len(portion.frame) for portion in dealt]
    assert len(sizes) == -(-frames // most)
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert sorted(at for portion in dealt for at in portion.net.tolist()) == batch.net.tolist()
    order: dict[bytes, list[int]] = {}
    where: dict[int, set[int]] = {}
    for number, portion in enumerate(dealt):
        assert portion.net.tolist() == sorted(portion.net.tolist())
        for at, bucket in enumerate(_buckets(portion, KEY).tolist()):
            order.setdefault(flow_of(portion, at), []).append(int(portion.net[at]))
            where.setdefault(bucket, set()).add(number)
    assert all(places == sorted(places) for places in order.values())
    # of flows, two may share a bucket; of buckets one at each boundary is divided, if any
    assert sum(len(numbers) - 1 for numbers in where.values()) <= len(dealt) - 1


def test_sources_and_groups_both_count():
    by_source = batch_of([Frame(ip_packet(S + number, G)) for number in range(64)])
    by_group = batch_of([Frame(ip_packet(S, G + number)) for number in range(64)])
    for batch in (by_source, by_group):
        first, second = portions(batch, 32, KEY)
        again, _ = portions(batch, 32, (KEY[1], KEY[0]))
        assert first.net.tolist() != batch.net[:32].tolist()
        assert first.net.tolist() != again.net.tolist()     # another key, other portions
        assert not set(first.net.tolist()) & set(second.net.tolist())


def test_a_batch_of_which_nothing_was_sound_is_one_portion():
    nothing = batch_of([Frame(ip_packet(S, G))]).only([])
    assert [len(portion.frame) for portion in portions(nothing, 8, KEY)] == [0]


def test_a_frame_that_ends_with_the_ring_is_in_a_portion():
    batch = batch_of([Frame(ip_packet(S, G), cut=40)], tail=0)
    assert [len(portion.frame) for portion in portions(batch, 1, KEY)] == [1]


# --- what a long loan may not do ---


def visited(plane, frames: list[Frame], seconds: float) -> tuple[list[int], int]:
    """Carries these, in blocks of 20, `seconds` a call; how many frames each call had, and how many datagrams left."""
    wire, calls, left, now = plane.wires[UP], [], 0, 10.0
    for first in range(0, len(frames), 20):
        wire.kernel.fill(frames[first : first + 20])
    while carried := plane.pipeline.carry(wire, 20, 200, 0, now).frames:
        calls.append(carried)
        left += len(plane.wires[D1].messages())
        now += seconds
    return calls, left


@pytest.fixture
def plane():
    made = []

    def make(*ports) -> Plane:
        made.append(Plane(*ports, capacity=256))
        for group in range(10):
            made[-1].join(D1, group=G + group)
        return made[-1]

    yield make
    for each in made:
        each.close()


FRAMES = [Frame(ip_packet(S, G + number % 10, payload=bytes(1288))) for number in range(100)]


def test_flows_that_keep_to_a_rate_limit_lose_nothing(plane):
    """A bucket holds 50 ms of its rate: a flow whose frames of a long loan leave together would not fit."""
    world = plane(port(UP, "upstream"), port(D1, "downstream", flow_rate_limit=400_000))
    world.pipeline.ports_changed()
    assert visited(world, FRAMES, 0.06) == ([20] * 5, 100)
    assert world.wires[D1].drops() == {}


def test_rings_that_are_listened_to_lend_no_more_than_is_carried_at_once(plane):
    """Or a flow would be silent for a loan, and its frames of before another took over leave after it did."""
    world = plane(port(UP, "upstream"), port(UP2, "upstream"), port(D1, "downstream"))
    for first in range(0, 100, 20):
        world.wires[UP].kernel.fill(FRAMES[first : first + 20])
    assert world.pipeline.carry(world.wires[UP], 20, 200, 0, 10.0).frames == 20
    assert not world.wires[UP].portions


def test_a_limit_that_falls_holds_for_what_is_dealt_out_already(plane):
    world = plane(port(UP, "upstream"), port(D1, "downstream"))
    wire = world.wires[UP]
    wire.kernel.fill([Frame(ip_packet(S, G + number % 10, payload=bytes([number] * 28))) for number in range(100)])
    assert world.pipeline.carry(wire, 50, 200, 0, 10.0).frames == 50
    sizes = []
    while carried := world.pipeline.carry(wire, 7, 200, 0, 10.0).frames:
        sizes.append(carried)
    assert (sum(sizes), max(sizes)) == (50, 7)
    left = [message[-1] for message in world.wires[D1].messages()]
    for group in range(10):
        numbers = [number for number in left if number % 10 == group]
        assert numbers == sorted(numbers)
        assert len(numbers) == 10


def test_portions_of_an_attacker_who_knows_their_key_say_nothing_of_the_flow_tables():
    """The worker draws a key for each."""
    world = Rig(port_of_rig(0), port_of_rig(1))
    try:
        assert world.worker._pipeline._key != world.worker._decisions.flows._key
    finally:
        world.close()
