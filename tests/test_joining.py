"""What we join ourselves: where we are a host only, and beside our querier."""

import pytest
from link import D1, D2, LINKS, SPEAKERS, UP, Bench, address, query_packet

from igmp.access import AccessList, Entry
from igmp.messages import Query
from igmp.outputs import Route, Send
from igmp.packet import Rules
from igmp.parameters import HOST, Parameters, PortOptions

G, G2, A = address("G"), address("G2"), address("a")
ANY_G = frozenset({(None, G)})
BOTH = 9                # a port where we are a host only


def bench_with(**options) -> Bench:
    """A bench with a port where we are a host only, up at -1."""
    bench = Bench()
    bench.run(-1.0)
    bench.proxy.add_port(BOTH, PortOptions(HOST, **options))
    bench.take(bench.proxy.port_up(BOTH, LINKS[UP], -1.0))
    return bench


def reported(bench: Bench) -> set[tuple[int, int, bool]]:
    return {(each.port, each.group, each.static) for each in bench.proxy.upstream(0.0)}


# --- a host only ---


def test_a_host_learns_nothing_and_is_told_nothing_that_was_learned():
    bench = bench_with()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert bench.hear(1.0, BOTH, "TO_EX(G2,{})", SPEAKERS[UP]) == []
    bench.run(5.0)
    assert bench.sends(BOTH) == []
    assert bench.proxy.querier(BOTH) is None
    assert [each.port for each in bench.proxy.upstream(5.0)] == [UP]
    assert bench.routes == {(G, None): 1 << D1}


def test_what_a_host_joins_is_told_there_alone_answered_and_left():
    bench = bench_with()
    bench.run(0.0)
    bench.take(bench.proxy.set_static(BOTH, frozenset({(None, G), (A, G2)}), 0.0))
    bench.run(2.0)
    told = [text for _, text in bench.sends(BOTH)]
    assert sorted(told[0].split(" + ")) == ["ALLOW(G2,{a})", "TO_EX(G,{})"]
    assert len(told) == 2                                       # robustness
    assert (bench.sends(UP), bench.routes) == ([], {})
    assert reported(bench) == {(BOTH, G, True), (BOTH, G2, True)}
    bench.ask(10.0, BOTH, Query(max_response_time=1.0), SPEAKERS[UP])
    bench.run(11.0)
    assert sorted(bench.sends(BOTH, 10.0)[0][1].split(" + ")) == ["IS_EX(G,{})", "IS_IN(G2,{a})"]
    bench.take(bench.proxy.set_static(BOTH, frozenset({(A, G2)}), 20.0))
    assert bench.sends(BOTH, 11.0)[0][1] == "TO_IN(G,{})"
    bench.run(30.0)
    bench.now = 30.0
    bench.take(bench.proxy.shutdown(30.0))
    assert bench.sends(BOTH, 30.0) == [(30.0, "BLOCK(G2,{a})")]


def test_the_lists_of_a_host_refuse_what_it_would_join():
    bench = bench_with(access=AccessList(deny=(Entry.parse("239.1.1.1"),)))
    bench.take(bench.proxy.set_static(BOTH, ANY_G, 0.0))
    bench.run(2.0)
    assert (bench.sends(BOTH), reported(bench)) == ([], set())


def test_a_host_that_comes_up_later_tells_what_it_joins_and_one_without_anything_says_nothing():
    bench = Bench()
    bench.run(0.0)
    bench.proxy.add_port(BOTH, PortOptions(HOST))
    bench.take(bench.proxy.set_static(BOTH, ANY_G, 0.0))
    bench.hear(1.0, D1, "TO_EX(G2,{})")
    assert bench.sends(BOTH) == []
    bench.take(bench.proxy.port_up(BOTH, LINKS[UP], 1.0))
    assert bench.sends(BOTH) == [(1.0, "TO_EX(G,{})")]


def test_a_successor_s_host_tells_its_groups_again_and_takes_none_from_the_routes():
    bench = Bench(ports=())
    bench.proxy.add_port(BOTH, PortOptions(HOST))
    bench.add(D1)
    bench.take(bench.proxy.set_static(BOTH, ANY_G, bench.now))
    bench.take(bench.proxy.port_up(BOTH, LINKS[UP], bench.now))
    bench.inherit((G2, None, 1 << D1))
    bench.run(0.0)
    assert reported(bench) == {(BOTH, G, True)}
    assert not any("G2" in text for _, text in bench.sends(BOTH, -1e9))


# --- beside our querier ---


