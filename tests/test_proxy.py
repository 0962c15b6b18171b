"""RFC 4605: vectors P, ports that come and go, restarts, and whole networks under faults."""

import math
import sys
import time
import tracemalloc
from collections import Counter

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from link import (
    D1,
    D2,
    D3,
    LINKS,
    SPEAKERS,
    UP,
    Bench,
    Faults,
    Member,
    World,
    address,
    filter_text,
    half,
    packet_of,
    sources,
)

from igmp.access import AccessList, Entry
from igmp.counters import COUNTERS
from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, exclude, include, merge
from igmp.messages import GroupRecord, Query, RecordType, encode_report
from igmp.outputs import Notice, Role, Route, Send
from igmp.packet import V3_ROUTERS, Link, Network, Rules, encode, format_address, parse_address
from igmp.parameters import Parameters, PortOptions
from igmp.proxy import Proxy

B1, B2, B3 = 1 << D1, 1 << D2, 1 << D3


# P: vectors

# RFC 9776 6 a
# RFC 4605 3 d, 4.1 b c e f
@pytest.mark.parametrize(("records", "merged"), [
    (["ALLOW(G,{a,b})"], "IN{a,b}"),
    (["ALLOW(G,{a,b})", "ALLOW(G,{b,c})"], "IN{a,b,c}"),
    (["TO_EX(G,{})"], "EX{}"),
    (["TO_EX(G,{b,c}) + ALLOW(G,{a})"], "EX{b,c}"),
    (["TO_EX(G,{b,c}) + ALLOW(G,{a})", "ALLOW(G,{b})"], "EX{c}"),
    (["TO_EX(G,{a,b})", "TO_EX(G,{b,c})"], "EX{b}"),
    (["TO_EX(G,{a,b})", "TO_EX(G,{c}) + ALLOW(G,{b})"], "EX{}"),
    (["TO_EX(G,{a,b})", "TO_EX(G,{})"], "EX{}"),
    (["TO_EX(G,{a,b,c})", "TO_EX(G,{b,c,d}) + ALLOW(G,{a})", "ALLOW(G,{c})"], "EX{b}"),
    ([], "IN{}"),
])
def test_p01_what_ports_want_is_merged(records, merged):
    bench = Bench(ports=(UP, D1, D2, D3))
    for port, text in enumerate(records, D1):
        bench.hear(0.0, port, text)
    assert bench.merged() == merged


TIMELINE = [
    (0, D1, "ALLOW(G,{a})", "IN{a}", "ALLOW(G,{a})"),
    (10, D2, "ALLOW(G,{a,b})", "IN{a,b}", "ALLOW(G,{b})"),
    (20, D2, "TO_EX(G,{c})", "EX{c}", "TO_EX(G,{c})"),
    (30, D1, "ALLOW(G,{c})", "EX{}", "ALLOW(G,{c})"),
    (40, D2, "TO_IN(G,{})", "EX{}", ""),
    (42, 0, "", "IN{a,c}", "TO_IN(G,{a,c})"),
    (50, D1, "BLOCK(G,{a,c})", "IN{a,c}", ""),
    (52, 0, "", "IN{}", "BLOCK(G,{a,c})"),
]


# RFC 4605 3 b e, 4.1 h
def test_p02_changes_are_told_upstream_as_they_happen():
    bench, told = Bench(), []
    for at, port, event, merged, report in TIMELINE:
        if event:
            bench.hear(at, port, event)
        else:
            bench.run(at)
        assert (at, bench.merged()) == (at, merged)
        told += [(at, report), (at + 0.5, report)] if report else []
        if at == 20:
            assert bench.state(D2) == "EXCLUDE X={} Y={c} GT=270"
    assert bench.run(60.0).sends(UP) == told


# RFC 4605 4.1 i
def test_p03_version_2_upstream_sees_only_joining_and_leaving():
    bench = Bench(ports=())
    bench.add(UP, igmp_version=2)
    bench.add(D1)
    bench.add(D2)
    for at, port, event, *_ in TIMELINE:
        if event:
            bench.hear(at, port, event)
    assert bench.run(100.0).sends(UP) == [(0, "v2 Report(G)"), (5, "v2 Report(G)"), (52, "Leave(G)")]


def outputs(bench: Bench, ingress: int, source: str, group: str = "G") -> set[int]:
    """The forwarding rule of RFC 4605 over routes and roles, as the data plane applies it."""
    wanted = {port for port, role in bench.roles.items() if bench.wanted(source, group) >> port & 1 and role.querier}
    return (wanted | {UP}) - {ingress}


# RFC 9776 6.3 a b
def test_p04_the_forwarding_matrix():
    d4 = 4
    bench = Bench(ports=(UP, D1, D2, D3))
    bench.add(d4, Link((Network.parse("192.168.40.1/24"),)), querier=False)
    bench.hear(0.0, D1, "TO_EX(G,{b})")
    bench.hear(0.0, D2, "ALLOW(G,{b})")
    bench.hear(0.0, d4, "TO_EX(G,{})", "192.168.40.11")
    assert outputs(bench, UP, "a") == {D1}
    assert outputs(bench, UP, "b") == {D2}
    assert outputs(bench, UP, "a", "G2") == set()
    assert outputs(bench, D1, "192.168.10.50") == {UP}
    assert outputs(bench, D3, "192.168.30.50") == {UP, D1}
    assert outputs(bench, D3, "192.168.30.50", "G2") == {UP}
    assert outputs(bench, D2, "192.168.20.50") == {UP, D1}
    assert outputs(bench, d4, "192.168.40.50") == {UP, D1}


# RFC 4605 4.1 c
def test_p05_members_of_a_port_where_we_are_not_querier_are_merged_too():
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, querier=False)
    bench.hear(0.0, D1, "ALLOW(G,{a})")
    assert bench.merged() == "IN{a}"


# RFC 4605 4.3 a
def test_p06_groups_that_never_reach_the_database():
    bench = Bench()
    data = bytes.fromhex("220033f40000000404000000e000000504000000e00000fb04000000e801010104000000ef010101")
    bench.receive(0.0, D1, encode(parse_address("192.168.10.11"), V3_ROUTERS, data))
    assert bench.sends(UP) == [(0, "TO_EX(G,{})")]
    counters = bench.proxy.counters(D1)
    assert (counters["rx_link_local"], counters["rx_ssm_exclude"]) == (2, 1)


def test_p07_only_the_net_change_of_a_message_is_told():
    bench = Bench()
    bench.hear(-170.0, D1, "ALLOW(G,{a})")
    bench.hear(0.0, D1, "BLOCK(G,{a}) + TO_EX(G,{})")
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"
    assert bench.sends(UP) == [(0, "TO_EX(G,{})")]
    assert bench.run(10.0).sends(D1) == []


def test_p07_a_message_that_changes_nothing_in_the_end_tells_nothing():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(10.0)
    sent = len(bench.sends(UP))
    assert bench.hear(11.0, D1, "IS_EX(G,{a}) + IS_EX(G,{})") == []
    assert len(bench.run(20.0).sends(UP)) == sent


