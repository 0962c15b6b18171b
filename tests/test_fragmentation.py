import random

import pytest
from batches import Frame, address, batch_of, ip_packet, udp, vnet, word_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.fragmentation import cut, divide, finish_checksum, fragments
from forwarder.dataplane.frame import columns, decrement_ttl

A, G = address("10.99.0.1"), address("239.1.1.1")
ROUTER_ALERT = b"\x94\x04\0\0"
TIMESTAMP = b"\x44\x04\x05\x00"  # not copied


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


sizes = st.sampled_from([65_493, 65_494, 65_500, 65_507]) | st.integers(600, 65_507)
"""Of a UDP payload, up to the largest."""


def header_of(packet: bytes) -> bytes:
    return packet[: (packet[0] & 15) * 4]


def field(packet: bytes) -> int:
    return int.from_bytes(packet[6:8], "big")


def reassemble(pieces: list[bytes]) -> bytes:
    """The payload, from fragments of one packet in any order."""
    places = {(field(piece) & 0x1FFF) * 8: piece[len(header_of(piece)) :] for piece in pieces}
    first = min(places)
    payload = b""
    for at in sorted(places):
        assert at - first == len(payload)
        payload += places[at]
    return payload


def test_fragments_of_the_vector():
    """F-06: 1500 octets over an MTU of 1400."""
    packet = bytes.fromhex("450005dcbeef00003f11bcbb0a630001ef010101") + bytes(1480)
    first, second = fragments(packet, 1400)
    assert (header_of(first).hex(), len(first)) == ("45000574beef20003f119d230a630001ef010101", 1396)
    assert (header_of(second).hex(), len(second)) == ("4500007cbeef00ac3f11c16f0a630001ef010101", 124)


def test_options_with_the_copy_bit_go_into_every_fragment():
    packet = ip_packet(A, G, bytes(100), options=TIMESTAMP + b"\x01" + ROUTER_ALERT + b"\0\0\0")
    first, *others = fragments(packet, 68)
    assert header_of(first)[20:] == header_of(packet)[20:]
    assert {header_of(other)[20:] for other in others} == {ROUTER_ALERT}


def test_options_that_are_copied_fill_whole_words():
    option = b"\x83\x03\x04"     # of three octets, to be copied
    both = option + ROUTER_ALERT + b"\0"
    alone = option + b"\0"
    expected = {alone: alone, b"\x01" + option: alone, ROUTER_ALERT: ROUTER_ALERT, both: both}
    for options, later in expected.items():
        pieces = fragments(ip_packet(A, G, bytes(100), options=options), 68)
        assert header_of(pieces[0])[20:] == options
        assert {header_of(piece)[20:] for piece in pieces[1:]} == {later}


def test_malformed_options_end_the_list():
    packet = ip_packet(A, G, bytes(100), options=ROUTER_ALERT + b"\x83\x00\x94\x04")
    assert {header_of(other)[20:] for other in fragments(packet, 68)[1:]} == {ROUTER_ALERT}


def test_a_fragment_is_fragmented_further():
    """F-09: the offset goes on, and the last keeps the flag of more fragments."""
    pieces = fragments(ip_packet(A, G, bytes(64), fragment=0x2000 | 100), 52)
    assert [field(piece) for piece in pieces] == [0x2000 | 100, 0x2000 | 104]


def test_what_fits_is_left_alone():
    packet = ip_packet(A, G, bytes(1480))
    assert fragments(packet, 1500) == [packet]


def test_no_room_for_a_fragment():
    with pytest.raises(ValueError, match="no room"):
        fragments(ip_packet(A, G, bytes(100)), 27)


