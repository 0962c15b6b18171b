"""The host side of one port: vectors H, and reports on the wire."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import (
    LINKS,
    NAMES,
    SPEAKERS,
    UP,
    address,
    filter_of,
    filter_text,
    half,
    packet_of,
    query_packet,
    record_of,
    sources,
    text_of,
)

from igmp.change import Change, current_state
from igmp.checksum import checksum
from igmp.counters import COUNTERS
from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, include
from igmp.host import Host
from igmp.messages import Query, decode, split_sources
from igmp.newest import MAX_ASKED
from igmp.outputs import Notice, Send
from igmp.packet import Link, Rules, receive
from igmp.parameters import Parameters, PortOptions

GENERAL = Query(max_response_time=10.0)
V2, V1 = Query(version=2), Query(version=1)


class Upstream:
    """A host on up under a hand-turned clock, with what it sent as (time, text)."""

    def __init__(self, link: Link = LINKS[UP], draw=half, parameters: Parameters | None = None, **options) -> None:
        self.link, self.now = link, 0.0
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.host = Host(UP, PortOptions("upstream", parameters or Parameters(), **options), self.counters, draw)
        self.sent: list[tuple[float, str]] = []
        self.packets: list[bytes] = []
        self.notices: list[tuple[float, Notice]] = []
        self.take(self.host.start(link, 0.0))

    def take(self, said) -> "Upstream":
        said = list(said)
        sends = [each for each in said if isinstance(each, Send)]
        self.notices += [(round(self.now, 4), each) for each in said if isinstance(each, Notice)]
        self.packets += [send.packet for send in sends]
        self.sent += [(round(self.now, 4), text_of(send.packet)) for send in sends]
        return self

    def run(self, until: float) -> "Upstream":
        while self.host.deadline <= until:
            self.now = max(self.now, self.host.deadline)
            self.take(self.host.expire(self.now))
        self.now = until
        return self

    def until(self, now: float) -> "Upstream":
        while self.host.deadline < now:
            self.now = max(self.now, self.host.deadline)
            self.take(self.host.expire(self.now))
        self.now = now
        return self

    def want(self, at: float, wanted: str, group: str = "G") -> "Upstream":
        self.until(at)
        return self.take(self.host.change({address(group): filter_of(wanted)}, at))

    def has(self, **groups: str) -> "Upstream":
        """Memberships that routers know already."""
        for group, wanted in groups.items():
            self.host.adopt(address(group), filter_of(wanted))
        return self

    def hear(self, at: float, packet: bytes | Query) -> "Upstream":
        self.until(at)
        if isinstance(packet, Query):
            packet = query_packet(packet, SPEAKERS[UP])
        received = receive(packet, self.link, True, Rules())
        return self.take(self.host.receive(received.message, at, received.source))


def reports(text: str) -> list[tuple[float, str]]:
    """From "0: TO_EX({}); 0.5: ALLOW({b}) + BLOCK({a})", all of G."""
    parts = (part.split(": ") for part in text.split("; ") if part)
    return [(float(at), re.sub(r"(\w+)\(\{", r"\1(G,{", records)) for at, records in parts]


# RFC 9776 2 c, 4.2.13 b c, 5.1 a b c d e f g h i j, 8.11 a
@pytest.mark.parametrize(("robustness", "start", "changes", "expected"), [
    # H-01
    (2, "IN{}", "0: EX{}", "0: TO_EX({}); 0.5: TO_EX({})"),
    (2, "EX{}", "0: IN{}", "0: TO_IN({}); 0.5: TO_IN({})"),
    (2, "IN{}", "0: IN{a}", "0: ALLOW({a}); 0.5: ALLOW({a})"),
    (2, "IN{a}", "0: IN{}", "0: BLOCK({a}); 0.5: BLOCK({a})"),
    (2, "IN{a}", "0: IN{b}", "0: ALLOW({b}) + BLOCK({a}); 0.5: ALLOW({b}) + BLOCK({a})"),
    (2, "EX{a}", "0: EX{b}", "0: ALLOW({a}) + BLOCK({b}); 0.5: ALLOW({a}) + BLOCK({b})"),
    (2, "IN{a,b}", "0: EX{c}", "0: TO_EX({c}); 0.5: TO_EX({c})"),
    (2, "EX{a,c}", "0: IN{a}", "0: TO_IN({a}); 0.5: TO_IN({a})"),
    # H-02
    (2, "IN{}", "0: EX{}; 0.2: EX{a}", "0: TO_EX({}); 0.2: TO_EX({a}); 0.7: BLOCK({a})"),
    (2, "IN{}", "0: EX{}; 0.2: IN{}", "0: TO_EX({}); 0.2: TO_IN({}); 0.7: TO_IN({})"),
    (2, "IN{}", "0: IN{a}; 0.2: IN{a,b}", "0: ALLOW({a}); 0.2: ALLOW({a,b}); 0.7: ALLOW({b})"),
    (2, "IN{}", "0: IN{a}; 0.2: IN{}", "0: ALLOW({a}); 0.2: BLOCK({a}); 0.7: BLOCK({a})"),
    (2, "IN{}", "0: EX{a}; 0.2: EX{a}; 0.6: EX{}",
     "0: TO_EX({a}); 0.5: TO_EX({a}); 0.6: ALLOW({a}); 1.1: ALLOW({a})"),
    # H-03
    (3, "IN{}", "0: EX{}", "0: TO_EX({}); 0.5: TO_EX({}); 1: TO_EX({})"),
    (3, "IN{}", "0: EX{}; 0.7: EX{a}",
     "0: TO_EX({}); 0.5: TO_EX({}); 0.7: TO_EX({a}); 1.2: BLOCK({a}); 1.7: BLOCK({a})"),
])
def test_h01_to_h03_changes_are_told_at_once_and_repeated(robustness, start, changes, expected):
    host = Upstream(parameters=Parameters(robustness=robustness)).has(G=start)
    for change in changes.split("; "):
        at, wanted = change.split(": ")
        host.want(float(at), wanted)
    assert host.run(100.0).sent == reports(expected)


# RFC 9776 4.2.13 a, 5.2 b k l
@pytest.mark.parametrize(("state", "general", "some", "other"), [
    ("IN{}", "", "", ""),
    ("IN{a}", "IS_IN(G,{a})", "IS_IN(G,{a})", ""),
    ("IN{a,b,c}", "IS_IN(G,{a,b,c})", "IS_IN(G,{a,c})", "IS_IN(G,{b})"),
    ("EX{}", "IS_EX(G,{})", "IS_IN(G,{a,c})", "IS_IN(G,{b})"),
    ("EX{a}", "IS_EX(G,{a})", "IS_IN(G,{c})", "IS_IN(G,{b})"),
    ("EX{a,b,c}", "IS_EX(G,{a,b,c})", "", ""),
])
def test_h04_answers_follow_the_state_and_what_was_asked(state, general, some, other):
    group = address("G")
    queries = {Query(): general, Query(group): general,
               Query(group, tuple(sources("a,c"))): some, Query(group, tuple(sources("b"))): other}
    for query, answer in queries.items():
        host = Upstream().has(G=state).hear(0.0, query).run(100.0)
        assert host.sent == ([(5.0, answer)] if answer else [])


# RFC 9776 5.2 a h j
def test_h05_a_general_answer_has_all_groups_in_one_report():
    host = Upstream().has(G="EX{}", G2="EX{c}", S="IN{a,b}")
    host.hear(0.0, bytes.fromhex("46c00024000040000102fa110a000001e0000001940400001164ec1e00000000027d0000"))
    assert host.run(100.0).sent[0][0] == 5.0
    assert [packet.hex() for packet in host.packets] == [
        "46c00044000040000102f9db0a000002e0000016940400002200f0c000000003"
        "01000002e80101010a6300010a63000202000000ef01010102000001ef0101020a630003"]


ALL = "IS_EX(G,{}) + IS_IN(G2,{a,b,c})"


def general(seconds: float) -> Query:
    return Query(max_response_time=seconds)


def specific(group: str, listed: str, seconds: float) -> Query:
    return Query(address(group), tuple(sorted(sources(listed))), seconds)


# RFC 9776 5.2 c d e f g m
@pytest.mark.parametrize(("queries", "expected"), [
    ([(0, general(10)), (1, specific("G", "", 1))], [(1.5, "IS_EX(G,{})"), (5, ALL)]),
    ([(0, general(10)), (2, general(10))], [(5, ALL)]),
    ([(0, general(10)), (2, general(1))], [(2.5, ALL)]),
    ([(0, specific("G2", "a", 10)), (1, specific("G2", "b,f", 1))], [(1.5, "IS_IN(G2,{a,b})")]),
    ([(0, specific("G2", "a", 10)), (1, specific("G2", "", 10))], [(5, "IS_IN(G2,{a,b,c})")]),
    ([(0, specific("G2", "", 10)), (1, specific("G2", "a", 1))], [(1.5, "IS_IN(G2,{a,b,c})")]),
    ([(0, general(1)), (0.1, specific("G", "", 10))], [(0.5, ALL)]),
    ([(0, general(10)), (1, specific("G", "", 8))], [(5, ALL)]),
])
def test_h06_pending_answers_follow_the_five_rules(queries, expected):
    host = Upstream().has(G="EX{}", G2="IN{a,b,c}")
    for at, query in queries:
        host.hear(at, query)
    assert host.run(100.0).sent == expected


# RFC 9776 5.2 k
def test_h06_8_the_state_is_looked_at_when_the_answer_is_due():
    host = Upstream().has(G="EX{}").hear(0.0, specific("G", "", 10)).want(3.0, "IN{}")
    assert host.run(100.0).sent == [(3, "TO_IN(G,{})"), (3.5, "TO_IN(G,{})")]


def test_h07_the_response_time_of_a_version_3_query_is_floating_point():
    query = decode(bytes.fromhex("119cebe600000000027d0000"))
    assert Upstream().has(G="EX{}").hear(0.0, query).run(100.0).sent == [(22.4, "IS_EX(G,{})")]
    query = decode(bytes.fromhex("119cee6300000000"))
    assert Upstream(igmp_version=3).has(G="EX{}").hear(0.0, query).run(100.0).sent == [(7.8, "IS_EX(G,{})")]


# RFC 9776 7.2.1 a e
# RFC 4605 4.1 g
def test_h08_an_older_querier_is_followed_for_400_seconds():
    host = Upstream().has(S="IN{a}").want(-0.2, "EX{}")
    assert host.host.deadline == pytest.approx(0.3)
    host.hear(0.0, bytes.fromhex("46c00020000040000102fa150a000001e0000001940400001164ee9b00000000"))
    assert host.host.version == 2
    host.run(124.0)
    assert sorted(host.sent[1:]) == [(5, "v2 Report(G)"), (5, "v2 Report(S)")]
    assert {packet[24:].hex() for packet in host.packets[1:]} == {"1600f9fcef010101", "160000fde8010101"}
    host.hear(125.0, GENERAL).run(131.0)
    assert sorted(host.sent[3:]) == [(130, "v2 Report(G)"), (130, "v2 Report(S)")]
    assert host.until(400.0).host.version == 2
    assert host.run(400.0).host.version == 3
    assert len(host.run(499.0).sent) == 5
    assert host.hear(500.0, GENERAL).run(600.0).sent[5:] == [(505, "IS_IN(S,{a}) + IS_EX(G,{})")]


# RFC 9776 8.12 a
def test_h08_the_newer_standard_waits_350_seconds():
    host = Upstream(parameters=Parameters(rfc9776=True)).hear(0.0, V2)
    assert host.until(350.0).host.version == 2
    assert host.run(350.0).host.version == 3


# RFC 9776 7.2.1 c
def test_h09_a_version_2_query_for_a_group_does_not_change_the_mode():
    host = Upstream().has(G="EX{}")
    host.hear(0.0, bytes.fromhex("46c00020000040000102ea140a000001ef01010194040000110afef2ef010101"))
    assert host.host.version == 3
    assert host.run(100.0).sent == [(0.5, "IS_EX(G,{})")]


# RFC 9776 7.2.1 a f
def test_h10_a_version_1_querier():
    host = Upstream().has(G="EX{}", G2="EX{}")
    host.hear(0.0, bytes.fromhex("45c0001c0000400001028f1e0a000001e00000011100eeff00000000"))
    assert host.host.version == 1
    assert sorted(host.run(19.0).sent) == [(5, "v1 Report(G)"), (5, "v1 Report(G2)")]
    assert {packet[24:].hex() for packet in host.packets} == {"1200fdfcef010101", "1200fdfbef010102"}
    assert len(host.want(20.0, "IN{}").run(399.0).sent) == 2


# RFC 9776 7.2.1 c d
def test_h11_version_1_outranks_version_2():
    host = Upstream().hear(0.0, V1).hear(100.0, V2)
    assert host.until(400.0).host.version == 1
    assert host.run(400.0).host.version == 2
    assert host.until(500.0).host.version == 2
    assert host.run(500.0).host.version == 3


# RFC 9776 7.2.1 d
@pytest.mark.parametrize(("second", "ends"), [(0.0, 400.0), (100.0, 500.0)])
def test_h11_a_version_1_querier_beside_one_of_version_2_is_forgotten_too(second, ends):
    host = Upstream().hear(0.0, V2).hear(second, V1)
    assert host.until(ends).host.version == 1
    assert host.run(ends).host.version == 3


# RFC 4605 4.1 j
def test_h12_version_2_knows_only_joining_and_leaving():
    host = Upstream(igmp_version=2).want(0.0, "EX{}").want(20.0, "IN{a}").want(30.0, "IN{}")
    assert host.run(100.0).sent == [(0, "v2 Report(G)"), (5, "v2 Report(G)"), (30, "Leave(G)")]
    assert host.packets[-1].hex() == "46c00020000040000102fa130a000002e0000002940400001700f8fcef010101"


def test_h12_joining_is_told_as_often_as_the_robustness_says():
    host = Upstream(parameters=Parameters(robustness=3), igmp_version=2).want(0.0, "EX{}")
    assert host.run(100.0).sent == [(0, "v2 Report(G)"), (5, "v2 Report(G)"), (10, "v2 Report(G)")]


# RFC 9776 7.2.2 b
def test_h14_a_version_3_report_of_another_silences_nothing():
    host = Upstream(igmp_version=2).want(0.0, "EX{}")
    host.hear(1.0, packet_of("TO_EX(G,{})", "10.0.0.7"))
    assert host.host.was_last_reporter(address("G"))
    assert host.run(100.0).sent == [(0, "v2 Report(G)"), (5, "v2 Report(G)")]


# RFC 9776 7.2.2 b
def test_h14_another_members_report_silences_ours():
    host = Upstream().has(G="EX{}").hear(0.0, V2).want(0.0, "EX{}")
    host.hear(3.0, bytes.fromhex("46c00020000040000102ea0e0a000007ef010101940400001600f9fcef010101"))
    assert host.run(50.0).sent == []
    assert not host.host.was_last_reporter(address("G"))
    assert host.want(50.0, "IN{}").sent == [(50, "Leave(G)")]


def test_h14_a_report_of_ours_sets_the_last_reporter_flag_and_anothers_clears_it():
    host = Upstream(igmp_version=2).want(0.0, "EX{}")
    assert host.host.was_last_reporter(address("G"))
    host.hear(1.0, packet_of("v2 Report(G)", "10.0.0.7"))
    assert not host.host.was_last_reporter(address("G"))
    assert host.run(100.0).sent == [(0, "v2 Report(G)")]


def test_h14_what_another_member_said_is_not_repeated_after_the_next_answer():
    host = Upstream(parameters=Parameters(robustness=3), igmp_version=2).want(0.0, "EX{}")
    host.hear(1.0, packet_of("v2 Report(G)", "10.0.0.7")).hear(100.0, V2)
    assert host.run(200.0).sent == [(0, "v2 Report(G)"), (105, "v2 Report(G)")]


# RFC 9776 5 c, 7.2.2 a
def test_h14_in_version_3_mode_reports_of_others_silence_nothing():
    host = Upstream().has(G="EX{}").hear(0.0, GENERAL).hear(1.0, packet_of("v2 Report(G)", "10.0.0.7"))
    assert host.run(100.0).sent == [(5, "IS_EX(G,{})")]


@pytest.mark.parametrize(("seconds", "at"), [(1.0, 1.5), (4.0, 5.0), (8.0, 5.0)])
def test_h15_a_shorter_query_hastens_a_pending_report(seconds, at):
    host = Upstream().has(G="EX{}").hear(0.0, V2)
    host.hear(1.0, Query(address("G"), (), seconds, version=2))
    assert host.run(100.0).sent == [(at, "v2 Report(G)")]


# Modes

# RFC 9776 7.2.1 e h
def test_falling_back_drops_what_was_pending_in_the_newer_version():
    host = Upstream().has(G="EX{}").hear(0.0, GENERAL).hear(1.0, specific("G", "a", 10)).want(2.0, "EX{a}")
    host.hear(2.1, Query(version=2, max_response_time=0.2))
    assert host.run(100.0).sent == [(2, "BLOCK(G,{a})"), (2.2, "v2 Report(G)")]


def test_an_older_querier_heard_again_drops_nothing():
    host = Upstream().has(G="EX{}").hear(0.0, V2).hear(1.0, V2)
    assert host.run(50.0).sent == [(5, "v2 Report(G)")]
    assert host.until(401.0).host.version == 2


# RFC 9776 7.2.1 i
def test_a_pinned_version_stays_and_answers_older_queries_its_own_way():
    host = Upstream(igmp_version=3).has(G="EX{a}").hear(0.0, V1)
    assert host.run(100.0).sent == [(5, "IS_EX(G,{a})")]
    host = Upstream(igmp_version=1).has(G="EX{a}").hear(0.0, GENERAL)
    assert host.run(100.0).sent == [(5, "v1 Report(G)")]


# RFC 9776 5.2 j
def test_a_response_time_of_zero_is_answered_at_once():
    host = Upstream().has(G="EX{}").hear(1.0, Query(max_response_time=0.0))
    assert host.host.deadline == 1.0
    assert host.run(1.0).sent == [(1, "IS_EX(G,{})")]


def at_once(*groups: str) -> tuple[Query, ...]:
    return tuple(Query(address(group), max_response_time=0.0) for group in groups) or (Query(max_response_time=0.0),)


@pytest.mark.parametrize(("queries", "answer"), [
    (at_once(), "IS_EX(G,{}) + IS_EX(G2,{})"),
    (at_once("G", "G2"), "IS_EX(G,{}) + IS_EX(G2,{})"),
    (at_once("G"), "IS_EX(G,{})"),
])
def test_a_flood_of_queries_that_leave_no_time_is_answered_ten_times_a_second(queries, answer):
    host = Upstream().has(G="EX{}", G2="EX{}")
    for moment in range(1000):
        host.hear(1.0 + moment / 1000, queries[moment % len(queries)])
    host.run(10.0)
    answers = host.sent if len(queries) == 1 else host.sent[1:]     # the first is told before the other is asked for
    assert [text for _, text in answers] == [answer] * len(answers)
    assert host.sent[0][0] == 1.0
    assert 10 <= len(host.sent) <= 11
    assert min(later - earlier for (earlier, _), (later, _) in itertools.pairwise(host.sent)) > 0.0999


def test_a_flood_keeps_no_answer_waiting_longer_than_the_shortest_time_that_can_be_said():
    host = Upstream().has(G="EX{}", G2="EX{}")
    for moment in range(100):
        host.hear(moment / 1000, *at_once("G"))
    host.hear(0.15, *at_once("G2"))
    assert (0.2, "IS_EX(G2,{})") in host.run(10.0).sent
    assert host.hear(20.0, *at_once()).run(20.0).sent[-1] == (20.0, "IS_EX(G,{}) + IS_EX(G2,{})")


@pytest.mark.parametrize("older", [V1, V2])
def test_an_older_voice_answers_such_a_flood_no_faster(older):
    host = Upstream().has(G="EX{}").hear(0.0, older).run(20.0)
    host.sent.clear()
    for moment in range(1000):
        host.hear(20.0 + moment / 1000, *at_once())
    assert len(host.run(60.0).sent) <= 11
    assert host.sent[0][0] == (20.0 if older is V2 else 25.0)       # version 1 has ten seconds, whatever is said


# RFC 9776 8 a
def test_robustness_and_interval_come_from_the_last_general_query():
    host = Upstream(parameters=Parameters(rfc9776=True)).hear(0.0, Query(robustness=3, interval=50.0)).run(10.0)
    assert host.want(11.0, "EX{}").run(100.0).sent == reports("11: TO_EX({}); 11.5: TO_EX({}); 12: TO_EX({})")
    host.hear(200.0, V2)
    assert host.until(200.0 + 3 * 50 + 10 * 10).host.version == 2
    assert host.run(450.0).host.version == 3
    host.hear(500.0, Query(robustness=0, interval=0.0)).want(501.0, "IN{}")
    assert host.run(600.0).sent[-2:] == reports("501: TO_IN({}); 501.5: TO_IN({})")


@pytest.mark.parametrize(("code", "seconds"), [(0x7F, 127), (0x80, 128), (0x99, 400), (0xFF, 600)])
def test_the_interval_of_a_version_3_query_is_floating_point_and_no_longer_than_max_query_interval(code, seconds):
    packet = query_packet(Query(interval=31744.0), SPEAKERS[UP])
    message = packet[24:26] + bytes(2) + packet[28:33] + bytes((code,)) + packet[34:]
    query = decode(message[:2] + checksum(message).to_bytes(2, "big") + message[4:])
    host = Upstream(parameters=Parameters(rfc9776=True)).hear(0.0, query).hear(1.0, Query(version=2))
    ends = 1.0 + 2 * seconds + 10 * 10
    assert host.until(ends).host.version == 2
    assert host.run(ends).host.version == 3


# RFC 9776 9.1 d
def test_the_list_of_asked_sources_is_bounded():
    host = Upstream().has(G="EX{}")
    for part in range(4):
        host.hear(0.0, Query(address("G"), tuple(range(part * 100 + 1, part * 100 + 101))))
    assert len(split_sources(range(400), 1500)[0]) == MAX_ASKED
    assert host.run(100.0).sent == [(5, "IS_EX(G,{})")]


# Links

def test_a_link_that_comes_back_is_told_everything_in_the_newest_version():
    host = Upstream().want(0.0, "EX{a}").want(0.0, "IN{b}", "S").hear(1.0, V2)
    host.host.stop()
    assert host.host.deadline == float("inf")
    host.until(50.0).want(50.0, "EX{}", "G2")
    sent = len(host.sent)
    host.take(host.host.start(LINKS[UP], 50.0)).run(100.0)
    everything = "ALLOW(S,{b}) + TO_EX(G,{a}) + TO_EX(G2,{})"
    assert host.sent[sent:] == [(50, everything), (50.5, everything)]
    assert host.host.version == 3


def test_leaving_is_said_once():
    host = Upstream().has(G="EX{a}", G2="IN{a,b}")
    assert host.take(host.host.leave()).run(100.0).sent == [(0, "TO_IN(G,{}) + BLOCK(G2,{a,b})")]
    assert host.take(host.host.leave()).run(100.0).sent[1:] == []
    host = Upstream(igmp_version=2).has(G="EX{}", G2="EX{}")
    assert host.take(host.host.leave()).sent == [(0, "Leave(G)"), (0, "Leave(G2)")]
    host = Upstream(igmp_version=1).has(G="EX{}")
    assert host.take(host.host.leave()).sent == []


# RFC 9776 4.2.14 b
def test_an_address_is_not_needed_to_report():
    host = Upstream(Link()).want(0.0, "EX{}")
    assert host.packets[0][12:16] == bytes(4)


# RFC 9776 4.2.14 a, 4.2.15 a b
def test_w08_w09_reports_on_the_wire():
    host = Upstream(igmp_version=1).want(0.0, "EX{}")
    assert host.packets[0].hex() == "46c00020000040000102ea130a000002ef010101940400001200fdfcef010101"
    host = Upstream(igmp_version=2).want(0.0, "EX{}")
    assert host.packets[0].hex() == "46c00020000040000102ea130a000002ef010101940400001600f9fcef010101"
    host = Upstream().want(0.0, "EX{}")
    assert host.packets[0].hex() == (
        "46c00028000040000102f9f70a000002e0000016940400002200e9fb0000000104000000ef010101")
    host = Upstream().want(0.0, "IN{a,b}", "S")
    assert host.packets[0].hex() == (
        "46c00030000040000102f9ef0a000002e0000016940400002200db300000000105000002e80101010a6300010a630002")


# RFC 9776 4.2.17 a
def test_many_groups_joined_together_share_reports_also_when_repeated():
    host = Upstream()
    groups = [address("239.2.0.0") + number for number in range(200)]
    host.take(host.host.change(dict.fromkeys(groups, EVERYTHING), 0.0)).run(100.0)
    assert [(at, len(decode(packet[24:]).records)) for (at, _), packet in
            zip(host.sent, host.packets, strict=True)] == [(0, 183), (0, 17), (0.5, 183), (0.5, 17)]
    assert host.counters["tx_report_v3"] == 4


# Very many groups

CHUNK = 512             # groups that one call may take, some milliseconds


def with_groups(count: int, draw=half, **options) -> Upstream:
    """A host whose routers know of `count` groups."""
    host = Upstream(draw=draw, **options)
    for number in range(count):
        host.host.adopt(address("239.2.0.0") + number, EVERYTHING)
    return host


def told(host: Upstream) -> int:
    """How many groups are named in what was sent since it was asked last."""
    count = sum(text.count("(") for _, text in host.sent)
    host.sent.clear()
    return count


@pytest.mark.parametrize("count", [CHUNK, CHUNK + 1])
def test_one_call_answers_for_no_more_than_a_chunk_of_groups(count):
    host = with_groups(count).hear(0.0, GENERAL).until(5.0)
    assert told(host.take(host.host.expire(5.0))) == CHUNK
    if count > CHUNK:
        assert host.host.deadline == 5.0
        assert told(host.take(host.host.expire(5.0))) == 1
    assert host.host.deadline == float("inf")


@pytest.mark.parametrize("count", [CHUNK, CHUNK + 1])
def test_one_call_announces_no_more_than_a_chunk_of_groups(count):
    host = with_groups(count)
    assert told(host.take(host.host.start(LINKS[UP], 0.0))) == CHUNK
    if count > CHUNK:
        assert host.host.deadline == 0.0
        assert told(host.take(host.host.expire(0.0))) == 1
    assert host.host.deadline == 0.5                    # the repetitions


@pytest.mark.parametrize("count", [CHUNK, CHUNK + 1])
def test_one_call_finds_times_for_no_more_than_a_chunk_of_older_answers(count):
    drawn = []
    host = with_groups(count, lambda: drawn.append(0.5) or 0.5, igmp_version=2).hear(0.0, V2)
    assert len(drawn) == CHUNK
    if count > CHUNK:
        assert host.host.deadline == 0.0
        host.take(host.host.expire(0.0))
    assert (len(drawn), host.host.deadline) == (count, 5.0)


def test_a_flood_of_older_queries_keeps_no_group_from_being_answered_for():
    """Each began anew with the same groups, so the others were never told, and their streams ended."""
    count, heard = 4 * CHUNK, set[str]()
    host = with_groups(count, igmp_version=2)
    for number in range(10_000):
        now = number / 1000
        host.now = now
        host.take(host.host.receive(V2, now))
        if host.host.deadline <= now:
            host.take(host.host.expire(now))            # one turn of the agent's between two packets
        heard.update(text for _, text in host.sent)
    assert len(heard) == count


def test_a_specific_query_meanwhile_delays_no_answer_to_a_general_one():
    host = with_groups(CHUNK + 1, igmp_version=2).hear(0.0, V2)
    host.take(host.host.receive(Query(address("239.2.1.0"), max_response_time=25.0, version=2), 0.0))
    host.run(5.0)
    assert told(host) == CHUNK + 1


def test_what_is_asked_while_answers_find_their_times_is_answered_in_time():
    host = with_groups(CHUNK + 1, igmp_version=2).hear(0.0, V2)
    host.take(host.host.receive(Query(max_response_time=1.0, version=2), 0.0))
    host.run(0.55)
    assert told(host) == CHUNK + 1


FILTERS = st.builds(Filter, st.sampled_from(Mode), st.frozensets(st.integers(1, 5)))


# RFC 9776 5.1 i j
@given(st.lists(st.tuples(FILTERS, st.integers(0, 3)), min_size=1, max_size=6), st.integers(1, 4), st.data())
def test_a_router_that_misses_fewer_reports_than_the_robustness_knows_what_is_wanted(changes, robustness, data):
    """Changes, each followed by some repetitions, then all the rest; any robustness - 1 transmissions are lost."""
    lost = data.draw(st.sets(st.integers(0, 30), max_size=robustness - 1))
    known = wanted = NOTHING
    change, serial = Change(), itertools.count()
    for state, repetitions in [*changes, (changes[-1][0], 99)]:
        fresh = state != wanted
        if fresh:
            change.note(wanted, state, robustness)
            wanted = state
        for _ in range(repetitions + fresh):
            if change:
                known = known if next(serial) in lost else hear(known, change.records(1, wanted))
                change.transmitted()
    assert not change
    assert known == wanted


def hear(known: Filter, records) -> Filter:
    """A tracking router's view of one host after its records."""
    for record in records:
        listed = frozenset(record.sources)
        match record.type.name:
            case "CHANGE_TO_INCLUDE":
                known = include(listed)
            case "CHANGE_TO_EXCLUDE":
                known = Filter(Mode.EXCLUDE, listed)
            case "ALLOW_NEW_SOURCES":
                both = known.sources | listed if known.mode is Mode.INCLUDE else known.sources - listed
                known = Filter(known.mode, both)
            case "BLOCK_OLD_SOURCES":
                both = known.sources - listed if known.mode is Mode.INCLUDE else known.sources | listed
                known = Filter(known.mode, both)
    return known