# RFC 4605 4.2 d
def test_p08_routes_follow_the_state_at_once():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert outputs(bench, UP, "a") == {D1}
    bench.hear(1.0, D1, "TO_IN(G,{})")                              # 1: an unanswered leave
    assert outputs(bench.until(3.0), UP, "a") == {D1}
    assert outputs(bench.run(3.0), UP, "a") == set()
    bench.hear(4.0, D2, "ALLOW(G,{a})")                             # 2: another port
    assert outputs(bench, UP, "a") == {D2}
    bench.hear(5.0, D1, "TO_EX(G,{})")
    bench.hear(6.0, D1, "ALLOW(G,{b})")
    assert outputs(bench, UP, "b") == {D1}
    bench.hear(200.0, D1, "IS_EX(G,{b})")
    bench.run(276.0)                                                # 3: b's timer ends
    assert bench.state() == "EXCLUDE X={} Y={b} GT=194"
    assert outputs(bench, UP, "b") == set()


def test_p08_4_a_role_lost_or_regained_is_told_at_once():
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, Link((Network.parse("192.168.10.100/24"),)))
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.ask(1.0, D1, Query(), "192.168.10.9")
    assert outputs(bench, UP, "a") == set()
    assert bench.merged() == "EX{}"
    bench.run(256.0)
    assert outputs(bench, UP, "a") == {D1}


# Routes

def test_only_rows_that_differ_are_put_out():
    bench = Bench()
    g, a, b = address("G"), address("a"), address("b")
    assert bench.hear(0.0, D1, "TO_EX(G,{a})")[:2] == [Route(g, None, B1), Route(g, a, 0)]
    assert [o for o in bench.hear(1.0, D2, "ALLOW(G,{a,b})") if isinstance(o, Route)] == [
        Route(g, a, B2), Route(g, b, B1 | B2)]
    assert bench.hear(2.0, D2, "IS_IN(G,{a,b})") == []
    assert bench.routes == {(g, None): B1, (g, a): B2, (g, b): B1 | B2}
    assert [o for o in bench.hear(3.0, D2, "TO_EX(G,{a})") if isinstance(o, Route)] == [
        Route(g, None, B1 | B2), Route(g, b, 0, False)]
    assert bench.run(1000.0).routes == {}


RECORD = st.tuples(st.sampled_from(["D1", "D2", "D3"]), st.sampled_from(["G", "G2"]), st.sampled_from(RecordType),
                   st.frozensets(st.sampled_from("abcd"), max_size=3), st.sampled_from([0.0, 0.5, 1.0, 100.0, 270.0]))


# RFC 9776 6.3 a
# RFC 4605 4.1 b
@examples(0.6)
@given(st.lists(RECORD, max_size=25))
def test_routes_and_reports_always_say_what_the_ports_want(records):
    """Whatever is reported, rows and upstream state equal what the groups say; no row is put out twice."""
    bench = Bench(ports=(UP, D1, D2, D3))
    ports, hosts = {"D1": D1, "D2": D2, "D3": D3}, {"D1": "192.168.10.11", "D2": "192.168.20.11", "D3": "192.168.30.11"}
    bench.run(0.0)
    for port, group, kind, listed, pause in records:
        record = GroupRecord(kind, address(group), tuple(sorted(map(address, listed))))
        bench.receive(bench.now, ports[port], encode(parse_address(hosts[port]), V3_ROUTERS, encode_report([record])))
        check(bench)
        bench.run(bench.now + pause)
        check(bench)
    assert bench.run(bench.now + 600.0).routes == {}
    assert bench.proxy.upstream(bench.now) == []
    assert not bench.proxy.routes()


def check(bench: Bench) -> None:
    states: dict[str, dict[int, Filter]] = {"G": {}, "G2": {}}
    for each in bench.proxy.groups(bench.now):
        listed = (source for source, _ in each.sources)
        state = include(listed) if each.mode is Mode.INCLUDE else exclude(each.excluded_sources)
        states["G" if each.group == address("G") else "G2"][each.port] = state
    for group, filters in states.items():
        for source in "abcdef":
            admitted = sum(1 << port for port, state in filters.items() if state.admits(address(source)))
            assert bench.wanted(source, group) == admitted
        assert bench.merged(group) == filter_text(merge(filters.values()))


# Ports

def add_upstream(bench: Bench, port: int, **options) -> None:
    bench.proxy.add_port(port, PortOptions("upstream", **options))
    bench.take(bench.proxy.port_up(port, Link((Network.parse("10.5.0.2/24"),)), bench.now))


# RFC 9776 5 a
# RFC 4605 3 a
def test_several_upstreams_are_all_told():
    bench, second, both = Bench(), 5, "TO_EX(G,{}) + TO_EX(G2,{})"
    bench.hear(-100.0, D1, both)
    bench.run(0.0)
    add_upstream(bench, second)
    assert bench.sends(second) == [(0, both)]
    bench.hear(1.0, D1, "ALLOW(S,{a})")
    bench.run(2.0)
    assert bench.sends(second)[2:] == [(1, "ALLOW(S,{a})"), (1.5, "ALLOW(S,{a})")]
    assert bench.sends(UP) == [(1, "ALLOW(S,{a})"), (1.5, "ALLOW(S,{a})")]
    assert {each.port for each in bench.proxy.upstream(2.0)} == {UP, second}


# RFC 9776 7.2.1 b
def test_each_upstream_speaks_the_version_of_its_own_querier():
    bench, second = Bench(), 5
    add_upstream(bench, second)
    bench.ask(1.0, second, Query(version=2), "10.5.0.1")
    bench.hear(2.0, D1, "TO_EX(G,{})")
    assert (bench.proxy.version(UP), bench.proxy.version(second)) == (3, 2)
    assert (bench.sends(UP, since=2.0), bench.sends(second, since=2.0)) == ([(2, "TO_EX(G,{})")], [(2, "v2 Report(G)")])


# RFC 4541 2.1.1 g
def test_a_downstream_port_that_goes_down_takes_its_members_along():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{}) + ALLOW(S,{a})")
    bench.hear(0.0, D2, "ALLOW(S,{b})")
    bench.run(1.0)
    bench.take(bench.proxy.port_down(D1, 1.0))
    assert bench.roles[D1] == Role(D1, False, 0)
    assert bench.routes == {(address("S"), address("b")): B2}
    assert bench.run(10.0).sends(UP)[-1:] == [(1.5, "BLOCK(S,{a}) + TO_IN(G,{})")]
    assert bench.sends(D1) == []
    assert bench.hear(11.0, D1, "TO_EX(G,{})") == []
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 11.0))
    assert bench.roles[D1] == Role(D1, True, parse_address("192.168.10.1"))
    assert bench.sends(D1, since=11.0, general=True) == [(11, "Q()")]
    assert bench.state() == "none"


def test_an_upstream_port_that_comes_back_tells_everything():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.take(bench.proxy.port_down(UP, 0.1))
    assert bench.proxy.upstream(0.1) == []
    bench.hear(1.0, D1, "ALLOW(S,{a})")
    assert bench.run(5.0).sends(UP) == [(0, "TO_EX(G,{})")]
    bench.take(bench.proxy.port_up(UP, LINKS[UP], 5.0))
    both = "ALLOW(S,{a}) + TO_EX(G,{})"
    assert bench.run(9.0).sends(UP, since=1.0) == [(5, both), (5.5, both)]


def test_a_link_told_again_changes_nothing_and_another_mtu_only_sizes():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(1.0)
    for port in (UP, D1):
        assert bench.proxy.port_up(port, LINKS[port], 1.0) == []
        assert bench.proxy.port_up(port, Link(LINKS[port].addresses, mtu=576), 1.0) == []
    assert bench.state() == "EXCLUDE X={} Y={} GT=269"
    groups = ",".join(f"10.98.0.{number}" for number in range(1, 201))
    assert len([o for o in bench.hear(2.0, D1, f"ALLOW(S,{{{groups}}})") if isinstance(o, Send)]) == 2


