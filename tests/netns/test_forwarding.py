"""What goes in comes out, unaltered, once, where it is wanted, and nowhere else."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.frames import (
    ROUTER_ALERT,
    Injector,
    Source,
    checksum,
    ethernet,
    group_mac,
    ipv4,
    set_checksum_offload,
    udp,
    udp_sum,
)
from netns.plant import (
    LARGEST,
    NOISE,
    Plant,
    carried,
    counted,
    in_windows,
    masked,
    new_lab,
    payloads,
    plant_of,
)


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """Two receivers behind links of MTU 1500."""
    with new_lab(2) as lab, plant_of(lab, tmp_path_factory.mktemp("plant")) as made:
        yield made


@pytest.fixture
def group(plant: Plant) -> str:
    """A group that nobody has used yet."""
    return plant.group()


@pytest.fixture
def capture(plant: Plant) -> Iterator[Capture]:
    """The UDP of receiver0's link."""
    with Capture(plant.lab.receivers[0], protocol=UDP) as running:
        yield running


def mac(plant: Plant, port: str) -> bytes:
    """Hardware address of one of the router's links, as the kernel tells it."""
    return bytes.fromhex(links.attribute(plant.lab.router, port, "IFLA_ADDRESS").replace(":", ""))


# --- payload ---


def test_a_payload_of_every_size_arrives_bit_for_bit_and_in_order_at_every_member(plant, group, stack):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    sent = payloads(list(range(1, LARGEST + 1)))
    with Source(plant.lab.source) as source:
        for window in in_windows(sent, 256):
            source.send(group, *window)
            assert [member.receive(len(window)) for member in members] == [window] * 2
    assert [member.rest() for member in members] == [[], []]


def test_an_empty_datagram_arrives(plant, group, stack):
    member = plant.join(stack, 0, group)
    with Source(plant.lab.source) as source:
        source.send(group, b"", b"after")
    assert member.receive(2) == [b"", b"after"]


def test_a_hundred_megabytes_arrive_with_the_same_digest(plant, group, stack):
    member = plant.join(stack, 0, group)
    sent, received = hashlib.sha256(), hashlib.sha256()
    size, count, window = 1400, 75_000, 500
    with Source(plant.lab.source) as source:
        for first in range(0, count, window):
            burst = [NOISE[(n * 7) % 100_000 :][:size] for n in range(first, first + window)]
            source.send(group, *burst)
            arrived = member.receive(window)
            assert len(arrived) == window
            sent.update(b"".join(burst))
            received.update(b"".join(arrived))
    assert sent.digest() == received.digest()
    assert member.rest() == []


@pytest.mark.parametrize("size", [1473, 8000, 65507])
def test_a_fragmented_datagram_is_reassembled_by_the_receivers(plant, group, stack, size):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    sent = payloads([size] * 20)
    with Source(plant.lab.source) as source:
        for payload in sent:
            source.send(group, payload)
            assert [member.receive(1) for member in members] == [[payload]] * 2


def test_fragments_of_hand_made_ids_and_offsets_go_through_as_they_are(plant, group, stack, capture):
    plant.join(stack, 0, group)
    packets = [
        ipv4(SOURCE, group, NOISE[:size], identification=n * 911 & 0xFFFF, flags=flags, ttl=9)
        for n, (size, flags) in enumerate([(800, 0x2000), (800, 0x2000 | 100), (3, 200), (8, 0x1FFF), (64, 0x4000)])
    ]
    with Injector(plant.lab.source) as injector:
        injector.send(*packets)
        frames = wait_for(lambda: carried(capture, group, len(packets)), 5.0, "fragments")
    assert [masked(frame.packet) for frame in frames] == [masked(packet) for packet in packets]


# --- header ---


@pytest.mark.parametrize("ttl", [2, 3, 64, 128, 255])
def test_the_header_is_that_of_a_forwarded_packet(plant, group, stack, capture, ttl):
    plant.join(stack, 0, group)
    with Source(plant.lab.source, ttl=ttl) as source:
        source.send(group, b"payload")
        frame = capture.wait_for(lambda frame: frame.destination == group, 5.0)
    assert frame.octets[:14] == group_mac(group) + mac(plant, "down0") + b"\x08\x00"
    assert (frame.ttl, frame.source, checksum(frame.packet[:20])) == (ttl - 1, SOURCE, 0)


