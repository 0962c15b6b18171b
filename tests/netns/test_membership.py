"""Joins, leaves and timers of real receivers: who gets a stream, until when, and what upstream is told of it."""

import pytest

from forwarder.lab.capture import UDP, Capture
from forwarder.lab.topology import SOURCE
from forwarder.lab.wait import wait_for
from netns.site import (
    CHANNEL,
    GROUP_MEMBERSHIP_INTERVAL,
    LAST_MEMBER_QUERY_TIME,
    OTHER_SOURCE,
    send_datagrams,
    send_igmp,
    v2_report,
    v3_report,
)

V1, V2, V3 = 0, 1, 2        # receivers
JOINS = {V1: "report v1", V2: "report v2", V3: "TO_EX"}
PROMPT = 1.0                # seconds: at once, on a machine that others use too
LATE = 0.5                  # seconds that a stream may go on after its timer
EARLY = 0.1                 # seconds that a capture's clock and a late look may take away


# RFC 9776 5.1 a
@pytest.mark.parametrize("number", [V1, V2, V3])
def test_a_join_is_reported_upstream_at_once_and_the_stream_comes_on_that_link_only(
    site, streams, group, measured, number
):
    reported = site.join(number, group)
    upstream = site.wait_told(group, "TO_EX").time
    first = streams[number].wait(group).time
    streams[number].wait(group, count=8)
    assert site.said(number, group)[0].kind == JOINS[number]
    assert 0 < measured("join to upstream report", upstream - reported) < PROMPT
    assert 0 < measured("join to first datagram", first - reported) < PROMPT
    assert [bool(stream.frames(group)) for stream in streams] == [other == number for other in (V1, V2, V3)]
    assert site.receivers[number].wait_received(8).total("altered") == 0


# RFC 9776 6.1 b
@pytest.mark.parametrize("number", [V2, V3])
def test_a_leave_ends_the_stream_within_the_last_member_query_time(site, streams, group, measured, number):
    site.join(number, group)
    streams[number].wait(group, count=3)
    asked = site.leave(number, group)
    left = site.wait_said(number, group, asked)
    assert left.kind == {V2: "leave", V3: "TO_IN"}[number]
    upstream = site.wait_told(group, "TO_IN").time
    last = streams[number].wait_end(group)
    assert measured("leave to last datagram", last - left.time) < LAST_MEMBER_QUERY_TIME + LATE
    assert measured("leave to upstream", upstream - left.time) > LAST_MEMBER_QUERY_TIME - EARLY
    assert site.changes_upstream(group) == [("TO_EX", ()), ("TO_IN", ())]


def test_a_version_1_receiver_that_leaves_and_hosts_that_fall_silent_end_by_the_timer(site, streams, measured):
    groups = [site.new_group() for _ in (V1, V2, V3)]
    site.join(V1, groups[V1])
    # These two exist only as one report each: nobody is there who could answer a query or leave.
    send_igmp(site.lab.receivers[V2], v2_report(groups[V2]), groups[V2])
    send_igmp(site.lab.receivers[V3], v3_report(groups[V3]), "224.0.0.22")
    for number in (V1, V2, V3):
        streams[number].wait(groups[number], count=3)
    site.leave(V1, groups[V1])
    for number, group in enumerate(groups):
        ended = site.wait_told(group, "TO_IN").time
        last = streams[number].wait_end(group)
        said = site.said(number, group)
        assert {each.kind for each in said} == {JOINS[number]}
        lasted = measured(f"version {number + 1}, last report to last datagram", last - said[-1].time)
        assert lasted < GROUP_MEMBERSHIP_INTERVAL + LATE
        assert ended - said[-1].time > GROUP_MEMBERSHIP_INTERVAL - EARLY


