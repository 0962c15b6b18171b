"""Access lists: the last match of allow, then deny; boundaries; what an any-source membership matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igmp.access import OPEN, AccessList, Entry
from igmp.link import Network, parse_address

G, S = parse_address("239.1.1.1"), parse_address("10.0.0.7")


def access(allow=(), deny=(), boundary=()) -> AccessList:
    return AccessList(tuple(map(Entry.parse, allow)), tuple(map(Entry.parse, deny)),
                      tuple(map(Network.parse, boundary)))


@pytest.mark.parametrize(("lists", "source", "admitted"), [
    (access(), S, True),
    (access(), None, True),
    (access(allow=["239.0.0.0/8"]), S, True),
    (access(allow=["232.0.0.0/8"]), S, False),
    (access(deny=["239.0.0.0/8"]), S, False),
    (access(deny=["232.0.0.0/8"]), S, True),
    (access(allow=["239.0.0.0/8"], deny=["239.1.1.1"]), None, False),
    (access(allow=["239.1.1.1"], deny=["239.0.0.0/8"]), None, False),
    (access(allow=["10.0.0.0/8,239.0.0.0/8"]), S, True),
    (access(allow=["10.0.0.0/8,239.0.0.0/8"]), None, False),
    (access(allow=["11.0.0.0/8,239.0.0.0/8"]), S, False),
    (access(deny=["10.0.0.0/8,239.0.0.0/8"]), S, False),
    (access(deny=["10.0.0.0/8,239.0.0.0/8"]), None, True),
    (access(allow=["224.0.0.0/4"], deny=["0.0.0.0/0,239.1.1.1"]), None, True),
    (access(allow=["239.0.0.0/8"], boundary=["239.1.0.0/16"]), S, False),
    (access(boundary=["239.255.0.0/16"]), None, True),
    (access(boundary=["239.255.0.0/16", "239.1.1.0/24"]), None, False),
])
def test_the_last_match_wins_and_a_boundary_always(lists, source, admitted):
    assert lists.admits(source, G) == admitted


def test_only_empty_lists_are_open():
    assert OPEN.is_open
    assert not access(boundary=["239.255.0.0/16"]).is_open
    assert access(boundary=["239.0.0.0/8"]).bounds(G)
    assert not access(deny=["239.0.0.0/8"]).bounds(G)


@pytest.mark.parametrize("text", ["239.0.0.0/8", "10.0.0.0/8,239.1.1.1/32", "0.0.0.0/0,224.0.0.0/4", "0.0.0.0/0"])
def test_an_entry_reads_as_it_is_written(text):
    assert str(Entry.parse(text)) == text
    assert Entry.parse(text.replace(",", " , ")) == Entry.parse(text)


@pytest.mark.parametrize("text", ["", "10.0.0.0/8", "239.1.1.1,10.0.0.7", "239.1.1.1/33", "10.0.0.7,", "a,b,c",
                                  "10.0.0.7,239.1.1.1,239.1.1.2", "239.1.1.1,232.0.0.0/8"])
def test_what_is_no_entry_is_refused(text):
    with pytest.raises(ValueError):
        Entry.parse(text)


ENTRIES = st.lists(st.builds(
    Entry, st.builds(Network, st.just(G), st.integers(4, 32)),
    st.none() | st.builds(Network, st.just(S), st.integers(0, 32))), max_size=3).map(tuple)


@given(ENTRIES, ENTRIES, st.none() | st.integers(1, 0xDFFFFFFF), st.integers(0xE0000000, 0xEFFFFFFF))
def test_walking_allow_then_deny_gives_the_same(allow, deny, source, group):
    verdict = not allow
    for entry, admitted in [*((each, True) for each in allow), *((each, False) for each in deny)]:
        if entry.matches(source, group):
            verdict = admitted
    assert AccessList(allow, deny).admits(source, group) == verdict
