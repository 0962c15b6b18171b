"""The upstream side of mcfwd as a host of IGMPv3, asked by a router on its link: what is answered, how, and what not.

The checks are those of programs that test hosts (answers in time, at times of their own, to whom and in what envelope),
and of RFC 9776 sections 4.1 and 5.2. That nothing is said unasked, and the version 1 and 2 side, are in
test_scenarios_limits and test_upstream_older.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.topology import SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.frames import ROUTER_ALERT, ethernet, ipv4
from netns.members import (
    NOW,
    REPEATED,
    TIMERS,
    Router,
    answers,
    assert_envelope,
    counted,
    damaged,
    forgotten,
    heard,
    passed_without,
    records,
    resealed,
    settle,
    wishes,
)
from netns.scenarios import (
    ALL_HOSTS,
    LATE,
    SOON,
    TRAFFIC_SOURCES,
    V3_ROUTERS,
    Neighbour,
    neighbours,
    query_message,
    record,
    running_site,
    settled_counters,
    v3_message,
)
from netns.site import Site

S1, S2, S3, S4 = TRAFFIC_SOURCES
Want = Callable[..., str]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One downstream link; nothing times out, a leave is believed soon."""
    with running_site(TIMERS, 1) as running:
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
def want(site: Site, host: Neighbour) -> Iterator[Want]:
    """Joins a group."""
    with wishes(site, host) as want:
        yield want


def packet(message: bytes, destination: str = ALL_HOSTS, source: str = SOURCE, **fields) -> bytes:
    """An IGMP packet; `fields` as of `ipv4`."""
    return ipv4(source, destination, message, **{"ttl": 1, "protocol": 2, "options": ROUTER_ALERT} | fields)


# --- who is answered ---