def test_the_header_checksum_is_right_whatever_it_was(plant, group, stack, capture):
    plant.join(stack, 0, group)
    chooser = random.Random(1624)
    packets = [udp(SOURCE, group, ttl=chooser.randint(2, 255), identification=n * 64) for n in range(1024)]
    with Injector(plant.lab.source) as injector:
        injector.send(*packets)
        frames = wait_for(lambda: carried(capture, group, len(packets)), 10.0, "frames")
    assert {checksum(frame.packet[:20]) for frame in frames} == {0}
    assert [frame.ttl for frame in frames] == [packet[8] - 1 for packet in packets]
    assert [masked(frame.packet) for frame in frames] == [masked(packet) for packet in packets]


@pytest.mark.parametrize("tos", [0xB8, 0x28, 0x03, 0xFD])
def test_dscp_and_ecn_marks_are_kept(plant, group, stack, capture, tos):
    plant.join(stack, 0, group)
    with Source(plant.lab.source, tos=tos) as source:
        source.send(group, b"marked")
        frame = capture.wait_for(lambda frame: frame.destination == group, 5.0)
    assert (frame.packet[1], checksum(frame.packet[:20])) == (tos, 0)


STREAM_ID, NO_OPERATION = b"\x88\x04\x12\x34", b"\x01"


@pytest.mark.parametrize("options", [ROUTER_ALERT, NO_OPERATION * 8, STREAM_ID + ROUTER_ALERT + NO_OPERATION * 32])
def test_ip_options_and_payload_are_kept(plant, group, stack, capture, options):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    sent = payloads([1, 2, 3, 1000, LARGEST - len(options)])
    with Source(plant.lab.source, options=options) as source:
        source.send(group, *sent)
    assert [member.receive(len(sent)) for member in members] == [sent] * 2
    frames = wait_for(lambda: carried(capture, group, len(sent)), 5.0, "frames with options")
    for frame in frames:
        assert frame.packet[20 : 20 + len(options)] == options
        assert (frame.ttl, checksum(frame.packet[: 20 + len(options)])) == (15, 0)


def test_the_padding_of_short_frames_is_not_forwarded(plant, group, stack, capture):
    plant.join(stack, 0, group)
    packets = [udp(SOURCE, group, b"z" * size) for size in range(1, 18)]
    with Injector(plant.lab.source) as injector:
        for packet in packets:
            injector.send_frame(ethernet(packet).ljust(60, b"\xee"))
        frames = wait_for(lambda: carried(capture, group, len(packets)), 5.0, "short frames")
    assert [len(frame.octets) for frame in frames] == [14 + len(packet) for packet in packets]
    assert [masked(frame.packet) for frame in frames] == [masked(packet) for packet in packets]


# --- UDP checksums ---


def test_a_udp_checksum_of_zero_stays_zero(plant, group, stack, capture):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    with Source(plant.lab.source, no_checksum=True) as source:
        source.send(group, *payloads([1, 500, LARGEST]))
    assert [member.receive(3) for member in members] == [payloads([1, 500, LARGEST])] * 2
    frames = wait_for(lambda: carried(capture, group, 3), 5.0, "frames")
    assert {frame.payload[6:8] for frame in frames} == {b"\0\0"}


def test_finished_checksums_are_carried_right_or_wrong(plant, group, stack, capture):
    plant.join(stack, 0, group)
    sums = (None, 0xBAD1, 0)
    packets = [udp(SOURCE, group, NOISE[:size], wrong=wrong) for size in (1, 700) for wrong in sums]
    with Injector(plant.lab.source) as injector:
        injector.send(*packets)
        frames = wait_for(lambda: carried(capture, group, len(packets)), 5.0, "frames")
    assert [masked(frame.packet) for frame in frames] == [masked(packet) for packet in packets]


def test_a_sender_without_checksum_offload_is_carried(plant, group, stack, capture):
    member = plant.join(stack, 0, group)
    sent = payloads([1, 2, 999, LARGEST])
    with ExitStack() as undo:
        set_checksum_offload(plant.lab.source, LINK, False)
        undo.callback(set_checksum_offload, plant.lab.source, LINK, True)
        with Source(plant.lab.source) as source:
            source.send(group, *sent)
        assert member.receive(len(sent)) == sent
        frames = wait_for(lambda: carried(capture, group, len(sent)), 5.0, "frames")
    assert {udp_sum(frame.packet) for frame in frames} == {0}


