"""The three ways of a batch (singly, a stream, any) agree: in what leaves, in all counters and in the flow's row."""

import struct
from dataclasses import replace
from random import Random

from batches import Frame, vnet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_pipeline import D1, D2, UP, G, Plane, S, Wire, port
from test_segmentation import datagram

from forwarder.dataplane.fragmentation import finish_checksum

STARTS = (0, 13, 14, 20, 34, 34, 34, 54, 65535)


def world(few: int, segments: int, bare: bool, wanted: tuple[int, ...] = (D1, D2)) -> Plane:
    made = Plane(port(UP, "upstream"), port(D1, "downstream"), port(D2, "downstream", threshold=3), few=few)
    made.wires[D2].link_header = 0 if bare else 14
    made.pipeline.use_segments(segments)
    made.join(*wanted)
    made.frames(UP, datagram(0, 10, flow=(S, G)).packet)  # the flow is decided
    return made


def any_frame(random: Random) -> Frame:
    """A datagram of the flow, with whatever may be wrong with one."""
    frame = datagram(
        random.randrange(1, 40), random.choice((1, 2, 3, 4, 5, 20, 100, 1300, 1600)), flow=(S, G),
        how=random.choice(("unfinished", "unfinished", "valid", "none", "damaged", "whole", "trailing")),
        fragment=random.choice((0x4000, 0, 0x2000, 0x8000, 5)), ttl=random.choice((64, 64, 64, 3, 2, 1)),
        identification=random.randrange(65536),
    )  # fmt: skip
    kind = random.random()
    if kind < 0.35:
        offload = vnet(
            random.choice((0, 1, 1, 2, 3)), random.choice((0, 0, 5, 5, 3, 1, 0x85)), random.choice((42, 28)),
            random.choice((0, 1, 50, 1000, 1472, 1500, 65535)), random.choice(STARTS), random.choice((6, 6, 16, 0)),
        )  # fmt: skip
        frame = replace(frame, vnet=offload)
    if kind > 0.9:
        frame = replace(frame, padding=bytes(random.randrange(30)))
    return replace(frame, cut=random.randrange(1, 30)) if kind > 0.97 else frame


def stream(random: Random) -> list[Frame]:
    """Like datagrams, perhaps with one among them that is not."""
    how, df = random.choice(("unfinished", "valid", "whole")), random.choice((0, 0x4000))
    first = random.randrange(65536)
    size = random.choice((1, 4, 100, 1300))
    frames = [
        datagram(number, size, flow=(S, G), how=how, fragment=df, identification=(first + number) & 0xFFFF)
        for number in range(random.randrange(7, 90))
    ]
    if random.random() < 0.5:
        frames[random.randrange(len(frames))] = any_frame(random)
    return frames


def wire_packets(wire: Wire, messages: list[bytes]) -> list[bytes]:
    """What was sent, as the kernel makes it: where nothing is cut it finishes the checksum, if that is left to it."""
    return [message if message[1] else finished(message, wire.link_header) for message in messages]


def finished(message: bytes, link_header: int) -> bytes:
    flags, _, _, _, start, offset = struct.unpack_from("=BBHHHH", message)
    packet = message[10 + link_header :]
    if (flags, start, offset) != (1, link_header + 20, 6) or len(packet) < 28:
        return message[:2] + bytes(2) + message[4:]     # the length of headers is not read
    return bytes(10) + message[10 : 10 + link_header] + finish_checksum(packet, 20, offset)


def carried(plane: Plane, batches: list[list[Frame]]) -> list[object]:
    """All that can be seen of what became of the batches."""
    for now, batch in enumerate(batches, 2):
        plane.carry(UP, batch, float(now))
        yield [wire_packets(plane.wires[index], plane.raw[index]) for index in (D1, D2)]
    yield [wire.counters.tolist() for wire in plane.wires.values()]
    row = plane.row(UP)
    columns = plane.columns.packets, plane.columns.bytes, plane.columns.dropped, plane.columns.ttl_expired
    yield [int(column[row]) for column in columns]


@settings(max_examples=150)
@example(7262781, 64, False, True, (D1, D2))    # 64 datagrams that a driver vouched for, and one
@given(st.integers(0, 1 << 40), st.sampled_from([0, 64]), st.booleans(), st.booleans(),
       st.sampled_from([(D1, D2), (D1, D2), (D1,), (D2,)]))  # fmt: skip
def test_a_batch_comes_to_the_same_whichever_way_it_goes(seed, segments, bare, streams, wanted):
    random = Random(seed)
    batches = [stream(random) if streams else [any_frame(random) for _ in range(random.randrange(1, 6))]
               for _ in range(3)]  # fmt: skip
    cheapest, general = world(6, segments, bare, wanted), world(0, segments, bare, wanted)
    general.pipeline._steady.recognise = lambda *_: None
    try:
        assert list(carried(cheapest, batches)) == list(carried(general, batches))
    finally:
        cheapest.close()
        general.close()


def by_flow(packets: list[bytes]) -> dict[bytes, list[bytes]]:
    """The messages of each flow in their order."""
    found: dict[bytes, list[bytes]] = {}
    for packet in packets:
        found.setdefault(packet[24 + 12 : 24 + 20], []).append(packet)
    return found


@settings(max_examples=60)
@given(st.integers(0, 1 << 40), st.integers(8, 40))
def test_portions_leave_as_their_batch_would_each_flow_in_order(seed, limit):
    """Sent singly, since where a portion ends a run may."""
    random = Random(seed)
    frames = [datagram(number, 20, flow=(S, G + random.randrange(12))) for number in range(random.randrange(41, 120))]
    whole, portioned = world(0, 0, bare=False), world(0, 0, bare=False)
    portioned.limit = limit
    try:
        for plane in (whole, portioned):
            for group in range(12):
                plane.join(D1, D2, group=G + group)
            plane.carry(UP, frames, 2.0)
        assert portioned.wires[UP].counters.tolist() == whole.wires[UP].counters.tolist()
        for index in (D1, D2):
            assert by_flow(portioned.raw[index]) == by_flow(whole.raw[index])
            assert portioned.wires[index].counters.tolist() == whole.wires[index].counters.tolist()
    finally:
        whole.close()
        portioned.close()
