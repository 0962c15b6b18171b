import struct
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from batches import Frame, batch_of, ip_packet, vnet
from egress import egress_port
from hypothesis import given, settings
from test_segmentation import A, G, World, by_flow, datagram, forwarded, mixes, on_link, worlds

from forwarder.dataplane.fib import Decision
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.loops import OwnAddresses
from forwarder.dataplane.paths import Paths
from forwarder.dataplane.ring import Batch, Place
from forwarder.dataplane.scalar import Scalar
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import InterfaceSettings
from forwarder.state.worker_segment import BLOCK, RX_BYTES, RX_PACKETS, TX_BYTES, TX_PACKETS

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)


@dataclass
class Ingress:
    """As much of an Attachment as receiving needs."""

    link_header: int = 14
    mac: bytes = b"\x02\0\0\0\0\x01"
    threshold: int = 1
    counters: np.ndarray = field(default_factory=lambda: np.zeros(BLOCK, np.uint64))
    ring: SimpleNamespace | None = None

    @property
    def port(self) -> Port:
        return Port(0, 1, "up", "upstream", InterfaceSettings(name="up", threshold=self.threshold))


def lent(batch: Batch) -> list[Place]:
    columns = (batch.mac, batch.net, batch.snaplen, batch.length)
    return [Place(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def flows_of(frames: list[Frame], decision: Decision) -> FlowTable:
    flows = FlowTable(FlowColumns.allocate(64, 2), KEY)
    for source, group in {(frame.packet[12:16], frame.packet[16:20]) for frame in frames}:
        flows.insert(0, int.from_bytes(source, "big"), int.from_bytes(group, "big"), decision, 1.0)
    return flows


def scalar_of(paths: Paths, own: bytes = b"") -> Scalar:
    """One whose port 9 has the hardware address `own`."""
    scalar = Scalar(paths)
    scalar.own = OwnAddresses({0: bytes(6), 9: own} if own else {0: bytes(6)})
    return scalar


def carry(frames: list[Frame], ports: dict, ingress: Ingress, decision: Decision | None = None,
          own: bytes = b"", segmentation: bool = False) -> tuple[bool, FlowTable]:  # fmt: skip
    batch = batch_of([on_link(frame, ingress.link_header) for frame in frames])
    flows = flows_of(frames, decision or Decision(Reason.FORWARD, sum(1 << index for index in ports)))
    scalar = scalar_of(Paths(flows, ports), own)
    scalar.segmentation = segmentation
    ingress.ring = SimpleNamespace(view=memoryview(batch.buffer))
    return scalar.forward(ingress, lent(batch), 2.0), flows


@settings(deadline=None, max_examples=300)
@given(mixes(), worlds)
def test_what_is_carried_singly_is_what_the_scalar_reference_sends(frames, world):
    with (
        egress_port(1, world.mtu, world.threshold, world.link_out) as first,
        egress_port(2, 9000, 1, 14) as second,
    ):
        ingress = Ingress(world.link_in)
        done, flows = carry(frames, {1: first, 2: second}, ingress, segmentation=world.segmentation)
        plain = all(
            frame.packet[0] == 0x45
            and longest(frame) <= world.mtu
            and frame.packet[8] >= world.threshold
            and (world.segmentation or not frame.vnet[1])
            for frame in frames
        )
        assert done == plain
        sent = frames if done else []
        for port, mtu, threshold in ((first, world.mtu, world.threshold), (second, 9000, 1)):
            seen = World(True, mtu, threshold, world.link_in, port.link_header)
            assert by_flow(port.packets()) == by_flow([packet for each in sent for packet in forwarded(each, seen)])
        datagrams = [packet for each in sent for packet in forwarded(each, World(True, 65535, 1, 14, 14))]
        octets = sum(map(len, datagrams))
        for counters in (ingress.counters, first.counters, second.counters):  # what came in is counted as what left
            assert int(counters[RX_PACKETS] + counters[TX_PACKETS]) == len(datagrams)
        assert int(ingress.counters[RX_BYTES]) == octets + world.link_in * len(datagrams)
        assert int(first.counters[TX_BYTES]) == octets + world.link_out * len(datagrams)
        assert int(flows._columns.packets.sum()) == len(datagrams)
        assert int(flows._columns.bytes.sum()) == octets


def longest(frame: Frame) -> int:
    """The longest packet on the wire."""
    return min(len(frame.packet), struct.unpack("=H", frame.vnet[4:6])[0] + 28) if frame.vnet[1] else len(frame.packet)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(ip_packet(ttl=1)),
        Frame(ip_packet(ttl=2)[:10] + b"\0\0" + ip_packet()[12:]),
        Frame(ip_packet(), cut=1),
        Frame(ip_packet()[:-1]),
        Frame(ip_packet(protocol=2)),
        Frame(ip_packet(options=b"\x01" * 4)),
        Frame(ip_packet(), link=bytes(18)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(1, 3, 42, 1000, 34, 6)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(0, 5, 42, 1000, 34, 6)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(1, 5, 42, 0, 34, 6)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(1, 5, 42, 1000, 38, 6)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(1, 5, 42, 1000, 34, 16)),
        Frame(ip_packet(payload=bytes(3000), protocol=6), vnet=vnet(1, 5, 42, 1000, 34, 6)),
        Frame(ip_packet(payload=bytes(3000), fragment=0x2000), vnet=vnet(1, 5, 42, 1000, 34, 6)),
        Frame(ip_packet(payload=bytes(3000)), vnet=vnet(1, 5, 42, 1473, 34, 6)),
        Frame(ip_packet(payload=b"1234567"), vnet=vnet(1, 5, 42, 1000, 34, 6)),
    ],
)
def test_anything_unusual_is_refused_before_anything_was_sent(frame):
    with egress_port(1) as port:
        ingress = Ingress()
        assert carry([datagram(), frame], {1: port}, ingress, segmentation=True)[0] is False
        assert (port.packets(), int(ingress.counters.sum())) == ([], 0)


