"""smcroute below us and above us: static joins of groups and channels, static routes, nobody who asks or answers."""

import pytest

from bench.peers.smcroute import Smcroute, obstacle
from forwarder.lab.topology import SOURCE
from netns.peers import (
    ABOVE,
    BELOW,
    EARLY,
    GROUP_MEMBERSHIP_INTERVAL,
    LAST_MEMBER_QUERY_TIME,
    LATE,
    RECEIVERS,
    UPSTREAM,
    Chain,
    skip_without,
)
from netns.site import OTHER_SOURCE

DISCOVERY = ("-N", "-m", "4")  # only interfaces that are named; seconds between two advertisements
EVERYTHING = ("239.1.1.0/24", "232.1.1.0/24")


def smcroute(namespace, announced):
    """smcroute that sends every group of the sources from up0 to down0, and announces itself on one of the two."""
    lines = [f"phyint {name} enable" + " mrdisc" * (name == announced) for name in ("up0", "down0")]
    lines += [f"mroute from up0 group {groups} to down0" for groups in EVERYTHING]
    return Smcroute(namespace, *lines, options=DISCOVERY)


# --- smcroute below us: its static joins are our members ---


@pytest.fixture(scope="module")
def under():
    """mcfwd above smcroute, which sends on to receiver0 whatever it gets."""
    skip_without(obstacle())
    with Chain() as chain:
        chain.mcfwd = chain.run_above()
        chain.peer = chain.run(smcroute(chain.below, announced="up0"))
        yield chain
        assert chain.wire.complaints(ABOVE) == []
        assert chain.upstream.complaints(UPSTREAM) == []


def test_a_static_join_is_reported_upstream_and_a_leave_takes_it_back(under):
    group = under.new_group()
    under.peer.join("up0", group)
    under.wire.wait_told(BELOW, group, "TO_EX")
    under.upstream.wait_told(UPSTREAM, group, "TO_EX")
    under.streams[0].wait(group, count=5)
    assert under.streams[0].sources(group) == {SOURCE, OTHER_SOURCE}

    under.peer.leave("up0", group)
    left = under.wire.wait_told(BELOW, group, "TO_IN").time
    ended = under.upstream.wait_told(UPSTREAM, group, "TO_IN").time
    assert LAST_MEMBER_QUERY_TIME - EARLY < ended - left < LAST_MEMBER_QUERY_TIME + LATE
    assert under.wire.wait_asked(ABOVE, group).fields == (3, group, 0.2, (), False, 2, 1)
    under.streams[0].wait_end(group)


def test_a_static_join_of_a_channel_brings_its_source_alone_until_it_is_blocked(under):
    channel = under.new_channel()
    under.peer.join("up0", channel, SOURCE)
    under.wire.wait_told(BELOW, channel, "ALLOW", SOURCE)
    under.upstream.wait_told(UPSTREAM, channel, "ALLOW", SOURCE)
    under.streams[0].wait(channel, SOURCE, count=8)
    assert under.streams[0].sources(channel) == {SOURCE}
    row = under.mcfwd.group("down0", channel)
    assert (row["mode"], [source["address"] for source in row["sources"]]) == ("include", [SOURCE])

    under.peer.join("up0", channel, OTHER_SOURCE)
    under.upstream.wait_told(UPSTREAM, channel, "ALLOW", OTHER_SOURCE)
    under.streams[0].wait(channel, OTHER_SOURCE)
    under.peer.leave("up0", channel, SOURCE)
    left = under.wire.wait_told(BELOW, channel, "BLOCK", SOURCE).time
    ended = under.upstream.wait_told(UPSTREAM, channel, "BLOCK", SOURCE).time
    assert LAST_MEMBER_QUERY_TIME - EARLY < ended - left < LAST_MEMBER_QUERY_TIME + LATE
    queries = under.wire.asked(ABOVE, channel, since=left)
    assert queries[0].fields == (3, channel, 0.2, (SOURCE,), False, 2, 1)
    assert {query.sources for query in queries} == {(SOURCE,)}
    under.streams[0].wait(channel, OTHER_SOURCE, since=ended + LATE)
    assert under.streams[0].sources(channel, ended + LATE) == {OTHER_SOURCE}
    under.peer.leave("up0", channel, OTHER_SOURCE)
    under.upstream.wait_told(UPSTREAM, channel, "BLOCK", OTHER_SOURCE)
    under.streams[0].wait_end(channel)