def test_a_second_link_gets_the_stream_without_a_second_join_and_upstream_is_left_after_the_last(
    site, streams, group, measured
):
    site.receivers[V2].reset()
    site.join(V3, group)
    streams[V3].wait(group)
    wait_for(lambda: len(site.told_upstream(group)) == 2, 5.0, "repetition of the join")

    joined = site.join(V2, group)
    measured("second report to first datagram", streams[V2].wait(group, since=joined).time - joined)
    site.join(V2, later := site.new_group())
    site.wait_told(later, "TO_EX")
    assert len(site.told_upstream(group)) == 2

    site.leave(V3, group)
    streams[V2].wait(group, since=streams[V3].wait_end(group))
    assert site.changes_upstream(group) == [("TO_EX", ())]
    assert site.receivers[V2].report().total("lost") == 0

    left = site.wait_said(V2, group, site.leave(V2, group))
    assert site.wait_told(group, "TO_IN").time > left.time
    streams[V2].wait_end(group)
    assert site.changes_upstream(group) == [("TO_EX", ()), ("TO_IN", ())]


def test_the_next_datagram_of_a_stream_that_flowed_before_the_join_is_delivered(site, streams):
    group = "239.9.9.9"
    send_datagrams(site.lab.source, SOURCE, group, group, group)
    site.mcfwd.wait_for(lambda mcfwd: unwanted(mcfwd, group), 5.0, "flow without members")
    site.join(V3, group)
    site.mcfwd.wait_member("down2", group)
    send_datagrams(site.lab.source, SOURCE, group, payload=b"after")
    assert streams[V3].wait(group).payload[8:] == b"after"


def unwanted(mcfwd, group):
    return [row for row in mcfwd.show("flows") if (row["group"], row["verdict"]) == (group, "no_members")]


def test_the_first_datagram_follows_the_report_at_once(site, measured):
    with site.sender(SOURCE, fast := "239.9.9.10", rate=2000.0), Capture(site.lab.receivers[V3], protocol=UDP) as link:
        site.mcfwd.wait_for(lambda mcfwd: unwanted(mcfwd, fast), 5.0, "flow without members")
        reported = site.join(V3, fast)
        first = link.wait_for(lambda frame: frame.destination == fast, 5.0).time
    assert 0 < measured("report to first datagram", first - reported) < PROMPT


# RFC 9776 6.3 a
def test_a_channel_brings_its_source_alone(site, streams):
    site.receivers[V3].reset()
    site.join(V3, CHANNEL, OTHER_SOURCE)
    site.wait_told(CHANNEL, "ALLOW", OTHER_SOURCE)
    streams[V3].wait(CHANNEL, count=8)
    assert streams[V3].sources(CHANNEL) == {OTHER_SOURCE}

    joined = site.join(V3, CHANNEL, SOURCE)
    site.wait_told(CHANNEL, "ALLOW", SOURCE)
    for source in (SOURCE, OTHER_SOURCE):
        streams[V3].wait(CHANNEL, source, since=joined, count=8)
    assert site.receivers[V3].report().total("lost") == 0

    site.leave(V3, CHANNEL, OTHER_SOURCE)
    left = site.wait_told(CHANNEL, "BLOCK", OTHER_SOURCE).time
    streams[V3].wait(CHANNEL, SOURCE, since=left + LATE, count=8)
    assert streams[V3].sources(CHANNEL, left + LATE) == {SOURCE}

    site.leave(V3, CHANNEL, SOURCE)
    site.wait_told(CHANNEL, "BLOCK", SOURCE)
    streams[V3].wait_end(CHANNEL)
    assert [row for row in site.mcfwd.show("routes") if row["group"] == CHANNEL] == []


# RFC 9776 6.3 b
def test_a_blocked_source_is_cut_off_and_the_other_goes_on(site, streams, group):
    site.receivers[V3].reset()
    site.join(V3, group)
    for source in (SOURCE, OTHER_SOURCE):
        streams[V3].wait(group, source)
    site.receivers[V3].command("block", group, SOURCE)
    blocked = site.wait_told(group, "BLOCK", SOURCE).time
    streams[V3].wait(group, OTHER_SOURCE, since=blocked + LATE, count=8)
    assert streams[V3].sources(group, blocked + LATE) == {OTHER_SOURCE}
    assert site.receivers[V3].report().total("lost") == 0

    site.receivers[V3].command("unblock", group, SOURCE)
    unblocked = site.wait_told(group, "ALLOW", SOURCE).time
    streams[V3].wait(group, SOURCE, since=unblocked)
    site.leave(V3, group)
    site.wait_told(group, "TO_IN")
    said = [("TO_EX", ()), ("BLOCK", (SOURCE,)), ("ALLOW", (SOURCE,)), ("TO_IN", ())]
    assert site.changes_upstream(group) == said


