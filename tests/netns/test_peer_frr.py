"""FRR 8.4 (zebra and pimd) above us: a querier of version 3 and 2, whose tables show what we report."""

import pytest

from bench.peers.frr import Frr, obstacle
from forwarder.lab.topology import SOURCE
from netns.peers import (
    ABOVE,
    ALL_ROUTERS,
    ANY,
    BELOW,
    BYSTANDER,
    EARLY,
    FRR_IGMP,
    FRR_INTERVAL,
    FRR_LAST_MEMBER,
    FRR_RESPONSE,
    FRR_V2_QUERY,
    GROUP_MEMBERSHIP_INTERVAL,
    LATE,
    UPSTREAM,
    Chain,
    skip_without,
    wait_version,
)
from netns.site import OTHER_SOURCE, send_igmp, v3_report

# pimd sets S in every General Query, and takes its robustness from other queriers.
FRR_QUERY = (3, ANY, FRR_RESPONSE, (), True, 2, FRR_INTERVAL)
OLDER_QUERIER_TIMEOUT = 3.0


@pytest.fixture(scope="module")
def over():
    """mcfwd below FRR, whose PIM brings the data of a group when it knows of a member."""
    skip_without(obstacle())
    with Chain() as chain:
        chain.peer = chain.run(Frr(
            chain.above, {"up0": ["ip pim"], "down0": ["ip pim", *FRR_IGMP]}, [f"ip pim rp {UPSTREAM} 224.0.0.0/4"]
        ))
        chain.mcfwd = chain.run_below(older_querier_timeout=OLDER_QUERIER_TIMEOUT)
        chain.third = chain.bystander()
        yield chain
        assert chain.wire.complaints(BELOW) == []


@pytest.fixture
def frr(over):
    """FRR, in version 3 before and after the test."""
    yield over.peer
    if over.peer.interface("down0")["version"] != 3:
        over.peer.configure("interface down0", "ip igmp version 3")
        wait_version(over.mcfwd, 3)


def wait_known(chain, group, **fields):
    """Until FRR has a member of the group with these fields."""

    def known(_):
        row = chain.peer.group("down0", group)
        return row and {name: row[name] for name in fields} == fields

    chain.mcfwd.wait_for(known, 8.0, f"{group} {fields} in FRR")


def wait_forgotten(chain, group):
    """Until FRR has no member of the group."""
    chain.mcfwd.wait_for(lambda _: chain.peer.group("down0", group) is None, 10.0, f"{group} gone from FRR")


def wait_excluded(chain, group, source):
    """Until FRR knows that nobody wants this source of the group."""
    chain.mcfwd.wait_for(
        lambda _: chain.peer.sources("down0", group).get(source) is False, 8.0, f"{source} excluded in FRR"
    )


def test_frr_learns_of_a_join_and_a_leave_and_its_data_comes_and_goes(over, frr):
    group = over.new_group()
    over.receivers[0].join(group)
    over.wire.wait_told(BELOW, group, "TO_EX")
    wait_known(over, group, mode="EXCLUDE", version=3)
    over.streams[0].wait(group, count=5)
    assert over.streams[0].sources(group) == {SOURCE, OTHER_SOURCE}
    over.receivers[0].leave(group)
    left = over.wire.wait_told(BELOW, group, "TO_IN").time
    query = over.wire.wait_asked(ABOVE, group, since=left)
    assert (query.version, query.response, query.destination) == (3, FRR_LAST_MEMBER, group)
    wait_forgotten(over, group)
    over.streams[0].wait_end(group)
    assert over.wire.changes(BELOW, group) == [("TO_EX", ()), ("TO_IN", ())]


def test_general_queries_of_frr_are_answered_in_time_with_all_memberships_in_one_report(over, frr):
    group, excluding, channel = over.new_group(), over.new_group(), over.new_channel()
    over.receivers[0].join(group)
    over.receivers[0].join(channel, SOURCE)
    over.receivers[1].join(excluding)
    over.receivers[1].command("block", excluding, OTHER_SOURCE)
    wait_excluded(over, excluding, OTHER_SOURCE)
    query = over.wire.wait_asked(ABOVE, since=over.wire.told(BELOW)[-1].time)
    assert query.fields == FRR_QUERY
    answer = over.wire.wait_told(BELOW, group, "IS_EX", since=query.time)
    assert 0 < answer.time - query.time < FRR_RESPONSE + LATE
    said = {(each.kind, each.group, each.sources) for each in over.wire.told(BELOW) if each.time == answer.time}
    assert said == {
        ("IS_EX", group, ()), ("IS_EX", excluding, (OTHER_SOURCE,)), ("IS_IN", channel, (SOURCE,))
    }
    for number, membership in ((0, (group,)), (0, (channel, SOURCE)), (1, (excluding,))):
        over.receivers[number].leave(*membership)
    for name in (group, excluding, channel):
        wait_forgotten(over, name)


