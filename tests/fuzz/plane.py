"""What is fuzzed of the data plane: rings, header columns, and shared segments as their readers see them.

`ring`, `slots`: a receive ring with any bytes in it never raises and lends only what lies inside; `columns`: any
frames have columns, and those without a defect are sound; `carry`: a worker's pipeline takes any frames; `routes`,
`flows`, `counters`, `roles`, `snapshot`: whatever a writer left in a segment, its readers read on. A reader may refuse
a segment whose geometry was broken by ValueError.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from batches import Frame, batch_of, ip_packet, udp, vnet, word_sum
from fuzz.choices import Choices

from forwarder.api import flows as api_flows
from forwarder.api.pages import Page
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.frame import IP, columns
from forwarder.dataplane.ring import Batch, Place, ReceiveRing
from forwarder.dataplane.slot_ring import SlotRing
from forwarder.packet.tpacket import FRAME_SIZE, NET, NET_V2, TPACKET_V2, RingLayout
from forwarder.state import membership, routes, snapshot, worker_segment
from forwarder.state.membership import MembershipReader
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey, RouteWriter
from forwarder.state.segment import WORD, Segment
from forwarder.state.snapshot import SnapshotReader, SnapshotWriter
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import WorkerReader

BLOCKS = RingLayout(block_size=4096, block_nr=3)
SLOTS = RingLayout(block_size=8192, block_nr=2, version=TPACKET_V2)  # 8 slots
EDGES = (0, 1, 2, 7, 8, 20, 48, 60, 1500, 2047, 2048, 4095, 4096, 0x7FFF, 0xFFFF, 0x1_0000, 0x1_0040, 0x7FFF_FFFF,
         0x8000_0000, 0xFFFF_FFF8, 0xFFFF_FFFF)
HUGE = (1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def number(choices: Choices, usual: int, most: int) -> int:
    """Mostly what is usual; else something at an edge, or any number that fits."""
    kind = choices.number()
    if kind < 160:
        return usual
    if kind < 220:
        return choices.pick((*EDGES, *HUGE)) & most
    return int.from_bytes(choices.rest(4).ljust(4, b"\0"), "little") & most


# rings

def ring(data: bytes) -> None:
    """A TPACKET_V3 ring over any bytes."""
    choices = Choices(data)
    buffer = bytearray(BLOCKS.size)
    for block in range(BLOCKS.block_nr):
        fill_block(buffer, block * BLOCKS.block_size, choices)
    poke(buffer, choices)
    walk(ReceiveRing(buffer, BLOCKS, choices.number() % BLOCKS.block_nr), choices, BLOCKS)


def fill_block(buffer: bytearray, start: int, choices: Choices) -> None:
    """As the kernel fills it, but for the numbers that the bytes choose otherwise."""
    count = choices.number() % 40
    fields = (number(choices, 1, 0xFFFF_FFFF), number(choices, count, 0xFFFF_FFFF), number(choices, 48, 0xFFFF_FFFF))
    struct.pack_into("=5I4xQ", buffer, start, 1, 0, *fields, choices.number())
    at, size = start + 48, choices.pick((34, 46, 60, 200))
    step = NET - 14 + size + 7 & ~7
    for last in [False] * (count - 1) + [True] * bool(count):
        if at + 48 > start + BLOCKS.block_size:
            return
        next_offset = number(choices, 0 if last else step, 0xFFFF_FFFF)
        snaplen, length = number(choices, size, 0xFFFF_FFFF), number(choices, size, 0xFFFF_FFFF)
        mac, net = number(choices, NET - 14, 0xFFFF), number(choices, NET, 0xFFFF)
        struct.pack_into("=6I2H", buffer, at, next_offset, 0, 0, snaplen, length, 1, mac, net)
        at += step


def slots(data: bytes) -> None:
    """A TPACKET_V2 ring over any bytes, and any frames in the socket's queue."""
    choices = Choices(data)
    buffer = bytearray(SLOTS.size)
    for slot in range(SLOTS.frame_nr):
        length = choices.pick((60, 1300, 3000, 65549))
        status = choices.pick((1, 1, 3, 0, 5))
        fields = (number(choices, length, 0xFFFF_FFFF), number(choices, min(length, 1800), 0xFFFF_FFFF))
        places = (number(choices, NET_V2 - 14, 0xFFFF), number(choices, NET_V2, 0xFFFF))
        struct.pack_into("=3I2H2I", buffer, slot * FRAME_SIZE, status, *fields, *places, 7, choices.number())
    poke(buffer, choices)

    queue = [bytes(number(choices, choices.pick((3010, 65559, 0)), 0x1_FFFF)) for _ in range(choices.number() % 20)]

    def queued() -> bytes:
        return queue.pop() if queue else b""

    walk(SlotRing(buffer, SLOTS, None, queued), choices, SLOTS)