def test_an_unfinished_checksum_is_finished_for_an_egress_without_offload(plant, group, stack):
    member = plant.join(stack, 1, group)
    sent = payloads([1, 2, 999, LARGEST, 5000])
    with Capture(plant.lab.receivers[1], protocol=UDP) as capture, ExitStack() as undo:
        set_checksum_offload(plant.lab.router, "down1", False)
        undo.callback(set_checksum_offload, plant.lab.router, "down1", True)
        with Source(plant.lab.source) as source:
            source.send(group, *sent)
        with Source(plant.lab.source, segment=600) as source:
            source.send(group, NOISE[:3001])
        segments = [NOISE[:3001][at : at + 600] for at in range(0, 3001, 600)]
        assert member.receive(len(sent) + 6) == sent + segments
        frames = wait_for(lambda: carried(capture, group, len(sent) - 1 + 4 + 6), 5.0, "frames")
    whole = [frame for frame in frames if not int.from_bytes(frame.packet[6:8], "big") & 0x3FFF]
    assert len(whole) == len(sent) - 1 + 6  # the longest was fragmented by its sender
    assert {udp_sum(frame.packet) for frame in whole} == {0}


# --- super-frames ---


SUPER_FRAMES = [(1000, 64_000), (1472, 60_001), (7, 400), (600, 601), (1316, 1316)]


@pytest.mark.parametrize(("size", "total"), SUPER_FRAMES)
def test_a_segmentation_offload_sender_is_heard_as_the_datagrams_it_meant(plant, group, stack, size, total):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    sent = [NOISE[:total][at : at + size] for at in range(0, total, size)]
    with Source(plant.lab.source, segment=size) as source:
        source.send(group, NOISE[:total])
        assert [member.receive(len(sent)) for member in members] == [sent] * 2
    assert [member.rest() for member in members] == [[], []]


# --- where it goes ---


# RFC 4605 4.2 a
# RFC 4541 2.1.2 a
def test_only_ports_with_members_carry_a_flow(plant, group, stack, capture):
    member = plant.join(stack, 1, group)
    with Source(plant.lab.source) as source:
        source.send(group, *payloads([100] * 50))
        assert member.receive(50) == payloads([100] * 50)
        assert member.rest() == []
        assert carried(capture, group) is None


def test_nothing_goes_back_where_it_came_from_and_nothing_of_ours_comes_in(plant, group, stack):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    sent = {port: plant.sent(port) for port in ("up0", "down0", "down1")}
    received = {port: plant.received(port) for port in sent}
    with Capture(plant.lab.router, "up0", UDP) as capture, Source(plant.lab.source) as source:
        source.send(group, *payloads([100] * 200))
        assert [len(member.receive(200)) for member in members] == [200, 200]
        assert [member.rest() for member in members] == [[], []]
        assert capture.select(lambda frame: frame.outgoing and frame.destination == group) == []
    wait_for(lambda: plant.sent("down1") == sent["down1"] + 200, 5.0, "counters")
    assert [plant.sent(port) - sent[port] for port in sent] == [0, 200, 200]
    assert [plant.received(port) - received[port] for port in received] == [200, 0, 0]


# RFC 4605 3.2 a
def test_a_source_behind_a_downstream_port_is_carried_upstream_even_if_nobody_joined(plant, group):
    with Capture(plant.lab.source, protocol=UDP) as up, Capture(plant.lab.receivers[1], protocol=UDP) as other:
        with counted(plant, "down0", 3, {}), Source(plant.lab.receivers[0]) as source:
            source.send(group, b"1", b"22", b"333")  # each longer than the one before: no super-frame
        frames = wait_for(lambda: carried(up, group, 3), 5.0, "frames upstream")
        assert [(frame.source, frame.ttl) for frame in frames] == [(plant.lab.address(0), 15)] * 3
        assert carried(other, group) is None
    assert {frame.octets[6:12] for frame in frames} == {mac(plant, "up0")}