@pytest.fixture
def bench() -> Bench:
    """A bench that has joined G on D1 at 0."""
    bench = Bench()
    bench.run(0.0)
    bench.take(bench.proxy.set_joined(D1, ANY_G, 0.0))
    return bench


def test_what_is_joined_beside_a_querier_is_reported_and_is_no_member(bench):
    assert bench.run(5.0).sends(D1) == [(0.0, "TO_EX(G,{})"), (0.5, "TO_EX(G,{})")]
    assert (bench.routes, bench.sends(UP), bench.proxy.groups(5.0)) == ({}, [], [])
    assert reported(bench) == {(D1, G, True)}
    assert bench.proxy.group_count(D1) == 0


def test_our_own_queries_are_answered(bench):
    bench.run(300.0)
    asked = [at for at, text in bench.sends(D1, 1.0, general=True) if text == "Q()"]
    answered = [at for at, text in bench.sends(D1, 1.0) if text == "IS_EX(G,{})"]
    assert len(asked) == len(answered) > 0
    assert all(0 <= answer - query <= 10.0 for query, answer in zip(asked, answered, strict=True))
    assert reported(bench) == {(D1, G, True)}


def test_a_member_that_leaves_is_asked_about_and_our_answer_keeps_nothing(bench):
    bench.hear(10.0, D1, "TO_EX(G,{})")
    bench.hear(20.0, D1, "TO_IN(G,{})")
    bench.run(25.0)
    assert [text for _, text in bench.sends(D1, 20.0)].count("IS_EX(G,{})") >= 1
    assert bench.routes == {}


def test_another_querier_is_answered(bench):
    bench.ask(20.0, D1, Query(max_response_time=1.0), SPEAKERS[D1])
    bench.run(21.0)
    assert bench.sends(D1, 20.0)[0][1] == "IS_EX(G,{})"


def test_a_snooping_switch_that_asks_from_nowhere_is_answered_and_elected_by_nobody(bench):
    bench.receive(10.0, D1, query_packet(Query(max_response_time=1.0), "0.0.0.0"))
    assert bench.proxy.querier(D1).querier
    assert bench.proxy.counters(D1)["rx_query_zero_source"] == 1
    bench.run(11.0)
    assert bench.sends(D1, 10.0)[0][1] == "IS_EX(G,{})"


def test_a_link_that_comes_back_is_told_again_and_one_that_is_removed_is_left(bench):
    bench.run(5.0)
    bench.take(bench.proxy.port_down(D1, 5.0))
    assert reported(bench) == set()
    bench.run(400.0)
    assert bench.sends(D1, 5.0) == []
    bench.take(bench.proxy.port_up(D1, LINKS[D1], 400.0))
    assert "TO_EX(G,{})" in [text for _, text in bench.sends(D1, 400.0)]
    bench.run(410.0)
    bench.take(bench.proxy.remove_port(D1, 410.0))
    bench.run(1000.0)
    assert [text for _, text in bench.sends(D1, 410.0)] == ["TO_IN(G,{})"]
    bench.add(D1)
    assert reported(bench) == set()


def test_what_is_joined_no_longer_is_left_as_often_as_robustness_says(bench):
    bench.run(5.0)
    bench.take(bench.proxy.set_joined(D1, frozenset(), 5.0))
    bench.run(10.0)
    assert [text for _, text in bench.sends(D1, 5.0)] == ["TO_IN(G,{})"] * 2
    assert bench.proxy.set_joined(D1, frozenset(), 10.0) == []


def test_everything_is_left_at_the_end_and_by_lists_that_refuse_it(bench):
    refusing = PortOptions("downstream", access=AccessList(deny=(Entry.parse("239.1.1.1"),)))
    bench.run(5.0)
    bench.take(bench.proxy.set_options(D1, refusing, 5.0))
    assert bench.sends(D1, 5.0) == [(5.0, "TO_IN(G,{})")]
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream"), 6.0))
    bench.now = 7.0
    bench.take(bench.proxy.shutdown(7.0))
    assert bench.sends(D1, 7.0) == [(7.0, "TO_IN(G,{})")]


def test_a_querier_of_version_2_has_a_host_of_version_2():
    bench = Bench(ports=())
    bench.add(D2, igmp_version=2, parameters=Parameters(), rules=Rules())
    bench.run(0.0)
    bench.take(bench.proxy.set_joined(D2, ANY_G, 0.0))
    assert bench.sends(D2) == [(0.0, "v2 Report(G)")]
    assert not any(isinstance(output, Route | Send) for output in bench.proxy.set_joined(D2, ANY_G, 1.0))
