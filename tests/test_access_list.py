"""Entries of access lists as text (igmp.access)."""

import pytest

from igmp.access import Entry


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
