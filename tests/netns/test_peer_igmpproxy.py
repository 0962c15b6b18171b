"""igmpproxy 0.3 below us, above us and beside us: it has no source filters, no election, and queries with IGMPv2.

Above us it would take the sender of data that came before a join for a member, and then leave only after 20 s; so
its sources begin to send when it has joined.
"""

import pytest

from bench.peers.igmpproxy import Igmpproxy, obstacle
from forwarder.lab.topology import SOURCE
from netns.peers import (
    ABOVE,
    ALL_ROUTERS,
    ANY,
    BELOW,
    EARLY,
    GENERAL_QUERY,
    GROUP_MEMBERSHIP_INTERVAL,
    HIGHER,
    LAST_MEMBER_QUERY_TIME,
    LATE,
    LOWER,
    OTHER_QUERIER_PRESENT_INTERVAL,
    OURS,
    RECEIVERS,
    UPSTREAM,
    Chain,
    Shared,
    skip_without,
    wait_querier,
    wait_version,
)
from netns.site import OTHER_SOURCE, send_igmp, v2_report

# --- igmpproxy below us: its upstream is our downstream ---


@pytest.fixture(scope="module")
def under():
    """mcfwd above igmpproxy; the kernel speaks IGMPv3 for it."""
    skip_without(obstacle())
    with Chain() as chain:
        chain.mcfwd = chain.run_above()
        chain.peer = chain.run(Igmpproxy(chain.below, downstreams=("down0", "down1")))
        yield chain
        assert chain.wire.complaints(ABOVE) == []


def test_what_igmpproxy_joins_is_joined_upstream_and_flows_through_both(under):
    group = under.new_group()
    under.receivers[0].join(group)
    under.wire.wait_told(BELOW, group, "TO_EX")
    under.upstream.wait_told(UPSTREAM, group, "TO_EX")
    row = under.mcfwd.wait_member("down0", group)
    assert (row["mode"], row["compatibility"], row["last_reporter"]) == ("exclude", 3, BELOW)
    under.streams[0].wait(group, count=5)
    assert under.streams[0].sources(group) == {SOURCE, OTHER_SOURCE}
    assert under.streams[1].frames(group) == []


def test_what_igmpproxy_leaves_is_asked_for_twice_and_left_upstream(under):
    group = under.new_group()
    under.receivers[0].join(group)
    under.streams[0].wait(group)
    under.receivers[0].leave(group)
    left = under.wire.wait_told(BELOW, group, "TO_IN").time
    ended = under.upstream.wait_told(UPSTREAM, group, "TO_IN").time
    assert LAST_MEMBER_QUERY_TIME - EARLY < ended - left < LAST_MEMBER_QUERY_TIME + LATE
    queries = under.wire.asked(ABOVE, group)
    # 0.2 s to answer, no sources; S only when repeated while the timer runs down; robustness 2, interval 1 s
    assert {query.fields for query in queries} <= {(3, group, 0.2, (), suppress, 2, 1) for suppress in (False, True)}
    assert queries[0].suppress is False
    assert {query.destination for query in queries} == {group}
    assert under.wire.changes(BELOW, group) == [("TO_EX", ()), ("TO_IN", ())]
    assert under.upstream.changes(UPSTREAM, group) == [("TO_EX", ()), ("TO_IN", ())]
    under.streams[0].wait_end(group)


def test_igmpproxy_below_answers_our_queries_so_its_groups_outlast_the_membership_interval(under):
    group = under.new_group()
    under.receivers[1].join(group)
    joined = under.upstream.wait_told(UPSTREAM, group, "TO_EX").time
    under.wire.wait_told(BELOW, group, "IS_EX", since=joined + GROUP_MEMBERSHIP_INTERVAL)
    under.streams[1].wait(group, since=joined + GROUP_MEMBERSHIP_INTERVAL)
    assert under.upstream.changes(UPSTREAM, group) == [("TO_EX", ())]
    assert {query.fields for query in under.wire.asked(ABOVE)} == {GENERAL_QUERY}


