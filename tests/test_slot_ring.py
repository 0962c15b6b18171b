"""The V2 ring over slots filled by hand in a bytearray, as tpacket_rcv() fills them."""

import itertools
import struct
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forwarder.dataplane.long_frames import LONGEST, SPARE
from forwarder.dataplane.ring import Batch
from forwarder.dataplane.slot_ring import A_FEW, SlotRing
from forwarder.packet.tpacket import (
    FRAME_SIZE,
    LONGEST_PACKET,
    NET_V2,
    TP_STATUS_COPY,
    TP_STATUS_KERNEL,
    TP_STATUS_LOSING,
    TP_STATUS_USER,
    TPACKET_V2,
    VNET_HDR_LENGTH,
    RingLayout,
)

LAYOUT = RingLayout(block_size=16384, block_nr=2, version=TPACKET_V2)  # 16 slots
SLOTS = LAYOUT.frame_nr
sizes = st.integers(20, 5000) | st.integers(64_000, 66_000) | st.integers(20, 200_000)


class Kernel:
    """The other side: fills slots in order, and queues what is longer than a slot. `note` outlives a worker."""

    def __init__(self, link_header: int = 14, slot: int = 0) -> None:
        self.buffer, self.link_header = bytearray(LAYOUT.size), link_header
        self.slot, self.clock = slot, 1
        self.queue: list[bytes] = []
        self.note = np.array([slot], np.uint64)
        self.reserved: set[int] = set()  # the rx_owner_map
        self.accepted = self.dropped = 0

    def fill(self, frame: bytes, queued: bool = True, stamp: tuple[int, int] | None = None) -> bool:
        at, mac = self.slot * FRAME_SIZE, NET_V2 - self.link_header
        if self.statuses()[self.slot] != TP_STATUS_KERNEL or self.slot in self.reserved:
            self.dropped += 1
            return False
        room = FRAME_SIZE - mac
        copied = TP_STATUS_COPY if len(frame) > room and queued else 0
        if copied:
            self.queue.append(bytes(VNET_HDR_LENGTH) + frame)
        self.buffer[at + mac : at + mac + min(len(frame), room)] = frame[:room]
        status = TP_STATUS_USER | copied | (TP_STATUS_LOSING if self.dropped else 0)
        fields = (status, len(frame), min(len(frame), room), mac, NET_V2, *(stamp or (7, self.clock)))
        struct.pack_into("=3I2H2I", self.buffer, at, *fields)
        self.slot, self.clock = (self.slot + 1) % SLOTS, self.clock + 1
        self.accepted += 1
        return True

    def refuse(self) -> None:
        """A frame that no vnet header describes: its slot stays reserved."""
        if self.statuses()[self.slot] == TP_STATUS_KERNEL:
            self.reserved.add(self.slot)
        self.dropped += 1

    def statistics(self) -> tuple[int, int]:
        """PACKET_STATISTICS: since the last call."""
        counted, self.accepted, self.dropped = (self.accepted, self.dropped), 0, 0
        return counted

    def statuses(self) -> list[int]:
        return [struct.unpack_from("=I", self.buffer, at)[0] for at in range(0, LAYOUT.size, FRAME_SIZE)]

    def give_back(self, slot: int) -> None:
        struct.pack_into("=I", self.buffer, slot % SLOTS * FRAME_SIZE, TP_STATUS_KERNEL)

    def queued(self) -> bytes:
        return self.queue.pop(0)[:LONGEST] if self.queue else b""

    def ring(self) -> SlotRing:
        return SlotRing(self.buffer, LAYOUT, self.note, self.queued)


def frames_of(batch: Batch) -> list[bytes]:
    places = zip(batch.mac.tolist(), batch.snaplen.tolist(), strict=True)
    return [batch.buffer[mac : mac + snaplen].tobytes() for mac, snaplen in places]


def drain(ring: SlotRing) -> list[bytes]:
    frames = []
    while ring.ready():
        assert ring.look(5)
        frames += frames_of(ring.batch())
        ring.release()
    assert not ring.look(5)
    return frames


def received(ring: SlotRing) -> Batch:
    assert ring.look()
    return ring.batch()


def shown(frame: bytes, link_header: int = 14) -> bytes:
    """What a slot has of a frame."""
    return frame[: FRAME_SIZE - NET_V2 + link_header]


def numbered(count: int, size: int = 60) -> list[bytes]:
    return [struct.pack("!I", number) + bytes(size - 4) for number in range(count)]


# --- frames of any length ---


