"""The ring over blocks built by hand in a bytearray, as tpacket_rcv() lays them out."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.ring import Batch, Place, ReceiveRing
from forwarder.packet.tpacket import NET, TP_STATUS_KERNEL, TP_STATUS_USER, RingLayout

LAYOUT = RingLayout(block_size=4096, block_nr=4)
FIRST = 48  # offset_to_first_pkt without a private area


class Kernel:
    """The other side of a ring: fills blocks in order and opens the next one, as prb_open_block() does."""

    def __init__(self, layout: RingLayout = LAYOUT, link_header: int = 14) -> None:
        self.layout, self.link_header = layout, link_header
        self.buffer = bytearray(layout.size)
        self.block, self.sequence = 0, 1
        self._open()

    def fill(self, frames: list[bytes]) -> None:
        """Puts frames into the open block and retires it."""
        start = self.block * self.layout.block_size
        at = start + FIRST
        for number, frame in enumerate(frames):
            size = (NET - self.link_header + len(frame) + 7) // 8 * 8
            following = size if number + 1 < len(frames) else 0
            mac = NET - self.link_header
            struct.pack_into(
                "=6I2H", self.buffer, at, following, 0, 0, len(frame), len(frame) + number, 1 | number << 8, mac, NET
            )
            self.buffer[at + mac : at + mac + len(frame)] = frame
            at += size
        assert at <= start + self.layout.block_size
        struct.pack_into("=3I", self.buffer, start + 8, TP_STATUS_USER, len(frames), FIRST)
        self.block = (self.block + 1) % self.layout.block_nr
        self._open()

    def status(self) -> list[int]:
        return [
            struct.unpack_from("=I", self.buffer, block * self.layout.block_size + 8)[0]
            for block in range(self.layout.block_nr)
        ]

    def _open(self) -> None:
        if self.status()[self.block] == TP_STATUS_KERNEL:
            struct.pack_into("=Q", self.buffer, self.block * self.layout.block_size + 24, self.sequence)
            self.sequence += 1


def frames_of(batch: Batch) -> list[bytes]:
    return [
        batch.buffer[mac : mac + snaplen].tobytes()
        for mac, snaplen in zip(batch.mac.tolist(), batch.snaplen.tolist(), strict=True)
    ]


def receive(ring: ReceiveRing, limit: int = 1024) -> Batch | None:
    return ring.batch() if ring.look(limit) else None


def few(ring: ReceiveRing) -> list[Place] | None:
    return ring.singly() if ring.look() else []


def numbered(count: int, size: int = 20) -> list[bytes]:
    return [struct.pack("!I", number) + bytes(size - 4) for number in range(count)]


def test_nothing_is_ready_in_a_fresh_ring():
    assert receive(ReceiveRing(Kernel().buffer, LAYOUT)) is None


@pytest.mark.parametrize("link_header", [0, 14])
def test_frame_fields_are_absolute_offsets(link_header: int):
    kernel = Kernel(link_header=link_header)
    kernel.fill([b"x" * 50, b"y" * 61])
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch is not None
    assert frames_of(batch) == [b"x" * 50, b"y" * 61]
    assert (batch.net - batch.frame).tolist() == [NET, NET]
    assert (batch.net - batch.mac).tolist() == [link_header] * 2
    assert (batch.snaplen.tolist(), batch.length.tolist()) == ([50, 61], [50, 62])
    assert batch.status.tolist() == [1, 1 | 1 << 8]
    assert (batch.frame % 8 == 0).all()
    assert {column.dtype for column in (batch.frame, batch.mac, batch.net, batch.snaplen, batch.length)} == {
        np.dtype(np.int64)
    }


def test_words_and_buffer_view_the_same_memory():
    kernel = Kernel()
    kernel.fill([b"z" * 64])
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch is not None
    word = int(batch.net[0]) >> 3
    assert batch.words[word : word + 1].tobytes() == b"z" * 8
    batch.buffer[batch.net[0]] = ord("!")
    assert kernel.buffer[int(batch.net[0])] == ord("!")


def test_all_ready_blocks_make_one_batch_and_go_back_in_order():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    kernel.fill([b"a" * 30])
    kernel.fill([b"b" * 30, b"c" * 31])
    batch = receive(ring)
    assert batch is not None
    assert [frame[:1] for frame in frames_of(batch)] == [b"a", b"b", b"c"]
    assert kernel.status() == [1, 1, 0, 0]
    assert ring.ready()
    ring.release()
    assert kernel.status() == [0, 0, 0, 0]
    assert ring.position == 2
    assert not ring.ready()
    assert receive(ring) is None


def test_position_moves_at_release_only():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    kernel.fill([b"a" * 30])
    assert receive(ring) is not None
    assert ring.position == 0
    ring.release()
    assert ring.position == 1


def test_limit_stops_before_a_block_that_exceeds_it():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    for _ in range(3):
        kernel.fill(numbered(10))
    sizes = []
    while (batch := receive(ring, 25)) is not None:
        sizes.append(len(batch.frame))
        ring.release()
    assert sizes == [20, 10]


def test_a_block_beyond_the_limit_is_lent_whole():
    kernel = Kernel()
    kernel.fill(numbered(20))
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT), 5)
    assert batch is not None
    assert len(batch.frame) == 20


def test_receiving_again_before_release_is_a_bug():
    kernel = Kernel()
    kernel.fill([b"a" * 30])
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    receive(ring)
    with pytest.raises(RuntimeError):
        receive(ring)


def test_a_full_ring_is_lent_once_and_by_halves():
    """What is lent may be kept for long, and the kernel needs room meanwhile."""
    kernel = Kernel()
    for number in range(4):
        kernel.fill([b"%d" % number * 30])
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    for expected in ([b"0", b"1"], [b"2", b"3"]):
        batch = receive(ring)
        assert batch is not None
        assert [frame[:1] for frame in frames_of(batch)] == expected
        ring.release()
    assert (ring.position, receive(ring)) == (0, None)


@given(
    st.lists(
        st.lists(st.integers(20, 90), min_size=1, max_size=18)
        | st.builds(lambda size, count: [size] * count, st.integers(20, 90), st.integers(1, 18)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 60),
)
@settings(max_examples=200)
def test_every_frame_is_lent_once_and_in_order(blocks: list[list[int]], limit: int):
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    sent: list[bytes] = []
    seen: list[bytes] = []
    for block in blocks:
        frames = [bytes([number]) * size for number, size in enumerate(block)]
        sent += frames
        kernel.fill(frames)
        if kernel.status().count(TP_STATUS_USER) == LAYOUT.block_nr or len(sent) % 3 == 0:
            seen += drain(ring, limit)
    assert seen + drain(ring, limit) == sent


def drain(ring: ReceiveRing, limit: int) -> list[bytes]:
    seen: list[bytes] = []
    while (batch := receive(ring, limit)) is not None:
        seen += frames_of(batch)
        ring.release()
    return seen


def test_a_chain_that_only_begins_regular_is_walked():
    kernel = Kernel()
    frames = [bytes([number]) * 40 for number in range(18)]
    frames[5] = b"\xff" * 80
    kernel.fill(frames)
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch is not None
    assert frames_of(batch) == frames


def test_a_detour_that_meets_the_regular_grid_again_is_not_taken_for_regular():
    kernel = Kernel()
    frames = [bytes([number]) * 40 for number in range(20)]
    frames[3] = frames[3][:24]  # one step short, the next as much longer: middle and end lie on the grid
    frames[4] = frames[4] + bytes(16)
    kernel.fill(frames)
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch is not None
    assert frames_of(batch) == frames


def test_successor_takes_the_oldest_ready_block_whatever_was_noted():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    for number in range(3):
        kernel.fill([b"%d" % number * 30])
    drain(ring, 1000)
    for number in range(3, 6):
        kernel.fill([b"%d" % number * 30])
    assert ReceiveRing(kernel.buffer, LAYOUT, position=None).position == 3
    assert ReceiveRing(kernel.buffer, LAYOUT, position=1).position == 3
    assert [frame[:1] for frame in drain(ReceiveRing(kernel.buffer, LAYOUT), 1000)] == [b"3", b"4", b"5"]


def test_successor_waits_at_the_open_block_when_none_is_ready():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    for _ in range(5):
        kernel.fill([b"x" * 30])
        drain(ring, 1000)
    assert ReceiveRing(kernel.buffer, LAYOUT).position == ring.position == 1


def test_noted_position_counts_in_a_ring_that_was_never_opened():
    assert ReceiveRing(bytearray(LAYOUT.size), LAYOUT, position=2).position == 2
    assert ReceiveRing(bytearray(LAYOUT.size), LAYOUT).position == 0


def test_address_is_where_the_buffer_lies():
    kernel = Kernel()
    kernel.fill([b"x" * 30])
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch.address == np.frombuffer(kernel.buffer, np.uint8).ctypes.data


def test_closed_ring_lets_go_of_its_buffer():
    kernel = Kernel()
    kernel.fill([b"x" * 30])
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    batch = receive(ring)
    ring.close()
    ring.close()
    with pytest.raises(BufferError):
        kernel.buffer.append(0)
    del batch
    kernel.buffer.append(0)


def test_a_handful_is_lent_frame_by_frame():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    assert few(ring) == []
    kernel.fill([b"a" * 30])
    kernel.fill([b"b" * 30, b"c" * 31])
    frames = few(ring)
    assert frames is not None
    assert [bytes(ring.view[frame.mac : frame.mac + frame.snaplen]) for frame in frames] == [
        b"a" * 30,
        b"b" * 30,
        b"c" * 31,
    ]
    assert [(frame.net - frame.mac, frame.length) for frame in frames] == [(14, 30), (14, 30), (14, 32)]
    ring.release()
    assert (kernel.status(), ring.position, few(ring)) == ([0, 0, 0, 0], 2, [])


def refuse(kernel: Kernel, *numbers: int) -> None:
    """Makes frames of the first block what the kernel leaves of those whose vnet header it cannot make."""
    at = FIRST
    for number in range(max(numbers) + 1):
        following = struct.unpack_from("=I", kernel.buffer, at)[0]
        if number in numbers:  # written is the way to the next and a status without TP_STATUS_USER, no more
            struct.pack_into("=4I2H", kernel.buffer, at + 8, 0xDEAD, 0xFFFF_FFF0, 7, 0, 0xFFFE, 9)
        at += following


@pytest.mark.parametrize("numbers", [(0,), (2,), (0, 1, 2), (19,), tuple(range(20))])
def test_what_the_kernel_could_not_fill_is_no_frame(numbers: tuple[int, ...]):
    kernel = Kernel()
    frames = [bytes([number]) * 40 for number in range(20)]
    kernel.fill(frames)
    refuse(kernel, *numbers)
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    assert few(ring) is None
    batch = ring.batch()
    assert frames_of(batch) == [frame for number, frame in enumerate(frames) if number not in numbers]
    assert (ring.place(FIRST) is None) == (0 in numbers)


def test_spans_are_offered_where_frames_may_lie_evenly():
    kernel = Kernel()
    ring = ReceiveRing(kernel.buffer, LAYOUT)
    kernel.fill([b"a" * 30] * 3)
    kernel.fill([b"b" * 30])
    kernel.fill([b"c" * 30] * 4)
    assert ring.left() == 8
    assert ring.look(5) == 4
    assert ring.evenly() == [(48, 128, 3), (4096 + 48, 0, 1)]
    ring.release()
    assert (ring.position, ring.left()) == (2, 4)
    struct.pack_into("=I", kernel.buffer, 2 * 4096 + 48, 1 << 20)  # a step out of the block
    assert ring.look() == 4
    assert ring.evenly() is None


@given(
    st.lists(st.sampled_from([0, 1, 8, 40, 48, 112, 144, 160, 1362, 4000, 4096, 0x700062, 0xFFFF_FFF8]), max_size=40),
    st.integers(0, 200),
    st.integers(0, 5000),
)
def test_whatever_a_block_says_nothing_outside_it_is_lent(words: list[int], count: int, first: int):
    buffer = bytearray(LAYOUT.size)
    content = struct.pack(f"={len(words) + 1}I", *words, 0)
    buffer[:4096] = (content * 4096)[:4096]
    struct.pack_into("=3I", buffer, 8, TP_STATUS_USER, count, first)
    ring = ReceiveRing(buffer, LAYOUT, 0)
    ring.position = 0
    assert ring.look(1000) == min(count, LAYOUT.most_frames)
    if not count:
        assert (ring.position, ring.ready()) == (1, False)
        return
    for frame in ring.singly() or []:
        assert 0 <= frame.mac <= frame.mac + frame.snaplen <= 4096
    for span in ring.evenly() or []:
        assert span.first + span.step * (span.frames - 1) + NET + 24 <= 4096
    batch = ring.batch()
    assert (batch.net - batch.frame == NET).all()
    assert (batch.mac + batch.snaplen <= 4096).all()


def test_spans_reach_no_further_than_their_frames_and_their_block():
    """What the kernel never writes: a step shorter than a frame, a last frame that ends behind its block."""
    for following, snaplen, count in ((120, 30, 3), (144, 30, 29), (1000, 900, 5)):
        kernel = Kernel()
        kernel.fill([b"a" * 30] * 3)
        struct.pack_into("=I8xI", kernel.buffer, FIRST, following, snaplen)
        struct.pack_into("=I", kernel.buffer, 12, count)
        ring = ReceiveRing(kernel.buffer, LAYOUT)
        assert ring.look() == min(count, LAYOUT.most_frames)
        assert ring.evenly() is None


def test_frames_are_at_multiples_of_eight_whatever_the_ring_says():
    """Headers are read as words of eight octets: a chain of even steps of four more would be read beside itself."""
    kernel = Kernel()
    kernel.fill([b"x" * 30] * 20)
    step = 148      # of four, not of eight
    for at in range(FIRST, FIRST + 20 * step, step):
        struct.pack_into("=I", kernel.buffer, at, step if at < FIRST + 19 * step else 0)
    batch = receive(ReceiveRing(kernel.buffer, LAYOUT))
    assert batch is not None
    assert not (batch.frame & 7).any()
