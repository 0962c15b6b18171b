"""UDP checksums of datagrams as they lie in a ring: a right one is known to be right, a wrong one never is."""

import numpy as np
import pytest
from batches import Frame, batch_of, ip_packet, udp
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.checksums import WORTH_A_VECTOR, valid_checksums

S, G = 0x0A630001, 0xEF010101


def datagram(number: int, size: int) -> bytes:
    """An IPv4 packet of its own flow, with a payload of its own."""
    payload = bytes((number * 31 + at * 7 + 1) & 255 for at in range(size))
    return ip_packet(S + number, G, udp(S + number, G, payload))


def judged(packets: list[bytes], order: list[int] | None = None, padding: bytes = b"\xa5" * 3) -> list[bool]:
    """What is said of packets, asked in this order; behind each is something that is not part of it."""
    batch = batch_of([Frame(packet, padding=padding) for packet in packets])
    frames = np.array(order or range(len(packets)), np.int64)
    lengths = np.array([len(packets[at]) for at in frames.tolist()], np.int64)
    pairs = np.array([int.from_bytes(packets[at][12:20], "big") for at in frames.tolist()], np.uint64)
    return valid_checksums(batch, frames, lengths, pairs).tolist()


def damaged(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes((packet[at] ^ 0x10,)) + packet[at + 1 :]


@pytest.mark.parametrize("size", [*range(9), 99, 100, 101, 102, 1316])
def test_every_octet_of_datagrams_of_any_length_counts(size):
    good = [datagram(number, size) for number in range(5)]
    assert judged(good) == [True] * 5
    for at in {20, 21, 24, 25, 26, 27, *range(28, min(28 + size, 40)), 27 + size}:
        assert judged([*good[:2], damaged(good[2], at), *good[3:]]) == [True, True, False, True, True]


def test_addresses_count():
    good = [datagram(number, 50) for number in range(4)]
    stranger = ip_packet(S + 9, G, good[2][20:])
    assert judged([*good[:2], stranger, good[3]]) == [True, True, False, True]


@pytest.mark.parametrize("count", range(1, 2 * WORTH_A_VECTOR))
def test_few_are_not_looked_at(count):
    assert judged([datagram(number, 100) for number in range(count)]) == [count >= WORTH_A_VECTOR] * count


def test_several_lengths_one_after_the_other_are_all_known():
    packets = [datagram(number, size) for number, size in enumerate([100] * 5 + [60] * 4 + [61] * 6 + [40] * 3)]
    assert judged(packets) == [True] * 15 + [False] * 3
    packets[7] = damaged(packets[7], 40)
    packets[12] = damaged(packets[12], 88)
    assert judged(packets) == [at not in (7, 12) for at in range(15)] + [False] * 3


def test_lengths_that_alternate_are_not_known():
    assert judged([datagram(number, 100 + number % 2 * 20) for number in range(12)]) == [False] * 12


def test_some_frames_of_a_batch_in_any_order():
    packets = [datagram(number, 100) for number in range(12)]
    packets[8] = damaged(packets[8], 50)
    order = [10, 2, 8, 0, 6, 4]     # every second one, as of interleaved flows
    assert judged(packets, order) == [True, True, False, True, True, True]


def test_the_longest_datagrams():
    packets = [datagram(number, 65_507) for number in range(4)]
    assert judged([*packets[:3], damaged(packets[3], 65_534)]) == [True, True, True, False]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 100, 101]), st.integers(0, 9)), min_size=1, max_size=24))
def test_nothing_is_taken_for_right_that_is_not(described):
    packets, right = [], []
    for number, (size, kind) in enumerate(described):
        packet = datagram(number, size)
        packets.append(packet if kind else damaged(packet, 27 + size))
        right.append(bool(kind))
    assert all(is_right for is_right, believed in zip(right, judged(packets), strict=True) if believed)
