"""The conformance vectors of the wire and of validation, from packet to state; and that no vector is without a test."""

import re
from pathlib import Path

import pytest
from link import D1, D2, LINKS, NAMES, SPEAKERS, UP, Bench, address, name, packet_of

from igmp.access import AccessList
from igmp.filter import Mode
from igmp.link import Network, group_mac
from igmp.messages import Query, checksum, decode, decode8, encode8, encode_query
from igmp.packet import Rules, encode, parse_address

V3_ROUTERS = parse_address("224.0.0.22")
H1 = parse_address(SPEAKERS[D1])
VECTORS = {"W": 28, "V": 5, "R": 5, "T": 10, "E": 9, "C": 7, "H": 15, "P": 8, "Q": 6}
OF_THE_DATA_PLANE = {"F": 10}           # F-04 and F-08 have a half that is ours


@pytest.mark.parametrize("vector", [
    f"{letter}-{number:02}" for letter, count in (VECTORS | OF_THE_DATA_PLANE).items() for number in range(1, count + 1)
])
def test_every_vector_has_a_test(vector):
    """By its id in the name, the parameters or a comment of a test, or inside a range of ids."""
    letter, number = vector.split("-")
    mine = Path(__file__)
    if letter == "F" and vector not in ("F-04", "F-08"):
        return                          # pinned by the tests of the data plane
    text = "".join(path.read_text() for path in mine.parent.glob("test_*.py"))
    ranges = re.findall(rf"{letter}-?(\d\d)(?:_to_| to | \.\.\. |-){letter}?-?(\d\d)", text, re.IGNORECASE)
    covered = any(int(first) <= int(number) <= int(last) for first, last in ranges)
    assert covered or re.search(rf"\b{vector}\b|[\b_]{letter}{number}(?!\d)", text, re.IGNORECASE)


def groups(bench: Bench) -> dict[str, str]:
    """All states on d1 in the notation of the vectors."""
    numbers = [each.group for each in bench.proxy.groups(bench.now) if each.port == D1]
    return {name(number): bench.state(D1, name(number)) for number in numbers}


def counted(bench: Bench, port: int = D1) -> dict[str, int]:
    """Every counter of what is received that is not zero."""
    return {name: count for name, count in bench.proxy.counters(port).items() if count and not name.startswith("tx_")}


def hear_v3(octets: str, **options) -> Bench:
    """A version 3 report of h1 arrives on d1 at t=0, once all startup queries are out."""
    bench = Bench(**options).run(0.0)
    bench.receive(0.0, D1, encode(H1, V3_ROUTERS, bytes.fromhex(octets)))
    return bench


EX, GT = "EXCLUDE X={} Y={} GT=270", "INCLUDE{%s:270}"