def test_another_upstream_address_tells_everything_anew():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(1.0)
    bench.take(bench.proxy.port_up(UP, Link((Network.parse("10.0.0.3/24"),)), 1.0))
    assert bench.run(2.0).sends(UP, since=1.0) == [(1, "TO_EX(G,{})"), (1.5, "TO_EX(G,{})")]


def test_a_removed_port_leaves_nothing_behind():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(1.0)
    bench.take(bench.proxy.remove_port(UP, 1.0))
    assert bench.sends(UP, since=1.0) == [(1, "TO_IN(G,{})")]
    bench.take(bench.proxy.remove_port(D1, 1.0))
    bench.take(bench.proxy.remove_port(D2, 1.0))
    assert bench.routes == {}
    assert bench.proxy.deadline == math.inf
    bench.proxy.add_port(D1, PortOptions("upstream"))
    with pytest.raises(ValueError, match="exists"):
        bench.proxy.add_port(D1, PortOptions("upstream"))
    with pytest.raises(ValueError, match="query_interval"):
        bench.proxy.add_port(D2, PortOptions("downstream", Parameters(query_interval=0.0)))


def test_shutdown_leaves_upstream_once_and_is_silent_afterwards():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{}) + ALLOW(S,{a})")
    bench.take(bench.proxy.shutdown(0.2))
    assert bench.sends(UP)[1:] == [(0, "BLOCK(S,{a}) + TO_IN(G,{})")]
    assert bench.proxy.deadline == math.inf
    assert bench.proxy.shutdown(0.3) == []


# RFC 9776 5 c
# RFC 4605 3 c
def test_v04_reports_heard_upstream_create_nothing():
    bench = Bench()
    for packet in ("46c00020000040000102ea140a000001ef010101940400001600f9fcef010101",
                   packet_of("TO_EX(G,{})", "10.0.0.1").hex()):
        assert bench.receive(0.0, UP, bytes.fromhex(packet)) == []
    assert bench.proxy.groups(0.0) == []
    assert bench.proxy.upstream(0.0) == []


# RFC 9776 9.1 c
def test_v05_only_believable_queries_are_answered():
    answered = {
        "46c00024000040000102ea100a000001ef010101940400001164ec1e00000000027d0000": False,
        "46c00024000040000102d0110a0000010a000002940400001164ec1e00000000027d0000": True,
        "46c0002400004000010257f9ac100009e0000001940400001164ec1e00000000027d0000": False,
        "46c00024000040000102f2a80a630707e0000001940400001164ec1e00000000027d0000": True,
        "46c00024000040000102041300000000e0000001940400001164ec1e00000000027d0000": True,
    }
    for packet, expected in answered.items():
        bench = Bench(Rules(strict_sources=True))
        bench.hear(0.0, D1, "TO_EX(G,{})")
        bench.receive(10.0, UP, bytes.fromhex(packet))
        assert bool(bench.run(30.0).sends(UP, since=10.0)) == expected


# RFC 4605 4.1 g
def test_upstream_status_tells_the_version_in_use():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert bench.proxy.version(UP) == 3
    assert bench.proxy.version(D1) == 3
    bench.ask(1.0, UP, Query(version=2))
    assert bench.proxy.version(UP) == 2
    assert bench.proxy.upstream(1.0)[0].version == 2


def test_messages_are_counted_both_ways():
    bench = Bench().run(0.0)
    before = dict(bench.proxy.counters(D1))
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.hear(1.0, D1, "Leave(G)")
    bench.receive(2.0, D1, b"\x45")
    bench.ask(2.0, UP, Query())
    bench.run(2.0)
    counters = bench.proxy.counters(D1)
    names = ("report_v3", "leave", "rx_bad_ip", "tx_query_v3")
    assert [counters[name] - before[name] for name in names] == [1, 1, 1, 2]
    assert bench.proxy.counters(UP)["query_v3"] == 1
    assert bench.proxy.counters(UP)["tx_report_v3"] == 2
    assert counters.keys() == set(COUNTERS)


def test_a_packet_that_is_dropped_counts_with_what_was_tolerated_of_it():
    bench = Bench()
    packet = bytes.fromhex("45c0001c000040000102be6ac0a80a0bef0101011300fcfcef010101")      # an unknown type
    assert bench.receive(0.0, D1, packet) == []
    counters = bench.proxy.counters(D1)
    assert (counters["rx_no_router_alert"], counters["rx_unknown_type"]) == (1, 1)


@given(st.sampled_from([UP, D1]), st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=60).map(lambda data: encode(parse_address("192.168.10.11"), V3_ROUTERS, data))))
def test_any_bytes_are_survived(port, packet):
    bench = Bench()
    bench.proxy.receive(port, packet, 0.0)
    bench.run(300.0)


# Restarts

def test_a_restarted_agent_goes_on_as_if_nothing_had_happened():
    bench = Bench()
    a, b, c = map(address, "abc")
    bench.run(0.0).inherit((address("G"), None, B1), (address("G"), b, B2), (address("G"), c, 0), (address("S"), a, B2))
    bench.run(0.0)
    assert bench.state(D1) == "EXCLUDE X={} Y={b, c} GT=270"
    assert bench.state(D2) == "INCLUDE{b:270}"
    assert (bench.merged(), bench.merged("S")) == ("EX{c}", "IN{a}")
    assert bench.hear(1.0, D1, "IS_EX(G,{b,c})") == []
    assert bench.hear(1.0, D2, "IS_IN(G,{b}) + IS_IN(S,{a})") == []
    assert bench.sends(UP) == []
    assert bench.run(271.0).routes == {}
    assert bench.merged() == "IN{}"
    assert bench.sends(UP)[0] == (271, "BLOCK(S,{a}) + TO_IN(G,{})")


def test_a_restarted_agent_tells_no_upstream_port_anything():
    bench, second = Bench(), 5
    add_upstream(bench, second)
    bench.run(0.0).inherit((address("G"), None, B1))
    bench.run(0.0)
    assert bench.routes == {(address("G"), None): B1}
    assert [each.port for each in bench.proxy.upstream(0.0)] == [UP, second]
    bench.hear(1.0, D1, "IS_EX(G,{}) + ALLOW(S,{a})")
    bench.run(10.0)
    assert bench.sends(UP) == bench.sends(second) == [(1, "ALLOW(S,{a})"), (1.5, "ALLOW(S,{a})")]


def test_an_upstream_port_that_is_another_s_now_is_told_what_the_other_knows_already():
    bench, second = Bench(), 5
    add_upstream(bench, second)
    bench.run(0.0).inherit((address("G"), None, B1), ports=~(1 << second))
    bench.run(10.0)
    assert bench.sends(UP) == []
    assert bench.sends(second)[0] == (0, "TO_EX(G,{})")


def test_nothing_is_restored_on_a_port_that_is_down_or_upstream():
    bench = Bench()
    bench.take(bench.run(0.0).proxy.port_down(D1, 0.0))
    bench.inherit((address("G"), None, B1 | 1 << UP | 1 << 9)).run(0.0)
    assert bench.proxy.groups(0.0) == []
    assert bench.routes == {}
    assert bench.sends(UP) == []


# Access lists

def access(allow=(), deny=(), boundary=()) -> AccessList:
    return AccessList(tuple(map(Entry.parse, allow)), tuple(map(Entry.parse, deny)),
                      tuple(map(Network.parse, boundary)))