@given(st.lists(st.lists(sizes, max_size=20), max_size=4), st.sampled_from([0, 14]))
@example([[LONGEST_PACKET + 14, LONGEST_PACKET + 15, 59 * 1110 + 42]], 14)
@example([[LONGEST_PACKET, LONGEST_PACKET + 1]], 0)
def test_frames_of_any_length_come_out_in_order_whole_or_truncated(bursts, link_header):
    kernel = Kernel(link_header)
    ring = kernel.ring()
    number = 0
    for burst in bursts:
        sent = []
        for size in burst:
            frame = struct.pack("!I", number) + bytes(size - 4)
            if kernel.fill(frame):
                sent.append(frame if size <= link_header + LONGEST_PACKET else shown(frame, link_header))
                number += 1
        assert drain(ring) == sent
        assert not any(kernel.statuses())


@pytest.mark.parametrize("link_header", [0, 14, 18, 28])
@pytest.mark.parametrize("more", [0, 1])
def test_a_long_frame_lies_as_in_a_ring_with_room_around_it(link_header, more):
    kernel = Kernel(link_header)
    size = link_header + LONGEST_PACKET + more
    kernel.fill(bytes(size))
    batch = received(kernel.ring())
    assert batch.length.tolist() == [size]
    assert (batch.snaplen < batch.length).tolist() == [bool(more)]
    assert (batch.net - batch.mac).tolist() == [link_header]
    assert batch.net[0] % 8 == 0
    assert batch.mac[0] >= VNET_HDR_LENGTH
    assert batch.mac[0] + batch.snaplen[0] <= len(batch.buffer) - (0 if more else SPARE)
    assert batch.words.view(np.uint8).ctypes.data == batch.address


def test_fields_are_absolute_offsets():
    kernel = Kernel()
    kernel.fill(b"x" * 50)
    kernel.fill(b"y" * 60)
    batch = received(kernel.ring())
    assert (batch.net - batch.mac).tolist() == [14, 14]
    assert (batch.net - batch.frame).tolist() == [NET_V2, NET_V2]
    assert (batch.snaplen.tolist(), batch.length.tolist(), batch.status.tolist()) == ([50, 60], [50, 60], [1, 1])


def test_a_long_frame_that_was_not_queued_shows_as_truncated():
    kernel = Kernel()
    kernel.fill(b"x" * 3000, queued=False)
    batch = received(kernel.ring())
    assert batch.length.tolist() == [3000]
    assert batch.snaplen[0] < 3000


fates = st.tuples(st.sampled_from([60, 3000, 3001]), st.sampled_from(["whole", "full", "taken", "left"]))


@given(st.lists(fates, max_size=SLOTS))
@example([(3000, "taken"), (3000, "whole"), (3000, "left"), (3000, "whole"), (3000, "whole")])
def test_queue_and_slots_stay_in_step(fates):
    """Frames of which the queue was full, a predecessor took the copy, or an error left the copy behind the slot."""
    kernel, expected = Kernel(), []
    for number, (size, fate) in enumerate(fates):
        frame = struct.pack("!I", number) + bytes(size - 4)
        if fate == "left":
            kernel.queue.append(bytes(VNET_HDR_LENGTH) + frame)
            continue
        kernel.fill(frame, queued=fate != "full")
        if fate == "taken" and size > 60:
            kernel.queue.pop()
        expected.append(frame if fate == "whole" else shown(frame))
    assert drain(kernel.ring()) == expected
    again = struct.pack("!I", 77) + bytes(2996)
    ring = kernel.ring()
    kernel.fill(again)
    assert drain(ring) == [again]
    assert kernel.queue == []


# --- what is lent, in three ways ---


