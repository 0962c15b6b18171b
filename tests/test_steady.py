from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from batches import Frame
from effort import lines
from egress import ALONE, TOGETHER, egress_port
from hypothesis import given, settings
from hypothesis import strategies as st
from rings import Kernel
from test_scalar import Ingress, flows_of, scalar_of
from test_segmentation import A, G, by_flow, datagram, forwarded, mixes, on_link
from test_segmentation import World as Reference

from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.fib import Decision
from forwarder.dataplane.paths import Paths
from forwarder.dataplane.steady import Steady
from forwarder.dataplane.transmitter import Transmitter
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import TX_BYTES, TX_PACKETS
from igmp.checksum import checksum

DF = 0x4000
OWN = b"\2\0\0\0\0\7"


class World:
    """Flows, the ways to `ports`, and what recognises streams in the ring of `ingress`."""

    def __init__(self, frames: list[Frame], ports: dict, fanout: Fanout = ALONE, link_header: int = 14) -> None:
        self.kernel = Kernel()
        self.ingress = Ingress(link_header, ring=self.kernel.ring)
        paths = Paths(flows_of(frames, Decision(Reason.FORWARD, sum(1 << index for index in ports))), ports)
        self.steady = Steady(scalar_of(paths, OWN), 1024)
        self.transmitter = Transmitter(ports, fanout, 1024)
        self.transmitter.segments = 64

    def carry(self, frames: list[Frame]) -> bool:
        """Whether the frames, put into the ring, were one stream and sent."""
        self.kernel.fill([on_link(frame, self.ingress.link_header) for frame in frames])
        spans = self.ingress.ring.evenly() if self.ingress.ring.look() else None
        recognised = self.steady.recognise(self.ingress, spans) if spans else None
        if recognised:
            assert recognised.frames == len(frames)
            self.transmitter.send_stream(recognised)
        self.ingress.ring.release()
        return recognised is not None


def carry(frames: list[Frame], ports: dict, fanout: Fanout = ALONE, link_header: int = 14) -> bool:
    return World(frames, ports, fanout, link_header).carry(frames)


def stream(count: int, size: int = 100, first: int = 0, **fields: object) -> list[Frame]:
    return [datagram(n, size, identification=(first + n) & 0xFFFF, **fields) for n in range(count)]


REFERENCE = Reference(True, 65535, 1, 14, 14)


