"""Explicit tracking and quick leave: vectors Q, what makes tracking unsafe, and its limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import D1, D2, SPEAKERS, UP, Bench, address, names, parse_address

from igmp.filter import NO_SOURCES, Filter, Mode, exclude, include, merge
from igmp.messages import Query, RecordType
from igmp.tables import ALLOW, BLOCK, IS_EX, IS_IN, TO_EX, TO_IN
from igmp.tracking import HOSTS_PER_GROUP, SOURCES_PER_HOST, SWEEP_GAP, Hosts, Interest, Room, key_of

H1, H2, H4 = "192.168.10.11", "192.168.10.12", "192.168.10.14"
NOBODY = "0.0.0.0"
MAC = 0x020000000A99
GMI = 270.0


def quick(**options) -> Bench:
    """A bench whose ports leave quickly once it is sure."""
    return Bench(**{"quick_leave": True, **options}).run(0.0)


def hosts(bench: Bench, group: str = "G") -> dict[str, str]:
    """What hosts want of a group, by the last octet of their address."""
    table = {}
    for each in bench.proxy.hosts(bench.now):
        if each.group == address(group):
            kind = "IN" if each.mode is Mode.INCLUDE else "EX"
            table[str(each.host & 255)] = f"{kind}{{{names(each.sources)}}}"
    return table


# Q: vectors

def test_q01_only_the_last_host_ends_a_group_and_at_once():
    bench = quick()
    for host in (H1, H2):
        bench.hear(0.0, D1, "TO_EX(G,{})", host)
    bench.hear(10.0, D1, "TO_IN(G,{})", H1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=260"
    assert hosts(bench) == {"12": "EX{}"}
    bench.hear(20.0, D1, "TO_IN(G,{})", H2)
    assert bench.state() == "none"
    assert bench.run(30.0).sends(D1) == []
    assert bench.sends(UP, since=10.0) == [(20, "TO_IN(G,{})"), (20.5, "TO_IN(G,{})")]


def test_q02_a_version_2_host_may_have_been_suppressed():
    bench = quick()
    bench.hear(0.0, D1, "v2 Report(G)", H1)
    bench.hear(10.0, D1, "Leave(G)", H1)
    assert bench.run(11.9).state() == "EXCLUDE X={} Y={} GT=0.1"
    assert bench.run(12.0).state() == "none"
    assert bench.sends(D1) == [(10, "Q(G) S=0"), (11, "Q(G) S=0")]


def test_a_tracked_host_of_version_2_proves_nothing():
    """h2 reported last and went without a word, since it was not the last reporter when it did."""
    bench = quick()
    for at, host in ((0.0, H2), (1.0, H1)):
        bench.hear(at, D1, "v2 Report(G)", host)
    bench.hear(10.0, D1, "Leave(G)", H1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=2"
    assert bench.run(12.0).state() == "none"
    assert bench.sends(D1) == [(10, "Q(G) S=0"), (11, "Q(G) S=0")]


@pytest.mark.parametrize("older", ["v1 Report(G)", "v2 Report(G)"])
def test_beside_an_older_host_every_leave_that_counts_is_asked_about(older):
    bench = quick()
    bench.hear(0.0, D1, "TO_EX(G,{})", H1)
    bench.hear(0.0, D1, older, H2)
    bench.hear(10.0, D1, "TO_IN(G,{})", H1)
    assert bench.sends(D1) == ([(10, "Q(G) S=0")] if older.startswith("v2") else [])    # version 1: leaves are ignored
    bench.hear(11.0, D1, older, H2)
    bench.run(20.0)
    assert bench.state() == "EXCLUDE X={} Y={} GT=261"


# RFC 4541 2.1.1 e
def test_q03_a_host_without_address_may_speak_for_many():
    bench = quick()
    bench.hear(0.0, D1, "TO_EX(G,{})", H1)
    bench.take(bench.proxy.receive(D1, packet("TO_EX(G,{})", NOBODY), 0.0, MAC))
    bench.hear(10.0, D1, "TO_IN(G,{})", H1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=2"
    assert bench.run(20.0).sends(D1) == [(10, "Q(G) S=0"), (11, "Q(G) S=0")]


def test_q04_every_source_is_looked_at_on_its_own():
    bench = quick()
    bench.hear(0.0, D1, "ALLOW(G,{a,b})", H1)
    bench.hear(0.0, D1, "ALLOW(G,{b,c})", H2)
    bench.hear(10.0, D1, "BLOCK(G,{b})", H1)
    assert bench.state() == "INCLUDE{a:260, b:260, c:260}"
    bench.hear(20.0, D1, "BLOCK(G,{b})", H2)
    assert bench.state() == "INCLUDE{a:250, c:250}"
    bench.hear(30.0, D1, "TO_EX(G,{})", H1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"
    bench.hear(40.0, D1, "TO_IN(G,{})", H1)
    assert bench.state() == "INCLUDE{c:230}"
    assert bench.run(50.0).sends(D1) == []
    assert bench.merged() == "IN{c}"


def test_q05_nobody_is_asked_about_a_leave_of_an_unknown_host():
    bench = quick()
    bench.hear(0.0, D1, "TO_EX(G,{})", H1)
    bench.hear(10.0, D1, "TO_IN(G,{})", H4)
    assert bench.state() == "EXCLUDE X={} Y={} GT=260"
    assert bench.run(20.0).sends(D1) == []
    assert bench.proxy.counters(D1)["leave_untracked"] == 1


def test_q06_without_tracking_whoever_leaves_ends_the_group():
    bench = Bench(quick_leave_untracked=True)
    for host in (H1, H2):
        bench.hear(0.0, D1, "TO_EX(G,{}) + ALLOW(S,{a,b})", host)
    bench.hear(10.0, D1, "TO_IN(G,{}) + BLOCK(S,{a})", H1)
    assert bench.state() == "none"
    assert bench.state(group="S") == "INCLUDE{b:260}"
    assert bench.sends(UP, since=5.0) == [(10, "BLOCK(S,{a}) + TO_IN(G,{})")]
    bench.hear(20.0, D1, "IS_EX(G,{})", H2)
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"
    assert bench.run(30.0).sends(D1) == []


def packet(text: str, source: str) -> bytes:
    from link import packet_of
    return packet_of(text, source)


# What makes tracking unsafe

def leaves(bench: Bench, at: float, group: str = "G") -> bool:
    """h1 joins and leaves at `at`: whether it was quick."""
    bench.hear(at, D1, f"TO_EX({group},{{}})", H1)
    bench.hear(at, D1, f"TO_IN({group},{{}})", H1)
    return bench.state(group=group) == "none"


def test_members_may_be_unheard_until_the_startup_queries_are_answered():
    bench = Bench(ports=(UP,), quick_leave=True)
    bench.now = 0.0
    bench.add(D1, quick_leave=True)
    series = 31.25 + 10.0
    assert not leaves(bench, series - 0.1)
    assert leaves(bench, series, "G2")


def test_only_a_querier_knows_everybody():
    bench = quick()
    bench.ask(1.0, D1, Query(), "192.168.10.0")         # not a host's address: ignored
    assert leaves(bench, 2.0)
    bench = quick(querier=False)
    bench.hear(0.0, D1, "TO_EX(G,{})", H1)
    bench.hear(10.0, D1, "TO_IN(G,{})", H1)
    assert bench.state() == "EXCLUDE X={} Y={} GT=260"


def test_a_port_that_asks_in_version_2_never_leaves_quickly():
    bench = quick(igmp_version=2)
    assert not leaves(bench, 0.0)
    assert bench.sends(D1) == [(0, "v2 Q(G)")]


def test_a_refused_host_makes_the_group_blind_until_it_is_deleted():
    bench = quick(max_hosts=2)
    for host in (H1, H2, H4):
        bench.hear(0.0, D1, "TO_EX(G,{})", host)
    assert bench.proxy.counters(D1)["limit_reached"] == 1
    assert hosts(bench) == {"11": "EX{}", "12": "EX{}"}
    bench.hear(1.0, D1, "TO_IN(G,{})", H1)
    assert bench.sends(D1) == [(1, "Q(G) S=0")]
    bench.hear(1.5, D1, "IS_EX(G,{})", H2)
    bench.run(3.0)
    bench.hear(3.0, D1, "TO_IN(G,{})", H2)
    assert bench.sends(D1, since=3.0) == [(3, "Q(G) S=0")]
    assert bench.run(5.0).state() == "none"
    assert leaves(bench, 6.0)


def test_a_group_that_ends_gives_its_room_back():
    bench = Bench(ports=(D1,), max_groups=1, max_hosts=4).run(0.0)
    listed = ",".join(f"10.98.0.{number}" for number in range(1, 41))
    assert Room(4, 1).free < 2 * 40
    for at, group in ((0.0, "G"), (300.0, "G2"), (600.0, "G3")):
        bench.hear(at, D1, f"ALLOW({group},{{{listed}}})")
        assert len(bench.proxy.hosts(at)) == 1
    assert bench.proxy.counters(D1)["limit_reached"] == 0


def test_refused_sources_make_the_group_blind_as_well():
    bench = quick(max_sources=1)
    bench.hear(0.0, D1, "ALLOW(G,{a,b})", H1)
    bench.hear(1.0, D1, "BLOCK(G,{a,b})", H1)
    assert bench.sends(D1) == [(1, "Q(G,{a}) S=0")]


def test_tracking_alone_changes_nothing():
    bench = Bench().run(0.0)
    for host in (H1, H2):
        bench.hear(0.0, D1, "TO_EX(G,{})", host)
    bench.hear(1.0, D1, "TO_IN(G,{})", H1)
    assert hosts(bench) == {"12": "EX{}"}
    assert bench.sends(D1) == [(1, "Q(G) S=0")]


def test_an_unknown_host_that_was_the_last_to_want_a_source_is_asked_about():
    bench = quick()
    bench.hear(0.0, D1, "ALLOW(G,{a})", H1)
    bench.hear(1.0, D1, "TO_IN(G,{b})", H2)             # may have wanted more before than we know
    assert bench.state() == "INCLUDE{a:269, b:270}"
    bench.run(150.0)
    bench.hear(200.0, D1, "IS_EX(G,{})", H1)
    bench.hear(300.0, D1, "BLOCK(G,{b})", H4)
    assert bench.sends(D1) == []


def test_leaves_are_repeated_and_count_once_only_if_nobody_knew_the_host():
    bench = quick()
    for host in (H1, H2):
        bench.hear(0.0, D1, "TO_EX(G,{})", host)
    for at in (1.0, 1.5):
        bench.hear(at, D1, "TO_IN(G,{})", H1)
    assert bench.proxy.counters(D1)["leave_untracked"] == 0
    bench.hear(2.0, D1, "TO_IN(G,{}) + BLOCK(G,{a})", H4)
    assert bench.proxy.counters(D1)["leave_untracked"] == 1
    assert bench.run(10.0).sends(D1) == []


def test_a_switch_to_excluding_asks_nobody_about_sources_others_want():
    bench = quick()
    bench.hear(0.0, D1, "ALLOW(G,{a,b})", H1)
    bench.hear(0.0, D1, "ALLOW(G,{b})", H2)
    bench.hear(1.0, D1, "TO_EX(G,{b})", H1)
    assert bench.state() == "EXCLUDE X={b:269} Y={} GT=270"
    bench.hear(2.0, D1, "BLOCK(G,{b})", H2)
    assert bench.state() == "EXCLUDE X={} Y={b} GT=269"
    assert bench.run(10.0).sends(D1) == []


def test_a_restart_forgets_hosts_and_learns_them_before_anybody_leaves_quickly():
    bench = Bench(ports=(UP,), quick_leave=True)
    bench.now = 0.0
    bench.add(D1, quick_leave=True)
    bench.inherit((address("G"), None, 1 << D1)).run(0.0)
    bench.hear(5.0, D1, "IS_EX(G,{})", H1)
    bench.hear(20.0, D1, "TO_IN(G,{})", H1)
    assert bench.sends(D1, since=1.0) == [(20, "Q(G) S=0")]
    bench.hear(20.5, D1, "IS_EX(G,{})", H2)
    bench.hear(60.0, D1, "TO_IN(G,{})", H2)
    assert bench.state() == "none"


def test_hosts_are_shown_with_what_they_want_and_until_when():
    bench = Bench().run(0.0)
    bench.hear(0.0, D1, "ALLOW(G,{a})", H1)
    bench.hear(10.0, D1, "TO_EX(G,{b,c})", H2)
    bench.take(bench.proxy.receive(D1, packet("v2 Report(G2)", NOBODY), 20.0, MAC))
    bench.hear(20.0, D2, "ALLOW(G,{b})")
    rows = {(each.port, each.group, each.host): each for each in bench.proxy.hosts(20.0)}
    assert len(rows) == 4
    first = rows[D1, address("G"), parse_address(H1)]
    assert (first.mode, first.sources, first.expires, first.mac) == (Mode.INCLUDE, (address("a"),), 250.0, 0)
    second = rows[D1, address("G"), parse_address(H2)]
    assert (second.mode, second.sources, second.expires) == (Mode.EXCLUDE, (address("b"), address("c")), 260.0)
    assert rows[D1, address("G2"), 0].mac == MAC
    assert rows[D2, address("G"), parse_address(SPEAKERS[D2])].mode is Mode.INCLUDE


def test_hosts_that_fall_silent_vanish_from_the_table():
    bench = Bench().run(0.0)
    bench.hear(0.0, D1, "TO_EX(G,{})", H1)
    bench.hear(100.0, D1, "TO_EX(G,{})", H2)
    assert hosts(bench.run(269.0)) == {"11": "EX{}", "12": "EX{}"}
    assert hosts(bench.run(271.0)) == {"12": "EX{}"}


# One host

SOURCES = st.frozensets(st.integers(1, 4))
RECORDS = st.lists(st.tuples(st.sampled_from(RecordType), SOURCES), max_size=8)


def literal(known: Filter, kind: RecordType, listed: frozenset[int]) -> Filter:
    """What a host wants after a record of its (protocol 8.2)."""
    excluding = known.mode is Mode.EXCLUDE
    match kind:
        case RecordType.MODE_IS_EXCLUDE | RecordType.CHANGE_TO_EXCLUDE:
            return exclude(listed)
        case RecordType.CHANGE_TO_INCLUDE:
            return include(listed)
        case RecordType.BLOCK_OLD_SOURCES:
            return exclude(known.sources | listed) if excluding else include(known.sources - listed)
        case _:
            return exclude(known.sources - listed) if excluding else include(known.sources | listed)


@given(RECORDS)
def test_an_interest_is_what_the_records_of_a_host_add_up_to(records):
    interest, known = Interest(), include([])
    for kind, listed in records:
        interest.take(kind, listed, 0.0, GMI)
        known = literal(known, kind, listed)
        for source in range(6):
            assert interest.wants(source, 1.0) == known.admits(source)
        assert interest.excludes(1.0) == (known.mode is Mode.EXCLUDE)
        assert (interest.ends(0.0) > 0.0) == bool(known)


def test_an_answer_to_a_source_query_outlives_a_forgotten_exclude_mode():
    """Its host may have changed to INCLUDE without being heard."""
    interest = Interest()
    interest.take(TO_EX, NO_SOURCES, 0.0, 10.0)
    interest.take(IS_IN, frozenset({1}), 5.0, 15.0)
    assert interest.wants(2, 9.0)
    assert (interest.wants(1, 11.0), interest.wants(2, 11.0)) == (True, False)
    interest.take(ALLOW, frozenset({2}), 12.0, 22.0)
    assert (interest.wants(1, 13.0), interest.wants(1, 16.0), interest.wants(2, 16.0)) == (True, False, True)
    assert interest.ends(16.0) == 22.0


def test_blocking_in_exclude_mode_takes_back_an_answer():
    interest = Interest()
    interest.take(IS_EX, frozenset({3}), 0.0, 10.0)
    interest.take(IS_IN, frozenset({1}), 0.0, 10.0)
    interest.take(BLOCK, frozenset({1}), 0.0, 10.0)
    assert [source for source in range(5) if interest.wants(source, 1.0)] == [0, 2, 4]


# All hosts of a group

# RFC 4541 2.1.2 g
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(RecordType), SOURCES), max_size=12))
def test_the_hosts_of_a_group_want_what_each_of_them_wants(records):
    tracked, room = Hosts(), Room(9, 9)
    free, known = room.free, dict.fromkeys((1, 2, 3), include([]))
    for host, kind, listed in records:
        assert tracked.hear(host, MAC, kind, listed, 0.0, GMI, 9, room)
        known[host] = literal(known[host], kind, listed)
    mode, timers, blocked, timer = tracked.merged(1.0)
    together = merge(list(known.values()))
    assert (include(timers) if mode is Mode.INCLUDE else exclude(blocked)) == together
    assert timer == (GMI if mode is Mode.EXCLUDE else math.inf)
    assert tracked.unwanted(frozenset(range(6)), 1.0) == {each for each in range(6) if not together.admits(each)}
    assert tracked.want_group(1.0) == (mode is Mode.EXCLUDE)
    assert len(tracked) == sum(1 for each in known.values() if each)
    assert tracked.size == free - room.free
    assert tracked.is_complete(1.0)
    assert {host for host, _ in tracked.items(1.0)} == {host for host, each in known.items() if each}


def test_lapsed_hosts_want_nothing_and_make_room():
    tracked, room = Hosts(), Room(2, 0)
    tracked.hear(1, MAC, TO_EX, NO_SOURCES, 0.0, 10.0, 2, room)
    tracked.hear(key_of(0, MAC), MAC, TO_EX, NO_SOURCES, 0.0, 10.0, 2, room)
    assert not tracked.is_complete(9.0)
    assert tracked.is_complete(10.0)
    assert not tracked.want_group(10.0)
    assert not tracked.knows(1, 10.0)
    assert tracked.unwanted(frozenset({5}), 10.0) == {5}
    assert tracked.merged(10.0) == (Mode.INCLUDE, {}, NO_SOURCES, math.inf)
    assert not tracked.hear(3, MAC, TO_EX, NO_SOURCES, SWEEP_GAP - 1.0, 99.0, 2, room)      # looked for not long ago
    assert tracked.hear(3, MAC, TO_EX, NO_SOURCES, SWEEP_GAP + 1.0, 99.0, 2, room)
    assert len(tracked) == 1


def test_the_longest_timer_of_a_source_counts():
    tracked, room = Hosts(), Room(2, 9)
    tracked.hear(1, MAC, ALLOW, frozenset({7}), 0.0, 20.0, 2, room)
    tracked.hear(2, MAC, ALLOW, frozenset({7}), 0.0, 10.0, 2, room)
    assert tracked.merged(0.0)[1] == {7: 20.0}
    assert tracked.merged(15.0)[1] == {7: 20.0}


def test_a_host_with_too_many_sources_is_forgotten_and_the_group_is_blind():
    tracked, room = Hosts(), Room(1, 99)
    before = room.free
    many = frozenset(range(1, SOURCES_PER_HOST + 1))
    assert tracked.hear(1, MAC, ALLOW, many, 0.0, GMI, 1, room)
    assert not tracked.hear(1, MAC, ALLOW, frozenset({99}), 0.0, GMI, 1, room)
    assert (len(tracked), room.free) == (0, before)
    assert not tracked.is_complete(0.0)


def test_a_port_tracks_no_more_than_its_room():
    room = Room(1, 1)
    groups = [Hosts() for _ in range(HOSTS_PER_GROUP + 5)]
    tracked = [each.hear(1, MAC, TO_EX, NO_SOURCES, 0.0, GMI, 9, room) for each in groups]
    assert sum(tracked) == HOSTS_PER_GROUP + 1
    assert not groups[0].hear(1, MAC, TO_EX, frozenset({1, 2}), 0.0, GMI, 9, room)
    assert room.free == 1


def test_a_host_may_fill_the_room_to_the_last_place():
    tracked, room = Hosts(), Room(9, 0)
    assert tracked.hear(1, MAC, ALLOW, frozenset({1}), 0.0, GMI, 9, room)
    assert tracked.hear(1, MAC, ALLOW, frozenset(range(1, 9)), 0.0, GMI, 9, room)
    assert (room.free, tracked.size, tracked.is_complete(0.0)) == (0, 9, True)
    assert not tracked.hear(1, MAC, ALLOW, frozenset({9}), 0.0, GMI, 9, room)
    assert (room.free, tracked.size, tracked.is_complete(0.0)) == (9, 0, False)


def test_what_ends_at_this_moment_is_over():
    tracked, room = Hosts(), Room(9, 9)
    tracked.hear(1, MAC, ALLOW, frozenset({7}), 0.0, 10.0, 9, room)
    tracked.hear(1, MAC, BLOCK, frozenset({8}), 10.0, 20.0, 9, room)
    assert len(tracked) == 0
    tracked.hear(2, MAC, TO_EX, frozenset({7}), 0.0, 10.0, 9, room)
    tracked.hear(2, MAC, BLOCK, frozenset({8}), 10.0, 20.0, 9, room)
    assert len(tracked) == 0


def test_who_wants_nothing_is_not_tracked():
    tracked, room = Hosts(), Room(9, 9)
    for kind, listed in ((BLOCK, {1}), (TO_IN, ()), (ALLOW, ()), (IS_IN, ())):
        assert tracked.hear(1, MAC, kind, frozenset(listed), 0.0, GMI, 9, room)
    assert len(tracked) == 0
    assert not tracked.knows(1, 0.0)


@pytest.mark.parametrize("kind", [BLOCK, TO_IN])
def test_who_left_last_is_known_until_somebody_else_leaves(kind):
    tracked, room = Hosts(), Room(9, 9)
    for host in (1, 2):
        tracked.hear(host, MAC, ALLOW, frozenset({7}), 0.0, GMI, 9, room)
    tracked.hear(1, MAC, kind, frozenset({7}) if kind is BLOCK else NO_SOURCES, 0.0, GMI, 9, room)
    assert tracked.knows(1, 0.0)
    tracked.hear(2, MAC, TO_IN, NO_SOURCES, 0.0, GMI, 9, room)
    assert not tracked.knows(1, 0.0)
