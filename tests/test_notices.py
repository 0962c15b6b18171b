"""What the protocol noticed is said in words, with whom and of what; and who asks on a port."""

import pytest

from forwarder.agent.notices import WORDS, role_words, words_of
from igmp.link import parse_address
from igmp.outputs import Notice, Role

ADDRESS, GROUP, OURS = map(parse_address, ("10.0.1.9", "239.1.1.1", "10.0.1.100"))
NOTICES = [
    (Notice(1, "querier_conflict", ADDRESS),
     "10.0.1.9 queries although its address is higher than the elected querier's"),
    (Notice(1, "older_querier", ADDRESS, version=2),
     "10.0.1.9 queries in IGMPv2, an older version than the IGMPv3 that we speak (igmp_version): "
     "routers of a link must speak the same"),
    (Notice(1, "newer_querier", ADDRESS, version=3),
     "10.0.1.9 queries in IGMPv3, a newer version than the IGMPv3 that we speak (igmp_version): "
     "routers of a link must speak the same"),
    (Notice(1, "own_address", ADDRESS), "somebody speaks with our own address 10.0.1.9"),
    (Notice(1, "limit_reached", ADDRESS, GROUP, limit="max_groups"),
     "max_groups is reached: 239.1.1.1 is refused to 10.0.1.9, or a part of it"),
    (Notice(1, "limit_reached", ADDRESS, GROUP, limit="max_groups", missed=7),
     "max_groups is reached: 239.1.1.1 is refused to 10.0.1.9, or a part of it (and 7 like it that are not shown)"),
    (Notice(1, "sources_lost", GROUP), "an older querier makes us report 239.1.1.1 whole, without its sources"),
    (Notice(1, "fallback", ADDRESS, version=2),
     "the querier 10.0.1.9 speaks IGMPv2, so that is what we report in"),
    (Notice(1, "fallback", ADDRESS, version=2, count=1),
     "the querier 10.0.1.9 speaks IGMPv2, so that is what we report in; "
     "it knows no sources, so 1 group with sources must be reported whole"),
    (Notice(1, "fallback", ADDRESS, version=1, count=2),
     "the querier 10.0.1.9 speaks IGMPv1, so that is what we report in; "
     "it knows no sources, so 2 groups with sources must be reported whole"),
    (Notice(1, "back", 0, version=3),
     "no older querier was heard for a while: we report in IGMPv3 again"),
    (Notice(1, "rare_querier", ADDRESS),
     "10.0.1.9 is the querier and asks less often than max_query_interval: "
     "members may be forgotten between its queries"),
    (Notice(1, "querier_without_address", 0),
     "somebody queries from 0.0.0.0: a switch that snoops, or a second router without an "
     "address; if that forwards too, everything arrives twice"),
    (Notice(1, "of_tomorrow", ADDRESS), "of_tomorrow: 10.0.1.9"),
]  # fmt: skip


@pytest.mark.parametrize(("notice", "words"), NOTICES)
def test_every_notice_has_its_words(notice, words):
    assert words_of(notice, 3) == words


def test_every_kind_is_tried():
    assert {notice.kind for notice, _ in NOTICES} - {"of_tomorrow"} == set(WORDS)


OTHER, US, NOBODY = Role(1, False, ADDRESS), Role(1, True, OURS), Role(1, False, 0)


@pytest.mark.parametrize(("role", "former", "forwards", "asks", "words"), [
    (OTHER, US, False, True, "10.0.1.9 is the querier now; we do not forward there (forward_when_not_querier)"),
    (OTHER, US, True, True, "10.0.1.9 is the querier now; we forward there all the same (forward_when_not_querier)"),
    (US, OTHER, False, True, "we are the querier now, with the address 10.0.1.100; 10.0.1.9 is silent"),
    (US, Role(1, True, ADDRESS), False, True, "we are the querier now, with the address 10.0.1.100"),
    (US, NOBODY, False, True, "we are the querier now, with the address 10.0.1.100"),
    (NOBODY, OTHER, False, True, "nobody is known to query: it has no address (querier_address); "
                                 "we do not forward there (forward_when_not_querier)"),
    (NOBODY, OTHER, True, False, "nobody is known to query: we may not ask (querier); "
                                 "we forward there all the same (forward_when_not_querier)"),
])  # fmt: skip
def test_who_asks_is_told_and_what_follows(role, former, forwards, asks, words):
    assert role_words(role, former, forwards, asks) == words