@pytest.mark.parametrize(("lists", "text", "state", "ignored"), [
    (access(deny=["239.1.1.1"]), "TO_EX(G,{})", "none", 1),
    (access(deny=["239.1.1.1"]), "v2 Report(G)", "none", 1),
    (access(deny=["239.1.1.1"]), "v1 Report(G)", "none", 1),
    (access(deny=["239.1.1.1"]), "ALLOW(G,{a}) + ALLOW(G,{b})", "none", 1),
    (access(deny=["239.1.1.2"]), "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 0),
    (access(deny=["10.99.0.1,239.0.0.0/8"]), "ALLOW(G,{a,b})", "INCLUDE{b:270}", 1),
    (access(deny=["10.99.0.1,239.0.0.0/8"]), "TO_EX(G,{a})", "EXCLUDE X={} Y={a} GT=270", 0),
    (access(allow=["10.99.0.1,239.0.0.0/8"]), "TO_EX(G,{})", "none", 1),
    (access(allow=["10.99.0.1,239.0.0.0/8"]), "IS_IN(G,{a,b})", "INCLUDE{a:270}", 1),
    (access(allow=["10.99.0.1,239.0.0.0/8"]), "IS_IN(G,{a})", "INCLUDE{a:270}", 0),
    (access(boundary=["239.0.0.0/8"]), "ALLOW(G,{a}) + TO_IN(G,{})", "none", 1),
])
def test_what_a_list_denies_is_ignored_and_counted_once_a_packet(lists, text, state, ignored):
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, access=lists)
    bench.hear(0.0, D1, text)
    assert bench.state() == state
    assert bench.proxy.counters(D1)["rx_boundary"] == ignored


def test_a_leave_is_a_leave_whoever_is_denied():
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, access=access(deny=["10.99.0.1,239.0.0.0/8"]))
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.hear(1.0, D1, "BLOCK(G,{a})")
    assert bench.state() == "EXCLUDE X={a:2} Y={} GT=269"
    bench.hear(2.0, D1, "TO_IN(G,{a})")
    assert bench.state() == "EXCLUDE X={a:1} Y={} GT=2"


def test_every_upstream_is_told_what_it_admits():
    """A membership for any source is not admitted by a list of sources, what others include is."""
    other = 5
    bench = Bench(ports=(D1, D2))
    bench.add(UP, access=access(deny=["239.1.1.2"]))
    add_upstream(bench, other, access=access(allow=["10.99.0.1,239.0.0.0/8", "239.1.1.2"]))
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(G2,{})")
    bench.hear(1.0, D2, "ALLOW(G,{a,b})")
    wants = {(each.port, each.group): (each.mode, each.sources) for each in bench.proxy.upstream(1.0)}
    assert wants == {(UP, address("G")): (Mode.EXCLUDE, ()), (other, address("G2")): (Mode.EXCLUDE, ()),
                     (other, address("G")): (Mode.INCLUDE, (address("a"),))}
    bench.run(2.0)
    assert bench.sends(other)[::2] == [(0, "TO_EX(G2,{})"), (1, "ALLOW(G,{a})")]
    assert bench.wanted("b") == B1 | B2


# Configuration that changes

def test_another_access_list_ends_what_it_does_not_admit():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{a}) + ALLOW(G,{b,c}) + TO_EX(G2,{}) + ALLOW(S,{a,b})")
    lists = access(deny=["239.1.1.1", "10.99.0.1,232.0.0.0/8", "10.99.0.3,239.1.1.1"])
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", access=lists), 1.0))
    assert (bench.state(), bench.state(group="S")) == ("none", "INCLUDE{b:270}")
    assert bench.state(group="G2") == "EXCLUDE X={} Y={} GT=270"
    assert (bench.merged(), bench.merged("S")) == ("IN{}", "IN{b}")
    assert bench.run(0.0).sends(D1) == []
    bench.hear(2.0, D1, "ALLOW(G,{b})")
    assert bench.state() == "none"


def test_an_excluding_membership_may_be_narrowed_to_what_is_admitted():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{a}) + ALLOW(G,{b,c})")
    options = PortOptions("downstream", access=access(allow=["10.99.0.2,239.1.1.1"]), quick_leave=True)
    bench.take(bench.proxy.set_options(D1, options, 1.0))
    bench.now = 1.0
    assert bench.state() == "INCLUDE{b:269}"
    bench.hear(2.0, D1, "BLOCK(G,{b})")                 # who wants it is not known any more
    assert bench.state() == "INCLUDE{b:2}"


def test_another_access_list_upstream_leaves_and_joins():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(G2,{})")
    bench.run(1.0)
    bench.take(bench.proxy.set_options(UP, PortOptions("upstream", access=access(deny=["239.1.1.1"])), 1.0))
    bench.take(bench.proxy.set_options(UP, PortOptions("upstream", access=access(deny=["239.1.1.2"])), 1.0))
    assert bench.sends(UP, since=1.0) == [(1, "TO_IN(G,{})"), (1, "TO_EX(G,{}) + TO_IN(G2,{})")]


def test_other_parameters_start_the_port_over_and_keep_its_members():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(1.0)
    options = PortOptions("downstream", Parameters(query_interval=60.0), igmp_version=2)
    bench.take(bench.proxy.set_options(D1, options, 1.0))
    assert bench.run(20.0).sends(D1, since=1.0, general=True) == [(1, "v2 Q()"), (16, "v2 Q()")]
    assert bench.state() == "EXCLUDE X={} Y={} GT=250"
    bench.take(bench.proxy.set_options(UP, PortOptions("upstream", igmp_version=2), 20.0))
    assert bench.sends(UP, since=20.0) == [(20, "v2 Report(G)")]
    assert bench.proxy.version(UP) == 2


def test_a_querier_that_shall_not_ask_any_more_says_nothing_and_keeps_its_members():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.run(1.0)
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", querier=False), 1.0))
    assert (bench.roles[D1].querier, bench.roles[D1].address) == (False, 0)
    assert bench.run(200.0).sends(D1, since=1.0) == []
    assert bench.state() == "EXCLUDE X={} Y={} GT=70"
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream"), 200.0))
    assert bench.roles[D1].querier
    assert bench.sends(D1, since=200.0, general=True) == [(200, "Q()")]


def test_options_of_a_port_that_is_down_count_when_it_comes_up():
    bench = Bench()
    bench.take(bench.proxy.port_down(D1, 0.0))
    assert bench.take(bench.proxy.set_options(D1, PortOptions("downstream", igmp_version=2), 0.0)) == []
    bench.now = 1.0
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 1.0))
    assert bench.sends(D1, since=1.0, general=True) == [(1, "v2 Q()")]
    with pytest.raises(ValueError, match="downstream"):
        bench.proxy.set_options(D1, PortOptions("upstream"), 1.0)
    with pytest.raises(ValueError, match="max_hosts"):
        bench.proxy.set_options(D1, PortOptions("downstream", max_hosts=0), 1.0)


def test_rules_count_from_the_next_packet_on():
    bench = Bench()
    rules = Rules(ssm_range=(Network.parse("239.0.0.0/8"),))
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", rules=rules), 0.0))
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(S,{})")
    assert [each.group for each in bench.proxy.groups(0.0)] == [address("S")]


