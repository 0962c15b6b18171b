"""Batches divided for an MTU, against packets divided one by one."""

import ctypes
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from batches import Frame, address, batch_of, ip_packet, udp, vnet
from egress import wire_packets
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fragmentation import ROUTER_ALERT, noise, unfinished

from forwarder.dataplane.division import BUDGET, MOST, ODD, Division
from forwarder.dataplane.forwarding import outgoing
from forwarder.dataplane.fragmentation import divide, fragments
from forwarder.dataplane.frame import Columns, columns, decrement_ttl
from forwarder.dataplane.pieces import Pieces
from forwarder.dataplane.ring import Batch

A, G = address("10.99.0.1"), address("239.1.1.1")
DF, MORE = 0x4000, 0x2000
LINK = Frame(b"").link
LIMITLESS = 1 << 40


def divided(batch: Batch, header: Columns, mtu: int, segmentation: bool = True, most: int = LIMITLESS, wanted=None):
    frames = np.arange(len(batch.net))
    wanted = np.ones(len(frames), np.bool_) if wanted is None else np.array(wanted)
    leaving = outgoing(header, frames, np.ones((len(frames), 1), np.uint64))
    return Division(header, batch, frames, leaving).pieces(wanted, mtu, segmentation, most)


def messages(pieces: Pieces) -> list[bytes]:
    """What the kernel would be given, message by message."""
    starts = (pieces.blocks[n, :size].tobytes() for n, size in enumerate(pieces.header_length.tolist()))
    rests = zip(pieces.address.tolist(), pieces.length.tolist(), strict=True)
    return [start + ctypes.string_at(*rest) for start, rest in zip(starts, rests, strict=True)]


def by_frame(pieces: Pieces) -> list[list[bytes]]:
    made = messages(pieces)
    return [made[at : at + n] for at, n in zip(pieces.first.tolist(), pieces.count.tolist(), strict=True)]


def is_too_long(frame: Frame, mtu: int) -> bool:
    header, size = (frame.packet[0] & 15) * 4, int.from_bytes(frame.vnet[4:6], "little")
    longest = min(header + 8 + size, len(frame.packet)) if frame.vnet[1] else len(frame.packet)
    return longest > mtu


