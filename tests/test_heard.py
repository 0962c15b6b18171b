"""What a successor knows of others on a link: who asks there, with which values, and in which version."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import D1, LINKS, UP, Bench, address

from igmp.heard import NOBODY, Heard, OlderHosts
from igmp.messages import Query
from igmp.outputs import Role
from igmp.packet import Link, Network, parse_address
from igmp.parameters import Parameters, PortOptions

DE = Link((Network.parse("192.168.10.100/24"),))
OURS, LOWER, HIGHER = "192.168.10.100", "192.168.10.9", "192.168.10.200"
OURSELVES, ANOTHER = Role(D1, True, parse_address(OURS)), Role(D1, False, parse_address(LOWER))


def begun(now: float, heard: dict[int, Heard] | None = None, d1: Link = DE, **options: object) -> Bench:
    """Up and D1 since `now`, after a predecessor that heard this."""
    bench = Bench(ports=())
    bench.now = now
    for port, link in ((UP, LINKS[UP]), (D1, d1)):
        bench.proxy.add_port(port, PortOptions("upstream" if port == UP else "downstream", **options))
        bench.proxy.succeed(port, (heard or {}).get(port, NOBODY))
        bench.take(bench.proxy.port_up(port, link, now))
    return bench


def successor(before: Bench, now: float, **options: object) -> Bench:
    before.until(now)
    return begun(now, {port: before.proxy.heard(port) for port in (UP, D1)}, **options)


def test_another_querier_stays_one_with_its_values_and_for_the_rest_of_its_time():
    before = begun(0.0)
    before.ask(10.0, D1, Query(robustness=3, interval=216.0), LOWER)
    after = successor(before, 100.0)
    assert after.roles[D1] == ANOTHER
    after.hear(100.0, D1, "IS_EX(G,{})")
    assert after.state() == "EXCLUDE X={} Y={} GT=668"
    assert after.until(663.0).sends(D1, since=0.0, general=True) == []
    assert after.run(663.0).roles[D1] == OURSELVES
    assert after.sends(D1, general=True) == [(663, "Q()")]


def test_a_querier_asks_as_at_the_start_for_hosts_are_unknown():
    after = successor(begun(0.0), 100.0)
    assert after.roles[D1] == OURSELVES
    assert after.run(140.0).sends(D1, general=True) == [(100, "Q()"), (131.25, "Q()")]


def test_whose_time_is_over_meanwhile_is_gone():
    before = begun(0.0)
    before.ask(10.0, D1, Query(), LOWER)
    heard = before.proxy.heard(D1)
    assert heard == Heard(parse_address(LOWER), 265.0, robustness=2, interval=125.0)
    assert begun(264.9, {D1: heard}).roles[D1] == ANOTHER
    assert begun(265.0, {D1: heard}).roles[D1] == OURSELVES


def test_who_does_not_win_against_our_address_of_today_is_none():
    before = begun(0.0)
    before.ask(10.0, D1, Query(), LOWER)
    heard = {D1: before.proxy.heard(D1)}
    lowest = Link((Network.parse("192.168.10.1/24"),))
    assert begun(20.0, heard, d1=lowest).roles[D1] == Role(D1, True, parse_address("192.168.10.1"))
    assert begun(20.0, heard, d1=Link()).roles[D1] == ANOTHER
    assert begun(20.0, heard, querier=False).roles[D1] == ANOTHER


def test_a_link_that_comes_again_knows_nothing_of_before():
    before = begun(0.0)
    before.ask(10.0, D1, Query(), LOWER)
    after = successor(before, 20.0)
    after.take(after.proxy.port_down(D1, 30.0))
    assert after.proxy.heard(D1) == NOBODY
    after.take(after.proxy.port_up(D1, DE, 30.0))
    assert after.roles[D1] == OURSELVES


def test_nobody_leaves_quickly_before_the_members_of_another_queriers_time_were_heard():
    before = begun(0.0, quick_leave=True)
    before.ask(10.0, D1, Query(), LOWER)
    after = successor(before, 200.0, quick_leave=True)
    after.inherit((address("G"), None, 1 << D1)).run(265.0)
    assert after.roles[D1] == OURSELVES
    after.hear(266.0, D1, "TO_EX(G,{})")
    after.hear(267.0, D1, "TO_IN(G,{})")                # somebody else may want it still, and answer by 275
    assert after.state() == "EXCLUDE X={} Y={} GT=2"
    after.hear(268.0, D1, "TO_EX(G,{})")
    after.run(275.0)
    after.hear(276.0, D1, "TO_IN(G,{})")
    assert after.state() == "none"


@pytest.mark.parametrize(("version", "says"), [(1, "v1 Report(G)"), (2, "v2 Report(G)")])
def test_an_older_version_is_spoken_upstream_for_the_rest_of_its_time(version, says):
    before = begun(0.0)
    before.ask(10.0, UP, Query(version=version))
    after = successor(before, 100.0)
    assert after.proxy.version(UP) == version
    after.hear(101.0, D1, "TO_EX(G,{})")
    assert after.sends(UP)[0] == (101, says)
    assert after.until(410.0).proxy.version(UP) == version
    assert after.run(410.0).proxy.version(UP) == 3


def test_both_older_versions_have_their_own_time():
    before = begun(0.0)
    before.ask(10.0, UP, Query(version=1))
    before.ask(50.0, UP, Query(version=2))
    after = successor(successor(before, 100.0), 200.0)
    for at, version in ((409.9, 1), (410.0, 2), (449.9, 2), (450.0, 3)):
        assert after.run(at).proxy.version(UP) == version


def test_what_the_upstream_querier_told_is_in_force():
    before = begun(0.0)
    before.ask(10.0, UP, Query(robustness=4, interval=60.0))
    after = successor(before, 100.0)
    after.hear(101.0, D1, "TO_EX(G,{})")
    assert after.run(200.0).sends(UP) == [(101 + at / 2, "TO_EX(G,{})") for at in range(4)]


def test_of_a_port_that_is_no_more_nothing_is_known():
    bench = begun(0.0)
    bench.take(bench.proxy.remove_port(D1, 1.0))
    assert bench.proxy.heard(D1) == NOBODY


queries = st.builds(Query, version=st.sampled_from([1, 2, 3]), robustness=st.integers(0, 7),
                    interval=st.sampled_from([0.0, 20.0, 125.0, 31744.0]))
heard = st.tuples(st.sampled_from([UP, D1]), st.sampled_from([5, 9, 200]), queries, st.sampled_from([0.0, 3.0, 170.0]))


@given(st.lists(heard, max_size=8))
def test_a_successor_goes_on_as_its_predecessor_would_have(said):
    """Both hear nothing more: who asks, and what is spoken, changes at the same moments."""
    before = begun(0.0, parameters=Parameters(max_query_interval=200.0))
    for port, host, query, pause in said:
        before.ask(before.now + pause, port, query, f"{'10.0.0' if port == UP else '192.168.10'}.{host}")
    before.run(before.now + 1.0)
    after = successor(before, before.now, parameters=Parameters(max_query_interval=200.0))
    for _ in range(40):
        for port in (UP, D1):
            assert after.proxy.version(port) == before.proxy.version(port)
        assert after.roles[D1] == before.roles[D1]
        until = before.now + 47.0
        before.run(until)
        after.run(until)


# Hosts of older versions

Older = list[tuple[int, OlderHosts]]


def older(bench: Bench) -> Older:
    return [(D1, each) for each in bench.proxy.take_older(D1, 1000)]


def restarted(before: Bench, now: float, known: Older, **options: object) -> Bench:
    """A successor that has taken everything back."""
    rows = [(row.group, row.source, row.ports) for row in before.until(now).proxy.routes()]
    after = begun(now, d1=LINKS[D1], **options)
    for port, hosts in known:
        after.proxy.inherit_older(port, hosts)
    return after.inherit(*rows).run(now)


def compatibility(bench: Bench, group: str = "G") -> int:
    [found] = [each.compatibility for each in bench.proxy.groups(bench.now) if each.group == address(group)]
    return found


@pytest.mark.parametrize(("report", "version"), [("v1 Report(G)", 1), ("v2 Report(G)", 2)])
def test_a_group_with_older_hosts_is_one_for_the_rest_of_its_time(report, version):
    before = begun(0.0, d1=LINKS[D1])
    before.hear(10.0, D1, report)
    before.hear(10.0, D1, "IS_EX(G2,{})")
    after = restarted(before, 100.0, older(before))
    assert (compatibility(after), compatibility(after, "G2")) == (version, 3)
    after.hear(101.0, D1, "TO_EX(G,{a})")                           # whose sources do not count beside older hosts
    assert after.state() == "EXCLUDE X={} Y={} GT=270"
    assert compatibility(after.run(269.9)) == version
    assert compatibility(after.run(270.0)) == 3


def test_what_a_successor_must_know_is_told_once_and_again_when_it_changes():
    bench = begun(0.0, d1=LINKS[D1])
    g = address("G")
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert older(bench) == []
    bench.hear(1.0, D1, "v2 Report(G)")
    bench.hear(1.0, D1, "v1 Report(G2)")
    assert sorted(older(bench), key=str) == [(D1, OlderHosts(g, v2_until=261.0)), (D1, OlderHosts(g + 1, 261.0))]
    bench.hear(2.0, D1, "TO_EX(G,{})")
    assert older(bench) == []
    bench.hear(3.0, D1, "v2 Report(G)")
    assert older(bench) == [(D1, OlderHosts(g, v2_until=263.0))]
    bench.hear(4.0, D1, "Leave(G)")
    assert older(bench) == []
    bench.run(6.0)
    assert older(bench) == [(D1, OlderHosts(g))]
    bench.take(bench.proxy.port_down(D1, 7.0))
    assert older(bench) == [(D1, OlderHosts(g + 1))]
    assert bench.proxy.take_older(UP, 9) == bench.proxy.take_older(9, 9) == []


def test_a_few_are_told_at_a_time():
    bench = begun(0.0, d1=LINKS[D1])
    for number in range(5):
        bench.hear(0.0, D1, f"v2 Report(239.2.0.{number})")
    assert [len(bench.proxy.take_older(D1, 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_flood_of_groups_is_not_remembered():
    bench = begun(0.0, d1=LINKS[D1], max_groups=3)
    for number in range(200):
        bench.hear(0.0, D1, f"v2 Report(239.2.0.{number})")
    assert len(older(bench)) == 3
    for number in range(200):
        bench.hear(0.0, D1, f"v2 Report(239.3.0.{number}) ".strip())
        bench.take(bench.proxy.port_down(D1, 0.0))
        bench.take(bench.proxy.port_up(D1, LINKS[D1], 0.0))
    assert len(older(bench)) <= 6


def test_groups_that_ended_meanwhile_are_told_to_be_none():
    before = begun(0.0, d1=LINKS[D1])
    before.hear(10.0, D1, "v2 Report(G)")
    after = restarted(before, 20.0, [*older(before), (D1, OlderHosts(address("G2"), v2_until=300.0))])
    assert {hosts.group: hosts.v2_until for _, hosts in older(after)} == {address("G"): 270.0, address("G2"): -math.inf}
    alone = restarted(begun(0.0, d1=LINKS[D1]), 20.0, [(D1, OlderHosts(address("G2"), v2_until=300.0))])
    assert older(alone) == [(D1, OlderHosts(address("G2")))]


def test_a_leave_of_a_version_2_host_is_asked_about_after_a_restart_too():
    before = begun(0.0, d1=LINKS[D1], quick_leave=True)
    before.hear(10.0, D1, "v2 Report(G)")
    after = restarted(before, 20.0, older(before), quick_leave=True)
    after.run(100.0)
    after.hear(100.0, D1, "TO_EX(G,{})", "192.168.10.12")
    after.hear(101.0, D1, "TO_IN(G,{})", "192.168.10.12")
    assert after.sends(D1, since=100.0) == [(101, "Q(G) S=0")]
