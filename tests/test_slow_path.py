"""Ports that not every frame fits, by the transmitter: what leaves, in which order, and what is counted."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from batches import Frame, address, batch_of, ip_packet, udp, vnet
from egress import ALONE, TOGETHER, Egress, egress_port
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fragmentation import ROUTER_ALERT, noise, unfinished

from forwarder.dataplane.division import BUDGET
from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.forwarding import outgoing
from forwarder.dataplane.fragmentation import cut, fragments
from forwarder.dataplane.frame import columns
from forwarder.dataplane.segmentation import singles
from forwarder.dataplane.slow_path import Divided
from forwarder.dataplane.transmitter import Going, Transmitter
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import TX_BYTES, TX_PACKETS

A, G = address("10.99.0.1"), address("239.1.1.1")
DF = 0x4000


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def send(ports: list[Egress], frames: list[Frame], bitmaps: list[int], fanout: Fanout = ALONE) -> None:
    transmitter = Transmitter({port.port.index: port for port in ports}, fanout, 4096)
    transmitter.segments = 64
    batch, count = batch_of(frames), len(frames)
    going = Going(np.zeros(count, np.int64), np.array(bitmaps, np.uint64).reshape(-1, 1), 0.0)
    transmitter.send(columns(batch, 14), batch, singles(np.arange(count)), going)


def datagram(size: int, number: int = 0, ttl: int = 64, fragment: int = 0, options: bytes = b"") -> Frame:
    packet = ip_packet(A, G, udp(A, G, noise(size)), ttl=ttl, identification=number, fragment=fragment, options=options)
    return Frame(packet)


def super_frame(size: int, gso_size: int, fragment: int = 0) -> Frame:
    return Frame(ip_packet(A, G, unfinished(noise(size)), fragment=fragment), vnet=vnet(1, 5, 42, gso_size, 34, 6))


def older(packet: bytes) -> bytes:
    """The packet, without options, one hop on."""
    identification, fragment = int.from_bytes(packet[4:6], "big"), int.from_bytes(packet[6:8], "big")
    return ip_packet(A, G, packet[20:], ttl=packet[8] - 1, identification=identification, fragment=fragment)


def leaving(frame: Frame, mtu: int) -> list[bytes]:
    """The scalar way, of packets without options."""
    size = int.from_bytes(frame.vnet[4:6], "little")
    packets = [older(each) for each in (cut(frame.packet, size) if size else [frame.packet])]
    return [
        piece for packet in packets if len(packet) <= mtu or not packet[6] & DF >> 8 for piece in fragments(packet, mtu)
    ]


def is_slow(frame: Frame, mtu: int) -> bool:
    """Whether a frame is divided, and with it those around it counted one by one."""
    size = int.from_bytes(frame.vnet[4:6], "little")
    longest = min(28 + size, len(frame.packet)) if size else len(frame.packet)
    return longest > mtu and bool(size or not frame.packet[6] & DF >> 8)


drawn_frames = st.builds(
    datagram,
    st.sampled_from([0, 400, 1000, 1472, 3000]),
    st.integers(0, 65_535),
    st.sampled_from([4, 64]),
    st.sampled_from([0, 0, DF]),
) | st.builds(super_frame, st.sampled_from([900, 4000]), st.sampled_from([300, 2000]), st.sampled_from([0, DF]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(drawn_frames, st.integers(1, 15)), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.sampled_from([500, 500, 1500, 9000]), st.sampled_from([1, 16]), st.sampled_from([14, 14, 0])),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from([ALONE, TOGETHER]),
)
def test_every_port_gets_what_it_wants_as_it_takes_it_in_order(drawn, shapes, fanout):
    frames, bitmaps = [frame for frame, _ in drawn], [bitmap for _, bitmap in drawn]
    with ExitStack() as stack:
        ports = [stack.enter_context(egress_port(at, *shape)) for at, shape in enumerate(shapes)]
        send(ports, frames, bitmaps, fanout)
        for at, (port, (mtu, threshold, _)) in enumerate(zip(ports, shapes, strict=True)):
            mine = [frame for frame, bitmap in drawn if bitmap >> at & 1 and frame.packet[8] >= threshold]
            expected = [packet for frame in mine for packet in leaving(frame, mtu)]
            assert port.packets() == expected
            if any(is_slow(frame, mtu) for frame in mine):
                assert int(port.counters[TX_PACKETS]) == len(expected)
                assert int(port.counters[TX_BYTES]) == sum(map(len, expected)) + port.link_header * len(expected)


def test_a_port_gets_its_share_of_the_budget_and_the_rest_is_counted(stack):
    """1,000 datagrams of 3 fragments for two ports: whole ones in between and those of other ports do not suffer."""
    small = [stack.enter_context(egress_port(index)) for index in (1, 2)]
    large = stack.enter_context(egress_port(3, mtu=9000))
    for port in (*small, large):
        drain(stack, port)
    frames = [datagram(3000, n) if n % 2 else datagram(40, n) for n in range(2000)]
    send([*small, large], frames, [0b1110] * 2000)
    whole = -(-BUDGET // 2 // 3)
    for port in small:
        assert port.dropped(Reason.MTU) == 1000 - whole
        assert int(port.counters[TX_PACKETS]) == 1000 + 3 * whole
    assert (large.dropped(Reason.MTU), int(large.counters[TX_PACKETS])) == (0, 2000)


def test_ports_of_different_flows_have_the_budget_together(stack):
    """What one does not want does not count against it."""
    ports = [stack.enter_context(egress_port(index)) for index in (1, 2)]
    for port in ports:
        drain(stack, port)
    send(ports, [datagram(3000, n) for n in range(1000)], [0b010] * 900 + [0b100] * 100)
    each = -(-BUDGET // 2 // 3)
    assert [port.dropped(Reason.MTU) for port in ports] == [900 - each, 0]


@pytest.mark.parametrize("ports", [1, 8, 64])
def test_no_port_is_left_without_any(stack, ports):
    """Options that make fragments dear, and every port with an MTU of its own: one datagram still goes."""
    made = [stack.enter_context(egress_port(index, mtu=100 + 8 * index)) for index in range(ports)]
    for port in made:
        drain(stack, port)
    send(made, [datagram(20_000, options=ROUTER_ALERT)], [(1 << ports) - 1])
    assert [port.dropped(Reason.MTU) for port in made] == [0] * ports
    assert all(int(port.counters[TX_PACKETS]) >= 20_000 // port.port.mtu for port in made)


def test_a_port_that_everything_just_fits_has_no_share(stack):
    ports = {index: stack.enter_context(egress_port(index, mtu)) for index, mtu in enumerate([1500, 3028, 9000])}
    batch, bitmaps = batch_of([datagram(3000)]), np.array([[0b111]], np.uint64)
    header, frames = columns(batch, 14), np.arange(1)
    divided = Divided(header, batch, frames, outgoing(header, frames, bitmaps), bitmaps)
    assert divided.share(ports, True) == BUDGET


def test_a_batch_is_divided_once_for_all_ports_of_an_mtu(stack):
    ports = {index: stack.enter_context(egress_port(index, mtu)) for index, mtu in enumerate([1500, 1500, 600, 9000])}
    batch, bitmaps = batch_of([datagram(3000)]), np.array([[0b1111]], np.uint64)
    header, frames = columns(batch, 14), np.arange(1)
    divided = Divided(header, batch, frames, outgoing(header, frames, bitmaps), bitmaps)
    share = divided.share(ports, True)
    assert share == BUDGET // 3
    made = [divided.pieces(mtu, share, True) for mtu in (1500, 600, 1500)]
    assert made[0] is made[2]
    assert [int(pieces.count[0]) for pieces in made] == [3, 6, 3]


def test_datagrams_are_counted_where_super_frames_are_dropped(stack):
    small, limited = stack.enter_context(egress_port(1, mtu=600)), stack.enter_context(egress_port(2, mtu=9000))
    limited.port = replace(limited.port, settings=replace(limited.port.settings, rate_limit=80_000))
    send([small, limited], [super_frame(5500, 1000, DF), super_frame(4000, 1000, DF)] * 2, [0b110] * 4)
    assert (len(small.packets()), small.dropped(Reason.MTU)) == (2, 5 + 4 + 5 + 4)  # the last of 6 fits
    assert limited.dropped(Reason.RATE_LIMITED) == 6 + 4 + 6 + 4 - len(limited.packets())


def test_a_datagram_fails_once_however_many_of_its_fragments_do(stack):
    """Not one fragment leaves, and then those that the socket has room for."""
    port = stack.enter_context(egress_port(1))
    frames = [datagram(3000), datagram(100), super_frame(2000, 1000), super_frame(6000, 2000), datagram(3000)]
    port.far.close()
    send([port], frames, [0b10] * 5)
    assert (int(port.counters[TX_PACKETS]), port.dropped(Reason.TRANSMIT_FAILED)) == (0, 1 + 1 + 2 + 3 + 1)
    port = stack.enter_context(egress_port(2))
    send([port], [datagram(60_000)] * 10, [0b100] * 10)
    through = len(port.packets())
    assert 0 < through < 10 * 41
    assert port.dropped(Reason.TRANSMIT_FAILED) == 10 - through // 41


def test_an_mtu_that_holds_no_fragment_loses_only_what_does_not_fit(stack):
    port = stack.enter_context(egress_port(1, mtu=27))
    send([port], [datagram(100), Frame(ip_packet(A, G, bytes(7))), datagram(100)], [0b10] * 3)
    assert (len(port.packets()), port.dropped(Reason.MTU)) == (1, 2)


def drain(stack: ExitStack, port: Egress) -> None:
    """Let the far end take everything at once: nobody reads it."""
    sink = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sink.connect(("127.0.0.1", 9))
    port.near.close()
    port.near = stack.enter_context(sink)