# RFC 9776 5.2 l
@given(FILTERS, st.frozensets(st.integers(1, 6), min_size=1))
def test_an_answer_names_exactly_the_asked_sources_that_are_wanted(wanted, asked):
    answer = current_state(1, wanted, asked)
    assert set(answer.sources if answer else ()) == {source for source in asked if wanted.admits(source)}


def test_the_notation_of_these_tests_means_what_it_says():
    assert filter_text(filter_of("EX{a,b}")) == "EX{a,b}"
    assert record_of("ALLOW(G,{a})").group in NAMES


# What people are told of versions

QUERIER = address(SPEAKERS[UP])


# RFC 4605 4.3 d
def test_a_fallback_is_told_once_with_what_is_lost_and_so_is_the_return():
    host = Upstream().has(S="IN{a}", G="EX{}", G2="IN{a,b}")
    for at in (0.0, 125.0, 250.0):
        host.hear(at, V2)
    host.hear(260.0, V1).run(1000.0)
    assert host.notices == [
        (0.0, Notice(UP, "fallback", QUERIER, version=2, count=2)),
        (260.0, Notice(UP, "fallback", QUERIER, version=1, count=2)),
        (660.0, Notice(UP, "back", 0, version=3)),
    ]


def test_a_link_that_comes_back_is_no_return():
    host = Upstream().hear(0.0, V2)
    host.take(host.host.start(LINKS[UP], 1.0))
    assert host.host.version == 3
    assert [each.kind for _, each in host.notices] == ["fallback"]


@pytest.mark.parametrize(("ours", "query", "kind"), [
    (3, V2, "older_querier"), (3, V1, "older_querier"), (2, V1, "older_querier"),
    (2, GENERAL, "newer_querier"), (1, V2, "newer_querier"),
    (3, GENERAL, None), (2, V2, None), (2, Query(address("G"), version=3), None),
])  # fmt: skip
def test_whichever_side_is_older_a_mismatch_with_what_is_configured_is_told_once(ours, query, kind):
    host = Upstream(igmp_version=ours).hear(0.0, query).hear(125.0, query)
    told = [(0.0, Notice(UP, kind, QUERIER, version=query.version))] if kind else []
    assert host.notices == told
