"""The index under the flow table: finds what was entered, and whoever chooses the pairs cannot make it worse."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.pair_index import OVERFLOW, PairIndex, _multipliers

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
PLAIN_KEY = (1, 1)  # both places of a pair are the same, and pairs that differ in low bits only share them
G, COUNT = 0xEF010101, 4096
NUMBERS = np.arange(COUNT, dtype=np.uint64)


def pairs_of(values) -> np.ndarray:
    return np.array(list(values), np.uint64)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize("step", [1, 1 << 10, 1 << 54])
def test_pairs_that_share_a_place_are_all_found(step):
    index = PairIndex(PLAIN_KEY)
    chain = [G + step * number for number in range(30)]
    for row, pair in enumerate(chain):
        assert index.add(pairs_of([pair]), rows(row)).all()
    index.remove(pairs_of(chain[3:9]))
    assert index.find(pairs_of(chain)).tolist() == [-1 if 3 <= row < 9 else row for row in range(len(chain))]
    index.add(pairs_of([chain[5]]), rows(77))
    assert index.find(pairs_of([chain[5], chain[-1]])).tolist() == [77, len(chain) - 1]
    assert len(index) == 25


def test_what_finds_no_room_is_refused_and_nothing_else_is_lost():
    index = PairIndex(PLAIN_KEY)
    chain = pairs_of(G + number for number in range(OVERFLOW + 10))
    entered = index.add(chain, np.arange(len(chain)))
    assert np.count_nonzero(entered) == len(index) == OVERFLOW + 1
    assert index.find(chain).tolist() == np.where(entered, np.arange(len(chain)), -1).tolist()
    assert index.slots == PairIndex(PLAIN_KEY).slots


def test_the_index_grows_and_forgets_and_shrinks():
    index = PairIndex(KEY)
    for generation in range(5):
        pairs = pairs_of((generation * 3000 + number) << 32 | G for number in range(3000))
        for start in range(0, 3000, 100):
            assert index.add(pairs[start : start + 100], np.arange(start, start + 100)).all()
        assert index.find(pairs).tolist() == list(range(3000))
        assert index.slots <= 16 * 3000 * 2
        index.remove(pairs)
        assert index.find(pairs).tolist() == [-1] * 3000
        assert (len(index), index.slots) == (0, PairIndex(KEY).slots)


def test_the_pair_that_marks_empty_slots_is_never_found():
    index = PairIndex(PLAIN_KEY)
    index.add(pairs_of([G]), rows(5))
    index.remove(pairs_of([G]))
    assert (index.find(pairs_of([0])).tolist(), index.find_one(0)) == ([-1], -1)


@settings(deadline=None)
@given(st.sets(st.integers(1, 2**64 - 1), max_size=600), st.sampled_from([KEY, PLAIN_KEY]), st.data())
def test_a_loaded_index_finds_all_and_nothing_else(pairs, key, data):
    index, ordered = PairIndex(key), sorted(pairs)
    index.load(pairs_of(ordered), np.arange(len(ordered)))
    assert index.find(pairs_of(ordered)).tolist() == list(range(len(ordered)))
    assert [index.find_one(pair) for pair in ordered] == list(range(len(ordered)))
    other = data.draw(st.integers(1, 2**64 - 1))
    assert index.find(pairs_of([other])).tolist() == [ordered.index(other) if other in pairs else -1]


def together(sources: np.ndarray, groups: np.ndarray | int) -> np.ndarray:
    return sources.astype(np.uint64) << np.uint64(32) | np.uint64(groups) if isinstance(groups, int) else (
        sources.astype(np.uint64) << np.uint64(32) | groups.astype(np.uint64)
    )


def scattered(bits: tuple[int, ...]) -> np.ndarray:
    """Pairs that differ in these bits only."""
    made = np.full(COUNT, 0xE << 28, np.uint64)
    for number, bit in enumerate(bits):
        made ^= (NUMBERS >> np.uint64(number) & np.uint64(1)) << np.uint64(bit)
    return made


RANDOM = np.random.default_rng(3918)
SOURCE = np.full(COUNT, 0x0A000001, np.uint64)
FAMILIES = {
    "sources in a row, a group of few bits": together(0x0A000000 + NUMBERS, 0xEF000000),
    "sources in a row": together(0x0A000000 + NUMBERS, G),
    "sources a step apart": together(NUMBERS * np.uint64(999_983) & np.uint64(0xFFFF_FFFF), 0xE8000001),
    "sources of which only high bits differ": together(NUMBERS << np.uint64(20), 0xEF000000),
    "sources of which only high bits differ, a group of many bits": together(NUMBERS << np.uint64(20), 0xEFFFFFFF),
    "sources of which only middle bits differ": together(NUMBERS << np.uint64(12), G),
    "sources whose halves agree": together(NUMBERS * np.uint64(0x10001), 0xEF000000),
    "groups in a row": together(SOURCE, 0xEF000000 + NUMBERS),
    "groups of which only high bits differ": together(SOURCE, 0xE0000000 + (NUMBERS << np.uint64(16))),
    "sources and groups in step": together(0x0A000000 + NUMBERS, 0xEF000000 + NUMBERS),
    "sources and groups in opposite steps": together(0x0A000000 + NUMBERS, 0xEF000FFF - NUMBERS),
    "a grid": together((NUMBERS >> np.uint64(6)) << np.uint64(26), 0xEF000000 + (NUMBERS & np.uint64(63))),
    **{
        f"bits {bits}": scattered(bits)
        for bits in (tuple(RANDOM.choice(64, 12, replace=False).tolist()) for _ in range(8))
    },
}
KEYS = [tuple(int.from_bytes(RANDOM.bytes(8)) | 1 for _ in range(2)) for _ in range(12)]


def misplaced(index: PairIndex, pairs: np.ndarray) -> int:
    """How many pairs do not lie in their first place: what more than one wants, and so what work there was."""
    return int(np.count_nonzero(index._pairs[index._place(index._mix(pairs), 2)] != pairs))


def entered(key: tuple[int, int], pairs: np.ndarray) -> PairIndex:
    index = PairIndex(key)
    assert index.add(pairs[: COUNT // 2], np.arange(COUNT // 2)).all()
    assert index.add(pairs[COUNT // 2 :], np.arange(COUNT // 2, len(pairs))).all()
    return index


@pytest.mark.parametrize("name", FAMILIES)
def test_chosen_pairs_are_no_worse_than_random_ones(name):
    chosen, by_chance = np.unique(FAMILIES[name]), np.unique(RANDOM.integers(1 << 60, 1 << 63, COUNT, np.uint64))
    for key in KEYS:
        index, usual = entered(key, chosen), entered(key, by_chance)
        assert index.slots <= usual.slots
        assert not index._overflow
        assert misplaced(index, chosen) <= 1.5 * misplaced(usual, by_chance) + 20


def test_sources_that_used_to_share_a_slot_whatever_the_key_freeze_nothing():
    """Slots came from the low bits of a product, so sources whose low bits agree met in one."""
    sources = pairs_of(((number << 18 | 0x1F) << 32 | G) & (1 << 64) - 1 for number in range(444))
    for key in KEYS:
        index, began = PairIndex(key), time.perf_counter()
        for row, pair in enumerate(sources):
            index.add(pair[None], rows(row))
        assert index.find(sources).tolist() == list(range(444))
        assert index.slots <= 16 * 444
        assert time.perf_counter() - began < 1.0


@given(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
def test_all_multipliers_are_odd(first, second):
    """An even one would lose bits of what it multiplies."""
    assert all(each & 1 and each >> 64 == 0 for each in _multipliers((2 * first + 1, 2 * second + 1)))
