"""Every frame that is not forwarded is counted, once, by its reason, where it was dropped."""

from collections.abc import Iterator

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from forwarder.lab import links
from forwarder.lab.capture import Capture
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.frames import (
    ROUTER_ALERT,
    Injector,
    Source,
    ethernet,
    ipv4,
    send_super_frame,
    set_gso_size,
    udp,
)
from netns.plant import (
    IGMP_SETTINGS,
    NOISE,
    Plant,
    added,
    counted,
    new_lab,
    plant_of,
    stopped_worker,
    wait_drops,
)


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    """Two receivers."""
    with new_lab(2) as lab, plant_of(lab, tmp_path_factory.mktemp("plant")) as made:
        yield made


@pytest.fixture
def group(plant: Plant) -> str:
    """A group that nobody has used yet."""
    return plant.group()


# --- TTL ---


def test_ttl_1_is_counted_with_a_hint_and_ttl_2_of_the_same_flow_passes(plant, group, stack):
    member = plant.join(stack, 0, group)
    with counted(plant, "up0", 3, {("up0", "ttl_expired"): 3}), Source(plant.lab.source, ttl=1) as source:
        source.send(group, b"1", b"2", b"3")
    row = plant.flow(group)
    assert (row["verdict"], "TTL" in row["hint"]) == ("ttl_expired", True)
    with counted(plant, "up0", 1, {}), Source(plant.lab.source, ttl=2) as source:
        source.send(group, b"passes")
        assert member.receive(1) == [b"passes"]
    row = plant.flow(group)
    assert (row["verdict"], row["downstreams"], row["packets"]) == ("forward", ["down0"], 1)
    assert "TTL" in row["hint"]
    assert member.rest() == []


def test_a_ttl_of_0_is_counted_like_one_of_1(plant, group, stack):
    plant.join(stack, 0, group)
    with counted(plant, "up0", 2, {("up0", "ttl_expired"): 2}), Injector(plant.lab.source) as injector:
        injector.send(udp(SOURCE, group, ttl=0), udp(SOURCE, group, ttl=1))


# --- what must not pass ---


DEFECTS = {
    "header checksum": {"header_sum": 0x1234},
    "version 5": {"version": 5},
    "header of 16 octets": {"words": 4},
    "header longer than the packet": {"words": 15, "length": 40},
    "length beyond the frame": {"length": 1000},
    "length inside the header": {"length": 19},
    "length 0": {"length": 0},
}


@pytest.mark.parametrize("fields", DEFECTS.values(), ids=DEFECTS)
def test_a_header_that_lies_is_counted_as_malformed_and_goes_nowhere(plant, group, stack, fields):
    member = plant.join(stack, 0, group)
    with counted(plant, "up0", 2, {("up0", "malformed"): 1}), Injector(plant.lab.source) as injector:
        injector.send(udp(SOURCE, group, b"bad", **fields), udp(SOURCE, group, b"good"))
        assert member.receive(1) == [b"good"]
    assert member.rest(0.1) == []


def test_options_that_make_the_checksum_wrong_are_malformed(plant, group, stack):
    plant.join(stack, 0, group)
    packet = bytearray(udp(SOURCE, group, options=ROUTER_ALERT))
    packet[23] ^= 1
    with counted(plant, "up0", 1, {("up0", "malformed"): 1}), Injector(plant.lab.source) as injector:
        injector.send(bytes(packet))


def test_a_super_frame_longer_than_a_block_of_the_ring_is_counted_as_truncated(plant, group, stack):
    member = plant.join(stack, 0, group)
    try:
        set_gso_size(plant.lab.source, LINK, 200_000)
    except OSError as error:
        pytest.skip(f"no IPv4 super-frames beyond 64 KiB here: {error}")
    with counted(plant, "up0", 1, {("up0", "truncated"): 1}):
        frame = ethernet(udp(SOURCE, group, NOISE[:65_000])) + NOISE[:75_000]
        send_super_frame(plant.lab.source, LINK, frame, 60_000)
    assert member.rest() == []