def expected(batch: Batch, header: Columns, at: int, frame: Frame, mtu: int, segmentation: bool):
    """Messages of one frame and how many datagrams of it are lost, the slow way."""
    is_super, df = frame.vnet[1] == 5, frame.packet[6] & DF >> 8
    if not is_too_long(frame, mtu) and (segmentation or not is_super):
        return [frame.vnet + frame.link + header.rows[at, 24:44].tobytes() + frame.packet[20:]], 0
    if df and not is_super:
        return [], 0
    try:
        packets = divide(batch, header, at, mtu)
    except ValueError:
        payload, size = len(frame.packet) - (frame.packet[0] & 15) * 4 - 8, int.from_bytes(frame.vnet[4:6], "little")
        return [], max(-(-payload // size), 1) if is_super else 1
    return [bytes(10) + frame.link + each for datagram in packets for each in datagram], packets.count([])


class Long(NamedTuple):
    """A frame in words, so that failures can be read."""

    kind: str
    size: int
    options: bytes
    flags: int
    gso_size: int
    csum_start: int

    def frame(self) -> Frame:
        payload, start = noise(self.size)[: 65_507 - len(self.options)], 34 + len(self.options)
        if self.kind in ("plain", "padded"):
            packet = ip_packet(A, G, udp(A, G, payload), fragment=self.flags, options=self.options)
            return Frame(packet, padding=bytes(9 * (self.kind == "padded")))
        flags = self.flags & (DF | 0x8000)
        packet = ip_packet(A, G, unfinished(payload), fragment=flags, options=self.options)
        offloads = {
            "unfinished": vnet(1, 0, 0, 0, start, 6),
            "elsewhere": vnet(1, 0, 0, 0, self.csum_start, 16),
            "super": vnet(1, 5, start + 8, self.gso_size, start, 6),
            "ufo": vnet(1, 3, start + 8, self.gso_size, start, 6),
        }
        return Frame(packet, vnet=offloads[self.kind])


long_frames = st.builds(
    Long,
    st.sampled_from(["plain", "padded", "unfinished", "unfinished", "super", "ufo", "elsewhere"]),
    st.sampled_from([0, 1, 548, 1472, 8900, 65_493, 65_494, 65_507]) | st.integers(0, 65_507),
    st.sampled_from([b"", b"", b"", ROUTER_ALERT, b"\x01" * 40]),
    st.sampled_from([0, 0, 0, DF, MORE, MORE | 100, 8000, 0x8000]),
    st.sampled_from([1448, 1480]) | st.integers(500, 65_535),
    st.sampled_from([34, 14, 35, 65_535]),
)
mtus = st.sampled_from([28, 68, 100, 576, 1499, 1500, 9000, 65_535, 65_536]) | st.integers(68, 65_536)


@settings(deadline=None, max_examples=200)
@given(st.lists(long_frames, min_size=1, max_size=4), mtus, st.booleans())
def test_every_frame_becomes_what_it_becomes_alone(drawn, mtu, segmentation):
    frames = [each.frame() for each in drawn]
    batch = batch_of(frames)
    header = columns(batch, 14)
    decrement_ttl(header.rows)
    pieces = divided(batch, header, mtu, segmentation)
    wanted = [expected(batch, header, at, frame, mtu, segmentation) for at, frame in enumerate(frames)]
    for at, (found, (right, lost)) in enumerate(zip(by_frame(pieces), wanted, strict=True)):
        if found or not right:
            assert [len(message) for message in found] == [len(message) for message in right]
            assert (found == right, pieces.lost[at]) == (True, lost)
        else:
            room = (mtu - (frames[at].packet[0] & 15) * 4) & ~7
            most = len(frames[at].packet) + drawn[at].gso_size  # the last of a super-frame's datagrams counts in full
            assert ODD * (most // room + 2 * pieces.datagrams[at]) > MOST
            assert pieces.lost[at] == pieces.datagrams[at]
    assert all(len(message) <= 24 + 65_535 for message in messages(pieces))


@settings(deadline=None)
@given(st.lists(long_frames, min_size=1, max_size=4), mtus)
def test_packets_and_bytes_are_those_on_the_wire(drawn, mtu):
    frames = [
        each.frame() for each in drawn if each.kind not in ("ufo", "elsewhere") and 1024 <= each.gso_size < 65_535
    ]
    batch = batch_of(frames)
    pieces = divided(batch, columns(batch, 14), mtu) if frames else Pieces.room(*[np.zeros(0, np.int64)] * 4)
    for message, several, octets in zip(messages(pieces), pieces.several, pieces.octets, strict=True):
        packets = wire_packets(bytes(10) + message[10:] if message[1] == 0 else message, 14, LINK[6:12])
        assert (several, octets) == (len(packets), sum(map(len, packets)))


def test_a_finished_checksum_is_never_zero():
    """Datagrams whose checksum comes out as 0, which would say that there is none."""
    payload = bytearray(noise(3000))
    payload[:2] = (int.from_bytes(udp(A, G, bytes(2) + payload[2:])[6:8], "big")).to_bytes(2, "big")
    frame = Frame(ip_packet(A, G, unfinished(bytes(payload))), vnet=vnet(1, 0, 0, 0, 34, 6))
    batch = batch_of([frame])
    first = messages(divided(batch, columns(batch, 14), 1500))[0]
    assert first[24 + 26 : 24 + 28] == b"\xff\xff" == udp(A, G, bytes(payload))[6:8]


def test_frames_that_are_not_wanted_take_no_room():
    batch = batch_of([Frame(ip_packet(A, G, noise(3000)))] * 4)
    pieces = divided(batch, columns(batch, 14), 1500, wanted=[False, True, False, True], most=3)
    assert (pieces.count.tolist(), pieces.lost.tolist()) == ([0, 3, 0, 0], [0, 0, 0, 1])


def test_what_is_over_the_budget_is_lost_as_datagrams_and_what_fits_is_not():
    long = Frame(ip_packet(A, G, noise(3000)))
    many = Frame(ip_packet(A, G, unfinished(noise(6000))), vnet=vnet(1, 5, 42, 2000, 34, 6))
    batch = batch_of([long, Frame(ip_packet(A, G, noise(100))), long, many, long])
    pieces = divided(batch, columns(batch, 14), 1500, most=4)
    assert (pieces.count.tolist(), pieces.lost.tolist()) == ([3, 1, 3, 0, 0], [0, 0, 0, 3, 1])


@pytest.mark.parametrize("options", [b"", ROUTER_ALERT])
@pytest.mark.parametrize("most", [1, 10, BUDGET])
def test_the_first_always_goes_and_the_work_is_bounded(options, most):
    batch = batch_of([Frame(ip_packet(A, G, noise(8900), options=options))] * 1000)
    pieces = divided(batch, columns(batch, 14), 1500, most=most)
    each = len(fragments(ip_packet(A, G, noise(8900), options=options), 1500))
    cost = each * (ODD if options else 1)
    assert pieces.count.sum() == min(-(-most // cost), 1000) * each


def test_a_super_frame_of_thousands_of_datagrams_is_not_cut():
    """One that would take the time of several batches alone, and has no room in the messages."""
    tiny = Frame(ip_packet(A, G, unfinished(noise(65_000))), vnet=vnet(1, 5, 42, 10, 34, 6))
    batch = batch_of([tiny, replace(tiny, vnet=vnet(1, 5, 42, 1000, 34, 6))])
    pieces = divided(batch, columns(batch, 14), 1500, segmentation=False)
    assert (pieces.count.tolist(), pieces.lost.tolist()) == ([0, 65], [6500, 0])
