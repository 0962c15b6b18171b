"""The router side of one port: vectors T, E and C, limits, and queries on the wire."""

import itertools
import random
from collections import deque

import pytest
from link import D1, LINKS, SPEAKERS, UP, Bench, address, packet_of, query_packet, text_of

from igmp.access import AccessList, Entry
from igmp.messages import Query, decode, encode_query
from igmp.outputs import Notice, QuerierStatus, Role, Send
from igmp.packet import Link, Network, encode, parse_address
from igmp.parameters import Parameters, PortOptions

DE = Link((Network.parse("192.168.10.100/24"),))
OURS, LOWER, HIGHER = "192.168.10.100", "192.168.10.9", "192.168.10.200"


def excluding(at: float, **options) -> Bench:
    """G is EXCLUDE({},{}) with `at` seconds left at t=0."""
    bench = Bench(**options)
    bench.hear(at - 270.0, D1, "IS_EX(G,{})")
    return bench.until(0.0)


def including(**timers: float) -> Bench:
    bench = Bench()
    for source, left in sorted(timers.items(), key=lambda item: item[1]):
        bench.hear(left - 270.0, D1, f"ALLOW(G,{{{source}}})")
    return bench.until(0.0)


def electing() -> Bench:
    """The interface `de` alone, querier since t=0."""
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, DE)
    return bench


# T: timers

# RFC 9776 6.1 b, 6.6.1 c, 6.6.3.1 a, 8.9 a, 8.10 a
def test_t01_a_leave_that_nobody_answers_ends_the_group_after_lmqt():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    assert bench.until(2.0).state() == "EXCLUDE X={} Y={} GT=0"
    assert bench.wanted("a") == 1 << D1
    assert bench.run(2.0).state() == "none"
    assert bench.wanted("a") == 0
    assert bench.sends(D1) == [(0, "Q(G) S=0"), (1, "Q(G) S=0")]
    assert bench.sends(UP) == [(2, "TO_IN(G,{})")]


# RFC 9776 6.4.2 j, 6.6.1 d, 6.6.3.1 b
def test_t02_an_answered_leave_still_repeats_its_query_with_the_s_flag():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    bench.hear(0.5, D1, "IS_EX(G,{})")
    assert bench.run(5.0).state() == "EXCLUDE X={} Y={} GT=265.5"
    assert bench.sends(D1) == [(0, "Q(G) S=0"), (1, "Q(G) S=1")]
    assert bench.sends(UP) == []
    assert bench.wanted("a") == 1 << D1


# RFC 9776 4.1.11 c, 6.1 c, 6.2.3 a, 6.6.3.2 a
def test_t03_a_source_that_nobody_keeps_ends_alone():
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, "BLOCK(G,{a})")
    assert bench.run(3.0).state() == "INCLUDE{b:197}"
    assert bench.sends(D1) == [(0, "Q(G,{a}) S=0"), (1, "Q(G,{a}) S=0")]


# RFC 9776 6.1 c, 6.6.3.2 b
def test_t04_a_source_that_somebody_keeps_stays():
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, "BLOCK(G,{a})")
    bench.hear(0.7, D1, "IS_IN(G,{a})")
    assert bench.run(3.0).state() == "INCLUDE{a:267.7, b:197}"
    assert bench.sends(D1) == [(0, "Q(G,{a}) S=0"), (1, "Q(G,{a}) S=1")]


def mixed(a: float, timer: float) -> Bench:
    """EXCLUDE X={a} Y={c}."""
    bench = Bench()
    first = min(a, timer) - 271.0
    bench.hear(first, D1, "IS_EX(G,{c})")
    for at, text in sorted([(a - 270.0, "ALLOW(G,{a})"), (timer - 270.0, "IS_EX(G,{a,c})")]):
        bench.hear(at, D1, text)
    return bench.until(0.0)


# RFC 9776 6.2.2 c, 6.5 a b
def test_t05_requested_sources_outlive_the_group_timer():
    bench = mixed(a=150.0, timer=100.0)
    assert bench.state() == "EXCLUDE X={a:150} Y={c} GT=100"
    assert bench.run(101.0).state() == "INCLUDE{a:49}"
    assert bench.merged() == "IN{a}"
    assert bench.sends(UP) == [(100, "TO_IN(G,{a})"), (100.5, "TO_IN(G,{a})")]


# RFC 9776 6.2.1 b, 6.2.3 b
def test_t06_a_source_timer_that_ends_in_exclude_mode_blocks_the_source():
    bench = mixed(a=50.0, timer=100.0)
    assert bench.state() == "EXCLUDE X={a:50} Y={c} GT=100"
    assert bench.run(51.0).state() == "EXCLUDE X={} Y={a, c} GT=49"
    assert bench.wanted("a") == 0
    assert bench.wanted("b") == 1 << D1


# RFC 9776 6.2.3 a, 6.4.2 i
def test_t07_a_new_source_query_takes_the_pending_one_along():
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, "BLOCK(G,{a})")
    bench.hear(0.5, D1, "BLOCK(G,{b})")
    assert bench.run(2.0).state() == "INCLUDE{b:0.5}"
    assert bench.run(2.5).state() == "none"
    assert bench.sends(D1) == [(0, "Q(G,{a}) S=0"), (0.5, "Q(G,{a,b}) S=0"), (1.5, "Q(G,{b}) S=0")]


# RFC 9776 6.4.2 j, 6.6.3.2 b
def test_answered_and_unanswered_sources_are_asked_for_in_two_queries():
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, "BLOCK(G,{a,b})")
    bench.hear(0.5, D1, "IS_IN(G,{a})")
    assert bench.run(3.0).state() == "INCLUDE{a:267.5}"
    assert bench.sends(D1) == [(0, "Q(G,{a,b}) S=0"), (1, "Q(G,{a}) S=1"), (1, "Q(G,{b}) S=0")]