def test_more_room_or_less_counts_from_the_next_report_on():
    bench = Bench(max_groups=1)
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", max_groups=2), 0.0))
    bench.hear(0.0, D1, "TO_EX(G2,{})")
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", max_groups=1), 0.0))
    bench.hear(0.0, D1, "TO_EX(G3,{})")
    assert bench.proxy.group_count(D1) == 2


# Only the members of ports where we are querier

def test_members_elsewhere_may_be_left_out_upstream():
    bench = Bench(ports=())
    bench.proxy = Proxy(half, merge_only_querier=True)
    bench.add(UP)
    bench.add(D1, querier=False)
    bench.add(D2, Link((Network.parse("192.168.20.100/24"),)))
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert (bench.merged(), bench.wanted("a")) == ("IN{}", B1)
    bench.hear(0.0, D2, "ALLOW(G,{a})")
    assert bench.merged() == "IN{a}"
    bench.ask(1.0, D2, Query(), "192.168.20.9")
    assert bench.merged() == "IN{}"
    bench.take(bench.proxy.set_merge_only_querier(False, 1.0))
    assert bench.proxy.set_merge_only_querier(False, 1.0) == []
    assert bench.merged() == "EX{}"
    bench.take(bench.proxy.set_merge_only_querier(True, 1.0))
    bench.hear(250.0, D2, "IS_IN(G,{a})")
    assert bench.run(256.0).merged() == "IN{a}"         # the other querier is gone


# Static memberships

def static(*texts: str) -> frozenset[tuple[int | None, int]]:
    """From "G" and "a,S"."""
    parts = [text.rpartition(",") for text in texts]
    return frozenset((address(source) if source else None, address(group)) for source, _, group in parts)


def test_a_static_membership_needs_no_receiver_and_never_ends():
    bench = Bench()
    bench.run(0.0)
    bench.take(bench.proxy.set_static(D1, static("G", "a,S", "b,S"), 0.0))
    assert bench.sends(UP) == [(0, "ALLOW(S,{a,b}) + TO_EX(G,{})")]
    assert (bench.wanted("c"), bench.wanted("a", "S"), bench.wanted("c", "S")) == (B1, B1, 0)
    bench.run(1000.0)
    rows = {each.group: each for each in bench.proxy.groups(1000.0)}
    for group, mode, listed in ((address("G"), Mode.EXCLUDE, ()), (address("S"), Mode.INCLUDE, static_sources("a,b"))):
        each = rows[group]
        assert (each.port, each.mode, each.sources, each.static, each.expires) == (D1, mode, listed, True, None)
        assert (each.uptime, each.last_reporter, each.compatibility) == (1000.0, 0, 3)
    bench.take(bench.proxy.set_static(D1, static("a,S"), 1000.0))
    assert bench.merged() == "IN{}"
    assert bench.merged("S") == "IN{a}"
    bench.take(bench.proxy.set_static(D1, frozenset(), 1001.0))
    assert bench.routes == {}
    assert bench.proxy.groups(1001.0) == []


def static_sources(listed: str) -> tuple[tuple[int, None], ...]:
    return tuple((source, None) for source in sorted(sources(listed)))


def test_setting_the_same_static_memberships_again_changes_nothing():
    bench = Bench()
    bench.take(bench.proxy.set_static(D1, static("G", "a,S"), 3.0))
    assert bench.proxy.set_static(D1, static("G", "a,S"), 5.0) == []
    assert {each.uptime for each in bench.proxy.groups(10.0)} == {7.0}


@pytest.mark.parametrize(("configured", "learned", "mode", "listed", "excluded", "ends"), [
    ("G", "TO_EX(G,{a})", Mode.EXCLUDE, {}, "", None),
    ("a,G", "TO_EX(G,{a,b})", Mode.EXCLUDE, {}, "b", 270.0),
    ("a,G", "ALLOW(G,{b})", Mode.INCLUDE, {"a": None, "b": 270.0}, "", None),
    ("G", "ALLOW(G,{b})", Mode.EXCLUDE, {"b": 270.0}, "", None),
])
def test_members_and_configuration_share_a_row(configured, learned, mode, listed, excluded, ends):
    bench = Bench()
    bench.take(bench.proxy.set_static(D1, static(configured), 0.0))
    bench.hear(0.0, D1, learned)
    each, = bench.proxy.groups(0.0)
    assert (each.mode, {address(name): until for name, until in listed.items()}) == (mode, dict(each.sources))
    assert (set(each.excluded_sources), each.expires, each.static) == (sources(excluded), ends, True)
    bench.run(1000.0)
    assert bench.proxy.groups(1000.0)[0].last_reporter == 0
    assert (bench.merged() == "EX{}") == (configured == "G")


def test_a_static_membership_of_a_port_that_is_down_waits():
    bench = Bench()
    bench.take(bench.proxy.port_down(D1, 0.0))
    bench.take(bench.proxy.set_static(D1, static("G"), 0.0))
    assert (bench.routes, bench.proxy.groups(0.0)) == ({}, [])
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 1.0))
    assert bench.routes == {(address("G"), None): B1}
    bench.take(bench.proxy.port_down(D1, 2.0))
    assert (bench.routes, bench.merged()) == ({}, "IN{}")
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 3.0))
    bench.take(bench.proxy.remove_port(D1, 4.0))
    assert bench.routes == {}
    bench.add(D1)
    assert bench.routes == {}


def test_members_are_told_upstream_beside_what_is_configured_elsewhere():
    bench = Bench()
    bench.take(bench.proxy.set_static(D2, static("b,G"), 0.0))
    bench.hear(0.0, D1, "ALLOW(G,{a})")
    assert bench.merged() == "IN{a,b}"


def test_the_groups_of_a_port_are_counted_as_they_are_listed():
    """Static ones, members' and both; upstream what is reported, and what its own list refuses stays to be seen."""
    bench = Bench(ports=(D1, D2))
    bench.add(UP, access=access(deny=["239.1.1.2"]))
    bench.take(bench.proxy.set_static(D1, static("G", "a,S"), 0.0))
    bench.take(bench.proxy.set_static(UP, static("G2"), 0.0))
    bench.hear(0.0, D1, "TO_EX(G,{}) + ALLOW(S,{b})")
    bench.hear(0.0, D2, "TO_EX(G,{})")
    bench.take(bench.proxy.port_down(D2, 1.0))
    listed = Counter(each.port for each in bench.proxy.groups(1.0)) + Counter({UP: len(bench.proxy.upstream(1.0))})
    assert listed == {port: bench.proxy.group_count(port) for port in (UP, D1)} == {UP: 3, D1: 2}
    assert bench.proxy.group_count(D2) == 0


def test_what_is_reported_says_which_ports_it_comes_from():
    bench = Bench(ports=(D1, D2))
    bench.add(UP, access=access(deny=["10.99.0.2,239.0.0.0/8"]))
    bench.take(bench.proxy.set_static(UP, static("G"), 0.0))
    bench.take(bench.proxy.set_static(D2, static("a,S"), 0.0))
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.hear(0.0, D2, "ALLOW(G,{b}) + TO_EX(G2,{})")      # b is not admitted upstream
    said = {each.group: (each.origins, each.static) for each in bench.proxy.upstream(1.0)}
    assert said == {address("G"): ((D1,), True), address("G2"): ((D2,), False), address("S"): ((D2,), False)}


