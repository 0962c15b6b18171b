from dataclasses import dataclass, replace

import numpy as np
import pytest
from batches import NO_VNET, Frame, address, batch_of, ip_packet, vnet, word_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.dataplane.admission import PortPolicy
from forwarder.dataplane.fib import Decision, Fib
from forwarder.dataplane.flows import FlowTable
from forwarder.dataplane.forwarding import NOTHING, Egress, egress, outgoing, verdicts
from forwarder.dataplane.frame import columns, decrement_ttl, packet
from forwarder.dataplane.ring import Batch
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

KEY = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
A, G, G2 = address("10.99.0.1"), address("239.1.1.1"), address("239.2.2.2")
UP, D1, D2, D3 = range(4)


def verdict(frame: Frame, flow: Reason = Reason.FORWARD, threshold: int = 1) -> Reason:
    header = columns(batch_of([frame]), 14)
    return Reason(int(verdicts(header, np.array([flow], np.uint8), threshold)[0]))


@pytest.mark.parametrize(
    ("ttl", "threshold_in", "threshold_out", "reason", "sent"),
    [
        (0, 1, 1, Reason.TTL_EXPIRED, False),
        (1, 1, 1, Reason.TTL_EXPIRED, False),
        (2, 1, 1, Reason.FORWARD, True),
        (10, 1, 16, Reason.FORWARD, False),
        (16, 1, 16, Reason.FORWARD, True),
        (17, 1, 16, Reason.FORWARD, True),
        (15, 16, 1, Reason.TTL_THRESHOLD, False),
        (255, 1, 256, Reason.FORWARD, False),
        (255, 256, 1, Reason.TTL_THRESHOLD, False),
        (1, 16, 1, Reason.TTL_EXPIRED, False),
    ],
)
def test_ttl_and_thresholds(ttl, threshold_in, threshold_out, reason, sent):
    """F-03; what is too old to forward is ttl_expired whatever the threshold."""
    frame = Frame(ip_packet(ttl=ttl))
    assert verdict(frame, threshold=threshold_in) == reason
    if reason == Reason.FORWARD:
        header = columns(batch_of([frame]), 14)
        out = egress(outgoing(header, np.array([0]), np.array([[2]], np.uint64)), D1, threshold_out, 1500)
        assert (out.whole.tolist(), out.threshold.tolist()) == (([0], []) if sent else ([], [0]))


BAD = Frame(ip_packet(ttl=1)[:10] + b"\0\0" + ip_packet(ttl=1)[12:])


@pytest.mark.parametrize(
    ("frame", "flow", "reason"),
    [
        (BAD, Reason.WRONG_INTERFACE, Reason.MALFORMED),
        (Frame(ip_packet(ttl=1), cut=4), Reason.WRONG_INTERFACE, Reason.TRUNCATED),
        (Frame(ip_packet(ttl=64, protocol=2)), Reason.FORWARD, Reason.RESERVED),
        (Frame(ip_packet(ttl=1)), Reason.WRONG_INTERFACE, Reason.WRONG_INTERFACE),
        (Frame(ip_packet(ttl=1)), Reason.BOUNDARY, Reason.BOUNDARY),
        (Frame(ip_packet(ttl=1)), Reason.NO_MEMBERS, Reason.TTL_EXPIRED),
        (Frame(ip_packet(ttl=3)), Reason.NO_MEMBERS, Reason.TTL_THRESHOLD),
        (Frame(ip_packet(ttl=64)), Reason.FLOW_LIMIT, Reason.FLOW_LIMIT),
    ],
)
def test_order_of_checks(frame, flow, reason):
    """F-04's IGMP among them: never data."""
    assert verdict(frame, flow, threshold=4) == reason