@pytest.mark.parametrize("size", [80, 60_000])
def test_a_fragment_that_ends_where_no_packet_does(size):
    """Its pieces would have offsets that run into the flags."""
    ends = ip_packet(A, G, bytes(size), fragment=(65_536 - size) // 8)
    with pytest.raises(ValueError, match="ends at 65536"):
        fragments(ends, 68)


@settings(deadline=None)
@given(
    payload=st.binary(min_size=0, max_size=600) | sizes.map(noise),
    mtu=st.integers(68, 700) | st.sampled_from([1500, 9000, 65_535, 65_536]),
    offset=st.sampled_from([0, 0, 1, 1000]),
    more=st.sampled_from([0, 0x2000]),
    options=st.lists(st.sampled_from([ROUTER_ALERT, TIMESTAMP, b"\x01" * 4]), max_size=10).map(b"".join),
)
def test_fragments_carry_the_whole_payload(payload, mtu, offset, more, options):
    payload = payload[: min(65_535 - 8 * offset, 65_515 - len(options))]
    packet = ip_packet(A, G, payload, fragment=more | offset, options=options)
    pieces = fragments(packet, mtu)
    assert reassemble(pieces) == payload
    assert all(len(piece) == int.from_bytes(piece[2:4], "big") <= mtu for piece in pieces)
    assert all(word_sum(header_of(piece)) == 0xFFFF for piece in pieces)
    assert [bool(field(piece) & 0x2000) for piece in pieces] == [True] * (len(pieces) - 1) + [bool(more)]
    assert field(pieces[0]) & 0x1FFF == offset


def unfinished(payload: bytes) -> bytes:
    """A datagram as a local sender leaves it: the checksum field holds the pseudo-header's sum."""
    datagram = udp(A, G, payload)
    pseudo = A.to_bytes(4, "big") + G.to_bytes(4, "big") + b"\x00\x11" + len(datagram).to_bytes(2, "big")
    return datagram[:6] + word_sum(pseudo).to_bytes(2, "big") + datagram[8:]


@settings(deadline=None)
@given(st.binary(max_size=100), st.sampled_from([b"", ROUTER_ALERT]))
def test_an_unfinished_checksum_is_finished(payload, options):
    packet = ip_packet(A, G, unfinished(payload), options=options)
    assert finish_checksum(packet, 20 + len(options), 6) == ip_packet(A, G, udp(A, G, payload), options=options)


@pytest.mark.parametrize(("start", "offset"), [(19, 6), (20, 27), (48, 0)])
def test_a_checksum_outside_the_packet(start, offset):
    with pytest.raises(ValueError, match="no checksum"):
        finish_checksum(ip_packet(A, G, bytes(28)), start, offset)


@settings(deadline=None)
@given(
    st.tuples(st.binary(max_size=300), st.integers(1, 310)) | st.tuples(sizes.map(noise), st.integers(500, 65_535)),
    st.integers(0, 0xFFFF),
    st.sampled_from([b"", ROUTER_ALERT]),
)
def test_a_super_datagram_is_cut_into_datagrams(made, identification, options):
    payload, gso_size = made[0][: 65_507 - len(options)], made[1]
    whole = ip_packet(A, G, unfinished(payload), identification=identification, fragment=0x4000, options=options)
    parts = [payload[at : at + gso_size] for at in range(0, len(payload), gso_size)] or [b""]
    assert cut(whole, gso_size) == [
        ip_packet(
            A, G, udp(A, G, part), identification=identification + number & 0xFFFF, fragment=0x4000, options=options
        )
        for number, part in enumerate(parts)
    ]


@pytest.mark.parametrize(("packet", "gso_size"), [(ip_packet(A, G, bytes(7)), 10), (ip_packet(A, G, bytes(8)), 0)])
def test_what_cannot_be_cut(packet, gso_size):
    with pytest.raises(ValueError, match="cannot cut"):
        cut(packet, gso_size)


def test_a_frame_is_divided_for_its_egress():
    payload = bytes(range(250)) * 8
    unfinished_frame = Frame(ip_packet(A, G, unfinished(payload)), vnet=vnet(1, start=34, offset=6))
    super_frame = Frame(ip_packet(A, G, unfinished(payload)), vnet=vnet(1, 5, 42, 900, 34, 6))
    plain = Frame(ip_packet(A, G, udp(A, G, payload)))
    batch = batch_of([unfinished_frame, super_frame, plain])
    header = columns(batch, 14)
    decrement_ttl(header.rows)
    for frame in (0, 2):
        (pieces,) = divide(batch, header, frame, 1500)
        assert reassemble(pieces) == udp(A, G, payload)
    datagrams = [datagram for (datagram,) in divide(batch, header, 1, 1500)]
    assert [datagram[20:] for datagram in datagrams] == [udp(A, G, payload[at : at + 900]) for at in (0, 900, 1800)]
    assert {datagram[8] for datagram in datagrams} == {63}
    smaller = divide(batch, header, 1, 500)
    assert [len(pieces) for pieces in smaller] == [2, 2, 1]
    assert reassemble(smaller[0]) == udp(A, G, payload[:900])


@pytest.mark.parametrize(("mtu", "pieces"), [(928, [1, 1, 1]), (927, [0, 0, 1])])
def test_datagrams_of_a_super_frame_that_must_not_be_divided_go_where_they_just_fit(mtu, pieces):
    payload = bytes(2000)
    frame = Frame(ip_packet(A, G, unfinished(payload), fragment=0x4000), vnet=vnet(1, 5, 42, 900, 34, 6))
    batch = batch_of([frame])
    assert [len(each) for each in divide(batch, columns(batch, 14), 0, mtu)] == pieces