# RFC 9776 6.6.3.2 c
def test_a_query_for_the_group_makes_that_for_answered_sources_needless():
    bench = mixed(a=150.0, timer=100.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    bench.hear(0.5, D1, "IS_IN(G,{a})")
    assert bench.run(3.0).state() == "INCLUDE{a:267.5}"
    assert bench.sends(D1) == [(0, "Q(G,{a}) S=0"), (0, "Q(G) S=0"), (1, "Q(G) S=0")]


# RFC 9776 6.6.3.1 a
def test_t08_a_second_leave_changes_nothing_while_the_first_is_checked():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    bench.hear(0.5, D1, "TO_IN(G,{})")
    assert bench.run(2.0).state() == "none"
    assert bench.sends(D1) == [(0, "Q(G) S=0"), (1, "Q(G) S=0")]


def test_all_that_one_message_leaves_is_asked_for():
    bench = Bench()
    bench.hear(-10.0, D1, "IS_EX(G,{}) + IS_EX(G2,{}) + ALLOW(S,{a})")
    bench.until(0.0)
    bench.hear(0.0, D1, "TO_IN(G,{}) + TO_IN(G2,{}) + BLOCK(S,{a})")
    assert bench.sends(D1) == [(0, "Q(G) S=0"), (0, "Q(G2) S=0"), (0, "Q(S,{a}) S=0")]
    assert bench.run(2.0).routes == {}


def test_a_leave_after_an_answer_is_checked_anew():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    bench.hear(0.3, D1, "IS_EX(G,{})")
    bench.hear(0.6, D1, "TO_IN(G,{})")
    assert bench.run(3.0).state() == "none"
    assert bench.sends(D1) == [(0, "Q(G) S=0"), (0.6, "Q(G) S=0"), (1.6, "Q(G) S=0")]


# RFC 9776 6.1 a, 8.2 a, 8.6 a, 8.7 a
@pytest.mark.parametrize(("parameters", "times"), [
    (Parameters(), [0, 31.25, 156.25, 281.25]),
    (Parameters(query_interval=60.0, robustness=3), [0, 15, 30, 90, 150]),
])
def test_t09_general_queries_start_quickly_and_go_on_for_ever(parameters, times):
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, DE, parameters=parameters)
    bench.run(times[-1])
    assert bench.sends(D1, general=True) == [(at, "Q()") for at in times]


# RFC 9776 6.2.2 a b, 8.4 a
# RFC 4541 2.1.1 i
@pytest.mark.parametrize(("parameters", "limit"), [(Parameters(), 270), (Parameters(gmi_rfc3376=True), 260)])
def test_t10_a_silent_member_ends_after_the_group_membership_interval(parameters, limit):
    bench = Bench(parameters=parameters)
    bench.hear(0.0, D1, "TO_EX(G,{})")
    assert bench.run(limit - 0.1).state() == "EXCLUDE X={} Y={} GT=0.1"
    assert bench.run(limit + 0.1).state() == "none"


# E: election

# RFC 9776 6.6.2 a b
def test_e01_a_numerically_lower_address_wins():
    bench = electing()
    packet = bytes.fromhex("46c000240000400001023961c0a80a09e0000001940400001164ec1e00000000027d0000")
    assert bench.receive(10.0, D1, packet) == [Role(D1, False, parse_address(LOWER))]
    assert bench.proxy.querier(D1) == QuerierStatus(False, parse_address(LOWER), 3)
    assert bench.proxy.deadline == 10.0 + Parameters().other_querier_present_interval
    assert bench.until(265.0).sends(D1, general=True) == [(0, "Q()")]


def test_e02_a_higher_address_changes_nothing():
    bench = electing()
    packet = bytes.fromhex("46c0002400004000010238a2c0a80ac8e0000001940400001164e95f00000000053c0000")
    before = bench.proxy.deadline
    assert bench.receive(10.0, D1, packet) == [Notice(D1, "querier_conflict", parse_address(HIGHER))]
    assert bench.receive(20.0, D1, packet) == []                    # people were told less than a minute ago
    assert bench.proxy.deadline == before
    assert bench.receive(69.9, D1, packet) == []
    assert bench.receive(70.0, D1, packet) == [Notice(D1, "querier_conflict", parse_address(HIGHER))]
    assert bench.proxy.querier(D1).querier
    bench.hear(80.0, D1, "IS_EX(G,{})")
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"


# RFC 9776 6.6.2 c, 8.5 a
def test_e03_when_the_other_querier_is_silent_we_ask_at_once_and_then_regularly():
    bench = electing()
    bench.ask(10.0, D1, Query(), LOWER)
    bench.run(515.0)
    assert bench.sends(D1, since=1.0, general=True) == [(265, "Q()"), (390, "Q()"), (515, "Q()")]
    assert bench.roles[D1] == Role(D1, True, parse_address(OURS))


# RFC 4541 2.1.1 c
def test_e04_a_query_from_nobody_never_wins():
    bench = electing()
    packet = bytes.fromhex("46c00024000040000102041300000000e0000001940400001164ec1e00000000027d0000")
    assert bench.receive(10.0, D1, packet) == [Notice(D1, "querier_without_address", 0)]
    assert bench.receive(11.0, D1, packet) == []
    assert bench.proxy.querier(D1).querier
    assert bench.proxy.counters(D1)["rx_query_zero_source"] == 2


# RFC 9776 4.1.6 b, 4.1.7 b, 8 a
def test_e05_the_winners_values_are_ours_until_it_is_gone():
    bench = electing()
    bench.hear(5.0, D1, "IS_EX(G2,{})")
    packet = bytes.fromhex("46c000240000400001023961c0a80a09e0000001940400001164eb1000000000038b0000")
    bench.receive(10.0, D1, packet)
    assert bench.proxy.deadline == 275.0                            # what runs already is not touched
    bench.hear(10.0, D1, "v2 Report(G)")
    assert bench.state() == "EXCLUDE X={} Y={} GT=668"
    assert bench.until(663.0).sends(D1, since=1.0, general=True) == []
    assert bench.run(10.0 + 657.9).proxy.groups(bench.now)[0].compatibility == 2
    assert bench.run(10.0 + 658.0).proxy.groups(bench.now)[0].compatibility == 3
    assert bench.sends(D1, since=1.0, general=True) == [(663, "Q()")]
    assert decode(bench.sent[-1][24:]) == Query()                   # the configured values again
    bench.hear(669.0, D1, "IS_EX(G3,{})")
    assert bench.state(group="G3") == "EXCLUDE X={} Y={} GT=270"