# RFC 9776 4.2.2 b, 4.2.11 b, 4.2.12 a, 4.2.13 d
# RFC 4605 4.3 a
@pytest.mark.parametrize(("octets", "states", "counters"), [
    pytest.param(
        "2200f06a0000000601000001ef0200010a63000102000001ef0200020a630002"
        "03000002ef0200030a6300010a63000304000000ef02000405000001ef020005"
        "0a63000406000001ef0200060a630005",
        {"239.2.0.1": "INCLUDE{a:270}", "239.2.0.2": "EXCLUDE X={} Y={b} GT=270", "239.2.0.3": "INCLUDE{a:270, c:270}",
         "239.2.0.4": EX, "239.2.0.5": "INCLUDE{d:270}"}, {"report_v3": 1}, id="W-10"),
    pytest.param("2200c7340000000204020000ef010101deadbeefcafebabe05000001ef0101020a630001",
                 {"G": EX, "G2": "INCLUDE{a:270}"}, {"report_v3": 1}, id="W-11"),
    pytest.param("2200d9e70000000104000000ef0101010102030405060708", {"G": EX}, {"report_v3": 1}, id="W-12"),
    pytest.param("2200e02a0000000204000000ef01010205000003ef0101010a6300010a630002",
                 {"G2": EX}, {"report_v3": 1, "rx_malformed": 1}, id="W-13"),
    pytest.param("2200e9fa0000000204000000ef010101", {"G": EX}, {"report_v3": 1, "rx_malformed": 1}, id="W-14"),
    pytest.param("2200f5f70000000104000000ef01010104000000ef010102", {"G": EX}, {"report_v3": 1}, id="W-15"),
    pytest.param("2200e9240000000304000000ef01010107010001ef0101020a6300010000000005000001ef0101030a630002",
                 {"G": EX, "G3": "INCLUDE{b:270}"}, {"report_v3": 1, "rx_unknown_record": 1}, id="W-16"),
    pytest.param("2200e9fa0000000104000000ef010101", {}, {"rx_bad_checksum": 1}, id="W-17"),
    pytest.param("22ff68fc8000000104000000ef010101", {"G": EX}, {"report_v3": 1}, id="W-23"),
    pytest.param("220018b90000000502000001e80101010a63000104000000e801010105000001"
                 "e80101010a63000203000001e80101020a63000304000000ef010101",
                 {"S": "INCLUDE{b:270}", "232.1.1.2": "INCLUDE{c:270}", "G": EX},
                 {"report_v3": 1, "rx_ssm_exclude": 2}, id="V-02"),
    pytest.param("22007b290000000105000006e8010101000000000a630001e0010101ffffffff7f0000010a630001",
                 {"S": "INCLUDE{a:270}"}, {"report_v3": 1, "rx_bad_record_source": 4}, id="V-03"),
])
def test_a_version_3_report_does_what_its_whole_records_say(octets, states, counters):
    bench = hear_v3(octets)
    assert groups(bench) == states
    assert counted(bench) == counters
    assert bench.sends(D1) == []


# RFC 9776 7.1 b
@pytest.mark.parametrize("octets", [
    pytest.param("1164ec1e00000000027d", id="W-18 10"),
    pytest.param("1164ee9b0000000000", id="W-18 9"),
    pytest.param("1164ee9b000000000000" + "00", id="W-18 11"),
    pytest.param("1164ee9b", id="W-18 4"),
])
def test_w18_a_query_of_no_known_length_is_ignored(octets):
    bench = Bench(ports=(UP,))
    bench.receive(0.0, UP, encode(parse_address("10.0.0.1"), parse_address("224.0.0.1"), bytes.fromhex(octets)))
    assert counted(bench, UP) == {"rx_bad_length": 1}
    assert bench.proxy.deadline == float("inf")
    assert bench.proxy.version(UP) == 3


def test_w19_a_query_that_claims_more_sources_than_it_has_is_dropped():
    bench = Bench()
    bench.hear(0.0, D1, "IS_EX(G,{})")
    packet = encode(parse_address("192.168.10.9"), address("G"), bytes.fromhex("110af20eef010101027d00030a630001"))
    bench.receive(0.0, D1, packet)
    assert counted(bench) == {"report_v3": 1, "rx_malformed": 1}
    assert bench.state() == EX


@pytest.mark.parametrize("packet", [
    pytest.param("46c000200000400001022962c0a80a0bef010101940400001600f9fcef010101" + "00" * 14, id="W-20"),
    pytest.param("46c000200000400001022962c0a80a0bef010101940400001600f9fcef010101" + "ff" * 14, id="W-20 not zero"),
    pytest.param("47c00024000040000102265cc0a80a0bef01010101010101940400001600f9fcef010101", id="W-21"),
    pytest.param(encode(H1, address("G"), bytes.fromhex("16004ffcef010101aa")).hex(), id="W-24"),
])
def test_what_surrounds_a_version_2_report_is_not_part_of_it(packet):
    bench = Bench().run(0.0)
    bench.receive(0.0, D1, bytes.fromhex(packet))
    assert groups(bench) == {"G": EX}
    assert counted(bench) == {"report_v2": 1}


# RFC 9776 4.1.4 b
def test_w22_flags_that_nobody_knows_are_ignored():
    query = decode(bytes.fromhex("1164fc1c00000000f27d000000010000"))
    assert query == Query()


# RFC 9776 4.2.2 a
@pytest.mark.parametrize("octets", ["16000000ef12faec", "1600ffffef12faec"])
def test_w25_both_forms_of_a_zero_checksum_are_good(octets):
    bench = Bench().run(0.0)
    group = parse_address("239.18.250.236")
    bench.receive(0.0, D1, encode(H1, group, bytes.fromhex(octets)))
    assert groups(bench) == {"239.18.250.236": EX}
    assert checksum(bytes.fromhex("16000000ef12faec")) == 0