@settings(deadline=None)
@given(
    st.lists(st.integers(2, 140), min_size=1, max_size=3),
    st.sampled_from([1, 100, 1316, 1472, 8972, 32753, 65465, 65466, 65493, 65494, 65507]),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, DF]),
    st.sampled_from(["unfinished", "valid"]),
)
def test_a_steady_stream_leaves_as_the_scalar_reference_sends_it(counts, size, first, fragment, how):
    """Batch after batch of different lengths: what is kept from one to the next may not show."""
    counts = [min(count, max(2, 90_000 // size)) for count in counts]
    frames = stream(sum(counts), size, first, fragment=fragment, how=how)
    with egress_port(1, 65535) as one, egress_port(2, 65535) as two:
        for port in (one, two):  # one after the other, since a socket pair holds little
            world, left = World(frames, {port.port.index: port}), frames
            sent, messages = [], 0
            for count in counts:
                batch, left = left[:count], left[count:]
                assert world.carry(batch)
                sent += port.packets()
                messages += -(-count // max(1, min(64, 65493 // size)))
            assert by_flow(sent) == by_flow([each for frame in frames for each in forwarded(frame, REFERENCE)])
            assert port.messages == messages
            assert int(port.counters[TX_PACKETS]) == len(frames)
            assert int(port.counters[TX_BYTES]) == len(frames) * (size + 42)


@settings(deadline=None)
@given(st.integers(2, 140), st.sampled_from([0, DF]))
def test_two_threads_send_to_every_port_what_one_does(count, fragment):
    frames = stream(count, fragment=fragment)
    expected = [each for frame in frames for each in forwarded(frame, REFERENCE)]
    with egress_port(1) as one, egress_port(2) as two:
        two.mac = bytes.fromhex("02000000aa02")
        assert carry(frames, {1: one, 2: two}, fanout=TOGETHER)
        for port in (one, two):
            assert by_flow(port.packets()) == by_flow(expected)
            assert int(port.counters[TX_PACKETS]) == count


@settings(deadline=None, max_examples=500)
@given(st.lists(mixes(), min_size=1, max_size=3))
def test_other_batches_are_carried_as_the_reference_sends_them_or_refused(batches):
    """One after the other: a stream that is remembered is not taken for another."""
    with egress_port(1) as port:
        world = World([frame for batch in batches for frame in batch], {1: port})
        for frames in batches:
            sent = frames if world.carry(frames) else []
            reference = Reference(True, 1500, 1, 14, 14)
            assert by_flow(port.packets()) == by_flow([each for frame in sent for each in forwarded(frame, reference)])


def changed(frames: list[Frame], at: int, **changes: object) -> list[Frame]:
    return [*frames[:at], replace(frames[at], **changes), *frames[at + 1 :]]


def without_checksum(frame: Frame) -> Frame:
    """The datagram as its sender would send it without UDP checksum; drivers vouch for such too."""
    return replace(frame, packet=frame.packet[:26] + bytes(2) + frame.packet[28:])


def with_another_seed(frame: Frame) -> Frame:
    """The datagram with a checksum to be finished from what is not the sum of its pseudo header."""
    return replace(frame, packet=frame.packet[:27] + bytes([frame.packet[27] ^ 1]) + frame.packet[28:])


GOOD = stream(5, fragment=DF)
FINISHED = stream(5, fragment=DF, how="valid")


@pytest.mark.parametrize(
    "frames",
    [
        GOOD[:1],
        [*GOOD, datagram(5, 99, fragment=DF)],
        [*GOOD, datagram(5, 100, fragment=DF, ttl=3)],
        [*GOOD, datagram(5, 100, fragment=DF, flow=(A, G + 1))],
        [*GOOD, datagram(5, 100, fragment=DF, ports=(1, 2))],
        stream(2) + stream(2),
        stream(5, fragment=DF, how="finished"),
        stream(5, fragment=DF, how="damaged"),
        stream(5, fragment=DF, how="none"),
        stream(5, fragment=DF, how="trailing"),
        stream(5, fragment=0x2000),
        stream(5, fragment=DF, ttl=1),
        stream(5, 1480, fragment=DF),
        stream(5, 0, fragment=DF),
        [*FINISHED[:2], without_checksum(FINISHED[2]), *FINISHED[3:]],
        [*FINISHED[:4], without_checksum(FINISHED[4])],
        [without_checksum(frame) for frame in FINISHED],
        [with_another_seed(frame) for frame in GOOD],
        [replace(frame, vnet=bytes(10)) for frame in GOOD],
        changed(GOOD, 4, status=0x80),
        changed(FINISHED, 2, status=1),
        changed(GOOD, 2, padding=b"12"),
        changed(GOOD, 2, cut=1),
        changed(GOOD, 2, packet=GOOD[2].packet[:10] + b"\x12\x34" + GOOD[2].packet[12:]),
        changed(GOOD, 2, link=GOOD[2].link[:6] + b"\2\0\0\0\0\7\x08\0"),
        [replace(frame, link=frame.link[:6] + b"\2\0\0\0\0\7\x08\0") for frame in GOOD],
    ],
)
def test_whatever_is_not_steady_is_refused_before_anything_was_sent(frames):
    with egress_port(1) as port:
        assert (carry(frames, {1: port}), port.packets(), int(port.counters.sum())) == (False, [], 0)
        world = World([*GOOD, *FINISHED, *frames], {1: port})
        assert world.carry(GOOD)
        port.packets()
        assert (world.carry(frames), port.packets()) == (False, [])
        assert world.carry(FINISHED)
        port.packets()
        assert (world.carry(frames), port.packets()) == (False, [])


def test_a_stream_whose_flow_is_decided_anew_is_looked_at_again():
    with egress_port(1) as one, egress_port(2) as two:
        world = World(GOOD, {1: one, 2: two})
        assert world.carry(GOOD)
        assert [len(port.packets()) for port in (one, two)] == [5, 5]
        flows = world.steady._paths.flows
        flows.decide(0, Decision(Reason.FORWARD, 0b010))
        assert world.carry(GOOD)
        assert [len(port.packets()) for port in (one, two)] == [5, 0]
        flows.decide(0, Decision(Reason.BOUNDARY))
        assert not world.carry(GOOD)


def test_frames_forged_where_the_next_would_lie_are_not_taken_for_frames():
    """A payload that looks like like frames at equal distances: only what the ring's chain names is a frame."""
    size = 400
    step = (112 + 28 + size + 7) // 8 * 8
    kernel = Kernel()
    kernel.fill(stream(3, size, fragment=DF))
    forged = bytes(kernel.buffer[48 : 48 + 3 * step])
    first = datagram(0, size, fragment=DF)
    inside = datagram(1, 3 * step, fragment=DF)  # its payload has forged frames at the very distances
    start = len(inside.packet) - 3 * step
    offset = step - (112 + 28) % step
    payload = bytes(offset) + forged[: 3 * step - offset]
    inside = replace(inside, packet=inside.packet[:start] + payload)
    with egress_port(1, 9000) as port:
        assert not carry([first, inside, first], {1: port})
        assert port.packets() == []


def test_links_without_header_are_left_to_the_general_way():
    with egress_port(1, link_header=0) as bare, egress_port(1) as port:
        assert not carry(GOOD, {1: bare})
        assert not carry(GOOD, {1: port}, link_header=0)
        assert carry(GOOD, {1: port})
        assert not carry(GOOD, {})


def test_a_port_that_cannot_send_counts_datagrams():
    with egress_port(1) as port:
        port.far.close()
        assert carry(stream(70, fragment=DF), {1: port})
        assert port.dropped(Reason.TRANSMIT_FAILED) == 70
        assert int(np.asarray(port.counters)[TX_PACKETS]) == 0


@pytest.mark.parametrize(("burst", "expected"), [(64, [49, 49, 49, 3]), (40, [40, 40, 40, 30]), (100, [98, 52]),
                                                 (15, [15] * 10), (150, [150])])  # fmt: skip
def test_a_stream_leaves_in_bursts_with_pauses_between_them(burst, expected):
    """A burst to every port, then a pause; by the datagrams that each port got before each pause."""
    frames = stream(150, 1316, fragment=DF)
    with egress_port(1) as one, egress_port(2) as two:
        world, seen = World(frames, {1: one, 2: two}), [(0, 0)]

        def pause() -> bool:
            seen.append((int(one.counters[TX_PACKETS]), int(two.counters[TX_PACKETS])))
            return True

        world.transmitter.burst, world.transmitter.pause = burst, pause
        assert world.carry(frames)
        pause()
        assert [b - a for (a, _), (b, _) in pairwise(seen)] == expected
        assert all(a == b for a, b in seen)
        sent = [each for frame in frames for each in forwarded(frame, REFERENCE)]
        assert by_flow(one.packets()) == by_flow(two.packets()) == by_flow(sent)


def test_without_time_for_pauses_the_rest_leaves_at_once():
    frames, asked = stream(300, 100, fragment=DF), []
    with egress_port(1) as port:
        world = World(frames, {1: port})
        world.transmitter.pause = lambda: bool(asked.append(1))
        assert world.carry(frames)
        assert (len(asked), len(port.packets())) == (1, 300)
        world.transmitter.pause = None
        assert world.carry(frames)
        assert len(port.packets()) == 300
        assert port.messages == 5 + 5


def test_a_burst_that_cannot_be_sent_is_counted_alone():
    frames = stream(150, 1316, fragment=DF)
    with egress_port(1) as port:
        world = World(frames, {1: port})

        def pause() -> bool:
            port.far.close()
            return True

        world.transmitter.pause = pause
        assert world.carry(frames)
        assert (int(port.counters[TX_PACKETS]), port.dropped(Reason.TRANSMIT_FAILED)) == (49, 101)
        assert int(port.counters[TX_BYTES]) == 49 * 1358


@settings(deadline=None)
@given(st.integers(0, 0xFFFF), st.integers(0, 4), st.one_of(st.sampled_from([0, 1, 0xFFFF]), st.integers(0, 0xFFFF)))
def test_a_header_checksum_is_right_or_its_frame_is_no_part_of_a_stream(identification, at, wrong):
    """Where IDs vary, by how much too: sums of 16 bits lose their carry, and one that is wrong by it would pass."""
    header = bytearray(datagram(at, identification=identification, fragment=DF).packet)
    header[10:12] = ((int.from_bytes(header[10:12], "big") + wrong) & 0xFFFF).to_bytes(2, "big")
    frames = changed(GOOD, at, packet=bytes(header))
    with egress_port(1) as port:
        world = World(GOOD, {1: port})
        assert world.carry(GOOD)
        port.packets()
        assert world.carry(frames) == (checksum(bytes(header[:20])) == 0)


def test_messages_are_laid_out_once_with_pauses_and_without():
    """How many fit one may be the same by either bound; laying out anew took a fifth of a batch."""
    frames = stream(140, 1316, fragment=DF)
    with egress_port(1) as port:
        world = World(frames, {1: port})
        world.transmitter.segments = 128

        def cost(pause) -> int:
            world.transmitter.pause = pause
            taken = lines(lambda: world.carry(frames))
            port.packets()
            return taken

        paused, unpaused = (min(cost(pause) for _ in range(3)) for pause in (lambda: True, None))
        assert [cost(lambda: True), cost(None)] == [paused, unpaused]