# RFC 9776 4.1.7 b
@pytest.mark.parametrize(("said", "longest", "ours", "in_force"), [
    (31744.0, 600.0, 125.0, 600.0),
    (576.0, 600.0, 125.0, 576.0),
    (31744.0, 900.0, 125.0, 900.0),
    (31744.0, 600.0, 3584.0, 3584.0),                               # our own interval is as long as we want it
    (60.0, 600.0, 125.0, 60.0),
    (0.0, 600.0, 125.0, 125.0),
])
def test_what_a_winner_says_of_its_interval_is_believed_up_to_a_limit(said, longest, ours, in_force):
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, DE, parameters=Parameters(query_interval=ours, max_query_interval=longest))
    outputs = bench.ask(10.0, D1, Query(robustness=7, interval=said), LOWER)
    assert (Notice(D1, "rare_querier", parse_address(LOWER)) in outputs) is (said > in_force)
    bench.hear(10.0, D1, "IS_EX(G,{})")
    assert bench.state() == f"EXCLUDE X={{}} Y={{}} GT={7 * in_force + 20:g}"
    assert bench.until(10.0 + 7 * in_force + 5).proxy.querier(D1).querier is False
    assert bench.run(10.0 + 7 * in_force + 5).proxy.querier(D1).querier


# RFC 9776 6.6.1 a, 6.6.2 d
def test_e06_a_specific_query_is_no_election_but_lowers_timers():
    bench = electing()
    bench.hear(0.0, D1, "IS_EX(G,{})")
    packet = bytes.fromhex("46c000240000400001022960c0a80a09ef01010194040000110afc75ef010101027d0000")
    assert bench.receive(70.0, D1, packet) == []
    assert bench.proxy.querier(D1).querier
    assert bench.state() == "EXCLUDE X={} Y={} GT=2"


ALONE = 0x0200_0000_0101                                            # the MAC address of our port


# RFC 9776 6.6.1 b
@pytest.mark.parametrize(("destination", "to", "lowered"), [
    ("239.1.1.1", 0x0100_5E01_0101, True),
    ("239.1.1.1", 0, True),                                         # the link has no addresses
    ("239.1.1.1", ALONE, False),
    ("239.1.1.1", 0x0100_5E01_0102, False),                         # members do not listen to that
    (OURS, ALONE, False),
    (OURS, 0x0100_5E01_0101, False),
    (OURS, 0, False),
])
@pytest.mark.parametrize("asked", [(), ("a",)])
def test_a_specific_query_that_members_cannot_hear_lowers_nothing(destination, to, lowered, asked):
    bench = electing()
    bench.hear(0.0, D1, "IS_EX(G,{}) + IS_IN(G,{a})")
    before = bench.until(70.0).state()
    query = Query(address("G"), tuple(map(address, asked)), 1.0)
    packet = encode(parse_address(LOWER), parse_address(destination), encode_query(query))
    assert bench.take(bench.proxy.receive(D1, packet, 70.0, 1, to)) == []
    assert (bench.state() != before) is lowered
    assert bench.proxy.counters(D1)["query_private"] == (not lowered)
    assert bench.proxy.counters(D1)["query_v3"] == 1


# RFC 9776 6.6.3 a
def test_e07_a_non_querier_keeps_state_but_neither_asks_nor_lowers():
    bench = electing()
    bench.ask(0.0, D1, Query(), LOWER)
    bench.hear(0.0, D1, "IS_EX(G,{})")
    assert bench.roles[D1] == Role(D1, False, parse_address(LOWER))
    assert bench.wanted("a") == 1 << D1                             # the data plane masks by role
    bench.hear(170.0, D1, "TO_IN(G,{})")
    assert bench.state() == "EXCLUDE X={} Y={} GT=100"
    assert bench.sends(D1, since=1.0, general=True) == []


# RFC 9776 6.6.2 b
def test_e08_every_query_of_the_winner_extends_its_time():
    bench = electing()
    bench.ask(10.0, D1, Query(), LOWER)
    bench.ask(135.0, D1, Query(), LOWER)
    bench.run(390.0)
    assert bench.sends(D1, since=1.0, general=True) == [(390, "Q()")]


# RFC 9776 6 a
# RFC 4605 3 b c
def test_e09_upstream_never_takes_part_in_an_election():
    bench = Bench()
    for source in ("10.0.0.1", "10.0.0.200"):
        bench.ask(0.0, UP, Query(), source)
    bench.run(1000.0)
    assert bench.sends(UP, general=True) == []
    assert bench.proxy.querier(UP) is None
    assert UP not in bench.roles


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_general_query_from_a_lower_address_wins_as_well(version):
    bench = electing()
    bench.ask(10.0, D1, Query(version=version), LOWER)
    assert bench.proxy.querier(D1).address == parse_address(LOWER)
    assert bench.proxy.deadline == 265.0


def test_the_lowest_of_several_queriers_is_shown_while_it_is_heard():
    bench = electing()
    bench.ask(10.0, D1, Query(), "192.168.10.50")
    bench.ask(20.0, D1, Query(interval=60.0), LOWER)
    bench.ask(100.0, D1, Query(interval=100.0), "192.168.10.50")
    assert bench.proxy.querier(D1).address == parse_address(LOWER)
    bench.ask(144.9, D1, Query(), "192.168.10.50")
    assert bench.proxy.querier(D1).address == parse_address(LOWER)
    bench.ask(145.0, D1, Query(), "192.168.10.50")          # twice its 60 s and half of 10 s later
    assert bench.proxy.querier(D1).address == parse_address("192.168.10.50")


