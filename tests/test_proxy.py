"""RFC 4605: vectors P, ports that come and go, restarts, and whole networks under faults."""

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link import (
    D1,
    D2,
    D3,
    LINKS,
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

from igmp.counters import COUNTERS
from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, exclude, include, merge
from igmp.messages import GroupRecord, Query, RecordType, encode_report
from igmp.outputs import Role, Route, Send
from igmp.packet import V3_ROUTERS, Link, Network, Rules, encode, parse_address
from igmp.parameters import Parameters, PortOptions
from igmp.proxy import Proxy

B1, B2, B3 = 1 << D1, 1 << D2, 1 << D3


# P: vectors

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


def test_p05_members_of_a_port_where_we_are_not_querier_are_merged_too():
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, querier=False)
    bench.hear(0.0, D1, "ALLOW(G,{a})")
    assert bench.merged() == "IN{a}"


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


@settings(max_examples=60, deadline=None)
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
    assert not bench.proxy._rows


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

def test_several_upstreams_are_all_told():
    bench, second = Bench(), 5
    bench.hear(-100.0, D1, "TO_EX(G,{})")
    bench.run(0.0)
    bench.proxy.add_port(second, PortOptions("upstream"))
    bench.take(bench.proxy.port_up(second, Link((Network.parse("10.5.0.2/24"),)), 0.0))
    assert bench.sends(second) == [(0, "TO_EX(G,{})")]
    bench.hear(1.0, D1, "ALLOW(S,{a})")
    bench.run(2.0)
    assert bench.sends(second)[2:] == [(1, "ALLOW(S,{a})"), (1.5, "ALLOW(S,{a})")]
    assert bench.sends(UP) == [(1, "ALLOW(S,{a})"), (1.5, "ALLOW(S,{a})")]
    assert {each.port for each in bench.proxy.upstream(2.0)} == {UP, second}


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


def test_v04_reports_heard_upstream_create_nothing():
    bench = Bench()
    for packet in ("46c00020000040000102ea140a000001ef010101940400001600f9fcef010101",
                   packet_of("TO_EX(G,{})", "10.0.0.1").hex()):
        assert bench.receive(0.0, UP, bytes.fromhex(packet)) == []
    assert bench.proxy.groups(0.0) == []
    assert bench.proxy.upstream(0.0) == []


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


@settings(max_examples=300)
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
    listed = dict(zip("abcd", map(address, "abcd"), strict=True))
    a, b, c = listed["a"], listed["b"], listed["c"]
    bench.now = 0.0
    bench.proxy.restore(D1, address("G"), "exclude", [a], [b, c], 0.0)
    bench.proxy.restore(D2, address("G"), "include", [b], [], 0.0)
    bench.proxy.restore(D2, address("S"), "include", [a], [], 0.0)
    bench.proxy.restore(D2, address("G3"), "include", [], [], 0.0)
    assert bench.state(D1) == "EXCLUDE X={a:270} Y={b, c} GT=270"
    assert bench.state(D2) == "INCLUDE{b:270}"
    assert bench.state(D2, "G3") == "none"
    assert (bench.merged(), bench.merged("S")) == ("EX{c}", "IN{a}")
    bench.routes = {(address("G"), None): B1, (address("G"), b): B2, (address("G"), c): 0, (address("S"), a): B2}
    assert bench.hear(1.0, D1, "IS_EX(G,{b,c})") == []
    assert bench.hear(1.0, D2, "IS_IN(G,{b}) + IS_IN(S,{a})") == []
    assert bench.sends(UP) == []
    assert bench.run(271.0).routes == {}
    assert bench.merged() == "IN{}"
    assert bench.sends(UP)[0] == (271, "BLOCK(S,{a}) + TO_IN(G,{})")


def test_nothing_is_restored_on_a_port_that_is_down_or_upstream():
    bench = Bench()
    bench.proxy.port_down(D1, 0.0)
    for port in (D1, UP, 9):
        bench.proxy.restore(port, address("G"), "exclude", [], [], 0.0)
    assert bench.proxy.groups(0.0) == []


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
    assert size < 1800


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


@settings(max_examples=25, deadline=None)
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