# RFC 4605 4.2 b
def test_a_source_behind_a_downstream_port_reaches_other_members_but_not_its_own_link(plant, group, stack, capture):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    with Capture(plant.lab.source, protocol=UDP) as up:
        with counted(plant, "down0", 100, {}), Source(plant.lab.receivers[0]) as source:
            source.send(group, *payloads(range(300, 400)))  # each longer than the one before: no super-frame
            assert members[1].receive(100) == payloads(range(300, 400))
        assert len(wait_for(lambda: carried(up, group, 100), 5.0, "frames upstream")) == 100
        assert carried(capture, group) is None
    assert [member.rest() for member in members] == [[], []]
    row = plant.flow(group, plant.lab.address(0))
    assert (row["upstream"], row["downstreams"]) == ("down0", ["up0", "down1"])


# --- what `show` says ---


INTERFACE_KEYS = (
    "name index role state address mac mtu link_type querier querier_address igmp_version "
    "rx_packets rx_bytes tx_packets tx_bytes groups segmentation segmentation_reason ring ring_reason "
    "ring_memory ring_replacements degraded drops igmp host_memberships rx_packets_per_second rx_bits_per_second "
    "tx_packets_per_second tx_bits_per_second"
)
DROP_REASONS = (
    "malformed truncated ttl_expired ttl_threshold wrong_interface source_not_allowed bad_source boundary "
    "reserved rate_limited no_members not_querier standby_duplicate mtu ring_full transmit_failed "
    "flow_limit flow_table_full"
)
FLOW_KEYS = (
    "group source upstream downstreams packets bytes wrong_packets packets_per_second bits_per_second since idle "
    "verdict hint dropped"
)


def test_show_interfaces_has_the_fixed_keys_and_right_values(plant):
    rows = {row["name"]: row for row in plant.mcfwd.show("interfaces")}
    assert list(rows) == ["up0", "down0", "down1"]
    for row in rows.values():
        assert set(row) == set(INTERFACE_KEYS.split())
        assert all(type(count) is int for count in [*row["drops"].values(), *row["igmp"].values()])
    up, down = rows["up0"], rows["down0"]
    assert (up["role"], up["state"], up["address"], up["mtu"]) == ("upstream", "up", UPSTREAM, 1500)
    assert (up["querier"], up["querier_address"]) == (None, None)
    assert (down["role"], down["querier"], down["querier_address"]) == ("downstream", True, "192.168.10.1")
    assert (down["mac"], down["link_type"]) == (mac(plant, "down0").hex(":"), "ether")


def test_every_drop_reason_is_shown(plant):
    assert set(plant.mcfwd.interface("up0")["drops"]) == set(DROP_REASONS.split())


def test_show_flows_has_the_fixed_keys_and_counts_exactly(plant, group, stack):
    member = plant.join(stack, 1, group)
    with counted(plant, "up0", 10, {}), Source(plant.lab.source) as source:
        source.send(group, *payloads([100] * 10))
        member.receive(10)
    row = plant.flow(group)
    assert set(row) == set(FLOW_KEYS.split())
    assert 0 <= row.pop("idle") <= row.pop("since") < 10
    assert all((row.pop(key) or 0) >= 0 for key in ("packets_per_second", "bits_per_second"))  # null: not known yet
    assert row == {
        "group": group,
        "source": SOURCE,
        "upstream": "up0",
        "downstreams": ["down1"],
        "packets": 10,
        "bytes": 1280,
        "wrong_packets": 0,
        "verdict": "forward",
        "hint": None,
        "dropped": {},
    }


def test_counters_of_interfaces_are_frames_and_octets_on_the_link(plant, group, stack):
    member = plant.join(stack, 0, group)
    before = {name: plant.mcfwd.interface(name) for name in ("up0", "down0")}
    with Source(plant.lab.source) as source:
        source.send(group, *payloads([100] * 10))
        member.receive(10)
    wait_for(lambda: plant.sent("down0") == before["down0"]["tx_packets"] + 10, 5.0, "tx_packets")
    after = {name: plant.mcfwd.interface(name) for name in before}
    assert after["up0"]["rx_bytes"] - before["up0"]["rx_bytes"] == 10 * 142
    assert after["down0"]["tx_bytes"] - before["down0"]["tx_bytes"] == 10 * 142