def test_a_static_membership_upstream_is_joined_there():
    bench = Bench()
    bench.run(0.0)
    bench.take(bench.proxy.set_static(UP, static("G"), 0.0))
    assert bench.sends(UP) == [(0, "TO_EX(G,{})")]
    assert bench.routes == {}
    each, = bench.proxy.groups(0.0)
    assert (each.port, each.static, each.mode) == (UP, True, Mode.EXCLUDE)
    bench.hear(1.0, D1, "ALLOW(G,{a})")
    bench.take(bench.proxy.set_static(UP, frozenset(), 2.0))
    assert bench.merged() == "IN{a}"


def test_a_static_membership_upstream_is_joined_nowhere_else():
    bench, second = Bench(), 5
    bench.run(0.0)
    add_upstream(bench, second)
    bench.take(bench.proxy.set_static(UP, static("G"), 0.0))
    bench.run(10.0)
    bench.take(bench.proxy.set_static(UP, frozenset(), 10.0))
    assert bench.run(20.0).sends(UP)[::2] == [(0, "TO_EX(G,{})"), (10, "TO_IN(G,{})")]
    assert bench.sends(second) == []


# RFC 9776 5 b
def test_what_is_never_tracked_or_not_admitted_is_not_joined_by_configuration_either():
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, access=access(deny=["239.1.1.1"]))
    entries = frozenset({(None, address("G")), (None, address("G2")), (None, parse_address("224.0.0.251")), (None, 5)})
    bench.take(bench.proxy.set_static(D1, entries, 0.0))
    assert bench.routes == {(address("G2"), None): B1}
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream"), 0.0))
    assert bench.routes == {(address("G"), None): B1, (address("G2"), None): B1}


def test_a_restart_takes_a_static_membership_over_as_well():
    bench = Bench()
    bench.take(bench.proxy.set_static(D1, static("G"), 0.0))
    bench.inherit((address("G"), None, B1)).run(0.0)
    assert bench.routes == {(address("G"), None): B1}
    bench.run(1000.0)
    assert bench.routes == {(address("G"), None): B1}


# Notices

def test_somebody_with_an_address_of_ours_is_noticed_on_every_port():
    bench = Bench()
    bench.run(0.0)
    for port in (D1, UP):
        outputs = bench.hear(0.0, port, "v2 Report(G)", "192.168.20.1")
        assert outputs == [Notice(port, "own_address", parse_address("192.168.20.1"))]
        assert bench.proxy.counters(port)["rx_own"] == 1
    assert bench.hear(30.0, D1, "v2 Report(G)", "192.168.10.1") == []
    bench.take(bench.proxy.port_down(D2, 31.0))
    bench.hear(40.0, D1, "v2 Report(G)", "192.168.20.1")
    assert bench.proxy.counters(D1)["rx_own"] == 2
    assert bench.proxy.counters(D1)["rx_bad_source"] == 1


def test_the_address_given_to_a_port_without_one_is_ours_too():
    bench = Bench(ports=())
    bench.add(D1, Link(), querier_address=parse_address("192.168.77.1"))
    bench.hear(0.0, D1, "v2 Report(G)", "192.168.77.1")
    assert bench.proxy.counters(D1)["rx_own"] == 1


# RFC 4605 4.3 d
def test_refusals_and_lost_sources_are_noticed():
    bench = Bench(ports=())
    bench.add(UP, igmp_version=2)
    bench.add(D1, max_groups=1)
    assert Notice(UP, "sources_lost", address("S")) in bench.hear(0.0, D1, "ALLOW(S,{a})")
    assert bench.hear(1.0, D1, "TO_EX(G,{})", "192.168.10.14") == [
        Notice(D1, "limit_reached", parse_address("192.168.10.14"), address("G"), limit="max_groups")]
    for at in (2.0, 3.0):
        assert bench.hear(at, D1, "TO_EX(G2,{})", "192.168.10.15") == []
    [notice] = bench.hear(61.0, D1, "TO_EX(G2,{})", "192.168.10.15")
    assert notice == Notice(D1, "limit_reached", parse_address("192.168.10.15"), address("G2"), limit="max_groups")
    assert notice.missed == 2


@pytest.mark.parametrize(("options", "texts"), [
    ({"max_sources": 1}, ["ALLOW(S,{a})", "ALLOW(S,{b})"]),
    ({"max_hosts": 1}, ["TO_EX(G,{})", "TO_EX(G,{})"]),
])
def test_a_refusal_names_the_group_and_the_option(options, texts):
    bench = Bench(ports=())
    bench.add(D1, **options)
    heard = [bench.hear(float(at), D1, text, f"192.168.10.{20 + at}") for at, text in enumerate(texts)]
    notices = [each for outputs in heard for each in outputs if isinstance(each, Notice)]
    group = address("S" if "max_sources" in options else "G")
    assert notices == [Notice(D1, "limit_reached", parse_address("192.168.10.21"), group, limit=next(iter(options)))]


# Very many groups

FIRST = address("239.2.0.0")
MANY = 1300


def crowd(count: int = MANY, **options) -> Bench:
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, max_groups=count + 1, **options)
    bench.run(-1.0)
    for start in range(0, count, 100):
        records = [GroupRecord(RecordType.CHANGE_TO_EXCLUDE, FIRST + start + number) for number in range(100)]
        bench.receive(-1.0, D1, encode(parse_address("192.168.10.11"), V3_ROUTERS, encode_report(records)))
    bench.run(0.0)
    bench.log.clear()
    return bench


def told(bench: Bench, port: int = UP) -> int:
    """How many groups are named in what went out of a port."""
    return sum(text.count("(") for _, out, text in bench.log if out == port and "Q()" not in text)


def in_steps(bench: Bench) -> int:
    """Do what is due now: how many calls it takes."""
    calls = 0
    while bench.proxy.deadline <= bench.now:
        bench.take(bench.proxy.expire(bench.now))
        calls += 1
    return calls


def test_one_call_ends_no_more_groups_than_its_limit():
    bench = crowd()
    bench.until(269.0)
    bench.now = 269.0
    bench.take(bench.proxy.expire(269.0, 100))
    assert bench.proxy.group_count(D1) == MANY - 100
    assert bench.proxy.deadline <= 269.0
    assert in_steps(bench) > 2
    assert bench.routes == {}
    assert told(bench) == MANY


def test_ports_that_are_due_at_once_share_the_limit_of_a_call():
    bench = Bench().run(0.0)
    records = [GroupRecord(RecordType.CHANGE_TO_EXCLUDE, FIRST + number) for number in range(100)]
    for port in (D1, D2):
        bench.receive(0.0, port, encode(parse_address(SPEAKERS[port]), V3_ROUTERS, encode_report(records)))
    bench.until(270.0)
    bench.take(bench.proxy.expire(270.0, 50))
    assert [bench.proxy.group_count(port) for port in (D1, D2)] == [75, 75]


def test_an_answer_of_very_many_groups_takes_several_calls():
    bench = crowd()
    bench.ask(0.0, UP, Query())
    bench.until(5.0)
    assert in_steps(bench) > 2
    assert told(bench) == MANY
    bench.ask(10.0, UP, Query(version=2, max_response_time=10.0))
    assert in_steps(bench) > 1
    bench.log.clear()
    assert told(bench.run(15.0)) == MANY


def test_a_link_that_returns_tells_very_many_groups_in_several_calls():
    bench = crowd()
    bench.take(bench.proxy.port_down(UP, 0.0))
    bench.take(bench.proxy.port_up(UP, LINKS[UP], 0.0))
    assert told(bench) < MANY
    bench.take(bench.proxy.receive(D1, packet_of("TO_EX(G,{})", SPEAKERS[D1]), 0.0))
    assert bench.log[-1][2] == "TO_EX(G,{})"            # a change meanwhile does not wait
    in_steps(bench)
    assert told(bench) == MANY + 1


