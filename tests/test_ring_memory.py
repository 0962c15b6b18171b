"""How memory is divided among rings: within the bound, upstream first, whatever comes in which order."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.packet.tpacket import TPACKET_V2, TPACKET_V3, RingLayout
from forwarder.state import ring_memory
from forwarder.state.ring_memory import DOWNSTREAM, LEAST, UPSTREAM, divide, full, octets, smaller, worthwhile

ROLES = st.dictionaries(st.integers(0, 63), st.sampled_from(["upstream", "downstream"]), min_size=1, max_size=64)
FREE, KEPT = st.integers(0, 4000), st.integers(0, 300)


@given(FREE, ROLES, KEPT)
def test_no_more_is_given_than_there_is_and_no_ring_is_smaller_than_the_least_or_larger_than_it_should_be(
    free, roles, kept
):
    parts = divide(free, roles, kept)
    assert parts.keys() == roles.keys()
    assert sum(parts.values()) <= free
    assert all(part == 0 or LEAST <= part <= full(roles[index]) for index, part in parts.items())


@given(FREE, ROLES, KEPT)
def test_every_port_has_the_least_before_one_has_more(free, roles, kept):
    parts = divide(free, roles, kept)
    if 0 in parts.values():
        assert sum(part > 0 for part in parts.values()) == free // LEAST
        assert sum(part - LEAST for part in parts.values() if part) < LEAST     # what is left would be no ring
        served = [roles[index] for index, part in parts.items() if part]
        without = [roles[index] for index, part in parts.items() if not part]
        assert "downstream" not in served or "upstream" not in without


@given(FREE, ROLES, KEPT)
def test_downstream_ports_share_what_is_left_when_upstream_ports_have_all_they_should(free, roles, kept):
    parts = divide(free, roles, kept)
    upstream = [part for index, part in parts.items() if roles[index] == "upstream"]
    downstream = [part for index, part in parts.items() if roles[index] == "downstream"]
    if any(part > LEAST for part in downstream):
        assert set(upstream) <= {UPSTREAM}
    for alike in (upstream, downstream):
        if alike and 0 not in parts.values():
            assert max(alike) - min(alike) <= 1


@given(FREE, ROLES, KEPT)
def test_what_is_kept_back_is_there_for_ports_that_come(free, roles, kept):
    parts = divide(free, roles, kept)
    if max(parts.values()) > LEAST:
        assert free - sum(parts.values()) >= kept


@given(FREE, ROLES, KEPT, st.randoms(use_true_random=False))
def test_the_order_in_which_ports_take_their_parts_changes_nothing(free, roles, kept, random):
    whole, left, waiting = divide(free, roles, kept), free, dict(roles)
    for index in random.sample(sorted(roles), len(roles)):
        part = divide(left, waiting, kept)[index]
        assert part == whole[index]
        left -= part
        del waiting[index]


@given(st.integers(1 << 20, 1 << 30), st.integers(1, 32), ROLES, st.integers(0, 64))
def test_rings_of_all_workers_are_within_the_memory_given(memory, workers, roles, coming):
    free = ring_memory.free_blocks(memory, 0, workers)
    parts = divide(free, roles, ring_memory.kept_back(coming, memory, workers))
    assert octets(sum(parts.values()) * workers) <= memory
    if memory >= ring_memory.least_memory(len(roles), workers):
        assert 0 not in parts.values()


def test_by_default_a_few_ports_have_all_they_should():
    free = ring_memory.free_blocks(160 << 20, 0, 1)
    parts = divide(free, {0: "upstream", 1: "downstream", 2: "downstream"}, ring_memory.kept_back(61, 160 << 20, 1))
    assert parts == {0: UPSTREAM, 1: DOWNSTREAM, 2: DOWNSTREAM}


@pytest.mark.parametrize("version", [TPACKET_V2, TPACKET_V3])
def test_a_block_costs_the_same_whatever_the_ring(version):
    assert RingLayout(block_nr=7, version=version).size == octets(7)


@given(st.integers(LEAST, 4096))
def test_what_the_kernel_refuses_is_halved_down_to_the_least(blocks):
    tried = [blocks]
    while (next_one := smaller(tried[-1])) is not None:
        tried.append(next_one)
    assert tried[-1] == LEAST
    assert all(after == max(before // 2, LEAST) for before, after in pairwise(tried))


@given(st.integers(LEAST, UPSTREAM), st.integers(0, UPSTREAM), st.sampled_from(["upstream", "downstream"]))
def test_a_ring_gives_way_to_one_that_is_whole_or_twice_as_large(now, then, role):
    if worthwhile(now, then, role):
        assert then > now
        assert then >= 2 * now or then >= full(role)
    if now < full(role):
        assert worthwhile(now, full(role), role)
