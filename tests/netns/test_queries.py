"""What mcfwd asks downstream and answers upstream, what it never speaks of, and how it takes its leave."""

import itertools
import os
import signal

import pytest

from forwarder.lab.capture import UDP, Capture
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.site import (
    CHANNEL,
    OLDER_QUERIER_TIMEOUT,
    QUERY,
    QUERY_INTERVAL,
    ROUTER_ALERT,
    STARTUP_INTERVAL,
    Site,
    general_query,
    ones_complement_sum,
    send_datagrams,
    send_igmp,
    told,
    v2_report,
    v3_report,
)

V1, V2, V3 = 0, 1, 2        # receivers
LATE = 0.5                  # seconds that a busy machine may add to a timer
EARLY = 0.1                 # seconds that a late timer can take from the next interval
ALL_HOSTS, ALL_ROUTERS, LINK_LOCAL = "224.0.0.1", "224.0.0.2", "224.0.0.251"


def general_queries(site, number):
    """The General Queries that the link of a receiver has carried."""
    return site.downstream[number].select(
        lambda frame: not frame.outgoing and frame.payload[0] == QUERY and not any(frame.payload[4:8])
    )


# RFC 9776 6.1 a
@pytest.mark.parametrize("number", [V1, V2, V3])
def test_general_queries_come_at_startup_and_then_every_query_interval(site, measured, number):
    queries = wait_for(lambda: general_queries(site, number)[4:] and general_queries(site, number), 10.0, "5 queries")
    gaps = [after.time - before.time for before, after in itertools.pairwise(queries[:5])]
    for gap, wanted in zip(gaps, [STARTUP_INTERVAL] + [QUERY_INTERVAL] * 3, strict=True):
        assert wanted - EARLY < measured("gap", gap) < wanted + LATE


# RFC 9776 4 b, 4.1.12 a
# RFC 4541 2.1.1 j
@pytest.mark.parametrize("number", [V1, V2, V3])
def test_a_general_query_is_a_version_3_query_as_the_standard_wants_it(site, number):
    query = wait_for(lambda: general_queries(site, number), 5.0, "a query")[0]
    header, link = query.packet[:24], query.octets[:14]
    assert link[:6].hex(":") == "01:00:5e:00:00:01"
    assert (header[0], header[1], query.ttl, header[9]) == (0x46, 0xC0, 1, 2)
    assert header[20:24] == ROUTER_ALERT
    assert (query.source, query.destination) == (site.lab.address(number)[:-1], ALL_HOSTS)
    assert ones_complement_sum(header) == ones_complement_sum(query.payload) == 0xFFFF
    # 0.5 s to answer, any group, robustness 2, query interval of 1.5 s rounded down, no sources
    assert query.payload[:2] + query.payload[4:] == bytes.fromhex("1105 00000000 02 01 0000")


def join_three(site):
    """Memberships of every kind, known upstream; what mcfwd must speak of, by group."""
    site.mcfwd.wait_for(lambda mcfwd: not mcfwd.show("upstream"), 10.0, "no memberships of former tests")
    joins = [(V2, site.new_group(), ""), (V3, site.new_group(), ""), (V3, CHANNEL, SOURCE)]
    for join in joins:
        site.join(*join)
    site.mcfwd.wait_for(lambda mcfwd: len(mcfwd.show("upstream")) == 3, 5.0, "three memberships")
    return [group for _, group, _ in joins]


def ask(site, message):
    """Sends a General Query upstream; the time at which it was on the wire."""
    before = len(site.upstream.select(lambda frame: frame.outgoing))
    send_igmp(site.lab.source, message, ALL_HOSTS)
    asked = wait_for(lambda: site.upstream.select(lambda frame: frame.outgoing)[before:], 5.0, "query")
    return asked[0].time


# RFC 9776 5.2 h
# RFC 4605 3 e
def test_a_general_query_upstream_is_answered_in_time_with_all_memberships_in_one_report(site, measured):
    one, two, channel = join_three(site)
    asked = ask(site, general_query(3, 1.0))
    answer = site.wait_told(one, "IS_EX", since=asked)
    assert 0 < measured("query to answer", answer.time - asked) < 1.0 + LATE
    records = [each for each in site.told_upstream() if each.time == answer.time]
    assert {(each.kind, each.group, each.sources) for each in records} == {
        ("IS_EX", one, ()), ("IS_EX", two, ()), ("IS_IN", channel, (SOURCE,))
    }


