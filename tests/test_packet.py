"""What a received IGMP packet must pass, and the exact packets sent."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igmp.counters import COUNTERS, RECEIVE_COUNTERS
from igmp.link import is_unicast
from igmp.messages import (
    GroupRecord,
    Query,
    RecordType,
    Report,
    checksum,
    encode_query,
    encode_report,
    encode_v1_report,
    encode_v2_leave,
    encode_v2_report,
    pack_records,
    split_sources,
)
from igmp.packet import (
    ALL_ROUTERS,
    ALL_SYSTEMS,
    V3_ROUTERS,
    Link,
    Network,
    Received,
    Rejected,
    Rules,
    encode,
    format_address,
    group_mac,
    parse_address,
    receive,
)

A, B, C = (parse_address(f"10.99.0.{host}") for host in range(1, 4))
G, SSM = parse_address("239.1.1.1"), parse_address("232.1.1.1")
UP, D1, H1 = parse_address("10.0.0.2"), parse_address("192.168.10.1"), parse_address("192.168.10.11")
UPSTREAM = Link((Network(UP, 24),), altnets=(Network.parse("10.99.0.0/16"),))
DOWNSTREAM = Link((Network(D1, 24),))
RULES, STRICT = Rules(), Rules(require_router_alert=True)
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = RecordType
JOIN, LEAVE = Report((GroupRecord(IS_EX, G),), 2), Report((GroupRecord(TO_IN, G),), 2, leave=True)
GENERAL_QUERY = "1164ec1e00000000027d0000"


def downstream(packet: bytes | str, rules: Rules = RULES, link: Link = DOWNSTREAM) -> Received:
    return receive(bytes.fromhex(packet) if isinstance(packet, str) else packet, link, False, rules)


def upstream(packet: bytes | str, rules: Rules = RULES, link: Link = UPSTREAM) -> Received:
    return receive(bytes.fromhex(packet) if isinstance(packet, str) else packet, link, True, rules)


def rejection(side, *arguments) -> str:
    """Why `side` does not accept the packet."""
    with pytest.raises(Rejected) as caught:
        side(*arguments)
    return caught.value.counter


def from_h1(destination: int, message: bytes | str) -> bytes:
    return encode(H1, destination, bytes.fromhex(message) if isinstance(message, str) else message)


def packet_with(header: str, message: str) -> bytes:
    """An IPv4 packet of a header given in hexadecimal, whose length and checksum are filled in."""
    octets = bytearray.fromhex(header)
    octets[2:4] = struct.pack("!H", len(octets) + len(message) // 2)
    octets[10:12] = bytes(2)
    octets[10:12] = struct.pack("!H", checksum(bytes(octets)))
    return bytes(octets) + bytes.fromhex(message)


# Packets sent (W-04 ... W-09)


# RFC 9776 4 a b
@pytest.mark.parametrize(
    ("packet", "octets"),
    [
        (encode(D1, ALL_SYSTEMS, encode_query(Query(version=2))),
         "46c00020000040000102396dc0a80a01e0000001940400001164ee9b00000000"),
        (encode(D1, ALL_SYSTEMS, encode_query(Query())),
         "46c000240000400001023969c0a80a01e0000001940400001164ec1e00000000027d0000"),
        (encode(D1, G, encode_query(Query(G, max_response_time=1.0))),
         "46c000240000400001022968c0a80a01ef01010194040000110afc75ef010101027d0000"),
        (encode(D1, G, encode_query(Query(G, (A, B), 2.5, True, 7, 255))),
         "46c0002c0000400001022960c0a80a01ef010101940400001119da89ef0101010f8f00020a6300010a630002"),
        (encode(UP, G, encode_v1_report(G)),
         "46c00020000040000102ea130a000002ef010101940400001200fdfcef010101"),
        (encode(UP, G, encode_v2_report(G)),
         "46c00020000040000102ea130a000002ef010101940400001600f9fcef010101"),
        (encode(UP, ALL_ROUTERS, encode_v2_leave(G)),
         "46c00020000040000102fa130a000002e0000002940400001700f8fcef010101"),
        (encode(UP, V3_ROUTERS, encode_report([GroupRecord(TO_EX, G)])),
         "46c00028000040000102f9f70a000002e0000016940400002200e9fb0000000104000000ef010101"),
        (encode(UP, V3_ROUTERS, encode_report([GroupRecord(ALLOW, SSM, (A, B))])),
         "46c00030000040000102f9ef0a000002e0000016940400002200db300000000105000002e80101010a6300010a630002"),
        (encode(UP, V3_ROUTERS, encode_report([GroupRecord(TO_IN, G)])),
         "46c00028000040000102f9f70a000002e0000016940400002200eafb0000000103000000ef010101"),
    ],
)  # fmt: skip
def test_sent_packet(packet, octets):
    assert packet.hex() == octets


# RFC 9776 4.2.12 c
def test_full_packets_have_the_size_of_the_mtu():
    query = encode(D1, G, encode_query(Query(G, split_sources(range(1, 401), 1500)[0])))
    report = encode(UP, V3_ROUTERS, encode_report(pack_records([GroupRecord(ALLOW, G, tuple(range(1, 366)))], 1500)[0]))
    assert (len(query), len(report)) == (1500, 1500)


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.1", "01005e000001"),
        ("224.0.0.22", "01005e000016"),
        ("224.1.2.3", "01005e010203"),
        ("224.129.2.3", "01005e010203"),
        ("225.1.2.3", "01005e010203"),
        ("232.127.255.255", "01005e7fffff"),
        ("239.1.1.1", "01005e010101"),
        ("239.255.255.250", "01005e7ffffa"),
        ("239.128.0.5", "01005e000005"),
    ],
)
def test_group_mac(group, mac):
    assert f"{group_mac(parse_address(group)):012x}" == mac


# One fault each (V-01), and what is around the message (W-20, W-21)


# RFC 4605 4.3 b
@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        ("46c000200000400001022962c0a80a0bef010101940400001600f9fcef010101", JOIN),
        ("46c000200000400002022862c0a80a0bef010101940400001600f9fcef010101", "rx_bad_ttl"),
        ("46c000200000400001022862c0a80a0bef010101940400001600f9fcef010101", "rx_bad_ip"),
        ("46c00020000040000102d067c0a86305ef010101940400001600f9fcef010101", "rx_bad_source"),
        ("46c00020000040000102f41500000000ef010101940400001600f9fcef010101", JOIN),
        ("46c00020000040000102296cc0a80a01ef010101940400001600f9fcef010101", "rx_own"),
        ("46c00020000040000102000bef050505ef010101940400001600f9fcef010101", "rx_bad_source"),
        ("46c000200000200001024962c0a80a0bef010101940400001600f9fcef010101", "rx_fragment"),
        ("46c000200000000101026961c0a80a0bef010101940400001600f9fcef010101", "rx_fragment"),
        ("46c000200000400001023869c0a80a0be00000fb9404000016000904e00000fb", "rx_link_local"),
        ("46c000200000400001023962c0a80a0be0000002940400001600defd0a010101", "rx_bad_group"),
        ("46c000200000400001023962c0a80a0be0000002940400001600f8fcf0010101", "rx_bad_group"),
        ("46c000200000400001023062c0a80a0be801010194040000160000fde8010101", "rx_ssm_legacy"),
        ("46c000200000400001022962c0a80a0bef010101940400001700f8fcef010101", LEAVE),
        ("46c000200000400001023962c0a80a0be0000002940400001700f8fcef010101", LEAVE),
        ("46c0001f0000400001022963c0a80a0bef010101940400001600f9fcef0101", "rx_bad_length"),
        ("47c00024000040000102265cc0a80a0bef01010101010101940400001600f9fcef010101", JOIN),
    ],
)
def test_single_fault(packet, expected):
    if isinstance(expected, Report):
        counter = "leave" if expected.leave else "report_v2"
        received = downstream(packet, STRICT)
        assert (received.message, received.counters) == (expected, (counter,))
    else:
        assert rejection(downstream, packet) == expected


def test_any_ttl_may_be_allowed():
    packet = "46c000200000400002022862c0a80a0bef010101940400001600f9fcef010101"
    assert downstream(packet, Rules(accept_any_ttl=True)).message == JOIN


# RFC 9776 9.1 b, 9.2 c
def test_missing_router_alert_is_counted_or_refused():
    packet = "45c0001c000040000102be6ac0a80a0bef0101011600f9fcef010101"
    assert downstream(packet).counters == ("rx_no_router_alert", "report_v2")
    assert rejection(downstream, packet, STRICT) == "rx_no_router_alert"


# RFC 9776 9.2 c
def test_version_1_is_no_way_around_router_alert():
    report = "45c0001c000040000102be6ac0a80a0bef0101011200fdfcef010101"
    query = packet_with("45c00000000040000102" + "0000" + "c0a80a0be0000001", "1100eeff00000000")
    for packet, counter in ((report, "report_v1"), (query, "query_v1")):
        assert downstream(packet).counters == ("rx_no_router_alert", counter)
        assert rejection(downstream, packet, STRICT) == "rx_no_router_alert"


@pytest.mark.parametrize(
    ("options", "present"),
    [
        ("94040000", True),
        ("94040001", False),                # a value that is not ours to interpret
        ("0094040000000000", False),        # after the end of the list
        ("0183038494040000", True),
        ("8301000094040000", False),        # a length that cannot be
        ("830b000094040000", False),        # runs past the header
        ("01010194", False),
        ("0101019404000000", True),
    ],
)
def test_router_alert_is_found_by_walking_the_options(options, present):
    first = f"{0x45 + len(options) // 8:02x}"
    packet = packet_with(first + "c000000000400001020000c0a80a0bef010101" + options, "1600f9fcef010101")
    assert downstream(packet).counters == (() if present else ("rx_no_router_alert",)) + ("report_v2",)


def test_frame_padding_is_not_part_of_the_message():
    frame = bytes.fromhex(
        "01005e010101020000000a11080046c000200000400001022962c0a80a0bef010101940400001600f9fcef010101"
        "0000000000000000000000000000"
    )
    assert len(frame) == 60
    assert downstream(frame[14:]) == Received(H1, G, JOIN, ("report_v2",))
    for padding in (b"\xff" * 14, b"padding"):          # the first is nothing to a checksum, the second is
        assert downstream(frame[14:-14] + padding).message == JOIN


# RFC 9776 7.1 a
def test_a_padded_query_keeps_its_version():
    """Its length tells it: 8 octets and zeros would be one of version 3."""
    for query in (Query(version=1), Query(G, version=2)):
        packet = from_h1(G if query.group else ALL_SYSTEMS, encode_query(query))
        assert downstream(packet + bytes(60 - 14 - len(packet))).message.version == query.version


# RFC 4541 2.1.1 h
@pytest.mark.parametrize(
    "packet",
    [
        "",
        "46c00020000040000102",
        "66c000200000400001022962c0a80a0bef010101940400001600f9fcef010101",     # version 6
        "44c000200000400001022962c0a80a0bef010101940400001600f9fcef010101",     # header of 16 octets
        "46c000210000400001022961c0a80a0bef010101940400001600f9fcef010101",     # longer than captured
        "46c000140000400001022962c0a80a0bef010101940400001600f9fcef010101",     # shorter than its header
    ],
)
def test_bad_ip(packet):
    assert rejection(downstream, packet) == "rx_bad_ip"


# RFC 9776 4 a
def test_other_protocols_are_not_igmp():
    packet = packet_with("46c00000000040000111" + "0000" + "c0a80a0bef01010194040000", "1600f9fcef010101")
    assert rejection(downstream, packet) == "rx_bad_ip"


def test_what_was_tolerated_is_counted_with_the_rejection():
    packet = packet_with("45c00000000040000102" + "0000" + "c0a80a0bef010101", "1300fcfcef010101")
    with pytest.raises(Rejected) as caught:
        downstream(packet)
    assert caught.value.counters == ("rx_no_router_alert", "rx_unknown_type")


@pytest.mark.parametrize(
    "message", ["1300fcfcef010101", "1400fbfcef010101", "1f00f0fcef010101", "3000cfff00000000", "5500bafcef010101"]
)
def test_foreign_types(message):
    assert rejection(downstream, from_h1(G, message)) == "rx_unknown_type"


def test_checks_run_in_order():
    """A packet with every fault counts as its first one; healing that shows the next."""
    seen = []
    for source, ttl, message in [
        ("c0a80a01", "02", "16"),
        ("c0a86305", "02", "16"),
        ("c0a80a0b", "02", "16"),
        ("c0a80a0b", "01", "16"),
        ("c0a80a0b", "01", "1300fcfdef010101"),
        ("c0a80a0b", "01", "1300fcfcef010101"),
    ]:
        packet = packet_with(f"46c0000000004000{ttl}020000{source}ef01010194040001", message)
        seen.append(rejection(downstream, packet, STRICT))
    assert seen == [
        "rx_own", "rx_bad_source", "rx_bad_ttl", "rx_bad_length", "rx_bad_checksum", "rx_no_router_alert",
    ]  # fmt: skip


# Sources (2.2)


def report_from(source: str, *, link: Link = DOWNSTREAM, rules: Rules = RULES, up: bool = False) -> str:
    """The counter of a v2 report from `source`."""
    try:
        return receive(encode(parse_address(source), G, encode_v2_report(G)), link, up, rules).counters[-1]
    except Rejected as rejected:
        return rejected.counter


@pytest.mark.parametrize(
    "source", ["192.168.10.255", "192.168.10.0", "255.255.255.255", "240.0.0.1", "127.0.0.1", "224.0.0.1"]
)
@pytest.mark.parametrize("up", [False, True])
def test_impossible_sources(source, up):
    assert report_from(source, up=up) == "rx_bad_source"


# RFC 9776 9.2 a
def test_every_subnet_of_the_link_is_on_link():
    link = Link((Network.parse("192.168.10.1/24"), Network.parse("10.7.0.1/16")), peers=(parse_address("10.8.0.2"),))
    outcomes = {source: report_from(source, link=link) for source in ("10.7.3.4", "10.7.0.1", "10.8.0.2", "10.8.0.3")}
    assert list(outcomes.values()) == ["report_v2", "rx_own", "report_v2", "rx_bad_source"]
    for source in ("192.168.10.255", "192.168.10.0", "10.7.255.255", "10.7.0.0"):
        assert report_from(source, link=link) == "rx_bad_source"


def test_the_smallest_subnets_have_no_broadcast():
    assert report_from("10.1.1.1", link=Link((Network.parse("10.1.1.0/31"),))) == "report_v2"
    assert report_from("10.1.1.0", link=Link((Network.parse("10.1.1.1/31"),))) == "report_v2"


def test_altnets_are_believed_and_an_unnumbered_link_believes_all():
    link = replace(DOWNSTREAM, altnets=(Network.parse("10.99.0.0/16"), Network.parse("10.97.0.0/16")))
    for source in ("10.99.7.7", "10.97.7.7"):
        assert report_from(source, link=link) == "report_v2"
    assert report_from("10.98.7.7", link=link) == "rx_bad_source"
    assert report_from("10.98.7.7", link=Link()) == "report_v2"
    assert report_from("10.98.7.7", link=Link(altnets=(Network.parse("10.99.0.0/16"),))) == "rx_bad_source"


# Queries (V-05, E, 2.4)


# RFC 9776 4.1.12 c, 9.1 c
@pytest.mark.parametrize(
    ("packet", "loose", "strict"),
    [
        ("46c00024000040000102ea100a000001ef01010194040000", "rx_bad_query_dst", "rx_bad_query_dst"),
        ("46c00024000040000102d0110a0000010a00000294040000", "query_v3", "query_v3"),
        ("46c0002400004000010257f9ac100009e000000194040000", "query_v3", "rx_bad_source"),
        ("46c00024000040000102f2a80a630707e000000194040000", "query_v3", "query_v3"),
        ("46c00024000040000102041300000000e000000194040000", "query_v3", "query_v3"),
        (encode(UP, ALL_SYSTEMS, bytes(12))[:24].hex(), "rx_own", "rx_own"),
    ],
)
def test_queries_a_host_believes(packet, loose, strict):
    for rules, expected in ((RULES, loose), (Rules(strict_sources=True), strict)):
        if expected.startswith("rx_"):
            assert rejection(upstream, packet + GENERAL_QUERY, rules) == expected
        else:
            received = upstream(packet + GENERAL_QUERY, rules)
            assert (received.message, received.counters) == (Query(), (expected,))


@pytest.mark.parametrize(
    ("packet", "source", "query"),
    [
        ("46c000240000400001023961c0a80a09e0000001940400001164ec1e00000000027d0000", "192.168.10.9", Query()),
        ("46c0002400004000010238a2c0a80ac8e0000001940400001164e95f00000000053c0000", "192.168.10.200",
         Query(robustness=5, interval=60.0)),
        ("46c000240000400001023961c0a80a09e0000001940400001164eb1000000000038b0000", "192.168.10.9",
         Query(robustness=3, interval=216.0)),
        ("46c000240000400001022960c0a80a09ef01010194040000110afc75ef010101027d0000", "192.168.10.9",
         Query(G, max_response_time=1.0)),
    ],
)  # fmt: skip
def test_queries_of_an_election(packet, source, query):
    received = downstream(packet, link=Link((Network.parse("192.168.10.100/24"),)))
    assert (format_address(received.source), received.message, received.counters) == (source, query, ("query_v3",))


def test_query_from_zero_is_a_switchs_downstream():
    packet = "46c00024000040000102041300000000e0000001940400001164ec1e00000000027d0000"
    assert rejection(downstream, packet) == "rx_query_zero_source"


# RFC 9776 4.1.12 c
@pytest.mark.parametrize(
    ("destination", "query", "counter"),
    [
        (G, Query(), "rx_bad_query_dst"),
        (H1, Query(), "rx_bad_query_dst"),
        (D1, Query(), "query_v3"),
        (G, Query(G), "query_v3"),
        (D1, Query(G), "query_v3"),
        (ALL_SYSTEMS, Query(G), "query_v3"),
        (G + 1, Query(G), "rx_bad_query_dst"),
        (H1, Query(G), "rx_bad_query_dst"),
        (ALL_SYSTEMS, Query(A), "rx_bad_group"),
        (ALL_SYSTEMS, Query(parse_address("224.0.0.251")), "rx_link_local"),
        (G, Query(G, version=2), "query_v2"),
        (ALL_SYSTEMS, Query(version=2), "query_v2"),
        (ALL_SYSTEMS, Query(version=1), "query_v1"),
        (G, Query(version=1), "rx_bad_query_dst"),
    ],
)
def test_query_destination_and_group(destination, query, counter):
    packet = from_h1(destination, encode_query(query))
    if counter.startswith("rx_"):
        assert rejection(downstream, packet) == counter
    else:
        assert downstream(packet).counters == (counter,)


# RFC 9776 4.1.9 a
def test_impossible_sources_of_a_query_are_dropped():
    query = Query(G, (A, 0, ALL_SYSTEMS, A, B), 1.0, True, 3, 60.0)
    assert downstream(from_h1(G, encode_query(query))).message == replace(query, sources=(A, B))


# RFC 9776 4.1.9 a
@pytest.mark.parametrize("sources", [(0,), (0, ALL_SYSTEMS)])
def test_a_source_query_never_turns_into_a_group_query(sources):
    assert rejection(downstream, from_h1(G, encode_query(Query(G, sources)))) == "rx_malformed"


# RFC 9776 4.1.2 b, 4.2.2 b
@pytest.mark.parametrize(
    ("message", "counter"),
    [
        ("1164ec1e00000000027d", "rx_bad_length"),
        ("110af20eef010101027d00030a630001", "rx_malformed"),
        ("2200e9fa0000000104000000ef010101", "rx_bad_checksum"),
    ],
)
def test_malformed_messages_are_rejected(message, counter):
    assert rejection(downstream, from_h1(G, message)) == counter


# Reports (V-02, V-03, V-04, P-06, 2.5)


# RFC 4605 4.3 a
def test_ssm_rules_hold_record_by_record():
    received = downstream(
        from_h1(
            V3_ROUTERS,
            "220018b90000000502000001e80101010a63000104000000e801010105000001"
            "e80101010a63000203000001e80101020a63000304000000ef010101",
        )
    )
    assert received.message.records == (
        GroupRecord(ALLOW, SSM, (B,)), GroupRecord(TO_IN, SSM + 1, (C,)), GroupRecord(TO_EX, G),
    )  # fmt: skip
    assert received.counters == ("report_v3", "rx_ssm_exclude", "rx_ssm_exclude")


def test_ssm_range_is_a_rule():
    rules = Rules(ssm_range=(Network.parse("239.2.0.0/16"), Network.parse("239.1.0.0/16")))
    assert rejection(downstream, from_h1(G, encode_v2_report(G)), rules) == "rx_ssm_legacy"
    received = downstream(from_h1(V3_ROUTERS, encode_report([GroupRecord(IS_EX, SSM), GroupRecord(IS_EX, G)])), rules)
    assert received.message.records == (GroupRecord(IS_EX, SSM),)


def test_without_an_ssm_range_any_source_is_a_source():
    report = from_h1(V3_ROUTERS, encode_report([GroupRecord(IS_EX, SSM), GroupRecord(TO_EX, SSM, (A,))]))
    off = Rules(ssm_range=())
    assert downstream(from_h1(SSM, encode_v2_report(SSM)), off).message.records[0].group == SSM
    assert downstream(report, off).message.records == (GroupRecord(IS_EX, SSM), GroupRecord(TO_EX, SSM, (A,)))
    assert downstream(report, off).counters == ("report_v3",)


# RFC 9776 4.2.10 a
def test_impossible_and_duplicate_sources_of_a_record():
    message = "22007b290000000105000006e8010101000000000a630001e0010101ffffffff7f0000010a630001"
    received = downstream(from_h1(V3_ROUTERS, message))
    assert received.message == Report((GroupRecord(ALLOW, SSM, (A,)),))
    assert received.counters == ("report_v3", *["rx_bad_record_source"] * 4)


def test_reports_heard_upstream_are_only_read():
    packet = "46c00020000040000102ea140a000001ef010101940400001600f9fcef010101"
    assert upstream(packet) == Received(parse_address("10.0.0.1"), G, JOIN, ("report_v2",))


# RFC 9776 5 b
def test_groups_that_are_never_tracked():
    message = "220033f40000000404000000e000000504000000e00000fb04000000e801010104000000ef010101"
    received = downstream(from_h1(V3_ROUTERS, message))
    assert received.message == Report((GroupRecord(TO_EX, G),))
    assert received.counters == ("report_v3", "rx_link_local", "rx_link_local", "rx_ssm_exclude")


# RFC 9776 4.2.9 a
def test_records_with_bad_groups_count_as_one_packet():
    records = [GroupRecord(TO_EX, A), GroupRecord(TO_EX, G), GroupRecord(TO_EX, 0xF0000001)]
    received = downstream(from_h1(V3_ROUTERS, encode_report(records)))
    assert received.message == Report((GroupRecord(TO_EX, G),))
    assert received.counters == ("report_v3", "rx_bad_group")


def test_defects_are_counted_with_the_packet():
    message = "2200e02a0000000204000000ef01010205000003ef0101010a6300010a630002"
    received = downstream(from_h1(V3_ROUTERS, message))
    assert received.message.records == (GroupRecord(TO_EX, G + 1),)
    assert received.counters == ("report_v3", "rx_malformed")


# RFC 9776 4.2.15 c
@pytest.mark.parametrize(
    ("destination", "message", "accepted"),
    [
        (V3_ROUTERS, encode_report([GroupRecord(TO_EX, G)]), True),
        (D1, encode_report([GroupRecord(TO_EX, G)]), True),
        (G, encode_report([GroupRecord(TO_EX, G)]), True),
        (G + 1, encode_report([GroupRecord(TO_EX, G)]), False),
        (H1, encode_report([GroupRecord(TO_EX, G)]), False),
        *((routers, message, True) for routers in (ALL_SYSTEMS, ALL_ROUTERS, V3_ROUTERS) for message in (
            encode_report([GroupRecord(TO_EX, G)]), encode_v2_report(G), encode_v1_report(G), encode_v2_leave(G))),
        (G, encode_v2_report(G), True),
        (D1, encode_v2_report(G), True),
        (G + 1, encode_v1_report(G), False),
        (G, encode_v1_report(G), True),
        (D1, encode_v2_leave(G), True),
        (G + 1, encode_v2_leave(G), False),
        (H1, encode_v2_leave(G), False),
    ],
)
def test_report_destination(destination, message, accepted):
    packet = from_h1(destination, message)
    if accepted:
        assert downstream(packet).message.records[0].group == G
    else:
        assert rejection(downstream, packet) == "rx_bad_dst"


# RFC 9776 4.2.15 c
@pytest.mark.parametrize("message", [encode_v2_report(G), encode_v1_report(G)])
def test_a_host_hears_of_other_members_what_goes_to_the_group(message):
    """What another sent elsewhere, to us alone perhaps, the routers may not have heard: we must go on reporting."""
    assert upstream(from_h1(G, message)).message.records[0].group == G
    for destination in (UP, ALL_SYSTEMS, ALL_ROUTERS, V3_ROUTERS):
        assert rejection(upstream, from_h1(destination, message)) == "rx_bad_dst"


# Properties


def outcome(packet, link, up, rules):
    """What a core gets, or None; either way with counters that exist."""
    message, known = None, COUNTERS
    try:
        received = receive(packet, link, up, rules)
        message, counters = received.message, received.counters
    except Rejected as rejected:
        counters, known = rejected.counters, RECEIVE_COUNTERS
    assert set(counters) <= set(known)
    return message


links = st.sampled_from([DOWNSTREAM, UPSTREAM, Link()])
rulings = st.builds(Rules, st.booleans(), st.booleans(), st.booleans())


@given(st.binary(max_size=100), links, st.booleans(), rulings)
def test_receive_raises_only_rejected(packet, link, up, rules):
    outcome(packet, link, up, rules)


address = st.sampled_from([0, A, B, G, SSM, ALL_SYSTEMS, 0x7F000001, 0xE00000FB]) | st.integers(0, 0xFFFFFFFF)
records = st.lists(
    st.builds(GroupRecord, st.sampled_from(RecordType), address, st.lists(address, max_size=5).map(tuple)), max_size=5
)


@given(
    st.builds(encode_report, records) | st.binary(min_size=4, max_size=30).map(lambda rest: b"\x22\0" + rest),
    st.sampled_from([0, H1, A]),
    st.booleans(),
    rulings,
)
def test_a_core_gets_possible_sources_and_trackable_groups_only(message, source, up, rules):
    message = message[:2] + bytes(2) + message[4:]
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    report = outcome(encode(source, V3_ROUTERS, message), DOWNSTREAM, up, rules)
    for record in report.records if report else ():
        assert record.group >> 28 == 14
        assert record.group >> 8 != 0xE00000
        assert all(map(is_unicast, record.sources))
        assert len(set(record.sources)) == len(record.sources)
        assert record.type not in (IS_EX, TO_EX) or not rules.is_ssm(record.group)


# RFC 4541 2.1.1 h
@given(st.integers(0, 31), st.integers(1, 255))
def test_damaged_packets_never_pass(at, change):
    """A single octet changed in a good packet is found by one of the two checksums."""
    packet = bytearray.fromhex("46c000200000400001022962c0a80a0bef010101940400001600f9fcef010101")
    packet[at] ^= change
    assert outcome(bytes(packet), DOWNSTREAM, False, RULES) is None


# Addresses and networks


@given(st.integers(0, 0xFFFFFFFF))
def test_addresses_survive_as_text(number):
    assert parse_address(format_address(number)) == number


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.01", "::1", "10.0.0.1/24"])
def test_bad_address_text(text):
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "/8", "10.0.0.0/²"])
def test_bad_network_text(text):
    with pytest.raises(ValueError):
        Network.parse(text)


def test_network():
    network = Network.parse("192.168.10.1/24")
    assert str(network) == "192.168.10.1/24"
    assert (format_address(network.network_address), format_address(network.broadcast)) == (
        "192.168.10.0", "192.168.10.255",
    )  # fmt: skip
    assert Network.parse("10.0.0.1") == Network(parse_address("10.0.0.1"), 32)
    assert Network.parse("0.0.0.0/0").contains(0xFFFFFFFF)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 32), st.integers(0, 0xFFFFFFFF))
def test_network_agrees_with_its_bounds(address, prefix, other):
    network = Network(address, prefix)
    assert network.contains(other) == (network.network_address <= other <= network.broadcast)


def test_link_speaks_with_its_first_address():
    assert (DOWNSTREAM.address, Link().address) == (D1, 0)
    assert DOWNSTREAM.is_own(D1)
    assert not DOWNSTREAM.is_own(H1)
    assert DOWNSTREAM.on_link(H1)
    assert not DOWNSTREAM.on_link(A)


# Differential: scapy builds and reads the same envelope


def test_we_accept_scapys_packet():
    igmp = pytest.importorskip("scapy.layers.igmp")
    inet = pytest.importorskip("scapy.layers.inet")
    source, group = format_address(H1), format_address(G)
    report = igmp.IGMPv3_MR(records=[igmp.IGMPv3_MR_Group(rtype=4, maddr=group)])
    packet = bytes(inet.IP(src=source, dst="224.0.0.22") / report)
    assert downstream(packet, STRICT) == Received(H1, V3_ROUTERS, Report((GroupRecord(TO_EX, G),)), ("report_v3",))


def test_scapy_accepts_our_packet():
    inet = pytest.importorskip("scapy.layers.inet")
    pytest.importorskip("scapy.layers.igmp")
    packet = inet.IP(encode(D1, G, encode_query(Query(G, (A,)))))
    assert (packet.ttl, packet.tos, packet.proto, packet.src, packet.dst) == (
        1, 0xC0, 2, format_address(D1), format_address(G),
    )  # fmt: skip
    assert type(packet.options[0]).__name__ == "IPOption_Router_Alert"
    assert packet.payload.srcaddrs == [format_address(A)]
    sent = packet.chksum
    del packet.chksum
    assert inet.IP(bytes(packet)).chksum == sent
