import numpy as np
import pytest
from batches import Frame, address, batch_of, ip_packet, udp, vnet, word_sum
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane.frame import (
    ROW,
    Columns,
    columns,
    decrement_ttl,
    headerless,
    packet,
    set_destination_mac,
    source_word,
)
from forwarder.state.reasons import Reason

A, G = address("10.99.0.1"), address("239.1.1.1")
NEEDS_CSUM = vnet(1, start=34, offset=6)


def look(frame: Frame, link_header: int = 14) -> Columns:
    return columns(batch_of([frame]), link_header)


def defect(frame: Frame, link_header: int = 14) -> int:
    return int(look(frame, link_header).defect[0])


def rows_of(*headers: bytes) -> np.ndarray:
    rows = b"".join(bytes(24) + header + bytes(12) for header in headers)
    return np.frombuffer(rows, ROW).copy()


def test_columns_read_the_header():
    frame = Frame(ip_packet(A, G, bytes(30), ttl=9, tos=0xB8, identification=7, fragment=0x4000))
    header = look(frame)
    assert (int(header.source[0]), int(header.group[0]), int(header.total_length[0])) == (A, G, 50)
    row = header.rows[0]
    assert (header.ttl[0], row["tos"], row["protocol"], header.header_length[0]) == (9, 0xB8, 17, 20)
    assert (row["identification"], row["fragment"]) == (7, 0x4000)
    assert header.valid.all()
    assert not header.defective


def test_rows_are_the_bytes_before_and_after_the_ip_header():
    frame = Frame(ip_packet(payload=bytes(range(28))), vnet=NEEDS_CSUM)
    assert look(frame).rows[0].tobytes() == (frame.vnet + frame.link + frame.packet)[: ROW.itemsize]


def test_an_empty_batch_has_empty_columns():
    assert columns(batch_of([]), 14).rows.shape == (0,)


@pytest.mark.parametrize("payload", range(12))
def test_a_short_frame_at_the_very_end_of_the_ring_is_read(payload):
    header = columns(batch_of([Frame(ip_packet()), Frame(ip_packet(payload=bytes(payload)))], tail=0), 14)
    assert header.valid.all()
    assert header.total_length[1] == 20 + payload


TTL_VECTORS = [  # RFC 1624 eqn. 3
    ("450000301234000040116e230a630001ef010101", "45000030123400003f116f230a630001ef010101"),
    ("4500003000010000ff11c1550a630001ef010101", "4500003000010000fe11c2550a630001ef010101"),
    ("45000030ffff00000211be570a630001ef010101", "45000030ffff00000111bf570a630001ef010101"),
    ("45000030815700004011feff0a630001ef010101", "45000030815700003f1100000a630001ef010101"),
    ("45000030815800004011fefe0a630001ef010101", "45000030815800003f11fffe0a630001ef010101"),
    ("45000030815600004011ff000a630001ef010101", "45000030815600003f1100010a630001ef010101"),
    ("4500003080570000401100000a630001ef010101", "45000030805700003f1101000a630001ef010101"),
    ("45000030805800004011fffe0a630001ef010101", "45000030805800003f1100ff0a630001ef010101"),
    ("4500003080570000" + "4011ffff0a630001ef010101", "45000030805700003f1101000a630001ef010101"),
]


def test_ttl_decrement_updates_the_checksum():
    """F-01 and F-02, as one batch."""
    rows = rows_of(*(bytes.fromhex(before) for before, _ in TTL_VECTORS))
    decrement_ttl(rows)
    assert [row.tobytes()[24:44].hex() for row in rows] == [after for _, after in TTL_VECTORS]


def test_a_checksum_of_ffff_verifies():
    """F-02: what a sender puts for 0x0000."""
    assert defect(Frame(bytes.fromhex(TTL_VECTORS[-1][0]) + bytes(28))) == 0