def test_a_range_of_static_joins_is_many_groups(under):
    groups = [f"239.2.2.{number}" for number in range(8, 16)]
    under.peer.join("up0", "239.2.2.8/29")
    for group in groups:
        under.upstream.wait_told(UPSTREAM, group, "TO_EX")
    under.peer.leave("up0", "239.2.2.8/29")
    for group in groups:
        under.upstream.wait_told(UPSTREAM, group, "TO_IN")


def test_a_static_join_on_a_version_2_link_is_understood(under):
    group = under.new_group()
    under.force_version(under.below, "up0", 2)
    try:
        under.peer.join("up0", group)
        under.wire.wait_told(BELOW, group, "report v2")
        assert under.mcfwd.wait_member("down0", group)["compatibility"] == 2
        under.streams[0].wait(group)
        under.peer.leave("up0", group)
        left = under.wire.wait_told(BELOW, group, "leave").time
        ended = under.upstream.wait_told(UPSTREAM, group, "TO_IN").time
        assert LAST_MEMBER_QUERY_TIME - EARLY < ended - left < LAST_MEMBER_QUERY_TIME + LATE
    finally:
        under.force_version(under.below, "up0", 0)


def test_smcroute_that_ends_leaves_and_one_that_vanishes_times_out(under):
    group, channel = under.new_group(), under.new_channel()
    joined = static_joins(under, group, channel)
    under.peer.stop()
    under.upstream.wait_told(UPSTREAM, group, "TO_IN", since=joined)
    stopped = under.upstream.wait_told(UPSTREAM, channel, "BLOCK", SOURCE, since=joined).time
    under.mcfwd.wait_for(lambda mcfwd: not mcfwd.group("down0", group), 5.0, "no member")

    under.peer.start()
    static_joins(under, group, channel, stopped)
    under.streams[0].wait(group)
    under.cut()
    try:
        cut = under.wire.told(BELOW)[-1].time
        ends = [under.upstream.wait_told(UPSTREAM, group, "TO_IN", since=cut).time]
        ends.append(under.upstream.wait_told(UPSTREAM, channel, "BLOCK", SOURCE, since=cut).time)
    finally:
        under.mend()
    for name, end in zip((group, channel), ends, strict=True):
        last = under.wire.told(BELOW, name)[-1].time
        assert GROUP_MEMBERSHIP_INTERVAL - EARLY < end - last < GROUP_MEMBERSHIP_INTERVAL + LATE


def static_joins(chain, group, channel, since=0.0):
    """smcroute joins a group and one source of a channel; when both were upstream."""
    chain.peer.join("up0", group)
    chain.peer.join("up0", channel, SOURCE)
    chain.upstream.wait_told(UPSTREAM, group, "TO_EX", since=since)
    return chain.upstream.wait_told(UPSTREAM, channel, "ALLOW", SOURCE, since=since).time


# RFC 9776 4 d
def test_router_discovery_of_smcroute_below_is_counted_and_does_no_harm(under):
    """RFC 4286's advertisements are IGMP of a type that is not ours."""
    heard = discovered(under, BELOW, "down0")
    under.peer.join("up0", group := under.new_group())
    under.streams[0].wait(group, since=heard)
    under.peer.leave("up0", group)


def discovered(chain, address, interface):
    """When smcroute first announced itself, and mcfwd has counted that as an unknown type."""
    frame = chain.wire.capture.wait_for(lambda frame: (frame.source, frame.payload[0]) == (address, 0x30), 8.0)
    assert frame.destination == "224.0.0.106"
    chain.mcfwd.wait_for(lambda mcfwd: mcfwd.interface(interface)["igmp"]["rx_unknown_type"], 8.0, "rx_unknown_type")
    return frame.time