def poke(buffer: bytearray, choices: Choices) -> None:
    """Any words at any places."""
    for _ in range(choices.number() % 8):
        at = int.from_bytes(choices.rest(2).ljust(2, b"\0"), "little") * 4 % len(buffer)
        buffer[at : at + 4] = choices.rest(4).ljust(4, b"\0")


def walk(reader: ReceiveRing | SlotRing, choices: Choices, layout: RingLayout) -> None:
    """Takes what there is, in every way, for longer than the ring is."""
    for _ in range(2 * layout.units):
        assert 0 <= reader.position < layout.units
        assert reader.left() >= 0
        if not reader.look(1 + choices.number()):
            continue
        singly(reader, reader.singly())
        for span in reader.evenly() or ():
            assert span.frames <= layout.most_frames if isinstance(reader, ReceiveRing) else layout.units
            places = [span.first + span.step * number for number in range(span.frames)]
            assert 0 <= places[0] <= places[-1] < len(reader.view)
            singly(reader, [place for at in places if (place := reader.place(at))])
        if choices.number() & 1:
            batch = reader.batch()
            assert len(batch.frame) <= layout.block_nr * layout.most_frames
            inside(batch)
            columns(batch, choices.pick((0, 14)))
        reader.release()
    reader.close()


def singly(reader: ReceiveRing | SlotRing, frames: Iterable[Place] | None) -> None:
    """Whatever may be read of frames that are lent one by one lies in the ring."""
    for frame in frames or ():
        assert 0 <= frame.mac < len(reader.view)
        assert IP <= frame.net < len(reader.view)
        assert 0 <= frame.snaplen <= len(reader.view) - frame.mac


def inside(batch: Batch) -> None:
    """Whatever may be read of a frame by a batch lies in its buffer."""
    size = len(batch.buffer)
    assert len(batch.words) * WORD <= size
    lengths = {len(each) for each in (batch.frame, batch.mac, batch.net, batch.snaplen, batch.length, batch.status)}
    assert lengths == {len(batch.frame)}
    assert (batch.net % 8 == 0).all()       # the gather of rows takes words,
    assert (batch.net >= IP).all()          # from the vnet header on
    assert (batch.net < size).all()
    assert (batch.mac >= 0).all()
    assert (batch.snaplen >= 0).all()
    assert (batch.mac + batch.snaplen <= size).all()


# columns

def header_columns(data: bytes) -> None:
    """Frames of any bytes: those without a defect have the header that they seem to have."""
    choices = Choices(data)
    link_header = choices.pick((14, 0))
    frames = []
    for _ in range(1 + choices.number() % 6):
        content = choices.rest(choices.pick((20, 28, 36, 60, 12, 0)))
        vnet = choices.rest(10).ljust(10, b"\0") if choices.number() & 1 else bytes(10)
        packet = checked(content) if choices.number() & 3 else content
        cut = choices.number() % 64 if choices.number() > 200 else 0
        padding = bytes(choices.number() % 20)
        frames.append(Frame(packet, bytes(link_header), vnet, padding, min(cut, len(packet))))
    batch = batch_of(frames, tail=choices.pick((0, 8, 64)))
    found = columns(batch, link_header)
    assert len(found.rows) == len(frames)
    assert found.defective == bool(found.defect.any())
    assert set(found.supers.tolist()) <= set(range(len(frames)))
    for at in np.flatnonzero(found.defect == 0).tolist():
        sound(frames[at].packet, int(found.total_length[at]), int(found.pair[at]))