def test_a_ttl_of_one_does_not_decide_for_the_next_frame():
    header = columns(batch_of([Frame(ip_packet(ttl=ttl)) for ttl in (64, 1, 64)]), 14)
    flow = np.zeros(3, np.uint8)
    assert verdicts(header, flow).tolist() == [Reason.FORWARD, Reason.TTL_EXPIRED, Reason.FORWARD]
    assert flow.tolist() == [0, 0, 0]


def sort_out(frame: Frame, mtu: int, segmentation: bool = True) -> str:
    header = columns(batch_of([frame]), 14)
    out = egress(outgoing(header, np.array([0]), np.array([[1]], np.uint64)), 0, 1, mtu, segmentation)
    return next(name for name, positions in out._asdict().items() if positions.size)


def super_frame(length: int, gso_size: int, fragment: int = 0, gso_type: int = 5, options: bytes = b"") -> Frame:
    datagram = ip_packet(payload=bytes(8 + length), fragment=fragment, options=options)
    return Frame(datagram, vnet=vnet(1, gso_type, 42, gso_size, 34, 6))


DF = 0x4000


@pytest.mark.parametrize(
    ("frame", "mtu", "segmentation", "outcome"),
    [
        (Frame(ip_packet(payload=bytes(1480))), 1500, True, "whole"),
        (Frame(ip_packet(payload=bytes(1481))), 1500, True, "fragment"),
        (Frame(ip_packet(payload=bytes(1481), fragment=DF)), 1500, True, "mtu"),
        (super_frame(9000, 1472), 1500, True, "whole"),
        (super_frame(9000, 1472, DF), 1500, True, "whole"),
        (super_frame(9000, 1472, DF), 1500, False, "cut"),
        (super_frame(9000, 1473), 1500, True, "cut"),
        (super_frame(9000, 1473, DF), 1500, True, "cut"),
        (super_frame(9000, 1472, options=b"\x01" * 4), 1500, True, "cut"),
        (super_frame(900, 1473), 1500, True, "whole"),
        (super_frame(9000, 1472, gso_type=3), 1500, False, "whole"),
        (super_frame(9000, 1480, gso_type=3), 1500, False, "fragment"),
        (Frame(ip_packet()), 1500, False, "whole"),
    ],
)
def test_lengths_against_the_mtu(frame, mtu, segmentation, outcome):
    assert sort_out(frame, mtu, segmentation) == outcome


def test_ports_without_frames_get_nothing():
    header = columns(batch_of([Frame(ip_packet())]), 14)
    out = outgoing(header, np.array([0]), np.array([[0, 1 << 5]], np.uint64))
    assert egress(out, 0, 1, 1500) is NOTHING
    assert egress(out, 69, 1, 1500).whole.tolist() == [0]
    assert egress(out, 4000, 1, 1500) is NOTHING


# The whole pure chain against a scalar forwarder.

PORTS = (
    PortPolicy(UP, "upstream", networks=((address("10.0.0.1"), 24),), addresses=(address("10.0.0.1"),)),
    PortPolicy(D1, "downstream", networks=((address("192.168.10.1"), 24),)),
    PortPolicy(D2, "downstream", networks=((address("192.168.20.1"), 24),)),
    PortPolicy(70, "downstream"),
)
THRESHOLDS, MTUS = {UP: 1, D1: 16, D2: 1, 70: 3}, {UP: 1500, D1: 1500, D2: 600, 70: 1000}


def fib() -> Fib:
    table = Fib()
    table.set_ports(PORTS)
    table.set_queriers(-1)
    table.set_route(G, 32, None, 32, None, 1 << D1 | 1 << D2 | 1 << 70)
    table.set_route(G2, 32, None, 32, None, 1 << 70)
    table.set_route(G2, 32, A, 32, None, 1 << D1)
    return table


@dataclass(frozen=True)
class World:
    ingress: int
    threshold: int
    segmentation: bool