# --- smcroute above us: its static routes bring everything, whether we ask or not ---


@pytest.fixture(scope="module")
def over():
    """mcfwd below smcroute, which sends everything down and never queries."""
    skip_without(obstacle())
    with Chain() as chain:
        chain.peer = chain.run(smcroute(chain.above, announced="down0"))
        chain.arriving = chain.stream(chain.below, "up0")
        chain.mcfwd = chain.run_below()
        yield chain
        assert chain.wire.complaints(BELOW) == []


def test_what_smcroute_sends_goes_on_to_members_only(over):
    group, nobodys = over.new_group(), over.new_group()
    over.arriving.wait(group)
    over.mcfwd.wait_for(lambda mcfwd: unwanted(mcfwd, group), 5.0, "flow without members")
    over.receivers[0].join(group)
    over.wire.wait_told(BELOW, group, "TO_EX")
    over.streams[0].wait(group, count=8)
    assert over.streams[0].sources(group) == {SOURCE, OTHER_SOURCE}
    assert over.streams[1].frames(group) == []
    left = over.receivers[0].leave(group)
    over.wire.wait_told(BELOW, group, "TO_IN")
    over.streams[0].wait_end(group)
    over.arriving.wait(group, since=left + LAST_MEMBER_QUERY_TIME + LATE)
    assert over.wire.changes(BELOW, group) == [("TO_EX", ()), ("TO_IN", ())]
    over.arriving.wait(nobodys)
    assert [stream.frames(nobodys) for stream in over.streams] == [[], []]


def unwanted(mcfwd, group):
    return [row for row in mcfwd.show("flows") if (row["group"], row["verdict"]) == (group, "no_members")]


def test_where_nobody_asks_joins_are_still_told_with_version_3_and_repeated(over):
    group = over.new_group()
    over.receivers[1].join(group)
    over.wire.wait_told(BELOW, group, "TO_EX")
    over.receivers[0].join(group, SOURCE)
    over.links[0].wait_told(RECEIVERS[0], group, "ALLOW", SOURCE)
    over.streams[0].wait(group, SOURCE, count=5)
    assert over.streams[0].sources(group) == {SOURCE}
    over.mcfwd.wait_for(lambda _: len(over.wire.told(BELOW, group)) == 2, 5.0, "repetition")
    assert over.wire.asked(ABOVE) == []
    assert over.mcfwd.interface("up0")["igmp_version"] == 3
    over.receivers[0].leave(group, SOURCE)
    over.receivers[1].leave(group)
    over.wire.wait_told(BELOW, group, "TO_IN")


def test_a_channel_takes_its_source_from_all_that_smcroute_sends(over):
    channel = over.new_channel()
    over.receivers[0].join(channel, OTHER_SOURCE)
    over.wire.wait_told(BELOW, channel, "ALLOW", OTHER_SOURCE)
    over.streams[0].wait(channel, OTHER_SOURCE, count=8)
    assert over.streams[0].sources(channel) == {OTHER_SOURCE}
    assert over.arriving.sources(channel) == {SOURCE, OTHER_SOURCE}
    over.receivers[0].leave(channel, OTHER_SOURCE)
    over.wire.wait_told(BELOW, channel, "BLOCK", OTHER_SOURCE)
    over.streams[0].wait_end(channel)


def test_a_route_that_smcroute_takes_away_and_gives_back_does_not_change_what_we_ask_for(over):
    group = over.new_group()
    over.receivers[0].join(group)
    over.streams[0].wait(group)
    over.peer.stop()
    stopped = over.streams[0].wait_end(group)
    over.peer.start()
    over.streams[0].wait(group, since=stopped + 0.001)
    assert over.wire.changes(BELOW, group) == [("TO_EX", ())]


def test_router_discovery_of_smcroute_above_is_counted_and_does_no_harm(over):
    heard = discovered(over, ABOVE, "up0")
    over.receivers[0].join(group := over.new_group())
    over.streams[0].wait(group, since=heard)
    over.receivers[0].leave(group)