def test_a_change_of_version_does_not_forget_whom_to_tell():
    bench = crowd()
    bench.take(bench.proxy.port_down(UP, 0.0))
    bench.take(bench.proxy.port_up(UP, LINKS[UP], 0.0))
    before = told(bench)
    bench.ask(0.0, UP, Query(version=2))
    in_steps(bench)
    assert told(bench) == MANY
    assert before < MANY


def test_a_group_that_is_left_before_it_is_told_is_not_told():
    bench = crowd()
    bench.take(bench.proxy.port_down(UP, 0.0))
    bench.take(bench.proxy.port_up(UP, LINKS[UP], 0.0))
    bench.take(bench.proxy.port_down(D1, 0.0))
    in_steps(bench)
    bench.run(10.0)
    assert bench.proxy.upstream(10.0) == []
    assert bench.proxy.deadline == math.inf


def test_a_port_with_very_many_groups_goes_down_in_several_calls():
    bench = crowd()
    bench.take(bench.proxy.port_down(D1, 0.0))
    assert bench.proxy.group_count(D1) == 0
    assert 0 < len(bench.routes) < MANY
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 0.0))
    again = next(group for group, _ in bench.routes)
    bench.hear(0.0, D1, f"TO_EX({format_address(again)},{{}})")
    assert in_steps(bench) > 1
    assert bench.routes == {(again, None): B1}
    assert [each.group for each in bench.proxy.upstream(0.0)] == [again]


def test_a_removed_port_takes_its_groups_along_at_once():
    bench = crowd()
    bench.take(bench.proxy.port_down(D1, 0.0))
    bench.take(bench.proxy.remove_port(D1, 0.0))
    assert bench.routes == {}


def test_a_new_upstream_port_hears_of_very_many_groups_in_several_calls():
    bench, second = crowd(), 5
    add_upstream(bench, second)
    in_steps(bench)
    assert told(bench, second) == MANY
    assert told(bench, UP) == 0


def test_lists_may_be_read_while_they_change():
    bench = crowd()
    groups, hosts, upstream = bench.proxy.each_group(0.0), bench.proxy.each_host(0.0), bench.proxy.each_upstream()
    firsts = [next(groups), next(hosts), next(upstream)]
    bench.take(bench.proxy.port_down(D1, 0.0))
    in_steps(bench)
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert ([each.group for each in groups], list(hosts), list(upstream)) == ([], [], [])
    assert {each.group for each in firsts} <= set(range(FIRST, FIRST + MANY))


# Scale

def joins(count: int) -> tuple[Proxy, float]:
    proxy = Proxy(half)
    for port in (UP, D1):
        proxy.add_port(port, PortOptions("upstream" if port == UP else "downstream", max_groups=count))
        proxy.port_up(port, LINKS[port], 0.0)
    tracemalloc.start()
    first = address("239.2.0.0")
    for start in range(0, count, 100):
        records = [GroupRecord(RecordType.CHANGE_TO_EXCLUDE, first + start + number) for number in range(100)]
        proxy.receive(D1, encode(parse_address("192.168.10.11"), V3_ROUTERS, encode_report(records)), start / count)
    while proxy.deadline < 30.0:
        proxy.expire(proxy.deadline)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return proxy, size / count


def test_a_group_on_a_port_needs_about_a_kilobyte_and_a_half():
    proxy, size = joins(5000)
    assert len(proxy.groups(30.0)) == 5000
    assert size < 1500 + 900                            # of which the upstream side is shared by all ports


def growth(count: int) -> int:
    """Blocks by which memory grows while `count` joins and leaves of all kinds, quick and asked about, go by.

    Looked at after each round of all groups, hosts and kinds, when as many timers run each time; what they need goes up
    and down with the rounds, so the least of earlier and of later ones are compared.
    """
    proxy = Proxy(half)
    for port in (UP, D1, D2):
        proxy.add_port(port, PortOptions("upstream" if port == UP else "downstream", quick_leave=port == D2))
        proxy.port_up(port, LINKS[port], 0.0)
    packets = [[packet_of(text.replace("#", f"239.3.0.{number}"), f"192.168.{port}0.{11 + number % 50}")
                for text in texts] for number in range(100) for port, texts in (
                    (D1, ("TO_EX(#,{})", "TO_IN(#,{})")), (D2, ("ALLOW(#,{a,b})", "BLOCK(#,{a,b})")),
                    (D1, ("v2 Report(#)", "Leave(#)")), (D2, ("TO_EX(#,{a})", "TO_IN(#,{})")))]
    ports, now, blocks = (D1, D2, D1, D2), 0.0, []
    for cycle in range(count):
        join, leave = packets[cycle % len(packets)]
        port = ports[cycle % 4]
        proxy.receive(port, join, now, cycle)
        proxy.receive(port, leave, now + 0.005, cycle)
        now += 0.01
        while proxy.deadline <= now:
            proxy.expire(now)
        if cycle % len(packets) == 0 and cycle > 0.4 * count:
            blocks.append(sys.getallocatedblocks())
    middle = len(blocks) // 2
    return min(blocks[middle:]) - min(blocks[:middle])


