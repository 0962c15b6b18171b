"""What the protocol noticed is said in words, with whom and where."""

import pytest

from forwarder.agent.notices import words_of
from igmp.link import parse_address
from igmp.outputs import Notice

ADDRESS = parse_address("10.0.1.9")


@pytest.mark.parametrize(("kind", "words"), [
    ("querier_conflict", "10.0.1.9 queries on tap1 although its address is higher than the elected querier's"),
    ("older_querier", "the querier 10.0.1.9 on tap1 speaks an older version of IGMP than ours"),
    ("own_address", "somebody on tap1 speaks with our own address 10.0.1.9"),
    ("limit_reached", "a limit of tap1 is reached: something of 10.0.1.9 was refused"),
    ("sources_lost", "an older querier on tap1 makes us report 10.0.1.9 whole, without its sources"),
    ("of_tomorrow", "of_tomorrow: 10.0.1.9 on tap1"),
])  # fmt: skip
def test_every_kind_has_its_words(kind, words):
    assert words_of(Notice(1, kind, ADDRESS), "tap1") == words