@pytest.mark.parametrize("start", [0, 4, 13, 33, 35, 65535])
def test_a_checksum_in_an_odd_place_is_left_to_the_general_way(start):
    """A tap user says where; older kernels believe it, and on a link without header it may lie ahead of all."""
    frames = [Frame(ip_packet(payload=bytes(100)), vnet=vnet(1, 0, 0, 0, start, 6)), datagram()]
    with egress_port(1, link_header=0) as bare:
        assert not carry(frames, {1: bare}, Ingress())[0]
        assert bare.packets() == []


def test_flows_that_are_not_simply_forwarded_are_refused():
    with egress_port(1) as port:
        assert not carry([datagram()], {1: port}, Ingress(), Decision(Reason.NO_MEMBERS))[0]
        assert not carry([datagram()], {1: port}, Ingress(), own=datagram().link[6:12])[0]
        assert not carry([datagram(ttl=9)], {1: port}, Ingress(threshold=10))[0]
        assert not carry([datagram()], {1: port}, Ingress(), Decision(Reason.FORWARD, 0b110))[0]  # one is not there yet
        batch = batch_of([datagram()])
        scalar = Scalar(Paths(FlowTable(FlowColumns.allocate(8, 1), KEY), {1: port}))
        ingress = Ingress(ring=SimpleNamespace(view=memoryview(batch.buffer)))
        assert not scalar.forward(ingress, lent(batch), 1.0)
        flows = flows_of([datagram()], Decision(Reason.FORWARD, 2))
        flows.mark_group(G)
        assert flows.forwarded(0, A << 32 | G)[1] == 0
        assert port.packets() == []


def test_a_port_that_cannot_send_is_counted():
    with egress_port(1) as port:
        port.far.close()
        assert carry([datagram()], {1: port}, Ingress())[0]
        assert port.dropped(Reason.TRANSMIT_FAILED) == 1


def test_what_is_decided_anew_is_noticed():
    with egress_port(1) as port:
        batch = batch_of([datagram()])
        flows = flows_of([datagram()], Decision(Reason.FORWARD, 2))
        scalar = Scalar(Paths(flows, {1: port}))
        arguments = (Ingress(ring=SimpleNamespace(view=memoryview(batch.buffer))), lent(batch), 2.0)
        assert scalar.forward(*arguments)
        flows.decide(0, Decision(Reason.NOT_QUERIER))
        assert not scalar.forward(*arguments)
        flows.decide(0, Decision(Reason.FORWARD, 2))
        assert scalar.forward(*arguments)
        flows.mark_all()
        assert not scalar.forward(*arguments)
        assert len(port.packets()) == 2