@pytest.mark.parametrize(("group", "mac"), [
    ("224.0.0.1", "01005e000001"), ("224.0.0.22", "01005e000016"), ("224.1.2.3", "01005e010203"),
    ("224.129.2.3", "01005e010203"), ("225.1.2.3", "01005e010203"), ("232.127.255.255", "01005e7fffff"),
    ("239.1.1.1", "01005e010101"), ("239.255.255.250", "01005e7ffffa"), ("239.128.0.5", "01005e000005"),
])
def test_w26_the_ethernet_address_of_a_group(group, mac):
    assert f"{group_mac(parse_address(group)):012x}" == mac


# RFC 9776 4 d
def test_w27_types_of_other_protocols_are_counted_and_ignored():
    bench = Bench().run(0.0)
    octets = ["1300fcfcef010101", "1400fbfcef010101", "1f00f0fcef010101", "3000cfff00000000", "5500bafcef010101"]
    for each in octets:
        assert bench.receive(0.0, D1, encode(H1, address("G"), bytes.fromhex(each))) == []
    assert counted(bench) == {"rx_unknown_type": 5}


def test_w01_to_w03_codes_of_times():
    assert [decode8(code) for code in (0, 10, 127, 128, 129, 156, 191, 192, 254, 255)] == [
        0, 10, 127, 128, 136, 448, 1984, 2048, 30720, 31744]
    assert [encode8(value) for value in (130, 250, 256, 300, 1000, 20000, 31743, 40000)] == [
        0x80, 0x8F, 0x90, 0x92, 0xAF, 0xF3, 0xFE, 0xFF]
    assert [encode_query(Query(interval=seconds))[9] for seconds in (1, 125, 128, 150, 255, 3600, 31744)] == [
        0x01, 0x7D, 0x80, 0x82, 0x8F, 0xCC, 0xFF]


# V-01: packet, counter or state; each on its own

ACCEPTED = {"report_v2": 1}
V01 = {
    "baseline": ("46c000200000400001022962c0a80a0bef010101940400001600f9fcef010101", ACCEPTED),
    "TTL 2": ("46c000200000400002022862c0a80a0bef010101940400001600f9fcef010101", {"rx_bad_ttl": 1}),
    "header checksum": ("46c000200000400001022862c0a80a0bef010101940400001600f9fcef010101", {"rx_bad_ip": 1}),
    "off the subnet": ("46c00020000040000102d067c0a86305ef010101940400001600f9fcef010101", {"rx_bad_source": 1}),
    "source 0.0.0.0": ("46c00020000040000102f41500000000ef010101940400001600f9fcef010101", ACCEPTED),
    "our own address": ("46c00020000040000102296cc0a80a01ef010101940400001600f9fcef010101", {"rx_own": 1}),
    "multicast source": ("46c00020000040000102000bef050505ef010101940400001600f9fcef010101", {"rx_bad_source": 1}),
    "first fragment": ("46c000200000200001024962c0a80a0bef010101940400001600f9fcef010101", {"rx_fragment": 1}),
    "later fragment": ("46c000200000000101026961c0a80a0bef010101940400001600f9fcef010101", {"rx_fragment": 1}),
    "no Router Alert": ("45c0001c000040000102be6ac0a80a0bef0101011600f9fcef010101",
                        {"report_v2": 1, "rx_no_router_alert": 1}),
    "version 1": ("45c0001c000040000102be6ac0a80a0bef0101011200fdfcef010101",
                  {"report_v1": 1, "rx_no_router_alert": 1}),
    "link-local group": ("46c000200000400001023869c0a80a0be00000fb9404000016000904e00000fb", {"rx_link_local": 1}),
    "group 10.1.1.1": ("46c000200000400001023962c0a80a0be0000002940400001600defd0a010101", {"rx_bad_group": 1}),
    "group 240.1.1.1": ("46c000200000400001023962c0a80a0be0000002940400001600f8fcf0010101", {"rx_bad_group": 1}),
    "SSM group": ("46c000200000400001023062c0a80a0be801010194040000160000fde8010101", {"rx_ssm_legacy": 1}),
    "leave to the group": ("46c000200000400001022962c0a80a0bef010101940400001700f8fcef010101", {"leave": 1}),
    "leave to 224.0.0.2": ("46c000200000400001023962c0a80a0be0000002940400001700f8fcef010101", {"leave": 1}),
    "7 octets": ("46c0001f0000400001022963c0a80a0bef010101940400001600f9fcef0101", {"rx_bad_length": 1}),
}


