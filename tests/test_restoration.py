"""Memberships that are taken back from the routes of a predecessor, and everything that may come in between."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import ADDRESSES, D1, D2, D3, LINKS, SPEAKERS, UP, Bench, address, packet_of

from igmp.access import AccessList, Entry
from igmp.filter import Filter
from igmp.heard import OlderHosts
from igmp.messages import GroupRecord, Query, RecordType, encode_report
from igmp.outputs import Route, Send
from igmp.packet import V3_ROUTERS, Network, Rules, encode, parse_address
from igmp.parameters import PortOptions
from igmp.restoration import PORTION

PORTS = (UP, D1, D2, D3)
FIRST = parse_address("239.2.0.0")
SOURCES = [ADDRESSES[letter] for letter in "abcd"]
B1, B2, B3 = 1 << D1, 1 << D2, 1 << D3
Row = tuple[int, int | None, int]

groups = st.integers(0, 5).map(lambda number: FIRST + number)
records = st.builds(GroupRecord, st.sampled_from(list(RecordType)), groups,
                    st.lists(st.sampled_from(SOURCES), unique=True, max_size=3).map(tuple))
reports = st.tuples(st.sampled_from([D1, D2, D3]), st.lists(records, min_size=1, max_size=4))


def bench() -> Bench:
    return Bench(ports=PORTS).run(0.0)


def report(bench: Bench, port: int, said: list[GroupRecord]) -> None:
    bench.receive(bench.now, port, encode(parse_address(SPEAKERS[port]), V3_ROUTERS, encode_report(said)))


def rows_of(bench: Bench) -> list[Row]:
    return [(row.group, row.source, row.ports) for row in bench.proxy.routes()]


def wanted(bench: Bench) -> dict[tuple[int, int], Filter]:
    """What each downstream port wants, static memberships included."""
    found = {}
    for each in bench.proxy.groups(bench.now):
        listed = (source for source, _ in each.sources) if each.mode == "include" else each.excluded_sources
        found[each.port, each.group] = Filter(each.mode, frozenset(listed))
    return found


def step(bench: Bench) -> list:
    """One call, as the agent makes it."""
    return bench.take(bench.proxy.expire(bench.now))


def many(count: int, ports: int = B1 | B2) -> list[Row]:
    return [(FIRST + number, None, ports) for number in range(count)]


# --- what comes back ---


@given(st.lists(reports, max_size=12))
def test_a_successor_forwards_and_reports_as_its_predecessor_did(heard):
    predecessor, successor = bench(), bench()
    for port, said in heard:
        report(predecessor, port, said)
    said_before = len(successor.log)
    successor.inherit(*rows_of(predecessor)).run(0.0)
    assert rows_of(successor) == rows_of(predecessor)
    assert successor.routes == predecessor.routes
    assert wanted(successor) == wanted(predecessor)
    assert set(successor.proxy.upstream(0.0)) == set(predecessor.proxy.upstream(0.0))
    assert successor.log[said_before:] == []
    assert not successor.proxy.is_restoring
    assert successor.run(271.0).routes == {}


@given(st.lists(reports, max_size=12), st.integers(0, 15).map(lambda bits: bits << 1))
def test_only_ports_that_rows_speak_of_get_something_back(heard, heirs):
    predecessor, successor = bench(), bench()
    for port, said in heard:
        report(predecessor, port, said)
    successor.inherit(*rows_of(predecessor), ports=heirs | 1 << UP).run(0.0)
    before = wanted(predecessor)
    assert wanted(successor) == {key: each for key, each in before.items() if heirs >> key[0] & 1}
    assert successor.routes == {(group, source): ports for group, source, ports in rows_of(successor)}


def test_without_a_predecessor_there_is_nothing_to_take_back():
    assert not bench().inherit().proxy.is_restoring


def test_rows_that_no_writer_writes_are_put_right():
    """A predecessor that was killed between two rows of a group leaves such."""
    one = bench().inherit((FIRST, None, B1), (FIRST, SOURCES[0], B1), (FIRST + 1, None, 0), (FIRST + 2, SOURCES[0], 0))
    assert one.run(0.0).routes == {(FIRST, None): B1}


def test_the_lists_of_today_hold_for_what_comes_back():
    one = Bench(ports=(UP, D1)).run(0.0)
    one.add(D2, access=AccessList(deny=(Entry.parse("239.2.0.1"), Entry.parse("10.99.0.1,239.0.0.0/8"))))
    one.inherit((FIRST, None, B1 | B2), (FIRST + 1, None, B1 | B2), (FIRST + 2, SOURCES[0], B2)).run(0.0)
    assert one.routes == {(FIRST, None): B1 | B2, (FIRST + 1, None): B1}


def test_of_a_group_that_takes_sources_only_by_now_no_other_comes_back():
    """Who asked for one of its sources goes on."""
    one = Bench(Rules(ssm_range=(Network(FIRST, 32),)), ports=(UP, D1, D2)).run(0.0)
    one.inherit((FIRST, None, B1), (FIRST, SOURCES[0], B1 | B2), (FIRST + 1, None, B1)).run(0.0)
    assert one.routes == {(FIRST, SOURCES[0]): B2, (FIRST + 1, None): B1}


def test_each_upstream_is_taken_to_know_what_it_admits():
    one = Bench(ports=(D1,)).run(0.0)
    one.add(UP, access=AccessList(deny=(Entry.parse("239.2.0.1"),)))
    one.inherit(*many(2, B1)).run(0.0)
    assert [each.group for each in one.proxy.upstream(0.0)] == [FIRST]
    assert one.sends(UP) == []


# --- a portion at a time ---


def test_no_call_takes_back_more_than_its_portion_and_rows_wait_for_the_last():
    one = bench()
    one.take(one.proxy.port_down(D2, 0.0))
    count = 4 * PORTION
    one.inherit(*many(count))
    done = 0
    while one.proxy.is_restoring:
        outputs = step(one)
        restored = one.proxy.group_count(D1)
        assert restored - done <= PORTION
        assert not outputs or restored == count
        assert sum(isinstance(each, Route) for each in outputs) <= PORTION
        done = restored
    assert set(one.routes.values()) == {B1}
    assert one.sends(UP) == []


def _touch(one: Bench, draw: random.Random) -> None:
    port, group = draw.choice((D1, D2, D3)), FIRST + draw.randrange(900)
    now, kind = one.now, draw.randrange(12)
    if kind < 6:
        said = GroupRecord(draw.choice(list(RecordType)), group, tuple(draw.sample(SOURCES, draw.randrange(3))))
        report(one, port, [said])
    elif kind == 6:
        one.ask(now, port, Query(group, (), 1.0), f"{SPEAKERS[port]}0")
    elif kind == 7:
        one.take(one.proxy.port_down(port, now))
        if draw.randrange(2):
            one.take(one.proxy.port_up(port, LINKS[port], now))
    elif kind == 8:
        members = {(draw.choice((None, SOURCES[0])), FIRST + draw.randrange(900)) for _ in range(draw.randrange(4))}
        one.take(one.proxy.set_static(draw.choice(PORTS), members, now))
    elif kind == 9:
        denied = [Entry.parse(f"239.2.{draw.randrange(4)}.0/24")] if draw.randrange(2) else []
        kept = [Entry.parse(f"239.2.{draw.randrange(4)}.0/24")] if draw.randrange(2) else []
        lists = AccessList(deny=tuple(denied)), AccessList(deny=tuple(kept))
        one.take(one.proxy.set_options(port, PortOptions("downstream", access=lists[0], contribution=lists[1]), now))
    elif kind == 10:
        one.take(one.proxy.set_merge_only_querier(bool(draw.randrange(2)), now))
    else:
        one.take(one.proxy.remove_port(D3, now))
        one.add(D3)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_comes_in_between_ends_as_if_all_had_been_there_before(seed):
    draw = random.Random(seed)
    rows = [(FIRST + number, source, draw.choice((B1, B2, B3, B1 | B2, B1 | B2 | B3)))
            for number in range(900) for source in draw.choice(([None], [None], [SOURCES[0]], [SOURCES[1]]))]
    interleaved, reference = bench().inherit(*rows), bench().inherit(*rows).run(0.0)
    events = random.Random(seed)
    again = random.Random(seed)
    while interleaved.proxy.is_restoring:
        for _ in range(draw.randrange(1, 4)):
            _touch(interleaved, events)
            _touch(reference, again)
        step(interleaved)
    interleaved.run(0.0)
    reference.run(0.0)
    assert wanted(interleaved) == wanted(reference)
    assert interleaved.routes == reference.routes
    assert {(row.group, row.source): row.ports for row in interleaved.proxy.routes()} == interleaved.routes
    assert set(interleaved.proxy.groups(0.0)) == set(reference.proxy.groups(0.0))
    assert set(interleaved.proxy.upstream(0.0)) == set(reference.proxy.upstream(0.0))
    interleaved.take(interleaved.proxy.set_merge_only_querier(False, 0.0))
    assert set(interleaved.run(1e6).routes) == {
        (group, source) for port in PORTS for group, source in static_of(interleaved, port) if port != UP}


def static_of(one: Bench, port: int) -> set[tuple[int, int | None]]:
    """What is configured and admitted there, as rows are keyed."""
    return {(each.group, source) for each in one.proxy.groups(one.now) if each.port == port and port in one.roles
            for source in ([None] if each.mode == "exclude" else [source for source, _ in each.sources])
            if (each.group, source) in one.routes}


# --- what must not get lost ---


def test_a_leave_before_its_group_is_back_is_not_undone():
    one = bench().inherit(*many(3 * PORTION))
    left = FIRST + 2 * PORTION
    report(one, D1, [GroupRecord(RecordType.CHANGE_TO_INCLUDE, left)])
    one.run(5.0)
    assert one.routes[left, None] == B2
    assert one.routes[left - 1, None] == B1 | B2
    assert one.proxy.group_count(D1) == 3 * PORTION - 1


def test_a_join_beside_a_group_that_waits_takes_nothing_from_others():
    one = bench().inherit(*many(3 * PORTION))
    report(one, D3, [GroupRecord(RecordType.CHANGE_TO_EXCLUDE, FIRST + 2 * PORTION)])
    assert one.routes[FIRST + 2 * PORTION, None] == B1 | B2 | B3
    assert one.proxy.is_restoring


def test_a_port_that_went_down_meanwhile_gets_nothing_back():
    one = bench().inherit(*many(3 * PORTION))
    step(one)
    one.take(one.proxy.port_down(D1, 0.0))
    one.take(one.proxy.port_up(D1, LINKS[D1], 0.0))
    one.run(0.0)
    assert one.proxy.group_count(D1) == 0
    assert set(one.routes.values()) == {B2}


def test_what_older_hosts_of_a_port_that_is_gone_said_is_forgotten():
    one = bench()
    for port in (D1, D2):
        one.proxy.inherit_older(port, OlderHosts(FIRST, 100.0, 100.0))
    one.inherit(*many(3 * PORTION))
    one.take(one.proxy.remove_port(D1, 0.0))
    one.run(0.0)
    assert not one.proxy.is_restoring
    assert one.proxy.group_count(D2) == 3 * PORTION


def test_what_the_kernel_leaves_of_a_group_that_waits_is_said_again():
    one = bench().inherit(*many(3 * PORTION))
    waiting = FIRST + 2 * PORTION
    for kind in (RecordType.CHANGE_TO_EXCLUDE, RecordType.CHANGE_TO_INCLUDE):
        said = encode_report([GroupRecord(kind, waiting)])
        one.take(one.proxy.overhear(UP, encode(LINKS[UP].address, V3_ROUTERS, said), 0.0))
    again = one.sends(UP)
    assert len(again) == 1
    assert again[0][1].startswith("TO_EX")


def test_a_new_static_membership_of_a_group_that_waits_is_told_and_routed_in_the_end():
    a = SOURCES[0]
    one = bench().inherit((FIRST, a, B1), *many(2 * PORTION)[1:])
    one.take(one.proxy.set_static(D2, {(None, FIRST)}, 0.0))
    assert one.routes[FIRST, a] == B1
    one.run(0.0)
    assert (one.routes[FIRST, a], one.routes[FIRST, None]) == (B1 | B2, B2)
    assert one.sends(UP) == [(0, "TO_EX(239.2.0.0,{})")]


def test_an_old_static_membership_is_not_told_again():
    one = bench()
    for rows in ([], [(FIRST, None, B2)]):
        one = Bench(ports=())
        for group, source, ports in rows:
            one.proxy.inherit(group, source, ports)
            one.routes[group, source] = ports
        for port in PORTS:
            one.add(port)
        one.now = 0.0
        one.take(one.proxy.set_static(D2, {(None, FIRST)}, 0.0))
        one.proxy.restore(-1, 0.0)
        one.run(10.0)
        assert one.sends(UP) == ([] if rows else [(0, "TO_EX(239.2.0.0,{})"), (0.5, "TO_EX(239.2.0.0,{})")])


# --- upstream ---


def test_a_general_query_is_answered_when_the_answer_is_whole():
    one = bench().inherit(*many(2 * PORTION, B1))
    one.ask(0.0, UP, Query(max_response_time=0.0))
    one.run(1.0)
    told = [text for _, text in one.sends(UP)]
    assert sum(text.count("IS_EX") for text in told) == 2 * PORTION


def test_queries_of_older_versions_wait_as_well():
    one = bench().inherit(*many(2 * PORTION, B1))
    one.ask(0.0, UP, Query(version=2))
    one.run(11.0)
    assert one.proxy.version(UP) == 2
    assert len(one.sends(UP)) == 2 * PORTION


def test_a_query_that_waits_goes_with_its_port():
    one = bench().inherit(*many(2 * PORTION, B1))
    one.ask(0.0, UP, Query(version=2))
    one.take(one.proxy.port_down(UP, 0.0))
    one.run(11.0)
    assert (one.proxy.is_restoring, one.proxy.version(UP)) == (False, 3)


def test_a_query_for_a_group_that_waits_is_answered_in_time():
    one = bench().inherit(*many(4 * PORTION, B1))
    group = FIRST + 3 * PORTION
    outputs = one.ask(0.0, UP, Query(group, max_response_time=0.0))
    outputs += one.take(one.proxy.expire(0.0))
    assert [each.port for each in outputs if isinstance(each, Send)] == [UP]
    assert one.proxy.is_restoring


def test_an_upstream_that_comes_up_meanwhile_hears_of_everything():
    one = bench().inherit(*many(2 * PORTION, B1))
    step(one)
    one.take(one.proxy.port_down(UP, 0.0))
    one.take(one.proxy.port_up(UP, LINKS[UP], 0.0))
    one.run(0.0)
    assert sum(text.count("TO_EX") for _, text in one.sends(UP)) == 2 * PORTION


def test_whoever_stops_meanwhile_leaves_everything():
    one = bench().inherit(*many(2 * PORTION, B1))
    step(one)
    one.take(one.proxy.shutdown(0.0))
    assert sum(text.count("TO_IN") for _, text in one.sends(UP)) == 2 * PORTION


def test_whoever_stops_before_all_ports_are_there_stops():
    one = bench()
    one.proxy.inherit(*many(1)[0])
    one.take(one.proxy.shutdown(0.0))
    assert one.sends(UP) == []


def test_packets_that_nobody_understands_take_nothing_back():
    one = bench().inherit(*many(2 * PORTION, B1))
    one.receive(0.0, D1, packet_of("v2 Report(G)", SPEAKERS[D1])[:-1])
    assert one.proxy.group_count(D1) == 0
    assert address("G") not in {group for group, _ in one.routes}