@given(st.integers(1, 255), st.integers(0, 0xFFFF), st.integers(1, 0xFFFFFFFF))
def test_ttl_decrement_equals_a_full_computation(ttl, identification, source):
    rows = rows_of(ip_packet(source, G, b"", ttl=ttl, identification=identification))
    decrement_ttl(rows)
    assert rows[0].tobytes()[24:44] == ip_packet(source, G, b"", ttl=ttl - 1, identification=identification)


def test_outgoing_frame():
    """F-07: group MAC, the egress's MAC, IPv4, TTL - 1; padding is not copied."""
    frame = Frame(ip_packet(A, G, b"payload", tos=0x20), link=bytes(12) + b"\x08\x00", padding=bytes(19))
    batch = batch_of([frame])
    header = columns(batch, 14)
    decrement_ttl(header.rows)
    set_destination_mac(header.rows, header.group)
    header.rows["source"] = source_word(bytes.fromhex("020000000101"))
    assert header.rows[0].tobytes()[10:24].hex() == "01005e010101" + "020000000101" + "0800"
    assert packet(batch, header, 0) == ip_packet(A, G, b"payload", tos=0x20, ttl=63)


@given(st.integers(0xE0000000, 0xEFFFFFFF))
def test_destination_mac_keeps_the_low_23_bits(group):
    rows = rows_of(ip_packet(A, group, b""))
    rows["csum_offset"] = 6
    set_destination_mac(rows, np.array([group], np.uint32))
    assert rows[0].tobytes()[8:16] == b"\x06\x00\x01\x00\x5e" + (group & 0x7FFFFF).to_bytes(3, "big")


GOOD = ip_packet(A, G, bytes(28))


def with_byte(at: int, value: int) -> bytes:
    """GOOD with one byte changed and the checksum made right again."""
    header = bytearray(GOOD)
    header[at], header[10:12] = value, b"\0\0"
    covered = max((header[0] & 15) * 4, 20)
    header[10:12] = (0xFFFF ^ word_sum(bytes(header[:covered]))).to_bytes(2, "big")
    return bytes(header)


# RFC 4541 2.1.2 f
@pytest.mark.parametrize(
    "bad",
    [
        Frame(GOOD[:10] + bytes([GOOD[10] ^ 1]) + GOOD[11:]),
        Frame(with_byte(0, 0x55)),
        Frame(with_byte(0, 0x44)),
        Frame(with_byte(3, 19)),
        Frame(with_byte(3, len(GOOD) + 1)),
        Frame(GOOD[:19]),
        Frame(GOOD, link=bytes(16) + b"\x08\x00"),
        Frame(ip_packet(options=b"\x01" * 4)[:20]),
        Frame(ip_packet(options=b"\x01" * 4).replace(b"\x01\x01\x01\x01", b"\x01\x01\x01\x02")),
        Frame(ip_packet(A, G, bytes(20), protocol=6), vnet=vnet(1, 1, 54, 1000, 34, 16)),
        Frame(ip_packet(A, G, bytes(20), fragment=0x2000), vnet=vnet(1, 5, 42, 1000, 34, 6)),
        Frame(ip_packet(A, G, bytes(20)), vnet=vnet(1, 5, 42, 0, 34, 6)),
    ],
)
def test_malformed(bad):
    """F-10, the link header's length, and super-frames that cannot be."""
    assert defect(bad) == Reason.MALFORMED


@pytest.mark.parametrize("cut", [1, 28, 40, 48, 62])
def test_truncated_frames_are_not_forwarded(cut):
    assert defect(Frame(GOOD, cut=cut)) == Reason.TRUNCATED


@pytest.mark.parametrize(
    "good",
    [
        Frame(GOOD, padding=bytes(6)),
        Frame(ip_packet(options=b"\x94\x04\0\0")),
        Frame(ip_packet(options=b"\x01" * 40, payload=b"")),
        Frame(ip_packet(fragment=0x2000 | 185)),
        Frame(ip_packet(A, G, bytes(9000)), vnet=vnet(1, 5, 42, 1400, 34, 6)),
    ],
)
def test_sound_frames(good):
    """F-09 among them: a fragment is a packet like others."""
    header = look(good)
    assert header.defect[0] == 0
    assert not header.defective


