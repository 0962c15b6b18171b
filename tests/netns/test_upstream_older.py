"""The upstream side of mcfwd as a host of IGMPv1 and v2, after a querier of that version was heard (RFC 2236).

Version 1 leaves ten seconds to answer, whatever a query says, and has no leaves and no queries for a group. The way
back to version 3 is in test_queries.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import pytest

from forwarder.lab.topology import UPSTREAM
from forwarder.lab.wait import wait_for
from netns.frames import ROUTER_ALERT, ipv4
from netns.members import (
    NOW,
    TIMERS,
    Router,
    answers,
    assert_envelope,
    counted,
    damaged,
    heard,
    passed_without,
    resealed,
)
from netns.scenarios import (
    ALL_ROUTERS,
    LATE,
    SOON,
    TRAFFIC_SOURCES,
    Neighbour,
    neighbours,
    query_message,
    record,
    running_site,
    settled_counters,
    wait_no_group,
)
from netns.site import Site, v2_report

MEMBER = "10.0.0.77"                # another one upstream
V1_RESPONSE = 10.0                  # seconds


@pytest.fixture(scope="module", params=[2, 1], ids=["v2", "v1"])
def version(request: pytest.FixtureRequest) -> int:
    """What the querier speaks."""
    return request.param


@pytest.fixture(scope="module")
def site(version: int) -> Iterator[Site]:
    """One downstream link; mcfwd has heard an older querier, and does not forget it."""
    with running_site(TIMERS, 1) as running:
        with Router(running) as router:
            router.query(version=version, response=NOW)
        running.mcfwd.wait_for(lambda m: m.interface("up0")["igmp_version"] == version, SOON, "older version")
        yield running


@pytest.fixture
def router(site: Site, stack: ExitStack) -> Router:
    """The one who asks."""
    return stack.enter_context(Router(site))


@pytest.fixture
def host(site: Site, stack: ExitStack) -> Neighbour:
    """The one downstream whose wishes mcfwd speaks of."""
    [host] = neighbours(site, stack)
    return host


@pytest.fixture
def groups(site: Site, host: Neighbour) -> Iterator[list[str]]:
    """Ten groups that mcfwd is a member of."""
    joined = [site.new_group() for _ in range(10)]
    host.report(*(record("TO_EX", group) for group in joined))
    for group in joined:
        wait_for(lambda group=group: answers(site, group, 0.0), SOON, "join")
    yield joined
    host.report(*(record("TO_IN", group) for group in joined))
    site.mcfwd.wait_for(lambda mcfwd: not mcfwd.show("upstream"), SOON, "nothing wanted")


@pytest.fixture
def report(version: int) -> str:
    """The kind of a report of that version."""
    return f"report v{version}"


only_version_2 = pytest.mark.parametrize("version", [2], indirect=True, ids=["v2"])


def wait_all(site: Site, groups: list[str], since: float, seconds: float) -> dict[str, float]:
    """When each of the groups was reported first."""
    for group in groups:
        wait_for(lambda group=group: answers(site, group, since), seconds + LATE, f"report of {group}")
    return {group: answers(site, group, since)[0].time for group in groups}


def test_joins_are_reported_to_the_group_in_the_envelope_of_every_version(site, groups, report):
    for group in groups:
        frame, *_ = site.upstream.select(lambda f, g=group: f.source == UPSTREAM and f.payload[4:8] == f.packet[16:20]
                                         and f.destination == g)  # fmt: skip
        assert_envelope(frame, group)
        assert {each.kind for each in answers(site, group, 0.0)} == {report}


def test_every_group_is_answered_for_in_time_and_at_a_time_of_its_own(site, router, groups, report, version):
    window, asked = {2: 2.0, 1: V1_RESPONSE}[version], time.monotonic()
    router.query(version=version, response=window)
    times = sorted(wait_all(site, groups, asked, window).values())
    assert times[-1] - asked < window + LATE
    assert times[-1] - times[0] > window / 20
    assert median(later - earlier for earlier, later in itertools.pairwise(times)) > 0.001
    # Again, when nothing of the joins waits to be repeated: each once, as it was the first time.
    if version == 2:
        asked = time.monotonic()
        router.query(version=2, response=1.0)
        wait_all(site, groups, asked, 1.0)
        assert {group: len(answers(site, group, asked)) for group in groups} == dict.fromkeys(groups, 1)
    assert {each.kind for group in groups for each in answers(site, group, 0.0)} == {report}
    assert {len(frame.payload) for frame in heard(site, asked)} == {8}


def test_what_another_member_reports_is_not_reported_by_us(site, router, groups, version):
    window, asked, theirs, ours = {2: 2.0, 1: V1_RESPONSE}[version], time.monotonic(), groups[:5], groups[5:]
    router.query(version=version, response=window)
    with Neighbour(site.lab.source, MEMBER) as member:
        for group in theirs:
            member.report_old(version, group)
    reported = time.monotonic()
    wait_all(site, ours, asked, window)
    time.sleep(max(0.0, asked + window + LATE - time.monotonic()))
    # What was in the air when the other spoke may have come; not the rest of what would have come by chance.
    late = [each for group in theirs for each in answers(site, group, reported + 0.05)]
    assert late == []


@only_version_2
@pytest.mark.parametrize("kind", ["longer", "with a wrong checksum", "to all routers", "of another group"])
def test_only_a_report_that_every_router_hears_keeps_ours_back(site, router, groups, kind):
    group, asked = groups[0], time.monotonic()
    message, destination = resealed(v2_report(group)), group
    match kind:
        case "longer":
            message = resealed(message + b"more")
        case "with a wrong checksum":
            message = damaged(message, 3)
        case "to all routers":
            destination = ALL_ROUTERS
        case _:
            message, destination = resealed(v2_report(other := groups[1])), other
    router.query(group, version=2, response=2.0)
    router.say(message, destination, MEMBER)
    said = time.monotonic()
    if kind == "longer":
        passed_without(site, 2.0 + LATE, [group], said + 0.05)
    else:
        wait_for(lambda: answers(site, group, asked), 2.0 + LATE, "our report")


@only_version_2
def test_a_leave_is_always_said_once_and_to_all_routers(site, host, router, groups):
    # Of the first we have reported last, of the second another member has.
    router.query(groups[0], version=2, response=NOW)
    router.say(resealed(v2_report(groups[1])), groups[1], MEMBER)
    wait_for(lambda: len(answers(site, groups[0], 0.0)) >= 2, SOON, "report")
    left = time.monotonic()
    host.report(*(record("TO_IN", group) for group in groups[:2]))
    for group in groups[:2]:
        site.wait_told(group, "leave", since=left)
    passed_without(site, LATE, groups[:2], time.monotonic())
    frames = [frame for frame in heard(site, left) if frame.payload[0] == 0x17]
    assert len(frames) == 2
    for frame in frames:
        assert_envelope(frame, ALL_ROUTERS)


@pytest.mark.parametrize("version", [1], indirect=True, ids=["v1"])
def test_version_1_has_no_leaves(site, host, groups):
    left = time.monotonic()
    host.report(record("TO_IN", groups[0]))
    wait_no_group(site, "down0", groups[0])
    site.mcfwd.wait_for(lambda m: len(m.show("upstream")) == 9, SOON, "left")
    passed_without(site, LATE, groups[:1], left)


@only_version_2
def test_a_query_for_a_group_is_answered_by_its_members_only(site, router, groups):
    asked, stranger = time.monotonic(), "239.99.99.99"
    router.query(stranger, version=2, response=NOW)
    router.query(groups[3], version=2, response=NOW)
    site.wait_told(groups[3], "report v2", since=asked)
    assert answers(site, stranger, asked) == []


@only_version_2
def test_a_version_3_query_is_answered_in_version_2_and_for_the_whole_group(site, router, groups):
    asked = time.monotonic()
    router.query(groups[2], TRAFFIC_SOURCES[0], response=NOW)
    site.wait_told(groups[2], "report v2", since=asked)
    asked = time.monotonic()
    router.query(response=1.0)
    wait_all(site, groups, asked, 1.0)
    assert {each.kind for each in site.told_upstream(since=asked)} == {"report v2"}


@only_version_2
def test_a_query_that_leaves_less_time_hastens_what_waits(site, router, groups):
    asked = time.monotonic()
    router.query(version=2, response=25.5)
    router.query(version=2, response=0.5)
    times = wait_all(site, groups, asked, 0.5)
    assert max(times.values()) - asked < 0.5 + LATE


ODD_QUERIES = {
    "without Router Alert": ({"options": b""}, {"rx_no_router_alert": 1}),
    "from another network": ({"source": "172.16.5.5"}, {}),
    "from nobody": ({"source": "0.0.0.0"}, {}),
}


@only_version_2
@pytest.mark.parametrize("kind", ODD_QUERIES)
def test_queriers_that_are_not_as_they_should_be_are_answered(site, router, groups, kind):
    fields, tolerated = ODD_QUERIES[kind]
    before, asked = settled_counters(site, "up0"), time.monotonic()
    source = fields.get("source", "10.0.0.1")
    packet = ipv4(source, "224.0.0.1", query_message(version=2, response=1.0), ttl=1, protocol=2,
                  options=fields.get("options", ROUTER_ALERT))  # fmt: skip
    router.send(packet)
    wait_all(site, groups, asked, 1.0)
    assert counted(site, before) == {"query_v2": 1} | tolerated


def test_who_has_spoken_in_version_1_too_is_spoken_to_in_it(stack):
    site = stack.enter_context(running_site(TIMERS, 1))
    router, [host] = stack.enter_context(Router(site)), neighbours(site, stack)
    for number in (2, 1, 2, 3):
        router.query(version=number, response=NOW)
    site.mcfwd.wait_for(lambda m: m.interface("up0")["igmp"]["query_v3"] == 1, SOON, "all four")
    group = site.new_group()
    host.report(record("TO_EX", group))
    site.wait_told(group, "report v1")


def test_what_waited_to_be_said_in_version_3_is_said_in_version_2_or_not_at_all(stack):
    site = stack.enter_context(running_site(TIMERS, 1))
    router, [host] = stack.enter_context(Router(site)), neighbours(site, stack)
    group = site.new_group()
    host.report(record("TO_EX", group))
    wait_for(lambda: len(answers(site, group, 0.0)) >= 2, SOON, "join")
    router.query(response=12.0)
    router.query(version=2, response=0.5)
    asked = time.monotonic()
    assert site.wait_told(group, "report v2", since=asked).time - asked < 0.5 + LATE
    assert {each.kind for each in answers(site, group, asked)} == {"report v2"}
    assert site.mcfwd.interface("up0")["igmp_version"] == 2