def test_links_with_opposite_filters_get_each_its_own_and_upstream_is_asked_for_both(site, streams, group):
    site.lab.force_igmp_version(V2, 3)
    try:
        site.join(V3, group, SOURCE)
        site.wait_told(group, "ALLOW", SOURCE)
        site.join(V2, group)
        site.wait_told(group, "TO_EX")
        site.receivers[V2].command("block", group, SOURCE)
        site.mcfwd.wait_for(lambda mcfwd: (mcfwd.group("down1", group) or {}).get("excluded_sources"), 5.0, "block")
        blocked = max(site.said(V2, group)[-1].time, streams[V3].wait(group).time) + LATE
        streams[V3].wait(group, SOURCE, since=blocked, count=8)
        streams[V2].wait(group, OTHER_SOURCE, since=blocked, count=8)
        assert [streams[n].sources(group, blocked) for n in (V2, V3)] == [{OTHER_SOURCE}, {SOURCE}]
        assert site.changes_upstream(group) == [("ALLOW", (SOURCE,)), ("TO_EX", ())]

        site.leave(V3, group, SOURCE)
        site.wait_told(group, "BLOCK", SOURCE)
    finally:
        site.lab.force_igmp_version(V2, 2)


def test_show_groups_upstream_and_routes_tell_what_is(site, group):
    site.join(V2, group)
    site.join(V3, group, SOURCE)
    site.mcfwd.wait_member("down2", group)
    groups, [upstream], routes = (site.show(noun, group) for noun in ("groups", "upstream", "routes"))
    two, three = sorted(groups, key=lambda row: row["interface"])
    [source] = three["sources"]
    for timed, name in ((two, "expires"), (three, "expires"), (source, "expires")):
        assert 0 < timed.pop(name) <= GROUP_MEMBERSHIP_INTERVAL
    for row in (two, three):
        assert 0 < row.pop("uptime") < 10.0
    common = {"group": group, "excluded_sources": [], "static": False, "note": None}
    assert two == common | {
        "interface": "down1", "mode": "exclude", "sources": [], "compatibility": 2, "last_reporter": "192.168.20.11"
    }
    assert three == common | {
        "interface": "down2", "mode": "include", "sources": [{"address": SOURCE}], "compatibility": 3,
        "last_reporter": "192.168.30.11",
    }
    assert upstream == {"interface": "up0", "group": group, "mode": "exclude", "sources": [], "version": 3,
                        "interfaces": ["down1", "down2"], "static": False}  # fmt: skip
    assert sorted(routes, key=lambda row: row["source"] or "") == [
        {"group": group, "source": None, "upstream": None, "interfaces": ["down1"], "kind": "learned",
         "note": None},
        {"group": group, "source": SOURCE, "upstream": None, "interfaces": ["down1", "down2"], "kind": "learned",
         "note": None},
    ]  # fmt: skip


def test_show_groups_and_routes_tell_of_a_blocked_source(site, group):
    site.join(V3, group)
    site.receivers[V3].command("block", group, SOURCE)
    site.wait_told(group, "BLOCK", SOURCE)
    [row] = site.show("groups", group)
    assert (row["mode"], row["sources"], row["excluded_sources"]) == ("exclude", [], [SOURCE])
    [row] = site.show("upstream", group)
    assert (row["mode"], row["sources"]) == ("exclude", [SOURCE])
    rows = {row["source"]: row["interfaces"] for row in site.show("routes", group)}
    assert rows == {None: ["down2"], SOURCE: []}