def test_defects_stay_with_their_frames():
    frames = [Frame(GOOD), Frame(with_byte(0, 0x55)), Frame(GOOD, cut=3), Frame(ip_packet(options=b"\x01" * 8))]
    assert columns(batch_of(frames), 14).defect.tolist() == [0, Reason.MALFORMED, Reason.TRUNCATED, 0]


def test_data_valid_is_not_passed_on():
    header = look(Frame(GOOD, vnet=vnet(2)))
    assert header.rows[0].tobytes()[:10] == bytes(10)
    assert look(Frame(GOOD, vnet=vnet(3, start=34, offset=6))).rows[0].tobytes()[:10] == NEEDS_CSUM


def test_rows_without_link_header_get_the_ethernet_form():
    header = look(Frame(GOOD, link=b"", vnet=vnet(1, 0, 28, 0, 20, 6)), link_header=0)
    assert header.rows[0].tobytes()[:10] == vnet(1, 0, 42, 0, 34, 6)
    assert header.rows[0].tobytes()[22:24] == b"\x08\x00"
    assert header.rows[0].tobytes()[24:44] == GOOD[:20]
    assert header.valid[0]


def test_ethernet_rows_for_an_egress_without_link_header():
    rows = look(Frame(GOOD, vnet=vnet(1, 5, 42, 1000, 34, 6))).rows
    lowered = headerless(rows)
    assert lowered[0].tobytes()[14:44] == vnet(1, 5, 28, 1000, 20, 6) + GOOD[:20]
    assert rows[0].tobytes()[:10] == vnet(1, 5, 42, 1000, 34, 6)


def test_a_vnet_header_without_offsets_is_not_shifted():
    assert headerless(look(Frame(GOOD)).rows)[0].tobytes()[14:24] == bytes(10)


@given(st.integers(0, 1), st.integers(0, 400), st.integers(20, 60))
def test_link_forms_are_inverse(flags, hdr_len, start):
    header = vnet(flags, 0, hdr_len and hdr_len + 14, 0, flags * (start + 14), 6)
    lowered = headerless(look(Frame(GOOD, vnet=header)).rows)
    again = look(Frame(GOOD, link=b"", vnet=lowered[0].tobytes()[14:24]), link_header=0)
    assert again.rows[0].tobytes()[:10] == header


@pytest.mark.parametrize("options", [b"", b"\x94\x04\0\0"])
def test_a_super_frame_of_finished_datagrams_gets_a_seed(options):
    super_datagram = udp(A, G, bytes(range(256)) * 8)
    batch = batch_of([Frame(ip_packet(A, G, super_datagram, options=options), vnet=vnet(0, 5, 42, 1000))])
    header = columns(batch, 14)
    start = 34 + len(options)
    assert header.rows[0].tobytes()[:10] == vnet(1, 5, start + 8, 1000, start, 6)
    pseudo = A.to_bytes(4, "big") + G.to_bytes(4, "big") + b"\x00\x11" + len(super_datagram).to_bytes(2, "big")
    at = 20 + len(options) + 6
    assert packet(batch, header, 0)[at : at + 2] == word_sum(pseudo).to_bytes(2, "big")
    assert header.supers.tolist() == [0]
    if not options:
        assert header.rows[0].tobytes()[50:52] == word_sum(pseudo).to_bytes(2, "big")


def test_a_seed_in_place_is_left_alone():
    batch = batch_of([Frame(ip_packet(A, G, bytes(2000)), vnet=vnet(1, 5, 42, 1000, 34, 6))])
    before = batch.buffer.tobytes()
    columns(batch, 14)
    assert batch.buffer.tobytes() == before
