from dataclasses import replace

import numpy as np
import pytest
from batches import Frame, batch_of
from egress import ALONE, TOGETHER, egress_port
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scalar import Ingress, flows_of
from test_segmentation import A, G, World, by_flow, datagram, forwarded, mixes, on_link

from forwarder.dataplane.fanout import Fanout
from forwarder.dataplane.fib import Decision
from forwarder.dataplane.scalar import Scalar
from forwarder.dataplane.steady import Steady
from forwarder.state.reasons import Reason
from forwarder.state.worker_segment import RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

DF = 0x4000
OWN = frozenset([b"\2\0\0\0\0\7"])


def carry(
    frames: list[Frame], ports: dict, ingress: Ingress | None = None, fanout: Fanout = ALONE
) -> tuple[bool, Ingress]:
    ingress = ingress or Ingress()
    batch = batch_of([on_link(frame, ingress.link_header) for frame in frames])
    flows = flows_of(frames, Decision(Reason.FORWARD, 0b110))
    steady = Steady(Scalar(flows, ports), flows, fanout, 1024)
    return steady.forward(ingress, batch, OWN, 2.0), ingress


def stream(count: int, size: int = 100, first: int = 0, **fields: object) -> list[Frame]:
    return [datagram(n, size, identification=(first + n) & 0xFFFF, **fields) for n in range(count)]


@settings(deadline=None)
@given(
    st.integers(2, 140),
    st.sampled_from([1, 100, 1316, 1472]),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, DF]),
    st.sampled_from(["unfinished", "valid"]),
)
def test_a_steady_stream_leaves_as_the_scalar_reference_sends_it(count, size, first, fragment, how):
    frames = stream(count, size, first, fragment=fragment, how=how)
    with egress_port(1) as one, egress_port(2, 9000) as two:
        expected = by_flow([each for frame in frames for each in forwarded(frame, World(True, 9000, 1, 14, 14))])
        for port in (one, two):  # one after the other, since a socket pair holds little
            done, ingress = carry(frames, {port.port.index: port})
            assert done
            assert by_flow(port.packets()) == expected
            assert port.messages == -(-count // min(64, 65493 // size))
            assert [int(ingress.counters[RX_PACKETS]), int(port.counters[TX_PACKETS])] == [count] * 2
            assert [int(ingress.counters[RX_BYTES]), int(port.counters[TX_BYTES])] == [count * (size + 42)] * 2


@settings(deadline=None)
@given(st.integers(2, 140), st.sampled_from([0, DF]))
def test_two_threads_send_to_every_port_what_one_does(count, fragment):
    frames = stream(count, fragment=fragment)
    expected = [each for frame in frames for each in forwarded(frame, World(True, 1500, 1, 14, 14))]
    with egress_port(1) as one, egress_port(2) as two:
        two.mac = bytes.fromhex("02000000aa02")
        assert carry(frames, {1: one, 2: two}, fanout=TOGETHER)[0]
        for port in (one, two):
            assert by_flow(port.packets()) == by_flow(expected)
            assert int(port.counters[TX_PACKETS]) == count


@settings(deadline=None, max_examples=300)
@given(mixes())
def test_other_batches_are_carried_as_the_reference_sends_them_or_refused(frames):
    with egress_port(1) as port:
        done, ingress = carry(frames, {1: port})
        sent = frames if done else []
        world = World(True, 1500, 1, 14, 14)
        assert by_flow(port.packets()) == by_flow([each for frame in sent for each in forwarded(frame, world)])
        assert int(ingress.counters[RX_PACKETS]) == len(sent)


def changed(frames: list[Frame], at: int, **changes: object) -> list[Frame]:
    return [*frames[:at], replace(frames[at], **changes), *frames[at + 1 :]]


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
        done, ingress = carry(frames, {1: port})
        assert (done, port.packets(), int(ingress.counters.sum())) == (False, [], 0)


def test_links_without_header_are_left_to_the_general_way():
    with egress_port(1, link_header=0) as bare, egress_port(1) as port:
        assert not carry(GOOD, {1: bare})[0]
        assert not carry(GOOD, {1: port}, Ingress(link_header=0))[0]
        assert carry(GOOD, {1: port})[0]
        assert not carry(GOOD, {})[0]


def test_a_port_that_cannot_send_counts_datagrams():
    with egress_port(1) as port:
        port.far.close()
        assert carry(stream(70, fragment=DF), {1: port})[0]
        assert port.dropped(Reason.TRANSMIT_FAILED) == 70
        assert int(np.asarray(port.counters)[TX_PACKETS]) == 0
