from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.formats.last_match import MOST_MIXED, ListEntry, lists


def groups() -> st.SearchStrategy[IPv4Address]:
    return st.integers(0xEF000000, 0xEF00003F).map(IPv4Address)


def networks() -> st.SearchStrategy[IPv4Network]:
    return st.tuples(groups(), st.integers(24, 32)).map(lambda each: IPv4Network(each, strict=False))


def passes(entries: list[ListEntry[int]], group: IPv4Address) -> bool:
    """As igmpproxy decides: the last entry that matches, and whether there is a whitelist where none does."""
    matches = [entry.is_allowed for entry in entries if group in entry.network]
    return matches[-1] if matches else not any(entry.is_allowed for entry in entries)


@given(st.lists(st.builds(ListEntry[int], networks(), st.booleans(), st.integers()), max_size=8), groups())
def test_lists_of_which_deny_always_wins_decide_alike(entries, group):
    allow, deny = lists(entries)
    is_allowed = not allow or any(group in IPv4Network(text) for text, _ in allow)
    is_denied = any(group in IPv4Network(text) for text, _ in deny)
    assert (is_allowed and not is_denied) == passes(entries, group)
    origins = {entry.origin for entry in entries}
    assert {origin for _, origin in (*allow, *deny)} <= origins


def test_too_many_of_both_kinds_are_refused_and_many_of_one_are_not():
    entry = ListEntry(IPv4Network("239.0.0.0/8"), True, 0)
    assert len(lists([entry] * 20_000)[0]) == 20_000
    assert len(lists([entry._replace(is_allowed=False)] * 20_000)[1]) == 20_000
    with pytest.raises(ValueError, match="more than"):
        lists([entry, *[entry._replace(is_allowed=False)] * MOST_MIXED])


def test_lists_that_become_too_many_networks_are_refused():
    entries = [ListEntry(IPv4Network("239.0.0.0/8"), False, 0)]
    entries += [ListEntry(IPv4Network(f"239.{number}.{number * 7 % 256}.9"), True, 0) for number in range(256)]
    assert len(lists(entries)[1]) > 3000
    entries.insert(1, ListEntry(IPv4Network("238.0.0.0/7"), False, 0))
    entries += [ListEntry(IPv4Network(f"238.{number}.{number * 3 % 256}.77"), True, 0) for number in range(200)]
    with pytest.raises(ValueError, match="too entangled"):
        lists(entries)
