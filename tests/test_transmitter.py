"""A batch out of several ports: what threads must not share, what comes back to us, what is counted."""

import threading
from dataclasses import replace

import pytest
from batches import Frame, address, ip_packet
from test_pipeline import D1, D2, UP, G, Plane, S, Wire, port
from test_segmentation import datagram

from forwarder.state.worker_segment import FIRST_REASON, TX_BYTES, TX_PACKETS

PORTS = port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream")
DATA = ip_packet(S, G)


class Meeting(Wire):
    """A wire that lets nobody send before the thread of another wire is about to."""

    meeting: threading.Barrier | None = None

    def sending(self) -> int:
        if self.meeting:
            self.meeting.wait(10.0)
        return super().sending()

    def links(self) -> list[bytes]:
        """The link headers that were sent here since the last call."""
        frames = []
        while True:
            try:
                frames.append(self.far.recv(70_000)[10:24])
            except BlockingIOError:
                return frames


@pytest.fixture
def plane():
    """Makes planes and closes them at the end."""
    made: list[Plane] = []

    def make(*ports, wire: type[Wire] = Wire, **how) -> Plane:
        made.append(Plane(*(ports or PORTS), **how))
        for each in made[-1].wires.values():
            each.__class__ = wire
        return made[-1]

    yield make
    for each in made:
        each.close()


GATHERED = [datagram(number, 100, flow=(S, G + number % 2), fragment=0x4000) for number in range(20)]


@pytest.mark.parametrize("segments", [0, 64])
def test_threads_that_send_at_the_same_time_each_write_the_address_of_their_own_port(plane, segments):
    world = plane(wire=Meeting)
    world.transmitter.segments = segments
    for group in (G, G + 1):
        world.join(D1, D2, group=group)
    meeting = threading.Barrier(2)
    for index in (D1, D2):
        world.wires[index].meeting = meeting
    world.wires[UP].kernel.fill(GATHERED)
    world.pipeline.carry(world.wires[UP], 1024, 1024, 0, 1.0)
    for index in (D1, D2):
        links = world.wires[index].links()
        assert len(links) == (2 if segments else 20)
        assert {link[6:12] for link in links} == {world.wires[index].mac}
        assert {link[12:] for link in links} == {b"\x08\x00"}


def returned(owner: int, packet: bytes = DATA) -> Frame:
    """A frame that port `owner` sent."""
    return Frame(packet, link=bytes.fromhex("01005e010101020000000000")[:11] + bytes([owner]) + b"\x08\x00")


@pytest.mark.parametrize("few", [0, 6])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_frames_of_ours_that_a_loop_brings_back_go_nowhere(plane, few, count):
    world = plane(few=few)
    world.join(D1, D2)
    other = ip_packet(S + 1, G)
    frames = [each for _ in range(count) for each in (returned(D1), Frame(other))]
    assert world.carry(UP, frames, 1.0) == [0, count, count]
    assert {packet[12:16] for packet in world.sent[D2]} == {(S + 1).to_bytes(4)}
    assert world.wires[UP].drops() == {"bad_source": count}


@pytest.mark.parametrize("segments", [0, 64])
def test_a_whole_stream_of_ours_that_comes_back_goes_nowhere(plane, segments):
    world = plane()
    world.transmitter.segments = segments
    world.join(D1, D2)
    ours = replace(datagram(0, 100, flow=(S, G), fragment=0x4000), link=returned(D2).link)
    assert world.carry(UP, [ours] * 20, 1.0) == [0, 0, 0]
    assert world.wires[UP].drops() == {"bad_source": 20}


def test_a_frame_with_the_address_of_the_port_it_came_by_is_no_loop(plane):
    world = plane()
    world.join(D1)
    assert world.carry(UP, [returned(UP)] * 2, 1.0) == [0, 2, 0]


@pytest.mark.parametrize("count", [2, 20, 70])
def test_a_stream_whose_checksums_are_wrong_is_not_made_right(plane, count):
    """The same wrong seed in every frame: gathered, the kernel would make a right checksum of it."""
    world = plane()
    world.transmitter.segments = 64
    world.join(D1)
    good = datagram(0, 100, flow=(S, G), fragment=0x4000)
    seed = good.packet[26:28]
    wrong = replace(good, packet=good.packet[:26] + bytes((seed[0] ^ 1, seed[1])) + good.packet[28:])
    for _ in range(2):      # a flow that is new, and one that is known
        assert world.carry(UP, [wrong] * count, 1.0) == [0, count, 0]
        assert {packet[26:28] for packet in world.sent[D1]} == {wrong.packet[26:28]}
        assert world.carry(UP, [good] * count, 1.0) == [0, -(-count // 64), 0]


@pytest.mark.parametrize("segments", [0, 64])
@pytest.mark.parametrize("count", [1, 2, 20, 70])
def test_every_frame_of_a_stream_counts(plane, segments, count):
    world = plane()
    world.transmitter.segments = segments
    world.join(D1, D2)
    frames = [datagram(number, 100, flow=(S, G), fragment=0x4000) for number in range(count)]
    for now in (1.0, 2.0):
        world.carry(UP, frames, now)
    row = world.row(UP)
    assert (int(world.columns.packets[row]), int(world.columns.bytes[row])) == (2 * count, 2 * count * 128)
    assert int(world.columns.last_seen[row]) == 2_000_000_000
    for index in (D1, D2):
        counters = world.wires[index].counters
        assert (int(counters[TX_PACKETS]), int(counters[TX_BYTES])) == (2 * count, 2 * count * 142)
    assert int(world.wires[UP].counters[FIRST_REASON:].sum()) == 0


def test_the_threshold_of_a_port_holds_there_alone(plane):
    world = plane(PORTS[0], port(D1, "downstream", threshold=10), PORTS[2])
    world.join(D1, D2)
    packets = [ip_packet(S, G, ttl=ttl) for ttl in (9, 10, 11, 64)]
    assert world.frames(UP, *packets) == [0, 3, 4]
    assert world.wires[D1].drops() == {"ttl_threshold": 1}


def test_frames_that_fit_and_frames_that_do_not_leave_in_their_order(plane):
    world = plane(PORTS[0], replace(PORTS[1], mtu=600), PORTS[2])
    world.join(D1, D2)
    sizes = (100, 900, 100, 500, 1400)
    packets = [ip_packet(S, G, bytes(size), identification=number) for number, size in enumerate(sizes)]
    packets += [ip_packet(S, G, bytes(size), identification=size, fragment=0x4000) for size in (90, 900, 91)]
    elsewhere = ip_packet(S, G + 1, bytes(900), fragment=0x4000)
    world.join(D2, group=G + 1)
    assert world.frames(UP, *packets, elsewhere) == [0, 2 + 1 + 3 + 2 + 2, 9]
    assert [packet[5] for packet in world.sent[D1]] == [0, 1, 1, 2, 3, 4, 4, 4, 90, 91]
    assert world.wires[D1].drops() == {"mtu": 1}
    assert int(world.wires[D1].counters[TX_PACKETS]) == 10


def test_a_source_of_the_link_is_not_sent_back_there(plane):
    world = plane()
    world.join(D1, D2)
    assert world.frames(D1, ip_packet(address("192.168.20.9"), G)) == [1, 0, 1]