IMPOSSIBLE = {
    "nobody": "0.0.0.0",
    "loopback": "127.0.0.1",
    "a group": "239.1.1.1",
    "class E": "240.0.0.1",
    "everybody": "255.255.255.255",
    "our upstream address": UPSTREAM,
    "our downstream address": "192.168.10.1",
    "network address": "10.0.0.0",
    "directed broadcast": "10.0.0.255",
}


@pytest.mark.parametrize("address", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_source_is_counted_as_bad_source(plant, group, stack, address):
    plant.join(stack, 0, group)
    with counted(plant, "up0", 2, {("up0", "bad_source"): 2}), Injector(plant.lab.source) as injector:
        injector.send(udp(address, group), udp(address, group))


def test_a_source_of_another_ports_subnet_is_counted_as_wrong_interface(plant, group, stack):
    plant.join(stack, 1, group)
    with counted(plant, "up0", 2, {("up0", "wrong_interface"): 2}), Injector(plant.lab.source) as injector:
        injector.send(udp("192.168.10.77", group), udp("192.168.10.77", group))
    expected = {("down0", "wrong_interface"): 1}
    with Injector(plant.lab.receivers[0]) as injector, counted(plant, "down0", 1, expected):
        injector.send(udp("10.0.0.77", group))
    row = plant.flow(group, "192.168.10.77")
    assert (row["verdict"], row["upstream"], row["wrong_packets"]) == ("wrong_interface", "up0", 2)


def test_a_foreign_source_behind_a_downstream_port_is_not_allowed(plant, group, stack):
    plant.join(stack, 1, group)
    expected = {("down0", "source_not_allowed"): 1}
    with Injector(plant.lab.receivers[0]) as injector, counted(plant, "down0", 1, expected):
        injector.send(udp("172.31.9.9", group))


def test_a_remote_source_is_taken_from_upstream(plant, group, stack):
    member = plant.join(stack, 0, group)
    with counted(plant, "up0", 1, {}), Injector(plant.lab.source) as injector:
        injector.send(udp("203.0.113.9", group, b"remote"))
        assert member.receive(1) == [b"remote"]


def test_the_reserved_group_is_counted(plant):
    with counted(plant, "up0", 1, {("up0", "reserved"): 1}), Injector(plant.lab.source) as injector:
        injector.send(udp(SOURCE, "232.0.0.0"))


# RFC 4541 2.1.2 c
def test_what_nobody_wants_is_counted(plant, group):
    with counted(plant, "up0", 3, {("up0", "no_members"): 3}), Source(plant.lab.source) as source:
        source.send(group, b"1", b"2", b"3")
    row = plant.flow(group)
    assert (row["verdict"], row["downstreams"], row["packets"]) == ("no_members", [], 3)


def test_unicast_and_igmp_are_neither_taken_nor_counted_and_link_local_groups_are_reserved(plant, group, stack):
    plant.join(stack, 0, group)
    with Capture(plant.lab.receivers[0], protocol=None) as capture, Injector(plant.lab.source) as injector:
        with counted(plant, "up0", 3, {("up0", "reserved"): 2}):
            injector.send(udp(SOURCE, "224.0.0.251"), udp(SOURCE, "224.0.0.5"), udp(SOURCE, "198.51.100.1"))
            injector.send(ipv4(SOURCE, group, b"\x16\0\0\0", protocol=2), udp(SOURCE, group, b"mark"))
            capture.wait_for(lambda frame: frame.packet.endswith(b"mark"), 5.0)
        assert not capture.select(lambda frame: frame.source == SOURCE and not frame.packet.endswith(b"mark"))
    row = plant.flow("224.0.0.251")
    assert (row["verdict"], row["packets"]) == ("reserved", 1)
    assert "never forwarded" in row["hint"]


# --- drops that need a configuration ---


STRICT = """
[[interface]]
name = "up0"
role = "upstream"
threshold = 4
altnets = ["172.30.0.0/16"]
[[interface]]
name = "down0"
role = "downstream"
threshold = 10
[[interface]]
name = "down1"
role = "downstream"
querier = false
[[interface]]
name = "down2"
role = "downstream"
altnets = ["172.29.0.0/16"]
[igmp]
last_member_query_interval = 0.2
[dataplane]
flow_limit = 8
max_flows = 512
ring_memory = "3MiB"
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Iterator[Plant]:
    """Thresholds, alternative networks, a port that is no querier, small tables, a small ring."""
    with new_lab(3) as lab, plant_of(lab, tmp_path_factory.mktemp("strict"), STRICT) as made:
        yield made


def test_the_threshold_of_the_ingress_is_counted_there(strict, stack):
    group = strict.group()
    member = strict.join(stack, 2, group)
    with counted(strict, "up0", 4, {("up0", "ttl_expired"): 1, ("up0", "ttl_threshold"): 2}):
        for ttl in (1, 2, 3, 4):
            with Source(strict.lab.source, ttl=ttl) as source:
                source.send(group, b"%d" % ttl)
        assert member.receive(1) == [b"4"]
    assert member.rest() == []


def test_the_threshold_of_an_egress_is_counted_there_and_does_not_touch_others(strict, stack):
    group = strict.group()
    members = [strict.join(stack, number, group) for number in (0, 2)]
    with counted(strict, "up0", 3, {("down0", "ttl_threshold"): 2}):
        for ttl in (4, 9, 10):
            with Source(strict.lab.source, ttl=ttl) as source:
                source.send(group, b"%d" % ttl)
        assert [members[0].receive(1), members[1].receive(3)] == [[b"10"], [b"4", b"9", b"10"]]
    assert [member.rest() for member in members] == [[], []]


def test_with_altnets_a_source_is_taken_from_them_and_the_links_own_subnet_only(strict, stack):
    group = strict.group()
    member = strict.join(stack, 2, group)
    with counted(strict, "up0", 3, {("up0", "source_not_allowed"): 1}), Injector(strict.lab.source) as injector:
        sources = ("172.30.1.1", "203.0.113.9", "10.0.0.77")
        injector.send(*(udp(source, group, source.encode()) for source in sources))
        assert member.receive(2) == [b"172.30.1.1", b"10.0.0.77"]
    assert "altnets" in strict.flow(group, "203.0.113.9")["hint"]


def test_altnets_of_a_downstream_port_let_sources_behind_a_router_send(strict, stack):
    group = strict.group()
    member = strict.join(stack, 0, group)
    expected = {("down2", "source_not_allowed"): 1}
    with Injector(strict.lab.receivers[2]) as injector, counted(strict, "down2", 2, expected):
        injector.send(udp("172.29.5.5", group, b"routed"), udp("172.28.5.5", group, b"foreign"))
        assert member.receive(1) == [b"routed"]


# RFC 4605 3 f
def test_a_port_that_is_not_querier_does_not_forward(strict, stack):
    group = strict.group()
    strict.join(stack, 1, group)
    with counted(strict, "up0", 2, {("down1", "not_querier"): 2}), Source(strict.lab.source) as source:
        source.send(group, b"1", b"2")
    row = strict.flow(group)
    assert (row["verdict"], row["dropped"]) == ("not_querier", {"down1": {"not_querier": 2}})
    assert row["hint"].startswith("down1: ")
    assert "(forward_when_not_querier)" in row["hint"]


def test_more_new_flows_at_once_than_allowed_are_counted(strict, stack):
    group = strict.group()
    strict.join(stack, 2, group)
    packets = [udp(f"172.30.9.{number}", group) for number in range(1, 101)]
    drops, before = strict.drops(), strict.received("up0")
    with stopped_worker(strict), Injector(strict.lab.source) as injector:
        injector.send(*packets)
    wait_for(lambda: strict.received("up0") == before + 100, 10.0, "frames")
    [(what, count)] = added(strict.drops(), drops).items()
    assert what == ("up0", "flow_limit")
    assert 0 < count <= 100 - 8


def test_a_full_ring_is_counted_and_nothing_else_is_lost(strict, stack):
    group = strict.group()
    member = strict.join(stack, 2, group)
    drops, before = strict.drops(), strict.received("up0")

    def lost() -> int:
        return added(strict.drops(), drops).get(("up0", "ring_full"), 0)

    with stopped_worker(strict), Source(strict.lab.source) as source:
        source.send(group, *[NOISE[:1400]] * 4000)
    wait_for(lambda: strict.received("up0") - before + lost() >= 4000, 10.0, "every frame taken or counted")
    wait_drops(strict, drops, {("up0", "ring_full"): lost()})
    assert 0 < lost() < 4000
    assert len(member.receive(4000 - lost())) == 4000 - lost()
    with Source(strict.lab.source) as source:
        source.send(group, b"goes on")
        assert member.receive(1) + member.rest() == [b"goes on"]


def test_flows_beyond_the_table_are_counted_and_those_in_it_go_on(lab, stack, tmp_path):
    settings = IGMP_SETTINGS + "[dataplane]\nmax_flows = 64\n"
    with plant_of(lab, tmp_path, settings) as plant:
        member = plant.join(stack, 0, "239.8.0.1")
        sources = [f"10.0.1.{number}" for number in range(1, 81)]
        known = [udp(source, "239.8.0.1", source.encode()) for source in sources[:64]]
        for _ in range(8):  # until they are trusted: who comes once makes room for others
            with Injector(lab.source) as injector:
                injector.send(*known)
                assert len(member.receive(64)) == 64
        for _ in range(2):
            with counted(plant, "up0", 80, {("up0", "flow_table_full"): 16}), Injector(lab.source) as injector:
                injector.send(*(udp(source, "239.8.0.1", source.encode()) for source in sources))
                assert sorted(member.receive(64)) == sorted(source.encode() for source in sources[:64])
        assert len(plant.mcfwd.show("flows")) == 64


def test_an_egress_that_is_slow_is_counted_and_holds_up_no_other(plant, group, stack):
    members = [plant.join(stack, number, group) for number in (0, 1)]
    slow_down(plant.lab.router, "down1")
    stack.callback(hurry_up, plant.lab.router, "down1")
    drops, sent = plant.drops(), plant.sent("down1")
    with Source(plant.lab.source) as source:
        # Ever longer ones make no super-frames, which the queue would cut and drop.
        payloads = [NOISE[:length] for length in range(1000, 1100)]
        source.send(group, *payloads)
        assert members[0].receive(100) == payloads

    def gone() -> int:
        return plant.sent("down1") - sent

    wait_for(lambda: gone() + sum(added(plant.drops(), drops).values()) == 100, 5.0, "all counted")
    failed = 100 - gone()
    wait_drops(plant, drops, {("down1", "transmit_failed"): failed})
    assert 50 < failed < 100


def slow_down(namespace: Namespace, name: str) -> None:
    """A queue of some thousand octets that empties at 8 kbit/s."""
    index = links.index(namespace, name)
    queue = {"rate": "8kbit", "burst": 2000, "latency": "1s"}
    try:
        links.netlink(namespace, lambda ip: ip.tc("add", "tbf", index, 0x10000, **queue))
    except NetlinkError as error:
        pytest.skip(f"no token bucket filter here: {error}")


def hurry_up(namespace: Namespace, name: str) -> None:
    index = links.index(namespace, name)
    links.netlink(namespace, lambda ip: ip.tc("del", index=index, parent=0xFFFFFFFF))  # TC_H_ROOT
