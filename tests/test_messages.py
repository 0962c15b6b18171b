"""The codec against golden bytes, against its own inverse and against scapy."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from igmp.counters import COUNTERS, RECEIVE_COUNTERS
from igmp.link import format_address, parse_address
from igmp.messages import (
    GroupRecord,
    MalformedMessage,
    Query,
    RecordType,
    Report,
    checksum,
    decode,
    decode8,
    encode8,
    encode_query,
    encode_report,
    encode_v1_report,
    encode_v2_leave,
    encode_v2_report,
    is_intact,
    pack_records,
    split_sources,
)

A, B, C, D, E = (parse_address(f"10.99.0.{host}") for host in range(1, 6))
G, G2, G3 = (parse_address(f"239.1.1.{host}") for host in range(1, 4))
SSM = parse_address("232.1.1.1")
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = RecordType
JOIN = GroupRecord(TO_EX, G)

address = st.integers(0, 0xFFFFFFFF)
sources = st.lists(address, max_size=20).map(tuple)
group_record = st.builds(GroupRecord, st.sampled_from(RecordType), address, sources)
v3_query = st.builds(
    Query,
    group=st.integers(1, 0xFFFFFFFF),
    sources=sources,
    max_response_time=st.integers(0, 255).map(lambda code: decode8(code) / 10),
    suppress=st.booleans(),
    robustness=st.integers(0, 7),
    interval=st.integers(0, 255).map(lambda code: float(decode8(code))),
)


def sealed(message: bytes) -> bytes:
    """`message` with the checksum that makes it valid."""
    blank = message[:2] + bytes(2) + message[4:]
    return blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]


def encode(message: Query | Report) -> bytes:
    if isinstance(message, Query):
        return encode_query(message)
    if message.version == 3:
        return encode_report(message.records)
    old = encode_v1_report if message.version == 1 else encode_v2_report
    return (encode_v2_leave if message.leave else old)(message.records[0].group)


def hexadecimal(text: str) -> bytes:
    return bytes.fromhex(text)


# Codes (W-01, W-02, W-03)


# RFC 9776 4.1.1 a
@pytest.mark.parametrize(
    ("code", "value"),
    [(0, 0), (1, 1), (0x0A, 10), (0x64, 100), (0x7F, 127), (0x80, 128), (0x81, 136), (0x89, 200), (0x8F, 248),
     (0x90, 256), (0x9C, 448), (0xAF, 992), (0xBF, 1984), (0xC0, 2048), (0xFE, 30720), (0xFF, 31744)],
)  # fmt: skip
def test_code_decodes(code, value):
    assert decode8(code) == value


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, 0), (1, 1), (100, 0x64), (127, 0x7F), (128, 0x80), (130, 0x80), (135, 0x80), (136, 0x81), (200, 0x89),
     (248, 0x8F), (250, 0x8F), (255, 0x8F), (256, 0x90), (300, 0x92), (992, 0xAF), (1000, 0xAF), (1024, 0xB0),
     (20000, 0xF3), (31743, 0xFE), (31744, 0xFF), (40000, 0xFF)],
)  # fmt: skip
def test_value_encodes_to_the_next_lower_code(value, code):
    assert encode8(value) == code


# RFC 9776 4.1.1 a
@pytest.mark.parametrize("code", range(256))
def test_every_code_survives(code):
    assert encode8(decode8(code)) == code


@given(st.integers(0, 10**9))
def test_no_code_promises_more_than_was_asked(value):
    """The next code up would be too large."""
    code = encode8(value)
    assert decode8(code) <= value
    assert code == 255 or decode8(code + 1) > value


def test_negative_value_has_no_code():
    with pytest.raises(ValueError):
        encode8(-1)


# RFC 9776 4.1.7 a
@pytest.mark.parametrize(
    ("interval", "qqic", "advertised"),
    [(1, 0x01, 1), (60, 0x3C, 60), (90, 0x5A, 90), (125, 0x7D, 125), (127, 0x7F, 127), (128, 0x80, 128),
     (150, 0x82, 144), (255, 0x8F, 248), (3600, 0xCC, 3584), (31744, 0xFF, 31744)],
)  # fmt: skip
def test_query_interval_is_advertised_rounded_down(interval, qqic, advertised):
    octets = encode_query(Query(interval=interval))
    assert octets[9] == qqic
    assert decode(octets).interval == advertised


# RFC 9776 4.1.7 a
def test_interval_below_a_second_is_advertised_as_one():
    """QQIC 0 would make others use 125 s."""
    assert encode_query(Query(interval=0.5))[9] == 1


# RFC 9776 7.3.1 g
@pytest.mark.parametrize("tenths", range(256))
def test_v2_response_time_is_linear(tenths):
    octets = encode_query(Query(version=2, max_response_time=tenths / 10))
    assert octets[1] == max(tenths, 1)


def test_v2_response_time_is_clamped():
    assert encode_query(Query(version=2, max_response_time=60))[1] == 255
    assert encode_query(Query(version=3, max_response_time=60))[1] == 0xA2


# Checksum (W-25)


@pytest.mark.parametrize("octets", ["16000000ef12faec", "1600ffffef12faec"])
def test_both_forms_of_zero_checksum_are_accepted(octets):
    group = parse_address("239.18.250.236")
    assert decode(hexadecimal(octets)) == Report((GroupRecord(IS_EX, group),), 2)


def test_zero_checksum_is_sent_as_zero():
    assert encode_v2_report(parse_address("239.18.250.236")).hex() == "16000000ef12faec"


# RFC 9776 4.1.2 a
@given(st.binary(max_size=64))
def test_checksum_is_the_sum_of_words(data):
    total = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == total ^ 0xFFFF
    assert is_intact(data) == (total == 0xFFFF)


def test_all_zero_message_is_not_intact():
    with pytest.raises(MalformedMessage) as caught:
        decode(bytes(8))
    assert caught.value.counter == "rx_bad_checksum"


# Golden messages sent (W-04 ... W-09), and read back


# RFC 9776 4.1 a, 4.1.2 a, 4.1.4 a, 4.1.6 a, 4.1.8 a, 4.1.10 c, 7.3.1 c
@pytest.mark.parametrize(
    ("query", "octets"),
    [
        (Query(version=1), "1100eeff00000000"),
        (Query(version=2), "1164ee9b00000000"),
        (Query(), "1164ec1e00000000027d0000"),
        (Query(G, max_response_time=1.0), "110afc75ef010101027d0000"),
        (Query(G, (A, B), 2.5, True, 7, 255.0), "1119da89ef0101010f8f00020a6300010a630002"),
        (Query(G, (A, B), 2.5, True, 8, 255.0), "1119e189ef010101088f00020a6300010a630002"),
    ],
)
def test_query_octets(query, octets):
    assert encode_query(query).hex() == octets


# RFC 9776 4.2 a, 4.2.1 a, 4.2.2 a, 4.2.3 a, 4.2.11 a, 4.2.12 c
@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (encode_v1_report(G), "1200fdfcef010101"),
        (encode_v2_report(G), "1600f9fcef010101"),
        (encode_v2_leave(G), "1700f8fcef010101"),
        (encode_report([JOIN]), "2200e9fb0000000104000000ef010101"),
        (encode_report([GroupRecord(ALLOW, SSM, (A, B))]), "2200db300000000105000002e80101010a6300010a630002"),
        (encode_report([GroupRecord(TO_IN, G)]), "2200eafb0000000103000000ef010101"),
    ],
)
def test_report_octets(octets, message):
    assert octets.hex() == message


# RFC 9776 4 c, 7.3.2 d
# RFC 4605 4.1 d
def test_old_messages_become_records():
    assert decode(encode_v1_report(G)) == Report((GroupRecord(IS_EX, G),), 1)
    assert decode(encode_v2_report(G)) == Report((GroupRecord(IS_EX, G),), 2)
    assert decode(encode_v2_leave(G)) == Report((GroupRecord(TO_IN, G),), 2, leave=True)


# RFC 9776 7.1 a, 7.2.1 f
def test_old_queries_do_not_tell_robustness_or_interval():
    v1, v2 = decode(encode_query(Query(version=1))), decode(encode_query(Query(G, version=2)))
    assert v1 == Query(0, (), 10.0, False, 0, 0.0, 1)
    assert v2 == Query(G, (), 10.0, False, 0, 0.0, 2)


def test_group_of_a_v1_query_is_ignored():
    assert decode(sealed(hexadecimal("11000000ef010101"))).group == 0


def test_sources_in_an_old_query_are_our_mistake():
    with pytest.raises(ValueError, match="version 2"):
        encode_query(Query(G, (A,), version=2))


# RFC 9776 7.2.1 g
def test_eight_octets_are_never_a_floating_point_query():
    assert decode(sealed(hexadecimal("11ff000000000000"))).max_response_time == 25.5


# RFC 9776 7.1 a
def test_v3_query_with_code_zero_stays_v3():
    """It asks for an immediate answer; only 8 octets make version 1."""
    message = decode(encode_query(Query(max_response_time=0.0)))
    assert (message.version, message.max_response_time) == (3, 0.0)


# Received reports (W-10 ... W-17, W-23, W-24)


# RFC 9776 4.2.6 a
def test_all_record_types():
    groups = [parse_address(f"239.2.0.{host}") for host in range(1, 7)]
    octets = hexadecimal(
        "2200f06a0000000601000001ef0200010a63000102000001ef0200020a630002"
        "03000002ef0200030a6300010a63000304000000ef02000405000001ef020005"
        "0a63000406000001ef0200060a630005"
    )
    lists = [(A,), (B,), (A, C), (), (D,), (E,)]
    assert decode(octets) == Report(tuple(map(GroupRecord, RecordType, groups, lists)))


# RFC 9776 4.2.1 a, 4.2.3 a, 4.2.4 a, 4.2.7 a, 4.2.11 b, 4.2.12 a b, 4.2.13 d
@pytest.mark.parametrize(
    ("octets", "records", "defects"),
    [
        pytest.param(
            "2200c7340000000204020000ef010101deadbeefcafebabe05000001ef0101020a630001",
            (JOIN, GroupRecord(ALLOW, G2, (A,))), (), id="auxiliary data is skipped by words",
        ),
        pytest.param(
            "2200d9e70000000104000000ef0101010102030405060708", (JOIN,), (), id="additional data",
        ),
        pytest.param(
            "2200e02a0000000204000000ef01010205000003ef0101010a6300010a630002",
            (GroupRecord(TO_EX, G2),), ("rx_malformed",), id="source list truncated",
        ),
        pytest.param(
            "2200e9fa0000000204000000ef010101", (JOIN,), ("rx_malformed",), id="record missing",
        ),
        pytest.param(
            "2200f5f70000000104000000ef01010104000000ef010102", (JOIN,), (), id="more records than M",
        ),
        pytest.param(
            "2200e9240000000304000000ef01010107010001ef0101020a6300010000000005000001ef0101030a630002",
            (JOIN, GroupRecord(ALLOW, G3, (B,))), ("rx_unknown_record",), id="unknown record type",
        ),
        pytest.param("22ff68fc8000000104000000ef010101", (JOIN,), (), id="reserved and flags"),
        pytest.param("2200ddff00000000", (), (), id="no records"),
    ],
)  # fmt: skip
def test_report_records(octets, records, defects):
    assert decode(hexadecimal(octets)) == Report(records, defects=defects)


def test_unknown_record_that_runs_past_the_end_is_damage():
    octets = sealed(hexadecimal("22000000000000020700000000000000" + "09ff0000ef010101"))
    assert decode(octets) == Report((), defects=("rx_unknown_record", "rx_malformed"))


# RFC 9776 4.2.7 a
def test_auxiliary_data_past_the_end_drops_its_record():
    octets = sealed(hexadecimal("220000000000000104010000ef010101"))
    assert decode(octets) == Report((), defects=("rx_malformed",))


def test_odd_length_v2_report():
    assert decode(hexadecimal("16004ffcef010101aa")) == Report((GroupRecord(IS_EX, G),), 2)


# RFC 9776 4.1.2 b
@pytest.mark.parametrize(
    ("octets", "counter"),
    [
        ("", "rx_bad_length"),
        ("1600f9fcef0101", "rx_bad_length"),
        ("2200e9fa0000000104000000ef010101", "rx_bad_checksum"),
        ("1164ec1e00000000027d", "rx_bad_length"),
        ("110af20eef010101027d00030a630001", "rx_malformed"),
        ("1300fcfcef010101", "rx_unknown_type"),
        ("1400fbfcef010101", "rx_unknown_type"),
        ("1f00f0fcef010101", "rx_unknown_type"),
        ("3000cfff00000000", "rx_unknown_type"),
        ("5500bafcef010101", "rx_unknown_type"),
    ],
)
def test_unusable_message_names_its_counter(octets, counter):
    with pytest.raises(MalformedMessage) as caught:
        decode(hexadecimal(octets))
    assert caught.value.counter == counter


# RFC 9776 7.1 b
@pytest.mark.parametrize("length", [9, 10, 11])
def test_queries_between_the_versions_are_ignored(length):
    with pytest.raises(MalformedMessage) as caught:
        decode(sealed(hexadecimal("1164ec1e00000000027d0000")[:length]))
    assert caught.value.counter == "rx_bad_length"


# RFC 9776 4.1.8 a
def test_general_query_with_sources_is_malformed():
    with pytest.raises(MalformedMessage) as caught:
        decode(encode_query(Query(0, (A,))))
    assert caught.value.counter == "rx_malformed"


# RFC 9776 4.1.4 b, 4.1.10 a b
def test_query_flags_and_trailing_octets_are_ignored():
    assert decode(hexadecimal("1164fc1c00000000f27d000000010000")) == Query()


# Properties


def outcome(octets):
    """Kind of the decoded message, or the counter of a malformed one."""
    try:
        return type(decode(octets))
    except MalformedMessage as error:
        return error.counter


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(data):
    """With a wrong checksum nearly always, so the same bytes are tried with a right one too."""
    for octets in (data, sealed(data) if len(data) >= 8 else data):
        assert outcome(octets) in {Query, Report, *RECEIVE_COUNTERS}


interesting = st.sampled_from([0x11, 0x12, 0x16, 0x17, 0x22])
small = st.integers(0, 7)
report_octets = st.builds(
    lambda count, records, rest: struct.pack("!BBHHH", 0x22, 0, 0, 0, count) + b"".join(records) + rest,
    small,
    st.lists(
        st.builds(
            lambda kind, words, count, group, tail: struct.pack("!BBHI", kind, words, count, group) + tail,
            small, st.integers(0, 3), st.integers(0, 3), address, st.binary(max_size=20),
        ),
        max_size=5,
    ),
    st.binary(max_size=5),
)  # fmt: skip
octets_of_a_type = st.builds(lambda kind, rest: bytes([kind]) + rest, interesting, st.binary(min_size=7, max_size=60))


@given((report_octets | octets_of_a_type).map(sealed))
@example(hexadecimal("1600ffffef12faec"))
def test_what_decodes_encodes_to_the_same(octets):
    try:
        message = decode(octets)
    except MalformedMessage:
        return
    again = decode(encode(message))
    if isinstance(message, Report):
        message = Report(message.records, message.version, message.leave)
    assert again == message


@given(v3_query)
def test_v3_query_survives(query):
    assert decode(encode_query(query)) == query


# RFC 9776 4.2.5 a, 4.2.8 a
@given(st.lists(group_record, max_size=10))
def test_v3_report_survives(records):
    assert decode(encode_report(records)) == Report(tuple(records))


# RFC 9776 4.2.8 a
@given(st.lists(group_record, max_size=5), st.integers(0, 200))
def test_cut_report_keeps_the_complete_records(records, length):
    octets = encode_report(records)
    cut = max(min(length, len(octets) - 1), 8)
    if cut >= len(octets):
        return
    message = decode(sealed(octets[:cut]))
    assert message.records == tuple(records[: len(message.records)])
    assert message.defects == ("rx_malformed",)


# Splitting (W-28)


def sizes(records, mtu=1500):
    """Number of sources of each record, by report."""
    return [[len(record.sources) for record in report] for report in pack_records(records, mtu)]


# RFC 9776 4.1.8 b
def test_queries_are_split_by_the_mtu():
    assert [len(part) for part in split_sources(range(1, 401), 1500)] == [366, 34]
    assert [len(part) for part in split_sources(range(1, 137), 576)] == [135, 1]
    assert [24 + len(encode_query(Query(G, part))) for part in split_sources(range(1, 401), 1500)] == [1500, 172]
    assert split_sources((), 1500) == []


# RFC 9776 4.2.17 b c
@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [(ALLOW, 365, [[365]]), (ALLOW, 366, [[365], [1]]), (IS_IN, 800, [[365], [365], [70]]), (IS_EX, 800, [[365]])],
)
def test_long_record_is_split_by_its_kind(kind, count, expected):
    assert sizes([GroupRecord(kind, G, tuple(range(1, count + 1)))]) == expected


# RFC 9776 4.2.17 c
def test_a_cut_exclude_record_always_keeps_the_same_sources():
    forward = GroupRecord(IS_EX, G, tuple(range(1, 801)))
    backward = GroupRecord(IS_EX, G, tuple(range(800, 0, -1)))
    assert pack_records([forward], 1500) == pack_records([backward], 1500)


# RFC 9776 4.2.17 a
def test_many_short_records_fill_reports():
    records = [GroupRecord(IS_EX, G + number) for number in range(200)]
    assert [len(report) for report in pack_records(records, 1500)] == [183, 17]
    assert [24 + len(encode_report(report)) for report in pack_records(records, 1500)] == [1496, 168]
    assert len(pack_records(records, 576)[0]) == 68


# RFC 9776 4.2.17 b
def test_single_record_limit_of_a_small_link():
    assert sizes([GroupRecord(ALLOW, G, tuple(range(1, 136)))], 576) == [[134], [1]]


def test_a_record_that_fits_alone_is_not_split():
    assert sizes([GroupRecord(ALLOW, G, (A,)), GroupRecord(ALLOW, G2, tuple(range(1, 366)))]) == [[1], [365]]


def triples(records):
    return {(record.group, record.type, source) for record in records for source in record.sources}


# RFC 9776 4.2.17 a
@given(st.lists(group_record, max_size=30), st.integers(0, 70000))
def test_packed_reports_fit_and_lose_nothing_but_excluded_sources(records, mtu):
    reports = pack_records(records, mtu)
    assert all(24 + len(encode_report(report)) <= min(max(mtu, 68), 65535) for report in reports)
    packed = [record for report in reports for record in report]
    assert triples(packed) <= triples(records)
    assert all(kind in (IS_EX, TO_EX) for _, kind, _ in triples(records) - triples(packed))
    assert [record for record in packed if not record.sources] == [
        record for record in records if not record.sources
    ]


def test_a_loopback_mtu_still_makes_a_legal_packet():
    (first, *_) = split_sources(range(20000), 65536)
    assert 24 + len(encode_query(Query(G, first))) <= 65535


def test_counter_names_are_distinct():
    assert len(set(COUNTERS)) == len(COUNTERS)


# Differential: scapy speaks versions 1 to 3, except auxiliary data


@pytest.fixture(scope="module")
def scapy():
    return pytest.importorskip("scapy.layers.igmp")


def quads(addresses):
    return [format_address(number) for number in addresses]


def scapys_record(scapy, record):
    group, listed = format_address(record.group), quads(record.sources)
    return scapy.IGMPv3_MR_Group(rtype=int(record.type), maddr=group, srcaddrs=listed)


@given(query=v3_query)
def test_scapy_reads_our_query(scapy, query):
    theirs = scapy.IGMPv3_MQ(encode_query(query))
    assert (theirs.gaddr, theirs.srcaddrs) == (format_address(query.group), quads(query.sources))
    assert (theirs.s, theirs.qrv, decode8(theirs.qqic)) == (query.suppress, query.robustness, query.interval)
    assert theirs.fields["mrcode"] == round(query.max_response_time * 10)     # the attribute is encoded again


# RFC 9776 4.1 a
@given(query=v3_query)
def test_we_read_scapys_query(scapy, query):
    theirs = scapy.IGMPv3_MQ(
        mrcode=round(query.max_response_time * 10),
        gaddr=format_address(query.group),
        s=query.suppress,
        qrv=query.robustness,
        qqic=encode8(int(query.interval)),
        srcaddrs=quads(query.sources),
    )
    assert bytes(theirs) == encode_query(query)
    assert decode(bytes(theirs)) == query


# RFC 9776 4.2.11 a
@given(records=st.lists(group_record, max_size=10))
def test_scapy_reads_our_report(scapy, records):
    theirs = scapy.IGMPv3_MR(encode_report(records))
    assert [(record.rtype, record.maddr, record.srcaddrs) for record in theirs.records] == [
        (record.type, format_address(record.group), quads(record.sources)) for record in records
    ]


# RFC 9776 4.2 a
@given(records=st.lists(group_record, max_size=10))
def test_we_read_scapys_report(scapy, records):
    theirs = scapy.IGMPv3_MR(records=[scapys_record(scapy, record) for record in records])
    assert bytes(theirs) == encode_report(records)
    assert decode(bytes(theirs)) == Report(tuple(records))


# RFC 9776 4 c
@given(group=address, tenths=st.integers(1, 255))
def test_scapy_agrees_on_old_messages(scapy, group, tenths):
    text = format_address(group)
    assert bytes(scapy.IGMP_MR(mrcode=0, gaddr=text)) == encode_v1_report(group)
    assert bytes(scapy.IGMPv2_MR(mrcode=0, gaddr=text)) == encode_v2_report(group)
    assert bytes(scapy.IGMPv2_LG(mrcode=0, gaddr=text)) == encode_v2_leave(group)
    query = Query(group, max_response_time=tenths / 10, version=2)
    assert bytes(scapy.IGMP_MQ(mrcode=tenths, gaddr=text)) == encode_query(query)
    assert scapy.IGMP(encode_query(query)).mrcode == tenths


# RFC 9776 4.2.4 a
def test_more_records_than_an_octet_counts_are_all_read():
    records = [GroupRecord(TO_EX, G + number) for number in range(600)]
    assert decode(encode_report(records)) == Report(tuple(records))
