"""FRR 8.4 (zebra and pimd) beside us: two queriers on one downstream link, of which the lower address queries."""

import pytest

from bench.peers.frr import Frr, obstacle
from forwarder.lab.topology import SOURCE
from forwarder.lab.wait import wait_for
from netns.peers import (
    ALL_HOSTS,
    ANY,
    EARLY,
    FRR_IGMP,
    FRR_INTERVAL,
    FRR_LAST_MEMBER,
    FRR_RESPONSE,
    FRR_V2_QUERY,
    GENERAL_QUERY,
    HIGHER,
    LATE,
    LOWER,
    OTHER_QUERIER_PRESENT_INTERVAL,
    OURS,
    UPSTREAM,
    Shared,
    skip_without,
    wait_querier,
)
from netns.site import general_query, send_igmp

pytestmark = pytest.mark.slow   # 40 seconds, of elections that test_peer_igmpproxy and the scenarios have too


# RFC 9776 6.6.2 a
def test_a_lower_frr_wins_the_election_loses_it_when_silent_and_wins_it_again():
    """While it queries, its robustness of 1 and interval of 3 s are ours, and nothing of us is on this link."""
    skip_without(obstacle())
    with Shared(LOWER) as shared:
        mcfwd = shared.run_beside()
        shared.receivers[0].join(group := shared.new_group())
        shared.streams[0].wait(group)
        peer = shared.run(Frr(shared.neighbour, {"down0": [*FRR_IGMP, "ip igmp query-interval 3"]}))
        wait_querier(mcfwd, LOWER)
        heard = wait_robustness(shared, 1)
        assert heard.fields == (3, ANY, FRR_RESPONSE, (), True, 1, 3)     # pimd sets S in every General Query
        # With neither value, the one or the other of our own this would be up to 2.8 s, 1.8 s or 6.8 s.
        mcfwd.wait_for(lambda mcfwd: 2.9 < mcfwd.group("down0", group)["expires"] < 3.81, 8.0, "its values")
        shared.streams[0].wait_end(group)

        peer.stop()
        lost = shared.wire.last_asked(LOWER).time
        assert shared.wire.asked(OURS, since=heard.time) == []
        won = shared.wire.wait_asked(OURS, since=lost)
        assert -EARLY < won.time - lost - (1 * 3 + 0.4 / 2) < LATE
        assert won.fields == GENERAL_QUERY
        wait_querier(mcfwd, OURS)
        shared.streams[0].wait(group, since=won.time)

        peer.start()
        wait_querier(mcfwd, LOWER)
        again = shared.wire.wait_asked(LOWER, since=won.time)
        shared.streams[0].wait_end(group)
        assert shared.wire.asked(OURS, since=again.time) == []
        assert shared.upstream.changes(UPSTREAM, group) == [("TO_EX", ())]
        assert shared.wire.complaints(OURS) == []


def wait_robustness(shared, robustness):
    """The first query of FRR with this robustness; it takes it from any query, that of a higher router included."""
    message = general_query(3, FRR_RESPONSE)[:8] + bytes((robustness, FRR_INTERVAL, 0, 0))
    send_igmp(shared.host, message, ALL_HOSTS)

    def told():
        return [query for query in shared.wire.asked(LOWER)[-1:] if query.robustness == robustness]

    return wait_for(told, 8.0, f"query with robustness {robustness}")[0]


def test_a_leave_that_a_lower_frr_asks_about_ends_the_membership_with_us_too():
    skip_without(obstacle())
    with Shared(LOWER, sending=False) as shared:
        mcfwd = shared.run_beside()
        peer = shared.run(Frr(shared.neighbour, {"down0": FRR_IGMP}))
        wait_querier(mcfwd, LOWER)
        group, channel = shared.new_group(), shared.new_channel()
        shared.receivers[0].join(group)
        shared.receivers[0].join(channel, SOURCE)
        shared.upstream.wait_told(UPSTREAM, group, "TO_EX")
        shared.upstream.wait_told(UPSTREAM, channel, "ALLOW", SOURCE)
        mcfwd.wait_for(lambda _: peer.group("down0", group), 5.0, "member in FRR")
        shared.receivers[0].leave(group)
        asked = shared.wire.wait_asked(LOWER, group).time
        ended = shared.upstream.wait_told(UPSTREAM, group, "TO_IN").time
        assert -EARLY < ended - asked - 2 * FRR_LAST_MEMBER < LATE + FRR_LAST_MEMBER
        shared.receivers[0].leave(channel, SOURCE)
        asked = shared.wire.wait_asked(LOWER, channel).time
        ended = shared.upstream.wait_told(UPSTREAM, channel, "BLOCK", SOURCE).time
        assert -EARLY < ended - asked - 2 * FRR_LAST_MEMBER < LATE + FRR_LAST_MEMBER
        assert shared.wire.asked(OURS, group) == shared.wire.asked(OURS, channel) == []


def test_a_lower_frr_in_version_2_wins_as_well():
    skip_without(obstacle())
    with Shared(LOWER, sending=False) as shared:
        mcfwd = shared.run_beside()
        with Frr(shared.neighbour, {"down0": [*FRR_IGMP, "ip igmp version 2"]}):
            heard = shared.wire.wait_asked(LOWER)
            assert heard.fields == FRR_V2_QUERY
            wait_querier(mcfwd, LOWER)
            shared.wire.wait_asked(LOWER, since=heard.time + 0.001)
            assert shared.wire.asked(OURS, since=heard.time) == []
        last = shared.wire.last_asked(LOWER).time
        won = shared.wire.wait_asked(OURS, since=last)
        assert -EARLY < won.time - last - OTHER_QUERIER_PRESENT_INTERVAL < LATE


def test_a_higher_frr_falls_silent_before_us_and_takes_over_only_while_we_are_gone():
    skip_without(obstacle())
    with Shared(HIGHER, sending=False) as shared:
        mcfwd = shared.run_beside()
        peer = shared.run(Frr(shared.neighbour, {"down0": FRR_IGMP}))
        wait_silent(shared, mcfwd, peer)
        last = shared.wire.last_asked(OURS).time
        assert mcfwd.stop() == 0
        shared.wire.wait_asked(HIGHER, since=last)
        mcfwd = shared.run_beside()
        wait_silent(shared, mcfwd, peer)
        assert shared.wire.complaints(OURS) == []


def wait_silent(shared, mcfwd, peer):
    """Until FRR takes us for the querier; then it asks nothing while we ask twice, with our own values."""
    mcfwd.wait_for(lambda _: peer.interface("down0")["querierIp"] == OURS, 8.0, "FRR sees us")
    assert "querier" not in peer.interface("down0")
    since = shared.wire.last_asked(OURS).time
    assert shared.wire.wait_asked(OURS, since=since, count=3).fields == GENERAL_QUERY
    assert shared.wire.asked(HIGHER, since=since) == []
    assert mcfwd.interface("down0")["querier_address"] == OURS