@pytest.mark.parametrize("count", [1, 2, A_FEW - 1, A_FEW, A_FEW + 1, SLOTS - 2])
def test_frames_are_lent_one_by_one_and_as_a_span(count):
    kernel = Kernel()
    ring = kernel.ring()
    assert not ring.look()
    frames = numbered(count)
    assert all(map(kernel.fill, frames))
    most = min(count, SLOTS // 2)   # room for what comes in while they are lent
    assert (ring.look(), ring.left()) == (most, count)
    frames, count = frames[:most], most
    places = ring.singly()
    assert [bytes(ring.view[place.mac : place.mac + place.snaplen]) for place in places] == frames
    assert {(place.net - place.mac, place.length) for place in places} == {(14, 60)}
    assert ring.evenly() == [(0, FRAME_SIZE, count)]
    assert ring.status(0) & TP_STATUS_USER
    ring.release()
    assert (ring.look(), ring.position) == (ring.left(), count)


def test_a_frame_too_long_for_its_slot_is_lent_as_a_batch_alone():
    kernel = Kernel()
    ring = kernel.ring()
    for size in (60, 3000, 60):
        kernel.fill(b"a" * size)
    assert ring.look() == 1
    ring.release()
    assert (ring.look(), ring.singly(), ring.evenly(), ring.place(FRAME_SIZE)) == (1, None, None, None)
    assert frames_of(ring.batch()) == [b"a" * 3000]
    ring.release()
    assert (ring.look(), len(ring.singly())) == (1, 1)


def test_nothing_is_lent_twice():
    kernel = Kernel()
    ring = kernel.ring()
    kernel.fill(b"a" * 60)
    assert ring.look()
    with pytest.raises(RuntimeError):
        ring.look()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_loan_does_not_reach_around_the_end(count):
    kernel = Kernel(slot=SLOTS - 2)
    ring = kernel.ring()
    frames = numbered(count)
    assert all(map(kernel.fill, frames))
    assert ring.look(5) == min(count, 2)
    ring.release()
    assert drain(ring) == frames[2:]


# --- around the ring, and from one process to the next ---


def test_a_full_ring_is_read_around():
    kernel = Kernel()
    ring = kernel.ring()
    for _ in range(5):
        kernel.fill(b"a" * 60)
    drain(ring)
    frames = [bytes([number]) * 60 for number in range(SLOTS)]
    assert all(map(kernel.fill, frames))
    assert drain(ring) == frames


State = tuple[bytes, int]  # the ring's memory, and the note


def states(kernel: Kernel, functions: set[str], call: Callable[[], object]) -> list[State]:
    """What is in memory before and after each line of these functions while `call` runs: each has one store at most."""
    found: list[State] = []

    def look(frame, event, _):
        if frame.f_code.co_name in functions:
            found.append((bytes(kernel.buffer), int(kernel.note[0])))
        return look

    former = sys.gettrace()
    sys.settrace(look)
    try:
        call()
    finally:
        sys.settrace(former)
    assert len({note for _, note in found}) <= 2
    return found


def killed(kernel: Kernel, state: State, before: State | None, kept: int) -> None:
    """Memory as a process left it that was killed in this state, `kept` slots short of it: one store to many slots."""
    memory, kernel.note[0] = state
    kernel.buffer[:] = memory
    for slot in range(SLOTS if before else 0):
        if kept >> slot & 1 and not kernel.statuses()[slot]:
            kernel.buffer[slot * FRAME_SIZE : slot * FRAME_SIZE + 4] = before[0][slot * FRAME_SIZE :][:4]


stamps = st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 999_999_999))


@given(
    position=st.integers(0, SLOTS - 1),
    waiting=st.integers(0, SLOTS),
    limit=st.integers(1, SLOTS),
    stamps=st.lists(stamps, min_size=8, max_size=8).map(itertools.cycle),
    data=st.data(),
)
@settings(max_examples=1000, deadline=None)
def test_a_successor_goes_on_wherever_its_predecessors_were_killed(position, waiting, limit, stamps, data):
    """Killed between any two stores, one after the other; in between and afterwards more comes in."""
    kernel, names = Kernel(slot=position), map(b"%060d".__mod__, itertools.count())

    def fill(count: int) -> list[bytes]:
        return [name for name in itertools.islice(names, count) if kernel.fill(name, stamp=next(stamps))]

    def kill(seen: list[State]) -> None:
        at = data.draw(st.integers(0, len(seen) - 1), "killed at")
        killed(kernel, seen[at], seen[at - 1] if at else None, data.draw(st.integers(0, 2**SLOTS - 1), "not freed"))

    ring = kernel.ring()
    fill(SLOTS)  # a former round, so that every slot has a stamp
    drain(ring)
    unread = fill(waiting)
    in_hand = unread[: ring.look(limit)]
    kill(states(kernel, {"release", "_free_slots"}, ring.release))
    kill(states(kernel, {"_recover", "_free_slots"}, kernel.ring))
    unread += fill(data.draw(st.integers(0, SLOTS), "more"))
    successor = kernel.ring()
    got = drain(successor)
    repeated = len(got) - len(unread) + len(in_hand)
    assert 0 <= repeated <= len(in_hand)
    assert got == unread[len(in_hand) - repeated :]
    for _ in range(2 * SLOTS):
        assert fill(1) == drain(successor)


# --- deafness ---


operations = st.lists(st.sampled_from(["fill", "flood", "drain", "beat"]), max_size=40)


@given(operations, operations)
def test_a_ring_is_deaf_once_the_kernel_has_refused_a_frame_and_never_before(before, after):
    kernel = Kernel()
    ring = kernel.ring()

    def beats(operation: str) -> bool:
        for _ in range({"fill": 1, "flood": SLOTS + 3}.get(operation, 0)):
            kernel.fill(b"x" * 60)
        if operation == "drain":
            drain(ring)
        return operation == "beat" and ring.deaf(*kernel.statistics())

    assert True not in [beats(operation) for operation in before]
    drain(ring)
    kernel.refuse()
    for operation in after:
        beats(operation)
    drain(ring)
    beats("beat")
    assert (beats("fill"), beats("beat")) == (False, True)


def test_a_closed_ring_lets_go_of_its_buffer():
    kernel = Kernel()
    ring = kernel.ring()
    ring.close()
    ring.close()
    kernel.buffer.append(0)
