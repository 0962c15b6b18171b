"""Why a join is refused, from whole packets through the proxy: every rule by which one can be, and none that is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import ALL_HOSTS, ALL_ROUTERS, D1, D2, LINKS, NAMES, UP, Bench, packet_of

from igmp.access import AccessList, Entry
from igmp.link import Link, Network, format_address, parse_address
from igmp.messages import encode_v2_report
from igmp.packet import Rules, encode
from igmp.parameters import PortOptions

MAC = 0x020000000009


def lists(allow: str = "", deny: str = "", boundary: str = "") -> AccessList:
    return AccessList(
        *(tuple(map(Entry.parse, each.split())) for each in (allow, deny)), tuple(map(Network.parse, boundary.split()))
    )


def shown(bench: Bench, port: int = D1) -> list[tuple[str, ...]]:
    """Host, group, mode with sources, reason, rule of each refused join."""
    rows = [row for row in bench.proxy.each_refusal(bench.now) if row.port == port]
    return [
        (format_address(row.host), format_address(row.group),
         f"{row.mode} {','.join(map(format_address, row.sources))}".strip(), row.reason, row.rule)
        for row in rows
    ]  # fmt: skip


def with_ttl(packet: bytes, ttl: int) -> bytes:
    """Another TTL, the header's checksum mended."""
    head = bytearray(packet[:24])
    head[8], head[10:12] = ttl, b"\0\0"
    total = sum(int.from_bytes(head[at : at + 2]) for at in range(0, 24, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF - (total & 0xFFFF) - (total >> 16)).to_bytes(2)
    return bytes(head) + packet[24:]


def without_option(packet: bytes) -> bytes:
    """No operation where Router Alert was."""
    return with_ttl(packet[:20] + b"\1\1\1\0" + packet[24:], 1)


HOST = "192.168.10.11"
JOINS = ("v1 Report(G)", "v2 Report(G)", "TO_EX(G,{})", "IS_EX(G,{})")


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize(("access", "reason", "rule"), [
    (lists(deny="239.1.0.0/16 239.7.0.0/16"), "deny", "deny 239.1.0.0/16"),
    (lists(deny="239.1.1.1"), "deny", "deny 239.1.1.1"),
    (lists(allow="239.2.0.0/16"), "allow", "allow"),
    (lists(allow="239.0.0.0/8", boundary="239.1.1.0/24"), "boundary", "boundary 239.1.1.0/24"),
])  # fmt: skip
def test_joins_that_lists_refuse(join, access, reason, rule):
    bench = Bench(access=access)
    bench.hear(0.0, D1, join)
    assert shown(bench) == [(HOST, "239.1.1.1", "exclude", reason, rule)]
    assert not bench.proxy.groups(0.0)


def test_a_source_that_a_list_refuses_and_another_that_it_does_not():
    bench = Bench(access=lists(deny="10.99.0.2,239.0.0.0/8"))
    bench.hear(0.0, D1, "ALLOW(G,{a,b})")
    bench.hear(1.0, D1, "IS_IN(G,{a,b})")
    (row,) = bench.proxy.each_refusal(1.0)
    assert (row.since, row.last, row.count) == (1.0, 0.0, 2)
    assert shown(bench) == [(HOST, "239.1.1.1", "include 10.99.0.2", "deny", "deny 10.99.0.2,239.0.0.0/8")]
    bench.hear(2.0, D1, "TO_IN(G,{a})")
    assert shown(bench) == []


def test_a_list_that_refuses_sources_does_not_refuse_who_asks_for_any():
    bench = Bench(access=lists(deny="0.0.0.0/0,239.0.0.0/8"))
    bench.hear(0.0, D1, "TO_EX(G,{}) + ALLOW(G2,{a})")
    assert [each[1:3] for each in shown(bench)] == [("239.1.1.2", "include 10.99.0.1")]


@pytest.mark.parametrize(("join", "reason"), [
    ("v1 Report(S)", "version"), ("v2 Report(S)", "version"), ("TO_EX(S,{})", "ssm"), ("IS_EX(S,{a})", "ssm"),
])  # fmt: skip
def test_joins_for_any_source_of_a_group_that_has_none(join, reason):
    bench = Bench()
    bench.hear(0.0, D1, join)
    assert [each[3:] for each in shown(bench)] == [(reason, "ssm_range 232.0.0.0/8")]


@pytest.mark.parametrize("join", JOINS)
def test_joins_in_packets_that_are_not_taken(join):
    bench = Bench(Rules(require_router_alert=True))
    bench.receive(0.0, D1, with_ttl(packet_of(join, HOST), 64))
    assert shown(bench) == [(HOST, "239.1.1.1", "exclude", "ttl", "accept_any_ttl")]
    bench.hear(1.0, D1, join, "10.1.2.3")
    assert shown(bench)[1:] == [("10.1.2.3", "239.1.1.1", "exclude", "off_subnet", "altnets")]
    bench.hear(2.0, D1, join, "192.168.10.1")
    assert shown(bench)[2:] == [
        ("192.168.10.1", "239.1.1.1", "exclude", "own_address", "own address 192.168.10.1")
    ]


def test_a_join_without_router_alert_where_it_is_required():
    bench = Bench(Rules(require_router_alert=True))
    bench.receive(0.0, D1, without_option(packet_of("TO_EX(G,{})", HOST)))
    assert [each[3:] for each in shown(bench)] == [("router_alert", "require_router_alert")]
    bench.take(bench.proxy.set_options(D1, replace(bench.proxy._ports.options[D1], rules=Rules()), 0.5))
    assert shown(bench) == []
    bench.receive(1.0, D1, without_option(packet_of("TO_EX(G,{})", HOST)))
    assert shown(bench) == []
    assert bench.proxy.groups(1.0)


def test_what_lists_refuse_is_not_the_fault_of_an_option_that_is_missed_and_not_required():
    bench = Bench(access=lists(deny="239.0.0.0/8"))
    bench.receive(0.0, D1, without_option(packet_of("v2 Report(G)", HOST)))
    assert [each[3] for each in shown(bench)] == ["deny"]


def test_a_join_to_an_address_that_takes_none():
    bench = Bench()
    bench.receive(0.0, D1, encode(parse_address(HOST), ALL_HOSTS + 90, encode_v2_report(parse_address("239.1.1.1"))))
    assert [each[3:] for each in shown(bench)] == [("destination", "destination 224.0.0.91")]


def test_joins_beyond_the_limits():
    bench = Bench(max_groups=2, max_sources=2, max_hosts=1)
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(G2,{}) + TO_EX(G3,{})")
    assert shown(bench) == [(HOST, "239.1.1.3", "exclude", "max_groups", "max_groups 2")]
    bench.hear(1.0, D1, "TO_EX(G,{})", "192.168.10.12")
    assert shown(bench)[1:] == [("192.168.10.12", "239.1.1.1", "exclude", "max_hosts", "max_hosts 1")]
    bench.hear(2.0, D2, "ALLOW(G,{a,b,c,d})")
    assert shown(bench, D2) == [("192.168.20.11", "239.1.1.1", "include 10.99.0.3,10.99.0.4",
                                 "max_sources", "max_sources 2")]  # fmt: skip


def test_joins_beyond_the_sources_of_a_port():
    bench = Bench(max_port_sources=2)
    bench.hear(0.0, D1, "ALLOW(G,{a}) + ALLOW(G2,{a,b}) + ALLOW(G3,{a})")
    assert shown(bench) == [
        (HOST, "239.1.1.2", "include 10.99.0.2", "max_port_sources", "max_port_sources 2"),
        (HOST, "239.1.1.3", "include 10.99.0.1", "max_port_sources", "max_port_sources 2"),
    ]
    bench.run(300.0)
    bench.hear(300.0, D1, "ALLOW(G3,{a})")
    assert [each[1] for each in shown(bench)] == ["239.1.1.2"]


def test_a_join_that_is_admitted_later_is_refused_no_more():
    bench = Bench(max_groups=1)
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.hear(1.0, D1, "TO_EX(G2,{})")
    bench.hear(2.0, D1, "TO_IN(G,{})")
    bench.run(10.0)
    assert len(shown(bench)) == 1
    bench.hear(11.0, D1, "IS_EX(G2,{})")
    assert shown(bench) == []


def test_a_join_that_another_configuration_admits():
    bench = Bench(access=lists(deny="239.1.1.0/24"))
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(239.1.1.77,{})")
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", access=lists(deny="239.1.1.77")), 1.0))
    assert shown(bench) == []
    bench.hear(2.0, D1, "IS_EX(G,{}) + IS_EX(239.1.1.77,{})")
    assert [each[1] for each in shown(bench)] == ["239.1.1.77"]


@pytest.mark.parametrize("text", ["Leave(G)", "TO_IN(G,{})"])
@pytest.mark.parametrize("access", [lists(deny="239.0.0.0/8"), lists(boundary="239.0.0.0/8")])
def test_who_leaves_was_refused_and_is_no_more(text, access):
    bench = Bench(access=access)
    bench.hear(0.0, D1, text)
    assert shown(bench) == []
    bench.hear(1.0, D1, "v2 Report(G)")
    assert len(shown(bench)) == 1
    bench.hear(2.0, D1, text)
    assert shown(bench) == []


def test_hosts_without_an_address_are_told_apart_by_mac():
    bench = Bench(access=lists(deny="239.0.0.0/8"))
    for mac in (MAC, MAC + 1):
        bench.take(bench.proxy.receive(D1, packet_of("TO_EX(G,{})", "0.0.0.0"), 0.0, mac))
    assert [(row.host, row.mac) for row in bench.proxy.each_refusal(0.0)] == [(0, MAC), (0, MAC + 1)]


@pytest.mark.parametrize("packet", [
    encode(parse_address(HOST), ALL_ROUTERS, encode_v2_report(parse_address("224.0.0.251"))),
    packet_of("TO_EX(224.0.0.251,{})", "10.1.2.3"),
    packet_of("TO_EX(G,{})", "192.168.10.255"),
    packet_of("TO_EX(G,{})", "224.1.1.1"),
    with_ttl(packet_of("TO_EX(G,{})", HOST), 64)[:-1] + b"\7",
    with_ttl(encode(parse_address(HOST), ALL_HOSTS, b"\x11\x64\xee\x9b" + bytes(4)), 64),
], ids=["link-local", "link-local from elsewhere", "broadcast", "multicast", "damaged", "query"])  # fmt: skip
def test_what_is_damaged_or_never_tracked_asked_for_nothing(packet):
    bench = Bench()
    bench.receive(0.0, D1, packet)
    assert shown(bench) == []


def test_what_hosts_upstream_ask_for_is_not_ours_to_refuse():
    bench = Bench(access=lists(deny="239.0.0.0/8"))
    bench.receive(0.0, UP, with_ttl(packet_of("TO_EX(G,{})", "10.0.0.77"), 64))
    bench.hear(1.0, UP, "v2 Report(S)", "10.0.0.77")
    assert list(bench.proxy.each_refusal(1.0)) == []


def test_a_port_that_goes_down_forgets_and_another_address_forgets_what_it_refused_by_the_link():
    bench = Bench(access=lists(deny="239.9.0.0/16"))
    bench.hear(0.0, D1, "TO_EX(G,{})", "10.1.2.3")
    bench.hear(0.5, D1, "TO_EX(239.9.9.9,{})")
    wider = Link(LINKS[D1].addresses, altnets=(Network.parse("10.1.0.0/16"),))
    bench.take(bench.proxy.port_up(D1, wider, 1.0))
    assert [each[3] for each in shown(bench)] == ["deny"]
    bench.hear(2.0, D1, "TO_EX(G,{})", "10.1.2.3")
    assert [each[3] for each in shown(bench)] == ["deny"]
    assert bench.proxy.groups(2.0)
    bench.take(bench.proxy.port_down(D1, 3.0))
    assert shown(bench) == []


RECORD = st.tuples(st.sampled_from(["IS_IN", "IS_EX", "TO_IN", "TO_EX", "ALLOW", "BLOCK"]),
                   st.sampled_from(["G", "G2", "S"]), st.sets(st.sampled_from("abc")))  # fmt: skip


REFUSED = {"G": set("a"), "G2": set("abc"), "S": set("a")}     # sources; any-source joins of G2 and S are refused too
WHOLE = ("IS_EX", "TO_EX")


@given(st.lists(st.lists(RECORD, min_size=1, max_size=3, unique_by=lambda record: record[1]), max_size=8))
def test_what_the_last_report_asks_for_in_vain_has_a_row_and_what_it_is_admitted_has_none(reports):
    bench = Bench(access=lists(deny="239.1.1.2 10.99.0.1,224.0.0.0/4"))
    for now, report in enumerate(reports):
        records = (f"{kind}({group},{{{','.join(names)}}})" for kind, group, names in report)
        bench.hear(float(now), D1, " + ".join(records))
        rows = {NAMES[row.group]: row for row in bench.proxy.each_refusal(bench.now)}
        for kind, group, names in report:
            vain = group != "G" if kind in WHOLE else kind != "BLOCK" and bool(names & REFUSED[group])
            assert not vain or (rows[group].last, rows[group].mode == "exclude") == (0.0, kind in WHOLE)
            assert vain or kind not in (*WHOLE, "TO_IN") or group not in rows
        for group, row in rows.items():
            assert row.mode == "exclude" or {NAMES[source] for source in row.sources} <= REFUSED[group]
