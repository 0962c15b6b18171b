"""Access lists: entries as text, and which of several rules counts (igmp.access)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igmp.access import OPEN, AccessList, Entry, Rule
from igmp.link import Network, parse_address

ENTRIES = ["239.1.0.0/16", "239.0.0.0/8", "239.1.1.1", "10.0.0.0/8,239.1.0.0/16", "10.0.0.7,239.0.0.0/8"]
PAIRS = [
    (None if source is None else parse_address(source), parse_address(group))
    for source in (None, "10.0.0.7", "10.0.0.8", "192.0.2.1")
    for group in ("239.1.1.1", "239.1.1.2", "239.2.1.1", "238.0.0.1")
]
entries = st.lists(st.sampled_from(ENTRIES), max_size=3).map(lambda texts: tuple(map(Entry.parse, texts)))
rules = st.lists(
    st.tuples(st.sampled_from(["allow ", "deny "]), st.sampled_from(ENTRIES)).map("".join), max_size=5
).map(lambda texts: tuple(map(Rule.parse, texts)))
bounds = st.sampled_from([(), (Network.parse("239.2.0.0/16"),)])
lists = st.builds(AccessList, entries, entries, bounds, rules)


@pytest.mark.parametrize(("text", "again"), [
    ("239.0.0.0/8", "239.0.0.0/8"), ("0.0.0.0/0", "0.0.0.0/0"), ("224.0.0.0/4", "224.0.0.0/4"),
    (" 10.0.0.0/8 , 232.1.1.1 ", "10.0.0.0/8,232.1.1.1/32"), ("0.0.0.0/0,239.1.1.1", "0.0.0.0/0,239.1.1.1/32"),
])  # fmt: skip
def test_an_entry_is_groups_and_perhaps_sources(text, again):
    entry = Entry.parse(text)
    assert Entry.parse(str(entry)) == entry == Entry.parse(again)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "239.1.1.1,10.0.0.1", "232.0.0.0/8,239.1.1.1", "odd", ""])
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError):
        Entry.parse(text)


@pytest.mark.parametrize(("text", "again"), [
    ("deny 239.1.1.1", "deny 239.1.1.1/32"), (" allow\t10.0.0.0/8,232.1.1.0/24", "allow 10.0.0.0/8,232.1.1.0/24"),
    ("239.0.0.0/8", "allow 239.0.0.0/8"),
])  # fmt: skip
def test_a_rule_is_an_entry_behind_a_word(text, again):
    rule = Rule.parse(text)
    assert str(rule) == again
    assert Rule.parse(again) == rule


@pytest.mark.parametrize("text", ["deny", "deny deny 239.1.1.1", "permit 239.1.1.1", "allow 10.0.0.0/8", "  ", ""])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ValueError):
        Rule.parse(text)


def naive(access: AccessList, source: int | None, group: int) -> bool:
    """As people read it: boundary, then one list after the other from above, then whether anything was allowed."""
    if any(network.contains(group) for network in access.boundary):
        return False
    words = [(rule.allows, rule.entry) for rule in access.ordered]
    words += [(False, entry) for entry in access.deny] + [(True, entry) for entry in access.allow]
    said = [allows for allows, entry in words if entry.matches(source, group)]
    return said[0] if said else all(not allows for allows, _ in words)


@given(lists)
def test_the_first_rule_that_names_something_counts(access):
    assert [access.admits(*pair) for pair in PAIRS] == [naive(access, *pair) for pair in PAIRS]
    assert [not access.refusing(*pair) for pair in PAIRS] == [naive(access, *pair) for pair in PAIRS]
    assert access.is_open == (access == OPEN)


@given(entries, entries)
def test_allow_and_deny_are_a_list_in_an_order(allow, deny):
    ordered = AccessList(ordered=(*(Rule(False, each) for each in deny), *(Rule(True, each) for each in allow)))
    assert [ordered.admits(*pair) for pair in PAIRS] == [AccessList(allow, deny).admits(*pair) for pair in PAIRS]
    for source, group in PAIRS:
        denied = any(entry.matches(source, group) for entry in deny)
        allowed = not allow or any(entry.matches(source, group) for entry in allow)
        assert ordered.admits(source, group) == (allowed and not denied)


@given(lists, lists)
def test_what_is_admitted_now_and_was_not_before_is_more(before, after):
    if any(after.admits(*pair) and not before.admits(*pair) for pair in PAIRS):
        assert after.widens(before)


@pytest.mark.parametrize(("source", "group", "rule"), [
    (None, "239.1.1.1", "deny 239.1.1.1"), (None, "239.1.1.2", ""),
    ("10.0.0.7", "232.1.1.1", "deny 10.0.0.0/8,232.0.0.0/8"),
    (None, "232.1.1.1", "allow"), ("192.0.2.1", "239.9.9.9", ""), (None, "239.255.1.1", "boundary 239.255.0.0/16"),
])  # fmt: skip
def test_who_is_refused_is_told_by_what(source, group, rule):
    texts = ("deny 239.1.1.1", "allow 239.0.0.0/8", "deny 10.0.0.0/8,232.0.0.0/8")
    access = AccessList(boundary=(Network.parse("239.255.0.0/16"),), ordered=tuple(map(Rule.parse, texts)))
    assert access.refusing(source and parse_address(source), parse_address(group)) == rule