def test_frr_sees_the_sources_of_a_channel_come_and_go(over, frr):
    channel = over.new_channel()
    over.receivers[0].join(channel, SOURCE)
    over.wire.wait_told(BELOW, channel, "ALLOW", SOURCE)
    wait_known(over, channel, mode="INCLUDE", version=3)
    assert frr.sources("down0", channel) == {SOURCE: True}
    over.streams[0].wait(channel, SOURCE, count=5)
    over.receivers[1].join(channel, OTHER_SOURCE)
    over.wire.wait_told(BELOW, channel, "ALLOW", OTHER_SOURCE)
    over.streams[1].wait(channel, OTHER_SOURCE, count=5)
    assert [stream.sources(channel) for stream in over.streams] == [{SOURCE}, {OTHER_SOURCE}]

    over.receivers[0].leave(channel, SOURCE)
    left = over.wire.wait_told(BELOW, channel, "BLOCK", SOURCE).time
    query = over.wire.wait_asked(ABOVE, channel, since=left)
    assert (query.version, query.sources) == (3, (SOURCE,))
    over.mcfwd.wait_for(lambda _: list(frr.sources("down0", channel)) == [OTHER_SOURCE], 8.0, "one source in FRR")
    over.streams[0].wait_end(channel)
    over.receivers[1].leave(channel, OTHER_SOURCE)
    wait_forgotten(over, channel)
    assert over.wire.changes(BELOW, channel)[-1] == ("BLOCK", (OTHER_SOURCE,))


def test_frr_learns_which_source_all_our_receivers_exclude(over, frr):
    """FRR 8.4 itself then sends nothing of the group any more, sometimes not even when the source is wanted again."""
    group = over.new_group()
    for receiver in over.receivers:
        receiver.join(group)
    wait_known(over, group, mode="EXCLUDE")
    for stream in over.streams:
        stream.wait(group, SOURCE)
    over.receivers[0].command("block", group, SOURCE)
    over.mcfwd.wait_for(
        lambda mcfwd: mcfwd.group("down0", group)["excluded_sources"] == [SOURCE], 5.0, "one receiver excludes"
    )
    assert over.wire.changes(BELOW, group) == [("TO_EX", ())]
    over.receivers[1].command("block", group, SOURCE)
    over.wire.wait_told(BELOW, group, "BLOCK", SOURCE)
    wait_excluded(over, group, SOURCE)
    wait_known(over, group, mode="EXCLUDE")
    for receiver in over.receivers:
        receiver.command("unblock", group, SOURCE)
    over.wire.wait_told(BELOW, group, "ALLOW", SOURCE)
    over.mcfwd.wait_for(lambda _: frr.sources("down0", group).get(SOURCE) is not False, 8.0, "source wanted")
    for receiver in over.receivers:
        receiver.leave(group)
    wait_forgotten(over, group)
    assert over.wire.changes(BELOW, group) == [
        ("TO_EX", ()), ("BLOCK", (SOURCE,)), ("ALLOW", (SOURCE,)), ("TO_IN", ())
    ]


def test_when_another_host_leaves_frr_asks_and_our_answer_keeps_the_stream(over, frr):
    group, channel = over.new_group(), over.new_channel()
    for receiver in (over.receivers[0], over.third):
        receiver.join(group)
        receiver.join(channel, SOURCE)
    wait_known(over, group, mode="EXCLUDE")
    wait_known(over, channel, mode="INCLUDE")
    over.third.leave(group)
    over.third.leave(channel, SOURCE)
    left = over.wire.wait_told(BYSTANDER, channel, "BLOCK", SOURCE).time
    for name, kind, sources in ((group, "IS_EX", ()), (channel, "IS_IN", (SOURCE,))):
        query = over.wire.wait_asked(ABOVE, name, since=left - EARLY)
        assert query.version == 3
        answer = over.wire.wait_told(BELOW, name, kind, *sources, since=query.time)
        assert answer.time - query.time < 2 * FRR_LAST_MEMBER + LATE
    for name in (group, channel):
        over.streams[0].wait(name, SOURCE, since=left + 2 * FRR_LAST_MEMBER + LATE)
    wait_known(over, group, mode="EXCLUDE")
    over.receivers[0].leave(group)
    over.receivers[0].leave(channel, SOURCE)
    wait_forgotten(over, group)


def test_a_receiver_that_falls_silent_is_timed_out_and_frr_is_told(over, frr):
    group = over.new_group()
    send_igmp(over.hosts[1], v3_report(group), "224.0.0.22")
    reported = over.wire.wait_told(BELOW, group, "TO_EX").time
    wait_known(over, group, mode="EXCLUDE")
    over.streams[1].wait(group)
    ended = over.wire.wait_told(BELOW, group, "TO_IN").time
    assert GROUP_MEMBERSHIP_INTERVAL - EARLY < ended - reported < GROUP_MEMBERSHIP_INTERVAL + LATE
    wait_forgotten(over, group)


