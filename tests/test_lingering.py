"""Leaves upstream that wait for another join, and reports that nobody asked for."""

from dataclasses import replace
from itertools import pairwise

import pytest
from link import D1, D2, LINKS, UP, Bench, address

from igmp.access import AccessList, Entry
from igmp.filter import EVERYTHING, NOTHING, include
from igmp.lingering import MOST, Lingering
from igmp.messages import Query
from igmp.parameters import Parameters, PortOptions

LEAVE = "TO_IN(G,{})"


def bench(**values: float) -> Bench:
    """Members leave after 2 s, upstream everything is said once."""
    return Bench(parameters=Parameters(robustness=1, last_member_query_count=2, **values)).run(0.0)


def said(world: Bench, since: float = 0.0) -> list[tuple[float, str]]:
    return world.sends(UP, since=since)


def options(world: Bench, **other) -> None:
    before = world.proxy._ports.options[UP]
    world.take(world.proxy.set_options(UP, replace(before, **other), world.now))


def watched(world: Bench, at: float, text: str = LEAVE) -> Bench:
    """Somebody on d1 has watched G since 0 and says something else at `at`."""
    world.hear(0.0, D1, "TO_EX(G,{})")
    world.run(at).hear(at, D1, text)
    return world


def test_a_leave_waits_and_is_said_when_nobody_came():
    world = watched(bench(linger=5.0), 10.0)
    assert world.run(16.9).merged() == "EX{}"
    assert world.routes == {}               # nobody gets it meanwhile
    assert said(world.run(60.0)) == [(0, "TO_EX(G,{})"), (17.0, LEAVE)]


def test_who_comes_back_in_time_finds_the_stream():
    world = watched(bench(linger=5.0), 10.0)
    world.run(16.9).hear(16.9, D2, "TO_EX(G,{})")
    assert world.routes == {(address("G"), None): 1 << D2}
    assert said(world.run(60.0)) == [(0, "TO_EX(G,{})")]
    world.hear(60.0, D2, LEAVE)
    assert said(world.run(100.0), 1.0) == [(67.0, LEAVE)]       # 2 s of asking, and the whole of 5 s


def test_by_default_nothing_waits():
    assert said(watched(bench(), 10.0).run(60.0)) == [(0, "TO_EX(G,{})"), (12.0, LEAVE)]


def test_sources_linger_and_do_not_add_up():
    """From source to source every second: each is told at once, what is left is let go 5 s after the first."""
    world = bench(linger=5.0, last_member_query_interval=0.1)
    for number, source in enumerate("abcdef"):
        former = "abcdef"[number - 1]
        world.run(number).hear(number, D1, f"ALLOW(S,{{{source}}})" + (f" + BLOCK(S,{{{former}}})" if number else ""))
    world.run(5.9)
    assert world.merged("S") == "IN{a,b,c,d,e,f}"
    world.run(6.2)
    assert world.merged("S") == "IN{f}"
    assert [text for _, text in said(world)][-1] == "BLOCK(S,{a,b,c,d,e})"


def test_a_port_that_goes_down_or_changes_its_address_forgets_what_lingers():
    for back in (lambda world: world.proxy.port_down(UP, 13.0), lambda world: []):
        world = watched(bench(linger=5.0), 10.0).run(13.0)
        world.take(back(world))
        other = replace(LINKS[UP], addresses=LINKS[D1].addresses)
        world.take(world.proxy.port_up(UP, other, 13.0))
        assert said(world.run(60.0), 12.5) == []
        assert world.merged() == "IN{}"


def test_an_older_querier_changes_how_it_is_left_and_not_when():
    world = watched(bench(linger=5.0), 10.0).run(13.0)
    world.ask(13.0, UP, Query(version=2))
    assert (17.0, "Leave(G)") in said(world.run(60.0), 13.0)


@pytest.mark.parametrize("other", [
    {"parameters": Parameters(robustness=1)}, {"access": AccessList(deny=(Entry.parse("239.1.1.1"),))}])
def test_a_reload_that_shortens_it_or_forbids_the_group_ends_it(other):
    world = watched(bench(linger=5.0), 10.0).run(13.0)
    options(world, **other)
    assert said(world.run(60.0), 12.5) == [(13.0, LEAVE)]


def test_what_a_list_no_longer_admits_does_not_linger():
    world = bench(linger=5.0)
    world.hear(0.0, D1, "TO_EX(G,{})")
    world.run(1.0)
    options(world, access=AccessList(deny=(Entry.parse("239.1.1.1"),)))
    assert said(world, 0.5) == [(1.0, LEAVE)]


def test_the_end_of_us_is_no_time_to_linger():
    world = watched(bench(linger=5.0), 10.0).run(13.0)
    world.take(world.proxy.shutdown(13.0))
    assert said(world, 12.5) == [(13.0, LEAVE)]


def test_no_more_linger_than_there_is_room_for():
    lingering = Lingering()
    for group in range(MOST):
        assert lingering.tell(group, EVERYTHING, NOTHING, AccessList(), 1.0) == EVERYTHING
    assert lingering.tell(MOST, EVERYTHING, NOTHING, AccessList(), 1.0) == NOTHING
    assert lingering.tell(3, EVERYTHING, include([7]), AccessList(), 2.0) == EVERYTHING    # one that lingers may change
    assert dict(lingering.deadlines())[3] == 1.0
    assert (lingering.end(3), len(lingering.end_all()), bool(lingering)) == (include([7]), MOST - 1, False)


# --- reports unasked ---


def reports(world: Bench, since: float) -> list[float]:
    return [at for at, _ in said(world, since)]


def wanting(world: Bench) -> Bench:
    """G is wanted from now on."""
    world.take(world.proxy.set_static(D1, [(None, address("G"))], world.now))
    return world


@pytest.mark.parametrize(("version", "text"), [(3, "IS_EX(G,{})"), (2, "v2 Report(G)"), (1, "v1 Report(G)")])
def test_memberships_are_repeated_where_nobody_asks(version, text):
    world = bench(report_interval=30.0)
    options(world, igmp_version=version)
    found = said(wanting(world).run(600.0), 11.0)
    assert {words for _, words in found} == {text}
    assert [later - at for (at, _), (later, _) in pairwise(found)] == pytest.approx([30.0] * (len(found) - 1))
    assert len(found) in (19, 20)


def test_reports_unasked_begin_and_end_with_a_reload():
    world = wanting(bench())
    assert reports(world.run(200.0), 5.0) == []
    options(world, parameters=Parameters(robustness=1, report_interval=10.0))
    assert reports(world.run(231.0), 5.0) == [210.5, 220.5, 230.5]
    options(world, parameters=Parameters(robustness=1))
    assert reports(world.run(400.0), 231.0) == []


def test_a_port_without_memberships_says_nothing():
    assert said(bench(report_interval=10.0).run(200.0)) == []


def test_negative_times_are_refused():
    for name in ("linger", "report_interval"):
        with pytest.raises(ValueError, match=name):
            PortOptions("upstream", Parameters(**{name: -1.0})).check()