# RFC 9776 4.2.14 c, 9.2 a b
# RFC 4605 4.3 c
# RFC 4541 2.1.1 d
@pytest.mark.parametrize(("packet", "counters"), V01.values(), ids=[f"V-01 {case}" for case in V01])
def test_v01_a_single_fault_is_counted_and_leaves_no_state(packet, counters):
    bench = Bench().run(0.0)
    bench.receive(0.0, D1, bytes.fromhex(packet))
    assert counted(bench) == counters
    joined = "report_v2" in counters or "report_v1" in counters
    assert groups(bench) == ({"G": EX} if joined else {})


def test_v01_options_decide_what_is_tolerated():
    packets = {case: bytes.fromhex(V01[case][0]) for case in ("TTL 2", "no Router Alert", "version 1")}
    tolerant = Bench(Rules(accept_any_ttl=True)).run(0.0)
    tolerant.receive(0.0, D1, packets["TTL 2"])
    assert groups(tolerant) == {"G": EX}
    strict = Bench(Rules(require_router_alert=True)).run(0.0)
    strict.receive(0.0, D1, packets["no Router Alert"])
    assert counted(strict) == {"rx_no_router_alert": 1}
    strict.receive(0.0, D1, packets["version 1"])
    assert counted(strict) == {"rx_no_router_alert": 2}
    assert groups(strict) == {}


def test_v01_a_version_2_membership_has_its_own_timer():
    bench = Bench()
    bench.receive(0.0, D1, bytes.fromhex(V01["baseline"][0]))
    assert bench.run(259.9).proxy.groups(259.9)[0].compatibility == 2
    assert bench.run(260.1).proxy.groups(260.1)[0].compatibility == 3


# F: what concerns IGMP

def test_f04_igmp_with_a_ttl_above_1_ends_here():
    """239.1.1.1 with protocol 2 and TTL 64: counted and dropped; the data plane never sees protocol 2 at all."""
    packet = bytearray(packet_of("v2 Report(G)", SPEAKERS[D1]))
    packet[8], packet[10:12] = 64, bytes(2)
    packet[10:12] = checksum(bytes(packet[:24])).to_bytes(2)
    bench = Bench().run(0.0)
    assert bench.receive(0.0, D1, bytes(packet)) == []
    assert counted(bench) == {"rx_bad_ttl": 1}


def test_f08_a_boundary_keeps_membership_off_its_port():
    """On the upstream port: kept downstream, not reported; on a downstream port: ignored and counted."""
    bounded = AccessList(boundary=(Network.parse("239.255.0.0/16"),))
    bench = Bench(ports=())
    bench.add(UP, access=bounded)
    bench.add(D1)
    bench.add(D2, access=bounded)
    bench.hear(0.0, D1, "TO_EX(239.255.1.1,{}) + TO_EX(G,{})")
    bench.hear(0.0, D2, "TO_EX(239.255.1.1,{}) + TO_EX(239.255.1.2,{}) + TO_EX(G,{})")
    bench.hear(0.0, D2, "v2 Report(239.255.1.1)")
    assert bench.wanted("a", "239.255.1.1") == 1 << D1
    assert {each.group for each in bench.proxy.upstream(0.0)} == {address("G")}
    assert bench.sends(UP) == [(0, "TO_EX(G,{})")]
    assert counted(bench, D2) == {"report_v3": 1, "rx_boundary": 2}
    assert all(each.mode is Mode.EXCLUDE for each in bench.proxy.groups(0.0))


def test_the_names_of_these_tests_are_those_of_the_vectors():
    assert {NAMES[address("a")], NAMES[address("G")]} == {"a", "G"}
    assert LINKS[UP].address == parse_address("10.0.0.2")
