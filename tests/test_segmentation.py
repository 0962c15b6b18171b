import struct
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pytest
from batches import NO_VNET, Frame, address, batch_of, ip_packet, udp, vnet, word_sum
from egress import ALONE, TOGETHER, egress_port, wire_packets
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.checksums import valid_checksums
from forwarder.dataplane.fragmentation import fragments
from forwarder.dataplane.frame import columns
from forwarder.dataplane.segmentation import MOST_PAYLOAD, Runs, gather
from forwarder.dataplane.transmitter import Going, Transmitter
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import BLOCK, FIRST_REASON, TX_BYTES, TX_PACKETS
from igmp.checksum import checksum

A, B = address("10.99.0.1"), address("10.99.0.2")
G, G2 = address("239.1.1.1"), address("239.2.2.2")
DF, MORE = 0x4000, 0x2000
VALID = 0x81


def seeded(source: int, group: int, payload: bytes, ports: tuple[int, int] = (5000, 5001)) -> bytes:
    """UDP with the sum of its pseudo-header in place of its checksum, as a local sender leaves it."""
    length = 8 + len(payload)
    seed = word_sum(struct.pack("!IIBBH", source, group, 0, 17, length))
    return struct.pack("!HHHH", *ports, length, seed) + payload


def datagram(number: int = 0, size: int = 100, *, flow: tuple[int, int] = (A, G), how: str = "unfinished",
             ports: tuple[int, int] = (5000, 5001), **fields: int) -> Frame:  # fmt: skip
    """A frame with a UDP datagram whose payload tells `number`; `how` says what its checksum is like."""
    payload = (number.to_bytes(4, "big") * (size // 4 + 1))[:size]
    if how == "unfinished":
        return Frame(ip_packet(*flow, seeded(*flow, payload, ports), **fields), vnet=vnet(1, 0, 0, 0, 34, 6), status=9)
    whole = udp(*flow, payload, ports)
    damaged = whole[:6] + struct.pack("!H", (int.from_bytes(whole[6:8], "big") + 1) & 0xFFFF or 1) + whole[8:]
    l4 = {"damaged": damaged, "none": whole[:6] + b"\0\0" + whole[8:], "trailing": whole + b"tail"}.get(how, whole)
    return Frame(ip_packet(*flow, l4, **fields), status=VALID if how in ("valid", "none") else 1)


def runs_of(frames: list[Frame], flows: list[int] | None = None) -> Runs:
    batch = batch_of(frames)
    return gather(columns(batch, 14), batch, np.arange(len(frames)), np.array(flows or [0] * len(frames)))


def sizes(frames: list[Frame], flows: list[int] | None = None) -> list[int]:
    return runs_of(frames, flows).size.tolist()


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([datagram(n, identification=n) for n in range(3)], [3]),
        ([datagram(n, identification=7) for n in range(3)], [1, 1, 1]),
        ([datagram(n, identification=7, fragment=DF) for n in range(3)], [3]),
        ([datagram(0, identification=0xFFFF), datagram(1, identification=0)], [2]),
        ([datagram(n, size, fragment=DF) for n, size in enumerate([100, 100, 60, 60, 100, 99, 98])], [3, 1, 2, 1]),
        ([datagram(n, fragment=DF, ttl=ttl) for n, ttl in enumerate([9, 9, 8])], [2, 1]),
        ([datagram(n, fragment=DF, tos=tos) for n, tos in enumerate([0, 4, 4])], [1, 2]),
        ([datagram(0), datagram(1, identification=0x1235, fragment=DF)], [1, 1]),
        ([datagram(n, fragment=DF, ports=(5000, port)) for n, port in enumerate([1, 1, 2])], [2, 1]),
        ([datagram(n, fragment=DF, options=bytes(4)) for n in range(2)], [1, 1]),
        ([datagram(n, fragment=MORE, identification=n) for n in range(2)], [1, 1]),
        ([datagram(n, fragment=3, identification=n) for n in range(2)], [1, 1]),
        ([datagram(n, fragment=DF, protocol=6) for n in range(2)], [1, 1]),
        ([datagram(n, 0, fragment=DF) for n in range(2)], [1, 1]),
        ([datagram(n, fragment=DF, how="valid") for n in range(2)], [2]),
        ([datagram(n, fragment=DF, how="none") for n in range(2)], [1, 1]),
        ([datagram(n, fragment=DF, how="trailing") for n in range(9)], [1] * 9),
        ([datagram(n, 1, fragment=DF) for n in range(130)], [64, 64, 2]),
        ([datagram(n, 1316, fragment=DF) for n in range(50)], [MOST_PAYLOAD // 1316, 50 - MOST_PAYLOAD // 1316]),
        ([datagram(n, MOST_PAYLOAD // 2, fragment=DF) for n in range(3)], [2, 1]),
        *[([datagram(n, MOST_PAYLOAD + more, fragment=DF) for n in range(3)], [1, 1, 1]) for more in (0, 1, 14)],
        ([datagram(0, 65507, fragment=DF), datagram(1, 1, fragment=DF)], [1, 1]),
    ],
)
def test_only_like_datagrams_are_gathered(frames, expected):
    assert sizes(frames) == expected


@given(
    st.lists(st.sampled_from([1, 100, 255, 1316, 9000, 32746, 32747, 65493, 65494, 65507]), min_size=1, max_size=4),
    st.integers(1, 140),
    st.sampled_from([64, 128]),
)
def test_no_super_datagram_is_longer_than_a_packet_may_be(sizes, count, segments):
    frames = [datagram(n, size, fragment=DF) for size in sizes for n in range(min(count, 1 + 400_000 // size))]
    batch = batch_of(frames)
    header = columns(batch, 14)
    runs = gather(header, batch, np.arange(len(frames)), np.zeros(len(frames), np.int64), segments)
    payload = np.add.reduceat(header.total_length[runs.frames] - 28, runs.first)
    assert (((payload <= MOST_PAYLOAD) & (runs.size <= segments)) | (runs.size == 1)).all()
    assert runs.frames.tolist() == list(range(len(frames)))
    assert int(runs.size.sum()) == len(frames)


def test_a_datagram_whose_checksum_is_not_known_to_be_right_stays_alone():
    good = [datagram(n, fragment=DF, how="finished") for n in range(8)]
    assert sizes(good) == [8]
    assert sizes(good[:3]) == [1, 1, 1]  # too few to be worth adding up
    damaged = datagram(3, fragment=DF, how="damaged")
    assert sizes([*good[:3], damaged, *good[4:]]) == [3, 1, 4]
    wrong_seed = replace(damaged, vnet=vnet(1, 0, 0, 0, 34, 6))
    assert sizes([wrong_seed, wrong_seed]) == [1, 1]
    elsewhere = [replace(datagram(n, fragment=DF), vnet=vnet(1, 0, 0, 0, 34, 16)) for n in range(2)]
    assert sizes(elsewhere) == [1, 1]


def test_interleaved_flows_are_sorted_and_stay_in_order():
    frames = [datagram(n, fragment=DF, flow=(A, G + n % 3)) for n in range(9)]
    runs = runs_of(frames, [n % 3 for n in range(9)])
    assert runs.frames.tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert runs.size.tolist() == [3, 3, 3]
    assert runs_of(frames, [70000 + n % 3 for n in range(9)]).frames.tolist() == runs.frames.tolist()


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.booleans()), min_size=1, max_size=30))
def test_checksums_in_the_ring_are_believed_only_when_right(drawn):
    frames = [datagram(n, 50 + odd, how="finished" if good else "damaged") for n, odd, good in drawn]
    batch = batch_of(frames)
    header = columns(batch, 14)
    every = np.arange(len(frames))
    found = valid_checksums(batch, every, header.total_length, header.pair)
    right = [good for _, _, good in drawn]
    assert not (found & ~np.array(right)).any()
    if len({odd for _, odd, _ in drawn}) == 1 and len(frames) >= 4:
        assert found.tolist() == right


# What leaves a port, cut back into datagrams, against a scalar forwarder.


@dataclass(frozen=True)
class World:
    segmentation: bool
    mtu: int
    threshold: int
    link_in: int
    link_out: int


worlds = st.builds(
    World,
    st.booleans(),
    st.sampled_from([100, 576, 1500, 9000]),
    st.sampled_from([1, 1, 16]),
    st.sampled_from([14, 0]),
    st.sampled_from([14, 0]),
)


@st.composite
def like_datagrams(draw: st.DrawFn) -> list[Frame]:
    """Some datagrams of one flow that are mostly alike, with one field or another that is not."""
    flow = draw(st.sampled_from([(A, G), (A, G2), (B, G)]))
    size = draw(st.sampled_from([0, 1, 100, 101, 548, 1472]))
    shape = {
        "ttl": draw(st.sampled_from([2, 64])),
        "tos": draw(st.sampled_from([0, 0xB8])),
        "fragment": draw(st.sampled_from([0, 0, DF, DF, MORE, 9])),
        "options": bytes(draw(st.sampled_from([0, 0, 0, 4]))),
    }
    how = draw(st.sampled_from(["unfinished", "unfinished", "valid", "finished", "damaged", "none", "trailing"]))
    first, step = draw(st.integers(0, 0xFFFF)), draw(st.sampled_from([1, 1, 2]))
    count = draw(st.integers(1, 6))
    return [
        datagram(
            n,
            size if n < count - 1 else draw(st.integers(0, size)),
            flow=flow,
            how=how if draw(st.integers(0, 9)) else "damaged",
            ports=(5000, 5001 + draw(st.sampled_from([0, 0, 0, 1]))),
            identification=(first + step * n) & 0xFFFF,
            **shape,
        )
        for n in range(count)
    ]


@st.composite
def super_frames(draw: st.DrawFn) -> list[Frame]:
    gso_size, size = draw(st.sampled_from([200, 1000])), draw(st.sampled_from([100, 1000, 3001]))
    packet = ip_packet(A, G, seeded(A, G, bytes(size)), fragment=draw(st.sampled_from([0, DF])))
    return [Frame(packet, vnet=vnet(1, 5, 42, gso_size, 34, 6))]


def shuffled(draw: st.DrawFn, groups: list[list[Frame]]) -> list[Frame]:
    """The frames of several streams interleaved, each stream in order."""
    waiting, result = [list(group) for group in groups if group], []
    while waiting:
        stream = draw(st.sampled_from(waiting))
        result.append(stream.pop(0))
        waiting = [each for each in waiting if each]
    return result


@st.composite
def mixes(draw: st.DrawFn) -> list[Frame]:
    return shuffled(draw, draw(st.lists(like_datagrams() | super_frames(), min_size=1, max_size=5)))


def on_link(frame: Frame, link_header: int) -> Frame:
    """The frame as it comes in by a link without Ethernet header."""
    if link_header:
        return frame
    flags, kind, length, size, start, offset = struct.unpack("=BBHHHH", frame.vnet)
    lowered = frame.vnet if not flags else vnet(flags, kind, length and length - 14, size, start - 14, offset)
    return replace(frame, link=b"", vnet=lowered)


def forwarded(frame: Frame, world: World) -> list[bytes]:
    """The scalar forwarder."""
    if frame.packet[8] < world.threshold:
        return []
    result = []
    for packet in wire_packets(frame.vnet + frame.packet, 0, b"") if frame.link == b"" else as_sent(frame):
        older = packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + b"\0\0" + packet[12:]
        length = (packet[0] & 15) * 4
        older = older[:10] + checksum(older[:length]).to_bytes(2, "big") + older[12:]
        if len(older) <= world.mtu or not older[6] & DF >> 8:
            result += fragments(older, world.mtu)
    return result


def as_sent(frame: Frame) -> list[bytes]:
    return wire_packets(frame.vnet + frame.packet, 0, b"") if frame.vnet == NO_VNET else wire_packets(
        on_link(frame, 0).vnet + frame.packet, 0, b"")  # fmt: skip


def by_flow(packets: list[bytes]) -> dict[bytes, list[bytes]]:
    """Packets of each source and group in order, without the ID (and the checksum with it) where DF is set."""
    flows = defaultdict(list)
    for packet in packets:
        free = packet[6] & DF >> 8
        flows[packet[12:20]].append(packet[:4] + packet[6:10] + packet[12:] if free else packet)
    return dict(flows)


def send(frames: list[Frame], world: World, transmitter: Transmitter) -> None:
    batch = batch_of([on_link(frame, world.link_in) for frame in frames])
    header = columns(batch, world.link_in)
    assert not header.defective
    _, flows = np.unique(header.pair, return_inverse=True)
    runs = transmitter.arrange(header, batch, np.arange(len(frames)), flows)
    bitmaps = np.full((len(runs.first), 1), 0b110, np.uint64)
    transmitter.send(header, batch, runs, Going(flows[runs.heads], bitmaps, 0.0))


@settings(deadline=None, max_examples=500)
@given(mixes(), worlds, st.sampled_from([ALONE, TOGETHER]))
def test_what_leaves_a_port_is_what_a_scalar_forwarder_would_send(frames, world, fanout):
    with (
        egress_port(1, world.mtu, world.threshold, world.link_out) as first,
        egress_port(2, 9000, 1, 14) as second,
    ):
        transmitter = Transmitter({1: first, 2: second}, fanout, 1024)
        transmitter.segments = 64 * world.segmentation
        send(frames, world, transmitter)
        for port, seen in ((first, world), (second, replace(world, mtu=9000, threshold=1))):
            expected = [packet for frame in frames for packet in forwarded(frame, seen)]
            assert by_flow(port.packets()) == by_flow(expected)


@given(
    st.integers(1, 3000),
    st.sampled_from([100, 1000, 1472]),
    st.sampled_from([b"", bytes(4)]),
    st.sampled_from(["", "finished"]),
)
def test_super_frames_count_as_their_datagrams_on_every_way_out(size, gso_size, options, how):
    """Whole, cut, too long, below the threshold: as many datagrams, and their bytes, as a capture would show."""
    payload = seeded(A, G, bytes(size)) if not how else udp(A, G, bytes(size))
    offload = vnet(1, 5, 42 + len(options), gso_size, 34 + len(options), 6) if not how else vnet(0, 5, 42, gso_size)
    frame = Frame(ip_packet(A, G, payload, fragment=DF, options=options), vnet=offload)
    count = -(-size // gso_size)
    ports = {1: (9000, 1), 2: (100, 1), 3: (9000, 255)}
    with ExitStack() as stack:
        world = {index: stack.enter_context(egress_port(index, mtu, least)) for index, (mtu, least) in ports.items()}
        transmitter = Transmitter(world, ALONE, 64)
        transmitter.segments = 64
        batch = batch_of([frame])
        header = columns(batch, 14)
        going = Going(np.zeros(1, np.int64), np.full((1, 1), 0b1110, np.uint64), 0.0)
        transmitter.send(header, batch, transmitter.arrange(header, batch, np.arange(1), np.zeros(1, np.int64)), going)
        packets = world[1].packets()
        assert (len(packets), int(world[1].counters[TX_PACKETS])) == (count, count)
        assert int(world[1].counters[TX_BYTES]) == sum(map(len, packets)) + 14 * count
        fit = [packet for packet in packets if len(packet) <= 100]
        assert len(world[2].packets()) == len(fit)
        assert world[2].dropped(Reason.MTU) == count - len(fit)
        assert world[3].dropped(Reason.TTL_THRESHOLD) == count


def test_counters_count_datagrams_not_messages():
    frames = [datagram(n, 100, fragment=DF) for n in range(10)]
    world = World(True, 1500, 1, 14, 14)
    with egress_port(1) as fits, egress_port(2, mtu=120) as small:
        transmitter = Transmitter({1: fits, 2: small}, ALONE, 64)
        transmitter.segments = 64
        send(frames, world, transmitter)
        assert len(fits.packets()) == 10
        assert (fits.messages, int(fits.counters[TX_PACKETS]), int(fits.counters[TX_BYTES])) == (1, 10, 1420)
        assert (small.packets(), small.dropped(Reason.MTU)) == ([], 10)
    with egress_port(1, threshold=128) as far:
        transmitter = Transmitter({1: far}, ALONE, 64)
        transmitter.segments = 64
        send(frames, world, transmitter)
        assert (far.packets(), far.dropped(Reason.TTL_THRESHOLD)) == ([], 10)


def test_a_port_with_a_rate_limit_judges_every_datagram_of_a_run():
    frames = [datagram(n, 1000, fragment=DF) for n in range(64)]
    with egress_port(1) as free, egress_port(2) as limited:
        slow = replace(limited.port.settings, rate_limit=100_000)
        limited.port = replace(limited.port, settings=slow)
        transmitter = Transmitter({1: free, 2: limited}, ALONE, 64)
        transmitter.segments = 64
        send(frames, World(True, 1500, 1, 14, 14), transmitter)
        assert len(free.packets()) == 64
        passed = len(limited.packets())
        assert 0 < passed < 64
        assert limited.dropped(Reason.RATE_LIMITED) == 64 - passed


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize("size", [65493, 65494, 65507])
def test_the_longest_datagrams_pass_links_that_take_them(size, segmentation):
    frames = [datagram(n, size, fragment=DF) for n in range(2)]
    world = World(segmentation, 65535, 1, 14, 14)
    with egress_port(1, 65535) as port, egress_port(2, 9000) as small:
        transmitter = Transmitter({1: port, 2: small}, ALONE, 64)
        transmitter.segments = 64 * segmentation
        send(frames, world, transmitter)
        assert by_flow(port.packets()) == by_flow([packet for frame in frames for packet in forwarded(frame, world)])
        assert (small.packets(), small.dropped(Reason.MTU)) == ([], 2)


def test_what_should_leave_by_a_port_that_is_not_there_is_counted_for_it():
    counters = np.zeros((4, BLOCK), np.uint64)
    whole = ip_packet(A, G, seeded(A, G, bytes(3000)), fragment=DF)
    frames = [datagram(n, 1000, fragment=DF) for n in range(3)] + [Frame(whole, vnet=vnet(1, 5, 42, 1000, 34, 6))]
    with egress_port(1) as port:
        transmitter = Transmitter({1: port}, ALONE, 64, counters)
        transmitter.segments = 64
        send(frames, World(True, 1500, 1, 14, 14), transmitter)
        assert len(port.packets()) == 6
    assert counters[2, FIRST_REASON + Reason.TRANSMIT_FAILED - 1] == 6
    assert counters.sum() == 6


def test_one_of_many_frames_is_a_run_of_itself():
    batch = batch_of([datagram(number, 100) for number in range(5)])
    runs = gather(columns(batch, 14), batch, np.array([3]), np.array([0]))
    assert (runs.frames.tolist(), runs.first.tolist(), runs.size.tolist(), runs.gathered) == ([3], [0], [1], False)


@pytest.mark.parametrize("row", [1 << 16, (1 << 16) + 1, 1 << 20])
def test_rows_of_a_large_table_are_told_apart(row):
    """Those that sixteen bits would take for another."""
    flows = [row & 0xFFFF, row] * 4
    frames = [datagram(number, 100, flow=(A, G + number % 2), fragment=0x4000) for number in range(8)]
    runs = runs_of(frames, flows)
    assert runs.flows == 2
    assert [len({flows[frame] for frame in runs.frames[first : first + size].tolist()})
            for first, size in zip(runs.first.tolist(), runs.size.tolist(), strict=True)] == [1] * len(runs.size)