LONG = resealed(query_message(response=NOW) + b"and more")
ANSWERED: dict[str, tuple[Callable[[str], bytes], dict[str, int]]] = {
    # query of a group: its packet, and what is counted beside it
    "general": (lambda _: packet(query_message(response=NOW)), {}),
    "for the group": (lambda group: packet(query_message(group, response=NOW), group), {}),
    "for the group, to all hosts": (lambda group: packet(query_message(group, response=NOW)), {}),
    "without Router Alert": (
        lambda _: packet(query_message(response=NOW), options=b""), {"rx_no_router_alert": 1}),
    "with Router Alert behind other options": (
        lambda _: packet(query_message(response=NOW), options=b"\1\1\1\1" + ROUTER_ALERT), {}),
    "with a Router Alert of another value": (
        lambda _: packet(query_message(response=NOW), options=b"\x94\4\0\1"), {"rx_no_router_alert": 1}),
    "from another router of the link": (lambda _: packet(query_message(response=NOW), source="10.0.0.77"), {}),
    "from another network": (lambda _: packet(query_message(response=NOW), source="172.16.5.5"), {}),
    "from nobody": (lambda _: packet(query_message(response=NOW), source="0.0.0.0"), {}),
    "with more data than sources": (lambda _: packet(LONG), {}),
    "with reserved flags": (lambda _: packet(resealed(query_message(response=NOW), 8, 0xF2)), {}),
    "with the S flag": (lambda _: packet(query_message(response=NOW, suppress=True)), {}),
    "with unknown robustness and interval": (
        lambda _: packet(query_message(response=NOW, robustness=0, interval=0)), {}),
    "that leaves no time": (lambda _: packet(query_message(response=0.0)), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERED)
def test_a_query_is_answered_once_and_in_time(site, router, want, kind):
    group, (make, tolerated) = want(), ANSWERED[kind]
    before, asked = settled_counters(site, "up0"), time.monotonic()
    router.send(make(group))
    answer = site.wait_told(group, "IS_EX", since=asked)
    assert answer.time - asked < NOW + LATE
    assert counted(site, before) == {"query_v3": 1} | tolerated
    [frame] = heard(site, asked)
    assert records(frame) == [("IS_EX", group, ())]
    assert_envelope(frame, V3_ROUTERS)


def test_a_query_to_our_own_address_is_answered(site, router, want):
    group, asked = want(), time.monotonic()
    router.send_alone(ethernet(packet(query_message(response=NOW), UPSTREAM)))
    site.wait_told(group, "IS_EX", since=asked)


def test_what_pads_a_frame_is_not_of_the_message(site, router, want):
    group, asked = want(), time.monotonic()
    router.send_frame(ethernet(packet(query_message(response=NOW))) + b"\xff" * 13)
    site.wait_told(group, "IS_EX", since=asked)


def test_who_wants_nothing_says_nothing(site, router):
    before, asked = settled_counters(site, "up0"), time.monotonic()
    router.query(response=NOW)
    router.query("239.99.99.99", response=NOW)
    wait_for(lambda: counted(site, before) == {"query_v3": 2}, SOON, "queries taken")
    time.sleep(NOW + LATE)
    assert heard(site, asked) == []


# --- who is not ---

IGNORED: dict[str, tuple[Callable[[str], bytes], str]] = {
    # query of a group that it is not to be answered for: its packet, and the counter
    "of 7 octets": (lambda _: packet(resealed(query_message(version=2, response=NOW)[:7])), "rx_bad_length"),
    "of 9 octets": (lambda group: packet(odd(9)), "rx_bad_length"),
    "of 10 octets": (lambda group: packet(odd(10)), "rx_bad_length"),
    "of 11 octets": (lambda group: packet(odd(11)), "rx_bad_length"),
    "with a wrong checksum": (lambda _: packet(damaged(query_message(response=NOW), 3)), "rx_bad_checksum"),
    "with a wrong octet behind the message": (lambda _: packet(damaged(LONG, len(LONG) - 1)), "rx_bad_checksum"),
    "with TTL 2": (lambda _: packet(query_message(response=NOW), ttl=2), "rx_bad_ttl"),
    "with TTL 64 and from nobody": (
        lambda _: packet(query_message(response=NOW), source="0.0.0.0", ttl=64), "rx_bad_ttl"),
    "with fewer sources than it says": (lambda group: packet(claiming(group, 3, S1, S2), group), "rx_malformed"),
    "with sources and no group": (lambda _: packet(query_message("0.0.0.0", S1, response=NOW)), "rx_malformed"),
    "with impossible sources alone": (
        lambda group: packet(query_message(group, "239.1.1.1", "0.0.0.0", response=NOW), group), "rx_malformed"),
    "general, to the group": (lambda group: packet(query_message(response=NOW), group), "rx_bad_query_dst"),
    "for the group, to another": (
        lambda group: packet(query_message(group, response=NOW), "239.88.88.88"), "rx_bad_query_dst"),
    "for what is no group": (lambda _: packet(query_message("10.1.2.3", response=NOW)), "rx_bad_group"),
    "for a group of the link itself": (
        lambda _: packet(query_message("224.0.0.251", response=NOW), "224.0.0.251"), "rx_link_local"),
    "from ourselves": (lambda _: packet(query_message(response=NOW), source=UPSTREAM), "rx_own"),
    "from a group": (lambda _: packet(query_message(response=NOW), source="239.1.1.1"), "rx_bad_source"),
    "from the network's broadcast address": (
        lambda _: packet(query_message(response=NOW), source="10.0.0.255"), "rx_bad_source"),
    "in a fragment": (lambda _: packet(query_message(response=NOW), flags=0x2000), "rx_fragment"),
    "in a header with a wrong checksum": (lambda _: packet(query_message(response=NOW), header_sum=1), "rx_bad_ip"),
    "of another type": (
        lambda _: packet(resealed(query_message(response=NOW), 0, 0x13)), "rx_unknown_type"),
}  # fmt: skip


def odd(length: int) -> bytes:
    """A general query of a length that no version has; its first eight octets would be one of version 2."""
    return resealed((query_message(version=2, response=NOW) + bytes(4))[:length])


def claiming(group: str, count: int, *sources: str) -> bytes:
    """A query that says it has `count` sources."""
    return resealed(query_message(group, *sources, response=NOW), 11, count)


@pytest.mark.parametrize("kind", IGNORED)
def test_a_query_that_must_not_be_is_counted_and_not_answered(site, router, want, kind):
    group, (make, name) = want(), IGNORED[kind]
    before, asked = settled_counters(site, "up0"), time.monotonic()
    router.send(make(group))
    wait_for(lambda: counted(site, before), SOON, "counted")
    assert counted(site, before) == {name: 1}
    passed_without(site, NOW + LATE, [group], asked)
    assert site.mcfwd.interface("up0")["igmp_version"] == 3


STRICT = """
[[interface]]
name = "up0"
role = "upstream"
accept_any_ttl = true
require_router_alert = true
[[interface]]
name = "down0"
"""


def test_how_strict_a_link_is_can_be_said(stack):
    settings = STRICT + TIMERS + "strict_sources = true\n"
    site = stack.enter_context(running_site(settings, 1))
    router, [host] = stack.enter_context(Router(site)), neighbours(site, stack)
    want = stack.enter_context(wishes(site, host))
    group, before, asked = want(), settled_counters(site, "up0"), time.monotonic()
    router.send(packet(query_message(response=NOW), options=b""))
    router.send(packet(query_message(response=NOW), source="172.16.5.5"))
    wait_for(lambda: counted(site, before) == {"rx_no_router_alert": 1, "rx_bad_source": 1}, SOON, "counted")
    passed_without(site, NOW + LATE, [group], asked)
    router.send(packet(query_message(response=NOW), ttl=64))
    site.wait_told(group, "IS_EX", since=asked)


# --- what is answered ---


def test_an_answer_names_the_sources_that_were_asked_for_and_are_wanted(site, router, want):
    included, excluding = want(S1, S2), want(S3, exclude=True)
    asked = time.monotonic()
    router.query(included, S2, S3, response=NOW)
    router.query(excluding, S1, S3, response=NOW)
    assert site.wait_told(included, "IS_IN", S2, since=asked)
    assert site.wait_told(excluding, "IS_IN", S1, since=asked)
    # Nothing that was asked for is wanted.
    asked = time.monotonic()
    router.query(included, S3, S4, response=NOW)
    router.query(excluding, S3, response=NOW)
    passed_without(site, NOW + LATE, [included, excluding], asked)
    router.query(response=NOW)
    site.wait_told(included, "IS_IN", S1, S2, since=asked)
    site.wait_told(excluding, "IS_EX", S3, since=asked)


def test_an_answer_says_what_is_wanted_when_it_is_due_and_not_what_was_when_it_was_asked_for(site, host, router, want):
    group, asked = want(S1), time.monotonic()
    router.query(group, response=2.0)
    host.report(record("ALLOW", group, S2))
    site.wait_told(group, "ALLOW", S2, since=asked)
    kinds = wait_for(lambda: [t for t in answers(site, group, asked) if t.kind == "IS_IN"], SOON, "answer")
    assert [each.sources for each in kinds] == [(S1, S2)]


@pytest.mark.parametrize(("second", "answer"), [((S2,), (S1, S2)), ((), (S1, S2, S3))])
def test_questions_that_wait_for_one_answer_are_answered_together_at_the_earliest_time(
    site, router, want, second, answer
):
    group, asked = want(S1, S2, S3), time.monotonic()
    router.query(group, S1, response=12.0)
    router.query(group, *second, response=NOW)
    told = site.wait_told(group, "IS_IN", *answer, since=asked)
    assert told.time - asked < NOW + LATE
    passed_without(site, NOW + LATE, [group], told.time + 0.01)


@pytest.mark.parametrize("responses", [(12.0, NOW), (1.0, 1.0)])
def test_general_queries_that_come_one_upon_the_other_are_answered_once(site, router, want, responses):
    groups, asked = [want(), want(S1)], time.monotonic()
    for response in responses:
        router.query(response=response)
    first = site.wait_told(groups[0], "IS_EX", since=asked)
    assert first.time - asked < responses[-1] + LATE
    passed_without(site, 1.0 + LATE, groups, first.time + 0.01)


def test_a_query_for_a_group_that_a_general_answer_will_tell_of_sooner_is_not_answered_by_itself(site, router, want):
    groups, asked = [want(), want(S1)], time.monotonic()
    router.query(response=NOW)
    router.query(groups[0], response=12.0)
    first = site.wait_told(groups[0], "IS_EX", since=asked)
    [frame] = heard(site, asked)
    assert records(frame) == [("IS_EX", groups[0], ()), ("IS_IN", groups[1], (S1,))]
    assert first.time - asked < NOW + LATE


def test_what_other_members_say_keeps_no_answer_back(site, router, want):
    group, asked = want(), time.monotonic()
    router.query(response=1.0)
    router.say(v3_message(record("IS_EX", group)), V3_ROUTERS, "10.0.0.77")
    router.report_old(2, group)
    assert site.wait_told(group, "IS_EX", since=asked).time - asked < 1.0 + LATE


def test_a_version_2_query_for_a_group_is_answered_in_version_3(site, router, want):
    group, asked = want(), time.monotonic()
    router.query(group, version=2, response=NOW)
    site.wait_told(group, "IS_EX", since=asked)
    assert site.mcfwd.interface("up0")["igmp_version"] == 3


# --- many ---

SMALL = 300                     # octets of MTU: 33 groups, or 65 sources of one, to a report
FITS = (SMALL - 24 - 16) // 4


@pytest.fixture
def narrow(site: Site) -> Iterator[None]:
    """The upstream link carries SMALL octets."""
    for mtu in (SMALL, 1500):
        links.configure(site.lab.router, "up0", mtu=mtu)
        site.mcfwd.wait_for(lambda m, mtu=mtu: m.interface("up0")["mtu"] == mtu, SOON, "MTU")
        if mtu == SMALL:
            yield


@pytest.mark.usefixtures("narrow")
def test_the_answer_for_many_groups_is_as_few_reports_as_the_link_can_carry(site, host, router):
    groups = [f"239.77.0.{number}" for number in range(1, 101)]
    host.report(*(record("TO_EX", group) for group in groups))
    settle(site, *groups)
    asked = time.monotonic()
    router.query(response=NOW)
    wait_for(lambda: len(site.told_upstream(since=asked)) >= len(groups), SOON, "all of them")
    frames = heard(site, asked)
    assert [len(records(frame)) for frame in frames] == [33, 33, 33, 1]
    assert max(len(frame.packet) for frame in frames) <= SMALL
    assert sorted(each for frame in frames for each in records(frame)) == sorted(("IS_EX", g, ()) for g in groups)
    for frame in frames:
        assert_envelope(frame, V3_ROUTERS)
    left = time.monotonic()
    host.report(*(record("TO_IN", group) for group in groups))
    forgotten(site, groups, left)


def many_sources(count: int) -> list[str]:
    """Addresses in their order."""
    return [socket.inet_ntoa((0x0A010001 + number).to_bytes(4, "big")) for number in range(count)]


@pytest.mark.usefixtures("narrow")
def test_sources_that_are_included_are_spread_over_reports(site, router, want):
    listed = many_sources(150)
    group, asked = want(*listed), time.monotonic()
    router.query(group, response=NOW)
    wait_for(lambda: sum(len(each.sources) for each in answers(site, group, asked)) >= 150, SOON, "all sources")
    told = answers(site, group, asked)
    assert {each.kind for each in told} == {"IS_IN"}
    assert [len(each.sources) for each in told] == [FITS, FITS, 150 - 2 * FITS]
    assert [source for each in told for source in each.sources] == listed


@pytest.mark.usefixtures("narrow")
def test_sources_that_are_excluded_are_as_many_as_one_report_holds_and_always_the_same(site, router, want):
    listed = many_sources(100)
    group = want(*listed, exclude=True)
    for _ in range(2):
        asked = time.monotonic()
        router.query(group, response=NOW)
        assert site.wait_told(group, "IS_EX", *listed[:FITS], since=asked)
        assert len(heard(site, asked)) == 1


# --- what a query teaches ---


@pytest.mark.parametrize(("robustness", "times"), [(1, 1), (3, 3), (0, 2)])
def test_changes_are_said_as_often_as_the_querier_is_robust(site, host, router, robustness, times):
    before, group = settled_counters(site, "up0"), site.new_group()
    router.query(response=NOW, robustness=robustness)
    wait_for(lambda: counted(site, before) == {"query_v3": 1}, SOON, "query taken")
    for kind in ("TO_EX", "TO_IN"):
        changed = time.monotonic()
        host.report(record(kind, group))
        first = site.wait_told(group, kind, since=changed)
        wait_for(lambda since=changed: len(answers(site, group, since)) >= times, SOON, "repetitions")
        passed_without(site, REPEATED + LATE, [group], heard(site, changed)[-1].time + 0.01)
        told = answers(site, group, changed)
        assert [each.kind for each in told] == [kind] * times
        assert told[-1].time - first.time < (times - 1) * REPEATED + LATE
        for frame in heard(site, changed):
            assert_envelope(frame, V3_ROUTERS)
    router.query(response=NOW)                          # as robust as others take it for
    wait_for(lambda: counted(site, before) == {"query_v3": 2}, SOON, "query taken")


def test_a_change_takes_the_place_of_one_that_is_still_being_said(site, host):
    group, changed = site.new_group(), time.monotonic()
    host.report(record("ALLOW", group, S1))
    host.report(record("TO_EX", group))
    site.wait_told(group, "TO_EX", since=changed)
    wait_for(lambda: len(answers(site, group, changed)) >= 3, SOON, "repetition")
    said = [each.kind for each in answers(site, group, changed)]
    assert said[said.index("TO_EX") :] == ["TO_EX"] * 2
    left = time.monotonic()
    host.report(record("TO_IN", group))
    forgotten(site, [group], left)