def checked(packet: bytes) -> bytes:
    """A packet with the checksum that its header needs, and often a fitting length."""
    if len(packet) < 20:
        return packet
    header = bytearray(packet)
    header[0] = 0x40 | (header[0] & 15 if header[0] & 0x80 else 5)
    if not header[2] & 0x80:
        header[2:4] = len(packet).to_bytes(2, "big")
    header[10:12] = bytes(2)
    inside = bytes(header[: max(20, (header[0] & 15) * 4)])
    header[10:12] = (0xFFFF ^ word_sum(inside)).to_bytes(2, "big")
    return bytes(header)


def sound(packet: bytes, total_length: int, pair: int) -> None:
    """Whether a frame was rightly taken for an IPv4 packet."""
    header = (packet[0] & 15) * 4
    assert packet[0] >> 4 == 4
    assert 20 <= header <= total_length <= len(packet) + 20     # padding counts as there
    assert word_sum(packet[:header]) == 0xFFFF
    assert pair == int.from_bytes(packet[12:20], "big")


# the whole way of a batch

SIZES = (0, 1, 20, 172, 1316, 1472, 1473, 8900, 65_479, 65_494, 65_507)


def carry(data: bytes) -> None:
    """Frames of any kind, through everything a worker does with a batch: what leaves is what the ports count."""
    from test_pipeline import D1, D2, UP, Plane, port  # brings pytest, which the other targets do without

    choices, ports = Choices(data), (port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream"))
    mtus = {D1: choices.pick((1500, 576, 68)), D2: choices.pick((65_535, 9000, 65_522, 1280))}
    world = Plane(*(replace(each, mtu=mtus.get(each.index, 1500)) for each in ports), few=choices.pick((6, 0)))
    world.join(D1, D2)
    world.pipeline.use_segments(choices.pick((64, 64, 128, 0)))
    try:
        with np.errstate(all="raise", under="ignore"):
            for now in (1.0, 1.5, 2.0):
                frames = [frame for _ in range(choices.number() % 5) for frame in any_frames(choices)]
                world.carry(choices.pick((UP, UP, D1)), frames, now)
    finally:
        world.close()


def any_frames(choices: Choices) -> list[Frame]:
    """One frame, or many alike."""
    return [any_frame(choices)] * (choices.pick((1, 1, 2, 9, 60)))


def any_frame(choices: Choices) -> Frame:
    """A datagram, as it should be or with something wrong, with any vnet header."""
    size, source, group = choices.pick(SIZES), 0x0A630001 + choices.number() % 3, 0xEF010101 + choices.number() // 200
    payload = udp(source, group, bytes(size)) if choices.number() & 7 else choices.rest(8)
    options = bytes(choices.pick((0, 0, 0, 4, 40)))
    fragment = choices.pick((0, 0, 0x4000, 0x2000, 0x1FFF))
    ttl, protocol = choices.pick((64, 1, 0, 2)), choices.pick((17, 17, 17, 6, 0))
    payload = payload[: 65_515 - len(options)]
    packet = ip_packet(source, group, payload, ttl=ttl, fragment=fragment, protocol=protocol, options=options)
    kind = choices.number()
    header = bytes(10)
    if kind > 128:
        start = choices.pick((34, 34, 0, 65_535, len(packet)))
        header = vnet(choices.pick((1, 0, 2, 3)), choices.pick((0, 5, 3, 1, 133)), choices.pick((42, 0, 65_535)),
                      choices.pick((0, 1, 1110, 1472, 65_535)), start, choices.pick((6, 0, 65_535)))
    elif kind > 120:
        packet = choices.rest(20) + packet[20:]
    return Frame(packet, vnet=header, cut=choices.number() % 40 if kind & 15 == 7 else 0)


# segments


@contextmanager
def tampered(fd: int, choices: Choices, geometry: tuple[int, ...], spread: int) -> Iterator[bool]:
    """The segment with any words in it, most of them among its first `spread`; whether its geometry is broken."""
    broken = False
    try:
        written = Segment(fd, writable=True)
        for _ in range(choices.number() % 24):
            at = int.from_bytes(choices.rest(2).ljust(2, b"\0"), "little") % spread
            kind = choices.number()
            if at in geometry and kind < 250:
                continue
            broken |= at in geometry
            value = choices.pick((*EDGES, *HUGE)) if kind & 1 else int.from_bytes(choices.rest(8), "little")
            written.words[at] = value
        written.close()
        yield broken
    finally:
        os.close(fd)


def opened(reader: Callable, fd: int, broken: bool):
    """A reader of a segment; None where it refuses one of broken geometry."""
    try:
        return reader(fd)
    except ValueError:
        assert broken
        return None


def route_rows(data: bytes) -> None:
    """Route rows: what the reader says it knows, once it has settled, is what it lists."""
    choices, fd = Choices(data), routes.create(16, 70)
    writer = RouteWriter(fd)
    for at in range(choices.number() % 12):
        writer.set(RouteKey(0xEF010100 + at, ingress=at if at & 1 else None), 1 << at, "learned", at)
    spread = choices.pick((8, 64, routes.HEADER + routes.CHANGES + 16 * 8))
    with tampered(fd, choices, (routes.CAPACITY, routes.WORDS, routes.RING), spread) as broken:
        if reader := opened(RouteReader, fd, broken):
            for _ in range(3):
                assert len(reader.rows()) <= 16
                assert len(list(reader.changes())) <= 2 * (16 + routes.CHANGES)
                assert reader.pending in (True, False)


def counters(data: bytes) -> None:
    """What a worker says of itself."""
    choices, fd = Choices(data), worker_segment.create(0, 4, 8)
    with tampered(fd, choices, (worker_segment.MAX_PORTS, worker_segment.MAX_FLOWS), 200) as broken:
        if reader := opened(WorkerReader, fd, broken):
            assert reader.heartbeat >= 0.0
            assert reader.batches >= 0
            assert reader.frames >= 0
            assert 0 <= reader.flows <= 64
            assert reader.gso in (True, False, None)
            for index in range(reader.max_ports):
                assert all(count >= 0 for count in reader.port(index).drops.values())


def flow_rows(data: bytes) -> None:
    """Flow rows, as the API shows them and as a successor takes them over."""
    choices, fd = Choices(data), worker_segment.create(0, 4, 8)
    words = worker_segment.HEADER + 4 * worker_segment.BLOCK
    segment = Segment(fd, writable=True)
    for column, usual in enumerate((2, 1, 0, 0x0A630001, 0xEF010101, 0, 5, 500, 0, 0, 10**9, 1)):
        for row in range(8):
            value = usual + row if column == 3 else usual
            segment.words[words + column * 8 + row] = number(choices, value, (1 << 64) - 1)
    segment.close()
    with tampered(fd, choices, (worker_segment.MAX_PORTS, worker_segment.MAX_FLOWS), words + 96) as broken:
        if (reader := opened(WorkerSegment, fd, broken)) is None or broken:
            return
        shown = api_flows.page([api_flows.WorkerFlows(reader.flows)], (), Page(limit=5), 10**9)
        assert len(shown) <= 5
        table = FlowTable(WorkerSegment(fd, writable=True).flows, (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93))
        assert len(list(table.live())) <= 8
        assert table.lookup_pairs(0, np.array([0x0A630001_EF010101], np.uint64)).max() < 8
        table.mark_group(0xEF010101)
        table.mark_group(0xEF000000, 8)
        table.expire(1000.0)
        assert len(table) <= 8


def roles(data: bytes) -> None:
    """What the agent says of its ports."""
    choices, fd = Choices(data), membership.create(4)
    with tampered(fd, choices, (), membership.HEADER + 4 * membership.BLOCK):
        reader = MembershipReader(fd)
        assert reader.heartbeat >= 0.0
        assert reader.sequence >= 0
        for index in range(4):
            assert reader.querier(index, choices.number()) in (True, False)
            assert 0 <= reader.port(index).querier_address < 1 << 32


def snapshots(data: bytes) -> None:
    """A snapshot whose words anything may have happened to: it is read, or not."""
    choices, fd = Choices(data), snapshot.create("fuzz")
    writer = SnapshotWriter(fd)
    for value in range(choices.number() % 4):
        writer.publish({"value": [value] * (choices.number() % 40)})
    with tampered(fd, choices, (), choices.pick((8, 8, 40))):
        reader = SnapshotReader(fd)
        for _ in range(2):
            value = reader.poll()
            assert value is None or isinstance(value, dict)


TARGETS = {"ring": ring, "slots": slots, "columns": header_columns, "carry": carry, "routes": route_rows,
           "flows": flow_rows, "counters": counters, "roles": roles, "snapshot": snapshots}
