"""Source filters: the merge, and which ports each source goes to."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import ADDRESSES, filter_of, filter_text

from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, exclude, filters, include, merge, rows

SOURCES = range(6)
FILTERS = st.builds(Filter, st.sampled_from(Mode), st.frozensets(st.sampled_from(SOURCES)))


# RFC 9776 3.2 a b
@pytest.mark.parametrize(("subscriptions", "merged"), [
    ("EX{a,b,c,d} EX{b,c,d,e} IN{d,e,f}", "EX{b,c}"),
    ("EX{a,b,c,d} EX{b,c,d,e} IN{d,e,f} EX{}", "EX{}"),
    ("IN{a,b} IN{b,c}", "IN{a,b,c}"),
    ("EX{a} IN{a}", "EX{}"),
    ("EX{a} EX{b}", "EX{}"),
    ("IN{a} IN{}", "IN{a}"),
    ("IN{}", "IN{}"),
    ("", "IN{}"),
])
def test_h13_several_subscriptions_merge_into_one(subscriptions, merged):
    assert filter_text(merge([filter_of(each) for each in subscriptions.split()])) == merged


# RFC 9776 3.2 b
@given(st.lists(FILTERS, max_size=5))
def test_the_merge_admits_exactly_what_any_filter_admits(filters):
    merged = merge(filters)
    for source in [*SOURCES, 99]:
        assert merged.admits(source) == any(each.admits(source) for each in filters)


@given(st.lists(FILTERS, min_size=1, max_size=5))
def test_the_order_and_grouping_of_a_merge_do_not_matter(filters):
    assert merge(filters) == merge(filters[::-1]) == reduce(lambda left, right: merge([left, right]), filters)


# RFC 9776 3.2 a
# RFC 4605 4.1 f
@given(st.lists(FILTERS, min_size=1, max_size=5))
def test_the_merge_is_the_rule_of_the_standard(filters):
    excluded = [set(each.sources) for each in filters if each.mode is Mode.EXCLUDE]
    included = set().union(*(each.sources for each in filters if each.mode is Mode.INCLUDE))
    if excluded:
        assert merge(filters) == exclude(set.intersection(*excluded) - included)
    else:
        assert merge(filters) == include(included)


def bitmap(filters, source):
    return sum(1 << port for port, each in filters.items() if each.admits(source))


# RFC 9776 6.3 b
@given(st.dictionaries(st.sampled_from([0, 1, 2, 63, 70]), FILTERS))
def test_rows_say_for_every_source_which_ports_admit_it(filters):
    table = rows(filters)
    for source in SOURCES:
        assert table.get(source, table.get(None, 0)) == bitmap(filters, source)
    assert table.get(None, 0) == bitmap(filters, 99)


@given(st.dictionaries(st.sampled_from([0, 1, 2, 63, 70]), FILTERS))
def test_there_is_no_row_that_repeats_the_one_of_any_source(filters):
    table = rows(filters)
    anyone = table.get(None, 0)
    assert all(ports != anyone for source, ports in table.items() if source is not None)


@given(st.dictionaries(st.sampled_from([0, 1, 2, 63, 70]), FILTERS), st.integers(0, 1 << 71))
def test_rows_say_what_each_port_wants(wants, ports):
    wanted = {port: each for port, each in wants.items() if each}
    assert filters(rows(wants), -1) == wanted
    assert filters(rows(wants), ports) == {port: each for port, each in wanted.items() if ports >> port & 1}


def test_a_source_excluded_by_the_only_port_has_a_row_that_blocks_it():
    a = ADDRESSES["a"]
    assert rows({2: exclude([a])}) == {None: 0b100, a: 0}


def test_nothing_is_false_and_everything_is_true():
    assert not NOTHING
    assert not include([])
    assert EVERYTHING
    assert include([1])
    assert exclude([]) is EVERYTHING
    assert include([]) is NOTHING