# RFC 9776 6.6.3 a
def test_losing_the_election_completes_a_leave_that_runs_and_starts_no_other():
    bench = electing()
    bench.hear(1.0, D1, "IS_EX(G,{}) + IS_EX(G2,{})")
    bench.hear(10.0, D1, "TO_IN(G,{})")
    bench.ask(10.5, D1, Query(), LOWER)
    bench.hear(10.6, D1, "TO_IN(G2,{})")
    bench.run(20.0)
    assert bench.sends(D1) == [(10, "Q(G) S=0"), (11, "Q(G) S=0")]
    assert bench.state() == "none"
    assert bench.state(group="G2") == "EXCLUDE X={} Y={} GT=251"


# RFC 9776 4.1.5 a, 6.6.1 b d
def test_a_suppressed_query_of_another_router_lowers_nothing():
    bench = including(a=200, b=1)
    bench.ask(0.0, D1, Query(address("G"), (address("a"),), 1.0, suppress=True), "192.168.10.7")
    assert bench.state() == "INCLUDE{a:200, b:1}"
    bench.ask(0.0, D1, Query(address("G"), (address("a"), address("b"), address("c")), 1.0), "192.168.10.7")
    assert bench.state() == "INCLUDE{a:2, b:1}"
    assert bench.run(2.0).state() == "none"


# RFC 9776 4.1.5 b
def test_the_s_flag_stops_neither_an_election_nor_an_answer():
    bench = electing()
    bench.add(UP)
    bench.hear(1.0, D1, "TO_EX(G,{})")
    bench.ask(10.0, D1, Query(suppress=True), LOWER)
    assert bench.roles[D1] == Role(D1, False, parse_address(LOWER))
    bench.ask(10.0, UP, Query(suppress=True))
    assert bench.run(20.0).sends(UP, since=10.0) == [(15, "IS_EX(G,{})")]


def test_a_port_told_never_to_query_stays_silent_and_knows_who_does():
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, DE, querier=False)
    assert bench.roles[D1] == Role(D1, False, 0)
    bench.ask(1.0, D1, Query(), HIGHER)
    assert bench.roles[D1] == Role(D1, False, parse_address(HIGHER))
    bench.hear(2.0, D1, "IS_EX(G,{}) + TO_IN(G,{})")
    bench.run(300.0)
    assert bench.roles[D1] == Role(D1, False, 0)
    assert bench.sends(D1, general=True) == []


# RFC 4541 2.1.1 b
def test_a_port_without_address_asks_from_none_until_it_has_one_or_is_given_one():
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, Link())
    assert bench.roles[D1] == Role(D1, True, 0)
    assert bench.sent[0] == query_packet(Query(), "0.0.0.0")
    bench.take(bench.proxy.port_up(D1, DE, 0.0))
    assert bench.roles[D1] == Role(D1, True, parse_address(OURS))
    assert bench.sends(D1, general=True) == [(0, "Q()")] * 2
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, Link(), querier_address=parse_address("192.168.77.1"))
    assert bench.roles[D1] == Role(D1, True, parse_address("192.168.77.1"))
    assert bench.sent[0] == query_packet(Query(), "192.168.77.1")


def test_a_querier_without_address_never_wins_and_asks_again_when_the_other_is_gone():
    bench = Bench(ports=())
    bench.now = 0.0
    bench.add(D1, Link())
    bench.ask(1.0, D1, Query(), "223.255.255.254")
    assert bench.roles[D1] == Role(D1, False, parse_address("223.255.255.254"))
    bench.hear(2.0, D1, "IS_EX(G,{})")
    assert bench.run(250.0).sends(D1, since=0.5, general=True) == []
    bench.run(300.0)
    assert bench.roles[D1] == Role(D1, True, 0)
    assert bench.sends(D1, since=0.5, general=True) != []


def test_another_address_starts_over_and_keeps_the_members():
    bench = electing()
    bench.hear(1.0, D1, "IS_EX(G,{})")
    bench.ask(2.0, D1, Query(), LOWER)
    bench.until(3.0)
    bench.take(bench.proxy.port_up(D1, Link((Network.parse("192.168.10.5/24"),)), 3.0))
    bench.run(40.0)
    assert bench.roles[D1] == Role(D1, True, parse_address("192.168.10.5"))
    assert bench.sends(D1, since=1.0, general=True) == [(3, "Q()"), (34.25, "Q()")]
    assert bench.state() == "EXCLUDE X={} Y={} GT=231"


def test_an_address_that_is_lost_starts_over_without_one():
    bench = electing()
    bench.hear(1.0, D1, "IS_EX(G,{})")
    bench.hear(2.0, D1, "TO_IN(G,{})")
    bench.take(bench.proxy.port_up(D1, Link(), 2.5))
    assert bench.roles[D1] == Role(D1, True, 0)
    assert bench.run(100.0).state() == "none"
    assert bench.sends(D1, since=1.0, general=True)[:2] == [(2, "Q(G) S=0"), (2, "Q()")]


def test_a_query_for_an_unknown_group_makes_none():
    bench = electing()
    assert bench.ask(1.0, D1, Query(address("G"), (), 1.0), LOWER) == []
    assert bench.state() == "none"


def test_a_query_that_leaves_no_time_to_answer_leaves_the_usual_time():
    """Vector 10.2.5: a forged query can shorten timers to LMQT at worst."""
    bench = electing()
    bench.hear(1.0, D1, "IS_EX(G,{})")
    bench.ask(2.0, D1, Query(address("G"), (), 0.0), LOWER)
    assert bench.state() == "EXCLUDE X={} Y={} GT=2"


# RFC 9776 7.3.1 i j
def test_an_elected_querier_of_an_older_version_is_noticed():
    bench = electing()
    source = parse_address(LOWER)
    expected = [Role(D1, False, source), Notice(D1, "older_querier", source, version=2)]
    assert bench.ask(10.0, D1, Query(version=2), LOWER) == expected
    for number in range(1, 9):
        assert bench.ask(10.0 + 100.0 * number, D1, Query(version=2), LOWER) == []     # once, not once a minute
    again = [Notice(D1, "older_querier", source, version=1)]
    assert bench.ask(900.0, D1, Query(version=1), LOWER) == again


