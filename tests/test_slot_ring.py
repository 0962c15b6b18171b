"""The V2 ring over slots filled by hand in a bytearray, as tpacket_rcv() fills them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.dataplane.ring import Batch
from forwarder.dataplane.slot_ring import SlotRing
from forwarder.packet.tpacket import FRAME_SIZE, NET_V2, TP_STATUS_COPY, TP_STATUS_USER, TPACKET_V2, RingLayout

LAYOUT = RingLayout(block_size=16384, block_nr=2, version=TPACKET_V2)  # 16 slots


class Kernel:
    """The other side: fills slots in order, and queues what is longer than a slot."""

    def __init__(self, link_header: int = 14) -> None:
        self.buffer, self.link_header = bytearray(LAYOUT.size), link_header
        self.slot, self.clock = 0, 1
        self.queue: list[bytes] = []

    def fill(self, frame: bytes, queued: bool = True) -> bool:
        at, mac = self.slot * FRAME_SIZE, NET_V2 - self.link_header
        if self.statuses()[self.slot] & TP_STATUS_USER:
            return False
        room = FRAME_SIZE - mac
        copied = TP_STATUS_COPY if len(frame) > room and queued else 0
        if copied:
            self.queue.append(bytes(10) + frame)
        self.buffer[at + mac : at + mac + min(len(frame), room)] = frame[:room]
        fields = (TP_STATUS_USER | copied, len(frame), min(len(frame), room), mac, NET_V2, 7, self.clock)
        struct.pack_into("=3I2H2I", self.buffer, at, *fields)
        self.slot, self.clock = (self.slot + 1) % LAYOUT.frame_nr, self.clock + 1
        return True

    def statuses(self) -> list[int]:
        return [struct.unpack_from("=I", self.buffer, at)[0] for at in range(0, LAYOUT.size, FRAME_SIZE)]

    def queued(self) -> bytes:
        return self.queue.pop(0) if self.queue else b""

    def ring(self, position: int | None = None) -> SlotRing:
        return SlotRing(self.buffer, LAYOUT, position, self.queued)


def frames_of(batch: Batch) -> list[bytes]:
    places = zip(batch.mac.tolist(), batch.snaplen.tolist(), strict=True)
    return [batch.buffer[mac : mac + snaplen].tobytes() for mac, snaplen in places]


def drain(ring: SlotRing) -> list[bytes]:
    frames = []
    while ring.ready():
        frames += frames_of(ring.receive(5))
        ring.release()
    assert ring.receive(5) is None
    return frames


@given(st.lists(st.lists(st.integers(20, 5000), max_size=20), max_size=6), st.sampled_from([0, 14]))
def test_frames_of_any_length_come_out_in_order(bursts, link_header):
    kernel = Kernel(link_header)
    ring = kernel.ring()
    number = 0
    for burst in bursts:
        sent = []
        for size in burst:
            frame = struct.pack("!I", number) + bytes(size - 4)
            if kernel.fill(frame):
                sent.append(frame)
                number += 1
        assert drain(ring) == sent
        assert not any(kernel.statuses())


def test_fields_are_absolute_offsets():
    kernel = Kernel()
    kernel.fill(b"x" * 50)
    kernel.fill(b"y" * 60)
    batch = kernel.ring().receive()
    assert (batch.net - batch.mac).tolist() == [14, 14]
    assert (batch.net - batch.frame).tolist() == [NET_V2, NET_V2]
    assert (batch.snaplen.tolist(), batch.length.tolist(), batch.status.tolist()) == ([50, 60], [50, 60], [1, 1])


def test_a_long_frame_that_was_not_queued_shows_as_truncated():
    kernel = Kernel()
    kernel.fill(b"x" * 3000, queued=False)
    batch = kernel.ring().receive()
    assert batch.length.tolist() == [3000]
    assert batch.snaplen[0] < 3000


def test_a_handful_is_lent_frame_by_frame():
    kernel = Kernel()
    ring = kernel.ring()
    assert ring.few(2) == []
    kernel.fill(b"a" * 60)
    kernel.fill(b"b" * 70)
    frames = ring.few(2)
    assert [bytes(ring.view[frame.mac : frame.mac + frame.snaplen]) for frame in frames] == [b"a" * 60, b"b" * 70]
    assert [(frame.net - frame.mac, frame.length) for frame in frames] == [(14, 60), (14, 70)]
    ring.release()
    assert (ring.few(2), ring.position) == ([], 2)


def test_more_than_a_handful_and_long_frames_are_not_lent_singly():
    kernel = Kernel()
    ring = kernel.ring()
    for _ in range(3):
        kernel.fill(b"a" * 60)
    assert ring.few(2) is None
    drain(ring)
    kernel.fill(b"a" * 3000)
    assert ring.few(2) is None


def test_a_full_ring_is_read_around():
    kernel = Kernel()
    ring = kernel.ring()
    for _ in range(5):
        kernel.fill(b"a" * 60)
    drain(ring)
    frames = [bytes([number]) * 60 for number in range(LAYOUT.frame_nr)]
    assert all(map(kernel.fill, frames))
    assert ring.few(100) is None
    assert drain(ring) == frames


@pytest.mark.parametrize("before", [0, 3, 16, 21])
@pytest.mark.parametrize("waiting", [0, 4, 16])
def test_a_successor_goes_on_where_its_predecessor_stood(before, waiting):
    kernel = Kernel()
    first = kernel.ring()
    for _ in range(before):
        kernel.fill(b"old" * 20)
        drain(first)
    first.close()
    frames = [bytes([number]) * 60 for number in range(waiting)]
    for frame in frames:
        kernel.fill(frame)
    successor = kernel.ring()
    assert drain(successor) == frames
    kernel.fill(b"new" * 20)
    assert drain(successor) == [b"new" * 20]


def test_a_closed_ring_lets_go_of_its_buffer():
    kernel = Kernel()
    ring = kernel.ring()
    ring.close()
    ring.close()
    kernel.buffer.append(0)