def test_when_we_vanish_frr_forgets_and_when_we_are_back_it_learns_again(over, frr):
    group = over.new_group()
    over.receivers[0].join(group)
    wait_known(over, group, mode="EXCLUDE")
    over.cut()
    try:
        wait_forgotten(over, group)
    finally:
        over.mend()
    back = over.wire.wait_told(BELOW, group, "IS_EX", since=over.wire.told(BELOW, group)[-1].time + 0.001).time
    wait_known(over, group, mode="EXCLUDE")
    over.streams[0].wait(group, since=back)
    over.receivers[0].leave(group)
    wait_forgotten(over, group)


def test_frr_that_starts_again_hears_of_all_memberships(over, frr):
    group, channel = over.new_group(), over.new_channel()
    over.receivers[0].join(group)
    over.receivers[0].join(channel, SOURCE)
    for name in (group, channel):
        over.streams[0].wait(name, SOURCE)
    frr.stop()
    stopped = over.streams[0].wait_end(group)
    frr.start()
    query = over.wire.wait_asked(ABOVE, since=stopped)
    over.wire.wait_told(BELOW, group, "IS_EX", since=query.time)
    over.wire.wait_told(BELOW, channel, "IS_IN", SOURCE, since=query.time)
    wait_known(over, group, mode="EXCLUDE")
    wait_known(over, channel, mode="INCLUDE")
    over.streams[0].wait(group, since=query.time)
    over.streams[0].wait(channel, SOURCE, since=query.time)
    over.receivers[0].leave(group)
    over.receivers[0].leave(channel, SOURCE)
    wait_forgotten(over, group)


# RFC 9776 7.2.1 a
def test_frr_in_version_2_hears_version_2_and_afterwards_version_3_again(over, frr):
    """Of the range for channels FRR takes no version 2 reports, so the filtered group is an ordinary one."""
    group, channel, later = (over.new_group() for _ in range(3))
    over.receivers[0].join(group)
    over.receivers[0].join(channel, SOURCE)
    wait_known(over, group, version=3)
    frr.configure("interface down0", "ip igmp version 2")
    over.mcfwd.wait_for(lambda _: over.wire.last_asked(ABOVE).version == 2, 8.0, "query of version 2")
    query = over.wire.last_asked(ABOVE)
    assert query.fields == FRR_V2_QUERY
    for name in (group, channel):
        answer = over.wire.wait_told(BELOW, name, "report v2", since=query.time)
        assert answer.time - query.time < FRR_RESPONSE + LATE
        wait_known(over, name, version=2)
    over.receivers[0].leave(group)
    over.wire.wait_told(BELOW, group, "leave")
    asked = over.wire.wait_asked(ABOVE, group, since=query.time)
    assert (asked.version, asked.response) == (2, FRR_LAST_MEMBER)
    wait_forgotten(over, group)
    assert {frame.destination for frame in over.wire.frames(BELOW) if frame.payload[0] == 0x17} == {ALL_ROUTERS}

    frr.configure("interface down0", "ip igmp version 3")
    over.mcfwd.wait_for(lambda _: over.wire.last_asked(ABOVE).version == 3, 8.0, "query of version 3")
    last = next(query for query in reversed(over.wire.asked(ABOVE)) if query.version == 2).time
    wait_version(over.mcfwd, 3)
    over.receivers[0].join(later)
    told = over.wire.wait_told(BELOW, later, "TO_EX").time
    assert told - last > OLDER_QUERIER_TIMEOUT - EARLY
    over.wire.wait_told(BELOW, channel, "IS_IN", SOURCE, since=told)
    wait_known(over, later, mode="EXCLUDE", version=3)


def test_when_we_stop_frr_hears_leaves_of_everything():
    skip_without(obstacle())
    with Chain(sending=False) as chain:
        chain.mcfwd = chain.run_below()
        chain.peer = chain.run(Frr(chain.above, {"up0": ["ip pim"], "down0": ["ip pim", *FRR_IGMP]}))
        group, channel = chain.new_group(), chain.new_channel()
        chain.receivers[0].join(group)
        chain.receivers[0].join(channel, SOURCE)
        wait_known(chain, group, mode="EXCLUDE")
        wait_known(chain, channel, mode="INCLUDE")
        assert chain.mcfwd.stop() == 0
        chain.wire.wait_told(BELOW, group, "TO_IN")
        chain.wire.wait_told(BELOW, channel, "BLOCK", SOURCE)
        wait_forgotten(chain, group)
        wait_forgotten(chain, channel)
        assert chain.wire.complaints(BELOW) == []