# RFC 9776 4.2.15 b
def test_after_a_version_2_query_upstream_hears_version_2_until_that_querier_is_gone(site, measured):
    groups = join_three(site)
    asked = ask(site, general_query(2, 1.0))
    for group in groups:
        answer = site.wait_told(group, "report v2", since=asked)
        assert 0 < measured("query to answer", answer.time - asked) < 1.0 + LATE
    assert {row["version"] for row in site.mcfwd.show("upstream")} == {2}
    assert site.mcfwd.interface("up0")["igmp_version"] == 2

    asked = ask(site, general_query(2, 1.0))
    site.leave(V3, groups[1])
    site.wait_told(groups[1], "leave")
    site.join(V3, new := site.new_group())
    for group in (groups[0], CHANNEL, new):
        site.wait_told(group, "report v2", since=asked)
    assert {each.kind for each in site.told_upstream(since=asked)} == {"report v2", "leave"}
    assert destinations(site, asked) == {each: each for each in (groups[0], new, CHANNEL)} | {groups[1]: ALL_ROUTERS}

    site.mcfwd.wait_for(lambda mcfwd: mcfwd.interface("up0")["igmp_version"] == 3, 10.0, "version 3 again")
    site.join(V3, last := site.new_group())
    back = site.wait_told(last, "TO_EX").time
    assert measured("last query to version 3", back - asked) > OLDER_QUERIER_TIMEOUT


def destinations(site, since):
    """Where the last message that spoke of each group upstream was sent."""
    frames = site.upstream.select(lambda frame: frame.source == UPSTREAM and frame.time >= since)
    return {each.group: frame.destination for frame in frames for each in told(frame)}


# RFC 9776 5 b
# RFC 4541 2.1.2 b
def test_link_local_groups_are_not_tracked_not_reported_and_not_forwarded(site, streams, stack):
    group = "239.9.9.9"
    counters = [site.mcfwd.interface(name)["igmp"]["rx_link_local"] for name in site.lab.downstreams]
    for number in (V1, V2, V3):
        site.join(number, LINK_LOCAL)
    send_igmp(site.lab.receivers[V2], v2_report(LINK_LOCAL), LINK_LOCAL)
    send_igmp(site.lab.receivers[V3], v3_report(LINK_LOCAL, group), "224.0.0.22")
    for number, name in enumerate(site.lab.downstreams):
        site.join(number, group)
        site.mcfwd.wait_member(name, group)

        def counted(mcfwd, name=name, number=number):
            return mcfwd.interface(name)["igmp"]["rx_link_local"] >= counters[number] + (2 if number else 1)

        site.mcfwd.wait_for(counted, 5.0, "rx_link_local")
    nouns = [row["group"] for noun in ("groups", "upstream", "routes") for row in site.mcfwd.show(noun)]
    assert not [each for each in nouns if each.startswith("224.0.0.")]
    assert not [each for each in site.told_upstream() if each.group.startswith("224.0.0.")]

    upstream = stack.enter_context(Capture(site.lab.source, LINK, UDP))
    send_datagrams(site.lab.source, SOURCE, LINK_LOCAL, group)
    for stream in streams:
        stream.wait(group)
        assert stream.frames(LINK_LOCAL) == []
    send_datagrams(site.lab.receivers[V3], site.lab.address(V3), LINK_LOCAL, group)
    upstream.wait_for(lambda frame: (frame.source, frame.destination) == (site.lab.address(V3), group), 5.0)
    assert upstream.select(lambda frame: frame.destination == LINK_LOCAL and not frame.outgoing) == []


@pytest.mark.parametrize(("number", "version"), [(signal.SIGTERM, 3), (signal.SIGINT, 2)])
def test_a_signal_leaves_every_group_upstream_once_and_ends_with_0(number, version):
    with Site((2, 3), senders=False) as site:
        if version == 2:
            ask(site, general_query(2, 0.1))
        one, two = site.new_group(), site.new_group()
        for join in ((0, one), (1, two), (1, CHANNEL, SOURCE)):
            site.join(*join)
        site.mcfwd.wait_for(lambda mcfwd: len(mcfwd.show("upstream")) == 3, 5.0, "three memberships")
        pids = site.mcfwd.pids.values()
        assert site.mcfwd.stop(number=number) == 0
        farewells = {one: ("TO_IN", ()), two: ("TO_IN", ()), CHANNEL: ("BLOCK", (SOURCE,))}
        if version == 2:
            farewells = dict.fromkeys(farewells, ("leave", ()))
        for group, (kind, sources) in farewells.items():
            site.wait_told(group, kind, *sources)
            assert [each.kind for each in site.told_upstream(group)].count(kind) == 1
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
