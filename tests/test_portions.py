"""A batch in portions: nothing is lost or doubled, flows stay whole and in order."""

from random import Random

from batches import Frame, batch_of, ip_packet
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.portions import portions

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
    where: dict[bytes, set[int]] = {}
    for number, portion in enumerate(dealt):
        assert portion.net.tolist() == sorted(portion.net.tolist())
        for at in range(len(portion.frame)):
            order.setdefault(flow_of(portion, at), []).append(int(portion.net[at]))
            where.setdefault(flow_of(portion, at), set()).add(number)
    assert all(places == sorted(places) for places in order.values())
    divided = [numbers for numbers in where.values() if len(numbers) > 1]
    assert sum(len(numbers) - 1 for numbers in divided) <= len(dealt) - 1   # one at each boundary, if any


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