def test_igmpproxy_on_a_version_2_link_is_understood(under):
    group = under.new_group()
    under.force_version(under.below, "up0", 2)
    try:
        under.receivers[0].join(group)
        under.wire.wait_told(BELOW, group, "report v2")
        assert under.mcfwd.wait_member("down0", group)["compatibility"] == 2
        under.upstream.wait_told(UPSTREAM, group, "TO_EX")
        under.streams[0].wait(group)
        under.receivers[0].leave(group)
        under.wire.wait_told(BELOW, group, "leave")
        under.upstream.wait_told(UPSTREAM, group, "TO_IN")
        under.streams[0].wait_end(group)
    finally:
        under.force_version(under.below, "up0", 0)


def test_igmpproxy_that_ends_leaves_and_one_that_vanishes_times_out(under):
    groups = [under.new_group() for _ in range(2)]
    under.receivers[0].join(groups[0])
    under.upstream.wait_told(UPSTREAM, groups[0], "TO_EX")
    under.peer.stop()
    under.wire.wait_told(BELOW, groups[0], "TO_IN")
    under.upstream.wait_told(UPSTREAM, groups[0], "TO_IN")

    under.peer.start()
    under.receivers[1].join(groups[1])
    under.upstream.wait_told(UPSTREAM, groups[1], "TO_EX")
    under.streams[1].wait(groups[1])
    under.cut()
    try:
        ended = under.upstream.wait_told(UPSTREAM, groups[1], "TO_IN").time
    finally:
        under.mend()
    last = under.wire.told(BELOW, groups[1])[-1]
    assert last.kind in ("TO_EX", "IS_EX")
    assert GROUP_MEMBERSHIP_INTERVAL - EARLY < ended - last.time < GROUP_MEMBERSHIP_INTERVAL + LATE


# --- igmpproxy above us: its downstream is our upstream ---


@pytest.fixture(scope="module")
def over():
    """mcfwd below igmpproxy, which has queried with version 2."""
    skip_without(obstacle())
    with Chain(sending=False) as chain:
        chain.mcfwd = chain.run_below()
        chain.peer = chain.run(Igmpproxy(chain.above))
        chain.query = chain.wire.wait_asked(ABOVE)
        wait_version(chain.mcfwd, 2)
        yield chain
        assert chain.wire.complaints(BELOW) == []


def test_below_igmpproxy_we_speak_version_2(over):
    group = over.new_group()
    assert over.query.fields == (2, ANY, 10.0, (), False, 0, 0.0)
    over.receivers[0].join(group)
    over.wire.wait_told(BELOW, group, "report v2")
    over.upstream.wait_told(UPSTREAM, group, "TO_EX")
    over.send(group)
    over.streams[0].wait(group, count=5)
    over.receivers[0].leave(group)
    over.wire.wait_told(BELOW, group, "leave")
    over.upstream.wait_told(UPSTREAM, group, "TO_IN")
    over.streams[0].wait_end(group)
    assert over.wire.changes(BELOW, group) == [("report v2", ()), ("leave", ())]
    assert {frame.destination for frame in over.wire.frames(BELOW) if frame.payload[0] == 0x17} == {ALL_ROUTERS}


def test_of_a_channel_below_igmpproxy_only_the_wanted_source_goes_on(over):
    """Version 2 has no word for sources: igmpproxy sends both to us, and we hold one back."""
    channel = over.new_channel()
    arriving = over.stream(over.below, "up0")
    over.receivers[0].join(channel, SOURCE)
    over.links[0].wait_told(RECEIVERS[0], channel, "ALLOW", SOURCE)
    over.wire.wait_told(BELOW, channel, "report v2")
    over.upstream.wait_told(UPSTREAM, channel, "TO_EX")
    over.send(channel)
    arriving.wait(channel, OTHER_SOURCE)
    over.streams[0].wait(channel, SOURCE, count=8)
    assert over.streams[0].sources(channel) == {SOURCE}

    over.receivers[1].join(channel, OTHER_SOURCE)
    over.streams[1].wait(channel, OTHER_SOURCE, count=5)
    assert [stream.sources(channel) for stream in over.streams] == [{SOURCE}, {OTHER_SOURCE}]
    over.receivers[0].leave(channel, SOURCE)
    over.streams[0].wait_end(channel)
    assert over.wire.changes(BELOW, channel) == [("report v2", ())]
    over.receivers[1].leave(channel, OTHER_SOURCE)
    over.wire.wait_told(BELOW, channel, "leave")
    over.upstream.wait_told(UPSTREAM, channel, "TO_IN")