def reference(frame: Frame, table: Fib, world: World) -> tuple[Reason, dict[int, str]]:
    """What becomes of one frame, said as plainly as possible."""
    ip, length = frame.packet, int.from_bytes(frame.packet[2:4], "big")
    header = (ip[0] & 15) * 4
    wire = len(frame.packet + frame.padding)
    sane = ip[0] >> 4 == 4 and header >= 20 and header <= length <= wire and word_sum(ip[:header]) == 0xFFFF
    if not sane or len(frame.link) != 14:
        return Reason.MALFORMED, {}
    if frame.cut:
        return Reason.TRUNCATED, {}
    decision = table.decide(world.ingress, int.from_bytes(ip[12:16], "big"), int.from_bytes(ip[16:20], "big"))
    if ip[9] == 2:
        return Reason.RESERVED, {}
    if decision.reason in (Reason.WRONG_INTERFACE, Reason.SOURCE_NOT_ALLOWED, Reason.BAD_SOURCE, Reason.RESERVED):
        return decision.reason, {}
    if ip[8] <= 1:
        return Reason.TTL_EXPIRED, {}
    if ip[8] < world.threshold:
        return Reason.TTL_THRESHOLD, {}
    out = [port for port in PORTS if decision.ports >> port.index & 1]
    return decision.reason, {port.index: outcome(frame, header, length, port, world) for port in out}


def outcome(frame: Frame, header: int, length: int, port: PortPolicy, world: World) -> str:
    if frame.packet[8] < THRESHOLDS[port.index]:
        return "threshold"
    size = int.from_bytes(frame.vnet[4:6], "little")
    longest = min(length, header + 8 + size) if size else length
    if longest > MTUS[port.index]:
        return "cut" if size else "mtu" if frame.packet[6] & 0x40 else "fragment"
    return "cut" if size and not world.segmentation else "whole"


def spoil(frame: Frame, how: str) -> Frame:
    ip = frame.packet
    changes = {
        "checksum": {"packet": ip[:10] + bytes([ip[10] ^ 0x40]) + ip[11:]},
        "version": {"packet": bytes([ip[0] ^ 0x20]) + ip[1:]},
        "long": {"packet": ip[:-1], "padding": b""},
        "cut": {"cut": 1},
        "link": {"link": frame.link + bytes(4)},
    }
    return replace(frame, **changes[how]) if how else frame


@st.composite
def frames(draw) -> Frame:
    gso_size = draw(st.sampled_from([0, 0, 0, 400, 900, 1400]))
    payload = draw(st.sampled_from([8, 9, 30, 600, 980, 1480, 1481, 3000] if not gso_size else [100, 1000, 3000]))
    protocol = 17 if gso_size else draw(st.sampled_from([17, 17, 17, 2]))
    ip = ip_packet(
        draw(st.sampled_from([A, A + 1, address("192.168.10.9"), address("10.0.0.1"), 0])),
        draw(st.sampled_from([G, G, G2, G + 9, address("224.0.0.5")])),
        bytes(payload),
        ttl=draw(st.sampled_from([0, 1, 2, 3, 15, 16, 64, 255])),
        fragment=draw(st.sampled_from([0, DF] if gso_size else [0, DF, 0x2000, 0x2000 | 77, 77])),
        protocol=protocol,
        options=b"\x01" * 4 * draw(st.sampled_from([0, 0, 0, 1, 10])),
        identification=draw(st.integers(0, 0xFFFF)),
    )
    plain = draw(st.sampled_from([NO_VNET, vnet(2), vnet(1, 0, 0, 0, 34, 6)]))
    header = vnet(1, 5, 42, gso_size, 34, 6) if gso_size else plain
    frame = Frame(ip, vnet=header, padding=bytes(draw(st.sampled_from([0, 0, 7]))))
    return spoil(frame, draw(st.sampled_from(["", "", "", "", "", "checksum", "version", "long", "cut", "link"])))


worlds = st.builds(World, st.sampled_from([UP, D1]), st.sampled_from([1, 2, 16]), st.booleans())