# RFC 9776 6.6.2 e, 7.3.1 a e h j
@pytest.mark.parametrize("source", [LOWER, HIGHER])
@pytest.mark.parametrize(("ours", "theirs", "kind"), [
    (1, 2, "newer_querier"), (1, 3, "newer_querier"), (2, 3, "newer_querier"), (3, 2, "older_querier"),
])  # fmt: skip
def test_whoever_queries_in_another_version_is_noticed_once_whether_it_wins_or_not(source, ours, theirs, kind):
    bench = Bench(ports=())
    bench.add(UP)
    bench.add(D1, igmp_version=ours)
    heard = [each for at in (1.0, 130.0, 260.0) for each in bench.ask(at, D1, Query(version=theirs), source)]
    notices = [each for each in heard if isinstance(each, Notice) and each.kind != "querier_conflict"]
    assert notices == [Notice(D1, kind, parse_address(source), version=theirs)]


# RFC 9776 7.3.1 j
def test_a_flood_of_queriers_of_another_version_is_noticed_once_a_minute():
    bench, heard = electing(), []
    for number in range(200):
        heard += bench.ask(10.0 + number / 2, D1, Query(version=2), f"192.168.10.{101 + number % 150}")
    told = [each.missed for each in heard if isinstance(each, Notice) and each.kind == "older_querier"]
    assert told == [0, 119]


def test_a_mismatch_is_told_again_when_our_version_is_another():
    bench = electing()
    expected = Notice(D1, "older_querier", parse_address(LOWER), version=1)
    assert expected in bench.ask(10.0, D1, Query(version=1), LOWER)
    bench.proxy.set_options(D1, PortOptions("downstream", igmp_version=2), 20.0)
    assert expected in bench.ask(100.0, D1, Query(version=1), LOWER)


# Queries of one message, and their rate

@pytest.mark.parametrize("text", [
    "BLOCK(G,{a}) + ALLOW(G,{a})",
    "BLOCK(G,{a}) + IS_IN(G,{a})",
    "BLOCK(G,{a}) + TO_IN(G,{a,b})",
])
def test_what_a_later_record_wants_is_not_asked_for(text):
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, text)
    assert bench.sends(D1) == []
    assert "a:270" in bench.state()


def test_a_group_that_a_later_record_wants_is_not_asked_for():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{}) + TO_EX(G,{}) + IS_EX(G2,{}) + TO_IN(G2,{}) + IS_EX(G2,{a}) + IS_EX(G,{})")
    assert bench.sends(D1) == []
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"


TEN_A_SECOND = Parameters(specific_query_rate=10.0, specific_query_burst=10)
ONE_A_SECOND = Parameters(specific_query_rate=1.0, specific_query_burst=1)


def crowd(count: int, **options) -> Bench:
    bench = Bench(ports=())
    bench.add(D1, DE, **options)
    bench.run(-1.0)
    for number in range(count):
        bench.hear(-1.0, D1, f"TO_EX(239.2.0.{number},{{}})")
    bench.run(0.0)
    bench.log.clear()
    return bench