def test_a_receiver_that_falls_silent_is_timed_out_through_igmpproxy(over):
    group = over.new_group()
    send_igmp(over.hosts[1], v2_report(group), group)
    reported = over.wire.wait_told(BELOW, group, "report v2").time
    over.upstream.wait_told(UPSTREAM, group, "TO_EX")
    over.send(group)
    over.streams[1].wait(group)
    left = over.wire.wait_told(BELOW, group, "leave").time
    assert GROUP_MEMBERSHIP_INTERVAL - EARLY < left - reported < GROUP_MEMBERSHIP_INTERVAL + LATE
    over.upstream.wait_told(UPSTREAM, group, "TO_IN")


def test_igmpproxy_that_starts_again_hears_of_all_groups_within_its_response_time(over):
    groups = [over.new_group() for _ in range(2)]
    for group in groups:
        over.receivers[0].join(group)
        over.wire.wait_told(BELOW, group, "report v2")
    over.peer.stop()
    for group in groups:
        over.upstream.wait_told(UPSTREAM, group, "TO_IN")
    over.send(*groups)
    over.peer.start()
    query = over.wire.wait_asked(ABOVE, since=over.query.time + 0.001)
    for group in groups:
        answer = over.wire.wait_told(BELOW, group, "report v2", since=query.time, timeout=12.0)
        assert answer.time - query.time < 10.0 + LATE
        over.upstream.wait_told(UPSTREAM, group, "TO_EX", since=query.time)
        over.streams[0].wait(group, since=answer.time)


@pytest.mark.slow
def test_after_igmpproxy_has_gone_we_are_back_at_version_3():
    skip_without(obstacle())
    with Chain() as chain:
        mcfwd = chain.run_below(older_querier_timeout=3.0)
        with Igmpproxy(chain.above):
            asked = chain.wire.wait_asked(ABOVE).time
            chain.receivers[0].join(group := chain.new_group())
            chain.wire.wait_told(BELOW, group, "report v2")
            wait_version(mcfwd, 2)
        wait_version(mcfwd, 3)
        chain.receivers[0].join(later := chain.new_group())
        told = chain.wire.wait_told(BELOW, later, "TO_EX").time
        assert told - asked > 3.0 - EARLY
        chain.receivers[0].leave(group)
        chain.wire.wait_told(BELOW, group, "TO_IN")
        assert chain.wire.complaints(BELOW) == []


# --- igmpproxy beside us: two queriers on one link ---


@pytest.mark.slow
def test_a_lower_igmpproxy_wins_the_election_loses_it_when_silent_and_wins_it_again():
    """A version 2 query tells no robustness or interval: ours stay in force."""
    skip_without(obstacle())
    with Shared(LOWER) as shared:
        mcfwd = shared.run_beside()
        shared.receivers[0].join(group := shared.new_group())
        shared.streams[0].wait(group)
        peer = shared.run(Igmpproxy(shared.neighbour))
        lost = shared.wire.last_asked(LOWER)
        assert lost.fields == (2, ANY, 10.0, (), False, 0, 0.0)
        wait_querier(mcfwd, LOWER)
        shared.streams[0].wait_end(group)
        peer.stop()
        won = shared.wire.wait_asked(OURS, since=lost.time + 0.2)
        assert -EARLY < won.time - lost.time - OTHER_QUERIER_PRESENT_INTERVAL < LATE
        assert won.fields == GENERAL_QUERY
        wait_querier(mcfwd, OURS)
        shared.streams[0].wait(group, since=won.time)
        peer.start()
        again = shared.wire.wait_asked(LOWER, since=won.time)
        wait_querier(mcfwd, LOWER)
        shared.streams[0].wait_end(group)
        assert shared.wire.asked(OURS, since=again.time + 0.2) == []
        assert mcfwd.group("down0", group)
        assert shared.upstream.changes(UPSTREAM, group) == [("TO_EX", ())]
        assert shared.wire.complaints(OURS) == []


@pytest.mark.slow
def test_a_higher_igmpproxy_does_not_silence_us():
    skip_without(obstacle())
    with Shared(HIGHER) as shared:
        mcfwd = shared.run_beside()
        with Igmpproxy(shared.neighbour):
            heard = shared.wire.wait_asked(HIGHER).time
            shared.wire.wait_asked(OURS, since=heard, count=2)
            row = mcfwd.interface("down0")
        assert (row["querier"], row["querier_address"]) == (True, OURS)