def chain(batch: Batch, table: Fib, flows: FlowTable, world: World):
    """What a worker does with a batch: verdicts and, per port, positions among the frames that go out."""
    header = columns(batch, 14)
    found = flows.lookup_pairs(world.ingress, header.pair)
    for at in np.flatnonzero(found < 0).tolist():
        source, group = int(header.source[at]), int(header.group[at])
        if flows.lookup_pairs(world.ingress, header.pair[at : at + 1])[0] < 0:
            flows.insert(world.ingress, source, group, table.decide(world.ingress, source, group), 1.0)
    rows = flows.lookup(world.ingress, header.source, header.group)
    reasons = verdicts(header, flows.reasons(rows), world.threshold)
    going = np.flatnonzero(reasons == Reason.FORWARD)
    if not going.size:
        return header, reasons, going, {}
    out = outgoing(header, going, flows.ports(rows[going]))
    return header, reasons, going, {
        index: egress(out, index, THRESHOLDS[index], MTUS[index], world.segmentation) for index in MTUS
    }


@settings(deadline=None, max_examples=300)
@given(st.lists(frames(), min_size=1, max_size=12), worlds)
def test_the_chain_forwards_like_the_scalar_reference(made, world):
    table, batch = fib(), batch_of(made)
    _, reasons, going, out = chain(batch, table, FlowTable(FlowColumns.allocate(64, 2), KEY), world)
    expected = [reference(frame, table, world) for frame in made]
    assert [Reason(reason) for reason in reasons.tolist()] == [reason for reason, _ in expected]
    places: list[dict[int, str]] = [{} for _ in made]
    for port, each in out.items():
        for name, positions in each._asdict().items():
            for position in positions.tolist():
                places[going[position]][port] = name
    assert places == [ports for _, ports in expected]


@settings(deadline=None)
@given(st.lists(frames(), min_size=1, max_size=8), worlds)
def test_what_goes_out_is_the_packet_one_hop_older(made, world):
    batch = batch_of(made)
    header, _, going, _ = chain(batch, fib(), FlowTable(FlowColumns.allocate(64, 2), KEY), world)
    decrement_ttl(header.rows)
    for frame in going.tolist():
        before, after = made[frame].packet, packet(batch, header, frame)
        assert (after[8], after[:8], after[9], after[12:]) == (before[8] - 1, before[:8], before[9], before[12:])
        assert word_sum(after[: (after[0] & 15) * 4]) == 0xFFFF


@given(st.lists(st.integers(0, 2**130 - 1), min_size=1, max_size=20), st.integers(0, 129))
def test_every_bit_is_its_port(bitmaps, port):
    header = columns(batch_of([Frame(ip_packet())] * len(bitmaps)), 14)
    words = np.array([[bitmap >> 64 * word & 2**64 - 1 for word in range(3)] for bitmap in bitmaps], np.uint64)
    out = egress(outgoing(header, np.arange(len(bitmaps)), words), port, 1, 1500)
    assert out.whole.tolist() == [at for at, bitmap in enumerate(bitmaps) if bitmap >> port & 1]
    assert isinstance(out, Egress)


def test_a_decision_made_again_is_used():
    table, flows = fib(), FlowTable(FlowColumns.allocate(8, 2), KEY)
    batch, world = batch_of([Frame(ip_packet(A, G + 9, ttl=64))]), World(UP, 1, True)
    assert chain(batch, table, flows, world)[1].tolist() == [Reason.NO_MEMBERS]
    table.set_route(G + 9, 32, None, 32, None, 1 << D1)
    flows.mark_group(G + 9)
    for row in flows.stale(np.array([0])).tolist():
        flows.decide(row, table.decide(*flows.key(row)))
    assert chain(batch, table, flows, world)[3][D1].whole.tolist() == [0]
    flows.decide(0, Decision(Reason.NOT_QUERIER))
    assert chain(batch, table, flows, world)[1].tolist() == [Reason.NOT_QUERIER]