def leave_all(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.take(bench.proxy.receive(D1, packet_of(f"TO_IN(239.2.0.{number},{{}})", SPEAKERS[D1]), 0.0))


def test_queries_beyond_the_rate_wait_and_so_do_the_timers():
    bench = crowd(25, parameters=TEN_A_SECOND)
    leave_all(bench, 25)
    assert len(bench.sends(D1)) == 10
    assert bench.proxy.counters(D1)["query_deferred"] == 15
    assert bench.state(group="239.2.0.9") == "EXCLUDE X={} Y={} GT=2"
    assert bench.state(group="239.2.0.10") == "EXCLUDE X={} Y={} GT=269"
    bench.run(30.0)
    assert bench.routes == {}
    asked = [at for at, text in bench.sends(D1)]
    assert len(asked) == 50
    for at in asked:
        assert sum(1 for each in asked if at < each <= at + 1.0) <= 21


def test_a_leave_that_waits_is_asked_about_once():
    bench = crowd(12, parameters=TEN_A_SECOND)
    leave_all(bench, 12)
    leave_all(bench, 12)
    assert bench.proxy.counters(D1)["query_deferred"] == 2
    bench.run(30.0)
    assert bench.routes == {}
    assert len(bench.sends(D1)) == 24


def lose(bench: Bench) -> None:
    bench.ask(0.0, D1, Query(), "192.168.10.0")             # no host has this address
    assert bench.proxy.querier(D1).querier
    bench.ask(0.0, D1, Query(), LOWER)
    assert not bench.proxy.querier(D1).querier


def move(bench: Bench) -> None:
    bench.take(bench.proxy.port_up(D1, Link((Network.parse("192.168.10.5/24"),)), 0.0))


@pytest.mark.parametrize("change", [lose, move])
def test_what_waits_is_forgotten_when_the_election_is_another(change):
    bench = crowd(12, parameters=TEN_A_SECOND)
    leave_all(bench, 12)
    assert bench.proxy.deadline == 0.1
    change(bench)
    assert bench.proxy.counters(D1)["leave_unasked"] == 2
    assert bench.proxy.deadline == 1.0                      # the repetitions of what was asked
    bench.run(30.0)
    assert len(bench.proxy.groups(30.0)) == 2


def test_what_waits_is_forgotten_with_its_group():
    bench = crowd(12, parameters=TEN_A_SECOND)
    leave_all(bench, 12)
    lists = AccessList(deny=(Entry.parse("239.2.0.10/31"),))
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", access=lists), 0.0))
    assert len(bench.run(30.0).sends(D1)) == 20
    assert bench.routes == {}


def test_no_more_leaves_wait_than_there_may_be_groups():
    bench = crowd(4, parameters=ONE_A_SECOND)
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", ONE_A_SECOND, max_groups=2), 0.0))
    leave_all(bench, 4)
    assert bench.proxy.counters(D1)["query_deferred"] == 2
    assert bench.proxy.counters(D1)["leave_unasked"] == 1


def test_six_hundred_leaves_at_once_are_over_in_a_second_more_than_one_takes():
    bench = Bench(ports=(UP, D1))
    groups = [f"239.2.{number // 200}.{number % 200}" for number in range(600)]
    for group in groups:
        bench.hear(0.0, D1, f"TO_EX({group},{{}})")
    for group in groups:
        bench.hear(10.0, D1, f"TO_IN({group},{{}})")
    assert len(bench.sends(D1, since=10.0)) == 600
    bench.run(10.0 + 2.0)
    assert not bench.routes
    assert len(bench.sends(D1, since=10.0)) == 1200
    assert bench.proxy.counters(D1)["query_deferred"] == 0


def test_more_leaves_than_a_burst_follow_at_the_pace():
    bench = Bench(ports=(UP, D1))
    groups = [f"239.2.{number // 200}.{number % 200}" for number in range(1500)]
    for group in groups:
        bench.hear(0.0, D1, f"TO_EX({group},{{}})")
    for group in groups:
        bench.hear(10.0, D1, f"TO_IN({group},{{}})")
    assert len(bench.sends(D1, since=10.0)) == 1000
    bench.run(20.0)
    assert not bench.routes
    asked = [at for at, _ in bench.sends(D1, since=10.0)]
    assert len(asked) == 3000
    for at in sorted(set(asked)):       # a burst, and repetitions that do not wait
        assert sum(1 for each in asked if at < each <= at + 1.0) <= 2000


def test_what_stands_under_steady_zapping_is_what_is_wanted_and_what_is_asked_about():
    """400 members, of which every 10 ms one leaves for another group: two seconds of them are 200."""
    bench, wanted, rng = Bench(ports=(UP, D1)), deque[str](), random.Random(7)
    fresh = (f"239.{2 + number // 62500}.{number // 250 % 250}.{number % 250}" for number in itertools.count())
    for group in itertools.islice(fresh, 400):
        wanted.append(group)
        bench.hear(0.0, D1, f"TO_EX({group},{{}})")
    most = 0
    for tick in range(1000):
        wanted.rotate(rng.randrange(400))
        joined = next(fresh)
        bench.hear((tick + 1) / 100, D1, f"TO_IN({wanted.popleft()},{{}}) + TO_EX({joined},{{}})")
        wanted.append(joined)
        most = max(most, bench.run((tick + 1.5) / 100).proxy.group_count(D1))
    assert most == 600
    assert bench.run(13.0).proxy.group_count(D1) == 400
    assert bench.proxy.counters(D1)["query_deferred"] == 0


# C: older hosts

def compatibility(bench: Bench) -> int:
    return next(each.compatibility for each in bench.proxy.groups(bench.now) if each.group == address("G"))


def follow(bench: Bench, rows: list[tuple[float, str, str, int, str]]) -> None:
    """Rows of (time, event, state after it, compatibility mode, query sent at once)."""
    for at, event, state, version, query in rows:
        outputs = bench.hear(at, D1, event) if event else bench.run(at) and []
        assert (at, bench.state()) == (at, state)
        assert state == "none" or compatibility(bench) == version
        asked = [text_of(output.packet) for output in outputs if isinstance(output, Send) and output.port == D1]
        assert asked == ([query] if query else [])


# RFC 9776 7.3.2 a b, 8.13 a
# RFC 4605 4.1 d
def test_c01_a_version_2_report_is_a_membership_for_any_source():
    follow(Bench(), [
        (0, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (100, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (359.9, "", "EXCLUDE X={} Y={} GT=10.1", 2, ""),
        (360, "", "EXCLUDE X={} Y={} GT=10", 3, ""),
    ])


# RFC 9776 7.3.2 d
def test_c02_a_version_2_leave_asks_the_group():
    bench = Bench()
    follow(bench, [
        (0, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (50, "Leave(G)", "EXCLUDE X={} Y={} GT=2", 2, "Q(G) S=0"),
        (50.5, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (60, "", "EXCLUDE X={} Y={} GT=260.5", 2, ""),
    ])
    assert bench.sends(D1) == [(50, "Q(G) S=0"), (51, "Q(G) S=1")]


# RFC 9776 7.3.2 e
def test_c03_with_version_2_hosts_no_source_is_cut_off():
    follow(Bench(), [
        (0, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (1, "BLOCK(G,{a})", "EXCLUDE X={} Y={} GT=269", 2, ""),
        (2, "TO_EX(G,{a,b})", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (3, "ALLOW(G,{c})", "EXCLUDE X={c:270} Y={} GT=269", 2, ""),
    ])


# RFC 9776 7.3.2 a f
def test_c04_with_version_1_hosts_nobody_leaves():
    follow(Bench(), [
        (0, "v1 Report(G)", "EXCLUDE X={} Y={} GT=270", 1, ""),
        (1, "Leave(G)", "EXCLUDE X={} Y={} GT=269", 1, ""),
        (2, "TO_IN(G,{})", "EXCLUDE X={} Y={} GT=268", 1, ""),
        (3, "BLOCK(G,{a})", "EXCLUDE X={} Y={} GT=267", 1, ""),
        (4, "TO_EX(G,{a})", "EXCLUDE X={} Y={} GT=270", 1, ""),
    ])


# RFC 9776 7.3.2 c
def test_c05_the_mode_steps_down_when_the_version_1_host_is_gone():
    follow(Bench(), [
        (0, "v1 Report(G)", "EXCLUDE X={} Y={} GT=270", 1, ""),
        (200, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 1, ""),
        (259.9, "", "EXCLUDE X={} Y={} GT=210.1", 1, ""),
        (260, "", "EXCLUDE X={} Y={} GT=210", 2, ""),
        (261, "Leave(G)", "EXCLUDE X={} Y={} GT=2", 2, "Q(G) S=0"),
        (264, "", "none", 2, ""),
    ])


def test_c06_a_version_2_report_lets_every_source_through():
    follow(Bench(), [
        (0, "ALLOW(G,{a})", "INCLUDE{a:270}", 3, ""),
        (10, "v2 Report(G)", "EXCLUDE X={} Y={} GT=270", 2, ""),
    ])


# RFC 9776 7.3.1 b f
def test_c07_a_version_2_port_asks_for_groups_only():
    bench = Bench(ports=())
    bench.add(D1, igmp_version=2)
    follow(bench, [
        (0, "TO_EX(G,{})", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (1, "BLOCK(G,{a})", "EXCLUDE X={} Y={} GT=269", 2, ""),
        (2, "TO_EX(G,{a})", "EXCLUDE X={} Y={} GT=270", 2, ""),
        (3, "ALLOW(G,{c})", "EXCLUDE X={c:270} Y={} GT=269", 2, ""),
        (4, "TO_IN(G,{})", "EXCLUDE X={c:269} Y={} GT=2", 2, "v2 Q(G)"),
    ])
    assert bench.sent[-1][24:].hex() == "110afef2ef010101"
    bench.run(7.0)
    assert bench.sends(D1) == [(4, "v2 Q(G)"), (5, "v2 Q(G)")]


# RFC 9776 7.3.1 b c d
def test_a_version_1_port_sends_no_specific_queries_and_ignores_leaves():
    bench = Bench(ports=())
    bench.add(D1, igmp_version=1)
    bench.hear(0.0, D1, "IS_EX(G,{})")
    bench.hear(1.0, D1, "TO_IN(G,{})")
    bench.hear(2.0, D1, "Leave(G)")
    assert bench.run(10.0).state() == "EXCLUDE X={} Y={} GT=260"
    assert bench.sends(D1) == []
    assert bench.proxy.counters(D1)["tx_query_v1"] > 2


# Queries on the wire

# RFC 9776 7.3.1 f
# RFC 4605 4.1 a
def test_w04_the_general_query_of_a_version_2_port():
    bench = Bench(ports=())
    bench.add(D1, igmp_version=2)
    assert bench.sent[0].hex() == "46c00020000040000102396dc0a80a01e0000001940400001164ee9b00000000"


# RFC 9776 4.1.3 a, 4.1.10 c, 4.1.11 a, 4.1.12 a, 8.1 c, 8.2 a, 8.3 a
# RFC 4605 4.1 a
# RFC 4541 2.1.1 j
def test_w05_the_general_query_of_a_version_3_port():
    bench = Bench(ports=(D1,))
    assert bench.sent[0].hex() == "46c000240000400001023969c0a80a01e0000001940400001164ec1e00000000027d0000"


# RFC 9776 4.1.3 a, 4.1.11 b, 4.1.12 b, 8.8 a
def test_w06_a_group_specific_query():
    bench = excluding(200.0)
    bench.hear(0.0, D1, "TO_IN(G,{})")
    assert bench.sent[-1].hex() == "46c000240000400001022968c0a80a01ef01010194040000110afc75ef010101027d0000"


# RFC 9776 4.1.6 a, 4.1.11 c, 8.8 a
def test_w07_values_of_a_source_query():
    parameters = Parameters(robustness=7, query_interval=255.0, last_member_query_interval=2.5)
    bench = Bench(parameters=parameters)
    bench.hear(0.0, D1, "ALLOW(G,{a,b})")
    bench.hear(1.0, D1, "BLOCK(G,{a,b})")
    bench.hear(1.5, D1, "IS_IN(G,{a,b})")
    bench.run(3.5)
    packet = "46c0002c0000400001022960c0a80a01ef010101940400001119da89ef0101010f8f00020a6300010a630002"
    assert bench.sent[-1].hex() == packet


# RFC 9776 4.1.8 b
@pytest.mark.parametrize(("mtu", "sizes"), [(1500, [366, 34]), (576, [135, 135, 130])])
def test_w28_a_query_for_many_sources_is_split_with_the_same_s_flag(mtu, sizes):
    bench = Bench(ports=())
    bench.add(D1, Link(LINKS[D1].addresses, mtu=mtu), parameters=Parameters(last_member_query_count=3))
    many = [f"10.98.{number // 250}.{number % 250 + 1}" for number in range(400)]
    for kind in ("ALLOW", "BLOCK"):
        for part in (many[:200], many[200:]):
            bench.hear(0.0, D1, f"{kind}(G,{{{','.join(part)}}})")
    bench.sent.clear()
    bench.run(1.0)                                                  # the retransmission has all of them
    queries = [decode(packet[24:]) for packet in bench.sent]
    assert [len(query.sources) for query in queries] == sizes
    assert len({source for query in queries for source in query.sources}) == 400
    assert not any(query.suppress for query in queries)


# Limits

def test_a_group_too_many_is_refused_and_the_others_live():
    bench = Bench(max_groups=2)
    bench.hear(0.0, D1, "TO_EX(G,{}) + TO_EX(G2,{}) + TO_EX(G3,{}) + TO_IN(239.9.9.9,{})")
    assert {each.group for each in bench.proxy.groups(0.0)} == {address("G"), address("G2")}
    assert bench.proxy.counters(D1)["limit_reached"] == 1
    bench.hear(1.0, D1, "IS_EX(G,{}) + IS_EX(G2,{})")
    assert bench.proxy.counters(D1)["limit_reached"] == 1


@pytest.mark.parametrize(("before", "record", "after"), [
    ("ALLOW(G,{a,b})", "ALLOW(G,{b,c,d})", "INCLUDE{a:269, b:270, c:270}"),
    ("ALLOW(G,{a,b})", "TO_IN(G,{c,d})", "INCLUDE{a:2, b:2, c:270}"),
    ("ALLOW(G,{a,b})", "TO_EX(G,{b,c,d,e})", "EXCLUDE X={b:2} Y={c, d} GT=270"),
    ("TO_EX(G,{a,b})", "BLOCK(G,{c,d})", "EXCLUDE X={c:2} Y={a, b} GT=269"),
    ("TO_EX(G,{a,b})", "IS_EX(G,{c,d,e,f})", "EXCLUDE X={c:270, d:270, e:270} Y={} GT=270"),
])
def test_sources_too_many_are_refused_and_the_others_live(before, record, after):
    bench = Bench(max_sources=3)
    bench.hear(0.0, D1, before)
    bench.hear(1.0, D1, record)
    assert bench.state() == after
    assert bench.proxy.counters(D1)["limit_reached"] == 1


def test_sources_of_all_groups_are_limited_together_and_have_room_again_when_some_end():
    """One host could name max_sources in each of max_groups: 4 million took 700 MB, and `show groups` stood still."""
    bench = Bench(max_port_sources=3)
    bench.hear(0.0, D1, "ALLOW(G,{a,b}) + TO_EX(G2,{a})")
    assert bench.proxy.counters(D1)["limit_reached"] == 0
    bench.hear(1.0, D1, "ALLOW(G,{a,c}) + ALLOW(G3,{a}) + TO_EX(239.9.9.9,{})")
    assert bench.state() == "INCLUDE{a:270, b:269}"
    assert [each.group for each in bench.proxy.groups(1.0)] == [*map(address, ("G", "G2", "239.9.9.9"))]
    assert bench.proxy.counters(D1)["limit_reached"] == 1
    bench.hear(2.0, D1, "IS_EX(G2,{c})")                        # in the place of a
    assert bench.proxy.counters(D1)["limit_reached"] == 1
    bench.hear(3.0, D1, "TO_EX(G2,{}) + ALLOW(G3,{a,b})")
    assert bench.state(group="G3") == "INCLUDE{a:270}"
    assert bench.proxy.counters(D1)["limit_reached"] == 2
    bench.take(bench.proxy.forget(D1, address("G"), 4.0))
    bench.hear(4.0, D1, "ALLOW(G3,{a,b,c,d})")
    assert bench.state(group="G3") == "INCLUDE{a:270, b:270, c:270}"
    bench.run(400.0)
    bench.hear(400.0, D1, "ALLOW(G,{a,b,c})")
    assert bench.state() == "INCLUDE{a:270, b:270, c:270}"


def test_a_refused_source_is_not_counted_when_nothing_would_be_kept_of_it():
    bench = Bench(max_sources=2)
    bench.hear(0.0, D1, "ALLOW(G,{a,b})")
    bench.hear(1.0, D1, "BLOCK(G,{c,d,e})")
    assert bench.state() == "INCLUDE{a:269, b:269}"
    assert bench.proxy.counters(D1)["limit_reached"] == 0


def test_the_last_reporter_is_who_last_asked_for_something():
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})", "192.168.10.11")
    bench.hear(1.0, D1, "TO_IN(G,{})", "192.168.10.12")
    assert bench.proxy.groups(1.0)[0].last_reporter == parse_address("192.168.10.11")
    bench.hear(1.5, D1, "IS_EX(G,{})", "192.168.10.14")
    assert bench.proxy.groups(1.5)[0].last_reporter == parse_address("192.168.10.14")
    assert bench.proxy.groups(1.5)[0].uptime == 1.5


def test_a_report_to_the_group_address_of_a_leave_counts_by_its_type():
    bench = Bench()
    bench.hear(0.0, D1, "v2 Report(G)")
    bench.receive(1.0, D1, encode(parse_address("192.168.10.11"), address("G"), bytes.fromhex("1700f8fcef010101")))
    counters = bench.proxy.counters(D1)
    assert (counters["report_v2"], counters["leave"]) == (1, 1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=2"


# RFC 9776 7.3.2 b
def test_a_leave_is_no_sign_of_an_older_host():
    """C-02: only reports start the compatibility timers."""
    bench = Bench()
    bench.hear(0.0, D1, "TO_EX(G,{})")
    bench.hear(1.0, D1, "Leave(G)")
    assert compatibility(bench) == 3
    bench.hear(2.0, D1, "v2 Report(G)")
    bench.hear(52.0, D1, "Leave(G)")
    bench.hear(52.5, D1, "IS_EX(G,{})")
    assert compatibility(bench.run(261.9)) == 2
    assert compatibility(bench.run(262.0)) == 3


@pytest.mark.parametrize(("version", "text"), [(1, "TO_IN(G,{a})"), (2, "BLOCK(G,{a})"), (1, "Leave(G)")])
def test_what_an_older_port_ignores_makes_no_group(version, text):
    bench = Bench(ports=())
    bench.add(D1, igmp_version=version)
    bench.hear(0.0, D1, text)
    assert bench.state() == "none"


# RFC 9776 7.3.1 d
def test_a_version_1_port_never_ends_a_group_before_its_time():
    bench = Bench(ports=())
    bench.add(D1, igmp_version=1)
    bench.hear(0.0, D1, "TO_EX(G,{a})")
    for text in ("Leave(G)", "TO_IN(G,{})", "BLOCK(G,{b})"):
        bench.hear(1.0, D1, text)
    assert bench.state() == "EXCLUDE X={} Y={} GT=269"
    assert bench.run(5.0).sends(D1) == []


def test_a_version_2_port_cannot_ask_for_sources():
    bench = Bench(ports=())
    bench.add(D1, igmp_version=2)
    bench.hear(0.0, D1, "ALLOW(G,{a})")
    bench.hear(0.0, D1, "IS_EX(G2,{}) + ALLOW(G2,{a})")
    bench.hear(1.0, D1, "TO_IN(G,{}) + TO_IN(G2,{})")
    assert bench.sends(D1) == [(1, "v2 Q(G2)")]
    assert bench.state() == "INCLUDE{a:269}"


@pytest.mark.parametrize("changed", [{"querier": False}, {"igmp_version": 1}])
def test_what_was_being_asked_is_asked_no_more_once_we_may_not(changed):
    bench = including(a=200, b=200)
    bench.hear(0.0, D1, "BLOCK(G,{a})")
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", **changed), bench.now))
    bench.log.clear()
    assert bench.run(3.0).state() == "INCLUDE{b:197}"       # its timer was lowered, and nobody answered
    assert bench.sends(D1) == []


def test_a_stranger_s_leave_is_asked_about_though_nobody_who_is_tracked_wants_the_source():
    bench = Bench()
    bench.hear(0.0, D1, "ALLOW(G,{a,b})")
    bench.hear(1.0, D1, "BLOCK(G,{a})")
    bench.take(bench.proxy.set_options(D1, PortOptions("downstream", quick_leave=True), bench.now))
    bench.log.clear()
    bench.hear(1.5, D1, "BLOCK(G,{a})", "192.168.10.77")
    assert bench.run(4.0).sends(D1) == [(2.0, "Q(G,{a}) S=0")]