@pytest.mark.parametrize("count", [12_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_joining_and_leaving_leaves_nothing_behind(count):
    assert growth(count) < 200                          # of the longer one: less than a block in 150 joins


def cost(proxy: Proxy, first: int) -> float:
    """Seconds of the fastest of many batches of joins and leaves of new groups."""
    best = math.inf
    for batch in range(60):
        numbers = range(first + 20 * batch, first + 20 * batch + 20)
        packets = [encode(parse_address("192.168.10.12"), V3_ROUTERS, encode_report([GroupRecord(kind, number)]))
                   for number in numbers for kind in (RecordType.CHANGE_TO_EXCLUDE, RecordType.CHANGE_TO_INCLUDE)]
        started = time.perf_counter()
        for packet in packets:
            proxy.receive(D1, packet, 100.0 + batch)
        best = min(best, time.perf_counter() - started)
    return best


@pytest.mark.slow
def test_a_group_costs_the_same_whatever_the_number_of_others():
    few, many = joins(10)[0], joins(50_000)[0]
    first = address("239.200.0.0")
    assert cost(many, first) < 1.5 * cost(few, first)


def test_many_groups_are_done_with_in_short_calls():
    """Counted by what one call puts out, which is what its time grows with."""
    proxy = joins(6000)[0]
    longest = 0
    while proxy.group_count(D1):
        longest = max(longest, len(proxy.expire(max(proxy.deadline, 300.0))))
    assert longest < 1100


# A model of who is a member

MEMBERS = {11: None, 12: None, 13: 3, 14: 2, 15: 1}     # last octet of the address, and version


class Membership(RuleBasedStateMachine):
    """Hosts of all versions on two LANs; the proxy never forgets one, and forgets all that left."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(3)
        self.proxy = Proxy(self.world.draw)
        self.lans = {port: self.world.lan() for port in (UP, D1, D2)}
        self.members: dict[tuple[int, int], Member] = {}
        self.wants: dict[tuple[int, int], Filter] = {}
        self.heard_at = dict.fromkeys((D1, D2), 0.0)    # everybody has been asked since
        self.up = {UP, D1, D2}
        for port in (UP, D1, D2):
            role = "upstream" if port == UP else "downstream"
            self.proxy.add_port(port, PortOptions(role, quick_leave=port == D2))
            self.world.attach(self.proxy, port, self.lans[port])
        for port in (UP, D1, D2):
            self.world.take(self.proxy, self.proxy.port_up(port, LINKS[port], 0.0))
        for port in (D1, D2):
            for last, version in MEMBERS.items():
                link = Link((Network.parse(f"192.168.{port}0.{last}/24"),))
                self.members[port, last] = member = Member(link, version, self.world.draw)
                self.world.attach(member, 0, self.lans[port])
                self.wants[port, last] = NOTHING
        self.world.run(0.0)

    @rule(port=st.sampled_from([D1, D2]), last=st.sampled_from(list(MEMBERS)), wanted=st.deferred(lambda: WANTS))
    def want(self, port, last, wanted):
        member = self.members[port, last]
        self.wants[port, last] = wanted
        self.world.take(member, member.want(address("G"), wanted, self.world.now))
        self.world.run(self.world.now)

    @rule(seconds=st.sampled_from([0.1, 0.7, 3.0, 20.0, 100.0, 300.0]))
    def wait(self, seconds):
        self.world.run(self.world.now + seconds)

    @rule(port=st.sampled_from([D1, D2]))
    def flap(self, port):
        self.world.take(self.proxy, self.proxy.port_down(port, self.world.now))
        self.world.take(self.proxy, self.proxy.port_up(port, LINKS[port], self.world.now))
        self.heard_at[port] = self.world.now + 10.0
        self.world.run(self.world.now)

    @rule()
    def lose_upstream_for_a_moment(self):
        self.world.take(self.proxy, self.proxy.port_down(UP, self.world.now))
        self.world.take(self.proxy, self.proxy.port_up(UP, LINKS[UP], self.world.now))

    def effective(self, port: int) -> Filter:
        """What the members of a port want together: older ones cannot tell sources."""
        return merge([EVERYTHING if wanted and MEMBERS[last] in (1, 2) else wanted
                      for (where, last), wanted in self.wants.items() if where == port])

    def known(self, port: int) -> Filter:
        for each in self.proxy.groups(self.world.now):
            if each.port == port:
                listed = (source for source, _ in each.sources)
                return include(listed) if each.mode is Mode.INCLUDE else exclude(each.excluded_sources)
        return NOTHING

    @invariant()
    def nobody_is_cut_off(self):
        for port in (D1, D2):
            if self.world.now > self.heard_at[port]:
                assert admitted(self.effective(port)) <= admitted(self.known(port))

    @invariant()
    def upstream_is_told_the_same(self):
        told = [Filter(each.mode, frozenset(each.sources)) for each in self.proxy.upstream(self.world.now)]
        assert merge([NOTHING, *told]) == merge([NOTHING, self.known(D1), self.known(D2)])

    def teardown(self):
        self.world.run(self.world.now + 1500.0)
        for port in (D1, D2):
            assert admitted(self.known(port)) == admitted(self.effective(port))


TestMembership = Membership.TestCase
TestMembership.settings = examples(0.25, stateful_step_count=20)


# Networks

class Model:
    """Two LANs of members behind a proxy, and a router upstream of it that is a proxy as well."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.world = World(seed)
        self.backbone, self.lans = self.world.lan(faults), {D1: self.world.lan(faults), D2: self.world.lan(faults)}
        self.router = self.proxy({D1: ("10.0.0.1/24", self.backbone)})
        self.inner = self.proxy({UP: ("10.0.0.2/24", self.backbone), D1: ("192.168.10.1/24", self.lans[D1]),
                                 D2: ("192.168.20.1/24", self.lans[D2])})
        self.members = [self.member(port, number) for port in (D1, D2) for number in (11, 12)]
        self.wants: dict[Member, Filter] = dict.fromkeys(self.members, NOTHING)

    def proxy(self, ports) -> Proxy:
        proxy = Proxy(self.world.draw)
        for port, (_, lan) in ports.items():
            proxy.add_port(port, PortOptions("upstream" if port == UP else "downstream", Parameters(robustness=3)))
            self.world.attach(proxy, port, lan)
        for port, (text, _) in ports.items():
            self.world.take(proxy, proxy.port_up(port, Link((Network.parse(text),)), 0.0))
        return proxy

    def member(self, port: int, number: int) -> Member:
        link = Link((Network.parse(f"192.168.{port}0.{number}/24"),))
        member = Member(link, None, self.world.draw)
        self.world.attach(member, 0, self.lans[port])
        return member

    def want(self, member: Member, wanted: Filter) -> None:
        self.wants[member] = wanted
        self.world.take(member, member.want(address("G"), wanted, self.world.now))

    def known(self, proxy: Proxy) -> Filter:
        """What a proxy believes is wanted of G downstream of it."""
        states = []
        for each in proxy.groups(self.world.now):
            running = (source for source, _ in each.sources)
            states.append(include(running) if each.mode is Mode.INCLUDE else exclude(each.excluded_sources))
        return merge(states)


WANTS = st.builds(Filter, st.sampled_from(Mode), st.frozensets(st.sampled_from([address(x) for x in "abc"])))


@examples(0.25)
@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 3), WANTS, st.floats(0, 20)), max_size=8))
def test_without_loss_a_router_two_hops_away_knows_what_members_want(seed, changes):
    """With duplication and delays: once quiet, everything wanted is known, and after timers nothing else."""
    model = Model(seed, Faults(duplication=0.2, delay=0.05))
    for index, wanted, pause in changes:
        model.want(model.members[index], wanted)
        model.world.run(model.world.now + pause)
    model.world.run(model.world.now + 700.0)
    expected = merge(list(model.wants.values()))
    assert admitted(model.known(model.inner)) == admitted(expected)
    assert admitted(model.known(model.router)) == admitted(expected)


# RFC 9776 5.1 g
@pytest.mark.parametrize("seed", range(5))
def test_a_robustness_of_3_bears_the_loss_of_some_packets(seed):
    """For an hour nobody is cut off, and the end is found although leaves may be lost."""
    model = Model(seed, Faults(loss=0.03, duplication=0.1, delay=0.1))
    for index, wanted in enumerate((EVERYTHING, include(sources("a")), NOTHING, exclude(sources("b")))):
        model.want(model.members[index], wanted)
    for _ in range(60):
        model.world.run(model.world.now + 60.0)
        assert admitted(model.known(model.router)) == set("abcf")
    for member in model.members:
        model.want(member, NOTHING)
    model.world.run(model.world.now + 700.0)
    assert model.known(model.router) == NOTHING
    assert model.inner.groups(model.world.now) == []


def admitted(state: Filter) -> set[str]:
    return {name for name in "abcf" if state.admits(address(name))}


# RFC 9776 6.6.2 a
def test_two_queriers_on_one_lan_agree_on_the_lower_address():
    world = World(1)
    lan = world.lan(Faults(loss=0.3, delay=0.2))
    proxies = []
    for number in (7, 5):
        proxy = Proxy(world.draw)
        proxy.add_port(D1, PortOptions("downstream"))
        world.attach(proxy, D1, lan)
        proxies.append(proxy)
        world.take(proxy, proxy.port_up(D1, Link((Network.parse(f"192.168.10.{number}/24"),)), 0.0))
    world.run(1000.0)
    assert [proxy.querier(D1).querier for proxy in proxies] == [False, True]
    assert proxies[0].querier(D1).address == parse_address("192.168.10.5")
