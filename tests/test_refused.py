"""The table of refused joins: what a row says, when it goes, and that no flood makes it grow."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import D1, UP, Bench, address, filter_of, filter_text, packet_of, record_of

from igmp.access import AccessList, Entry
from igmp.filter import EVERYTHING
from igmp.link import Network, parse_address
from igmp.messages import GroupRecord
from igmp.parameters import PortOptions
from igmp.refused import RATE, ROWS, SOURCES, Objection, RefusedJoins, asked

G, HOST, MAC = address("G"), parse_address("192.168.10.11"), 0x020000000001
DENIED, LIMITED = Objection("deny", "deny 239.1.0.0/16"), Objection("max_groups", "max_groups 4")


def refused(*wanted: str, objection: Objection = DENIED) -> RefusedJoins:
    """A table of one row; the wishes are a second apart."""
    table = RefusedJoins()
    for now, text in enumerate(wanted):
        table.refuse(HOST, MAC, G, filter_of(text), objection, float(now))
    return table


@pytest.mark.parametrize(("record", "wanted"), [
    ("TO_EX(G,{a})", "EX{a}"), ("IS_EX(G,{})", "EX{}"), ("ALLOW(G,{a,b})", "IN{a,b}"), ("IS_IN(G,{a})", "IN{a}"),
    ("TO_IN(G,{a})", "IN{a}"), ("TO_IN(G,{})", "IN{}"), ("BLOCK(G,{a})", "IN{}"), ("ALLOW(G,{a,224.0.0.9})", "IN{a}"),
])  # fmt: skip
def test_what_a_record_asks_for(record, wanted):
    assert filter_text(asked(record_of(record))) == wanted


def test_a_row_says_who_wanted_what_since_when_and_how_often():
    (row,) = refused("EX{}", "EX{a}", "EX{b}")
    assert (row.host, row.mac, row.group, filter_text(row.wanted)) == (HOST, MAC, G, "EX{b}")
    assert (row.objection, row.since, row.last, row.count) == (DENIED, 0.0, 2.0, 3)


def test_another_rule_begins_a_row_anew():
    table = refused("EX{}", "EX{}")
    table.refuse(HOST, MAC, G, EVERYTHING, LIMITED, 5.0)
    (row,) = table
    assert (row.objection, row.since, row.count) == (LIMITED, 5.0, 1)


def test_sources_of_one_host_are_in_one_row_and_not_too_many():
    (row,) = refused("IN{a,b}", "IN{c}")
    assert filter_text(row.wanted) == "IN{a,b,c}"
    table = RefusedJoins()
    for number in range(100):
        table.refuse(HOST, MAC, G, filter_of(f"IN{{10.99.1.{number}}}"), DENIED, 0.0)
    (row,) = table
    assert len(row.wanted.sources) == SOURCES == 16
    assert parse_address("10.99.1.99") in row.wanted.sources


@pytest.mark.parametrize(("wanted", "record", "left"), [
    ("EX{}", "IS_EX(G,{})", ""), ("EX{}", "TO_IN(G,{})", ""), ("EX{}", "IS_IN(G,{a})", ""),
    ("EX{}", "ALLOW(G,{a})", "EX{}"), ("EX{}", "BLOCK(G,{a})", "EX{}"), ("EX{}", "TO_EX(G2,{})", "EX{}"),
    ("IN{a,b}", "ALLOW(G,{b,c})", "IN{a}"), ("IN{a,b}", "IS_IN(G,{a,b})", ""), ("IN{a,b}", "BLOCK(G,{a})", "IN{b}"),
    ("IN{a,b}", "TO_IN(G,{c})", ""), ("IN{a}", "TO_EX(G,{})", ""),
])  # fmt: skip
def test_what_was_taken_or_is_not_wanted_any_more_is_forgotten(wanted, record, left):
    table = refused(wanted)
    table.settle(HOST + 1, record_of(record))
    assert len(table) == 1
    table.settle(HOST, record_of(record))
    assert [filter_text(row.wanted) for row in table] == ([left] if left else [])


def deny(*entries: str) -> AccessList:
    return AccessList(deny=tuple(map(Entry.parse, entries)))


@pytest.mark.parametrize(("objection", "wanted", "options", "stays"), [
    (DENIED, "EX{}", {"access": deny("239.1.0.0/16", "239.7.0.0/16")}, True),
    (DENIED, "EX{}", {"access": deny("239.0.0.0/8")}, False),
    (DENIED, "EX{}", {}, False),
    (Objection("deny", "deny 10.99.0.1,239.1.0.0/16"), "IN{a}", {"access": deny("10.99.0.1,239.1.0.0/16")}, True),
    (Objection("deny", "deny 10.99.0.1,239.1.0.0/16"), "IN{a}", {"access": deny("10.99.0.2,239.1.0.0/16")}, False),
    (Objection("allow", "allow"), "EX{}", {"access": AccessList(allow=(Entry.parse("239.9.0.0/16"),))}, True),
    (Objection("boundary", "boundary 239.0.0.0/8"), "EX{}",
     {"access": AccessList(boundary=(Network.parse("239.0.0.0/8"),))}, True),
    (LIMITED, "EX{}", {"max_groups": 4}, True),
    (LIMITED, "EX{}", {"max_groups": 5}, False),
    (Objection("ttl", "accept_any_ttl"), "EX{}", {"max_groups": 5}, True),
])  # fmt: skip
def test_another_configuration_forgets_what_it_does_not_refuse_by_the_same_rule(objection, wanted, options, stays):
    table = refused(wanted, objection=objection)
    table.reconsider(PortOptions("downstream", **options))
    assert len(table) == stays


def test_another_link_or_other_rules_forget_what_lists_and_limits_did_not_refuse():
    table = RefusedJoins()
    for number, reason in enumerate(("ttl", "deny", "off_subnet", "max_hosts")):
        table.refuse(HOST + number, MAC, G, EVERYTHING, Objection(reason, reason), 0.0)
    table.forget_others()
    assert [row.objection.reason for row in table] == ["deny", "max_hosts"]


HOSTS = st.integers(1, 6)
GROUPS = st.integers(G, G + 3)
STEPS = st.lists(st.tuples(st.booleans(), HOSTS, GROUPS, st.sampled_from(["EX{}", "IN{a}", "IN{b,c}"])), max_size=60)


@given(STEPS, st.integers(1, 5))
def test_the_least_recent_rows_go_first_and_there_are_never_more(steps, limit):
    table, model = RefusedJoins(limit), {}
    for now, (joins, host, group, text) in enumerate(steps):
        wanted, former = filter_of(text), model.pop((host, group), None)
        if joins:
            table.refuse(host, MAC, group, wanted, DENIED, float(now))
            model[host, group] = (former or 0) + 1
            model = dict(list(model.items())[-limit:])
        else:
            table.settle(host, GroupRecord(record_of("TO_IN(G,{})").type, group))
        assert len(table) <= limit
        assert {(row.host, row.group): row.count for row in table} == model
        assert all(row.wanted and len(row.wanted.sources) <= SOURCES for row in table)


@given(st.lists(st.floats(0.0, 0.01), max_size=200), st.integers(1, 400))
def test_no_more_are_looked_into_than_the_rate(gaps, size):
    """`size` records a packet: the packet during which the rate is used up is still looked into."""
    table, now, looked = RefusedJoins(), 0.0, 0
    for gap in gaps:
        now += gap
        if table.has_time(now):
            looked += size
            for number in range(size):
                table.refuse(number, MAC, G, EVERYTHING, DENIED, now)
    assert looked <= RATE * (1 + now) + size


def test_as_many_are_looked_into_at_once_as_the_table_holds():
    table = RefusedJoins()
    for number in range(ROWS):
        assert table.has_time(0.0)
        table.refuse(number, MAC, G, EVERYTHING, DENIED, 0.0)
    assert not table.has_time(0.0)
    assert len(table) == ROWS == 1024
    assert table.has_time(1.0)


def test_a_flood_of_refused_joins_takes_neither_memory_nor_much_time():
    """Half a million joins by hand and fifty thousand in packets, all of different hosts and groups."""
    table, bench = RefusedJoins(), Bench(ports=(UP, D1), access=deny("239.0.0.0/8"))
    records = " + ".join(f"TO_EX(239.7.0.{number},{{}})" for number in range(100))
    packets = [packet_of(records, f"192.168.10.{host}") for host in range(2, 250)]
    for number in range(2 * ROWS):
        table.refuse(number, MAC, G, EVERYTHING, DENIED, 0.0)
    spent = time.process_time()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(500_000):
        now = number * 1e-6
        if table.has_time(now):
            table.refuse(number, MAC, G + number, EVERYTHING, DENIED, now)
    for number in range(500):
        bench.proxy.receive(D1, packets[number % len(packets)], number * 1e-3)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(table) == len(list(bench.proxy.each_refusal(1.0))) == ROWS
    assert grown < 1_500_000
    assert time.process_time() - spent < 60.0
