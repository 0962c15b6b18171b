"""Scenarios 13 to 21: what mcfwd asks on its downstream links, and when it lets another router ask.

| scenario | proven by |
|---|---|
| 13 startup series, interval, form of a query | test_queries: general_queries_come…, a_general_query_is…; here too |
| 14 … 21 | here |
"""

import itertools
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.capture import UDP, Capture
from forwarder.lab.topology import LINK, downstream_network
from forwarder.lab.wait import wait_for
from netns.frames import ROUTER_ALERT, ethernet, ipv4
from netns.scenarios import (
    EARLY,
    LATE,
    SOON,
    V3_ROUTERS,
    Neighbour,
    asked_sources,
    counter,
    neighbours,
    queries,
    query_message,
    record,
    running_site,
    settled_counters,
    state_of,
    v3_message,
    wait_counter,
    wait_group,
    wait_no_group,
)
from netns.site import QUERY_INTERVAL, Site, sealed

LAST_MEMBER_INTERVAL = 0.4
LAST_MEMBER_QUERY_TIME = 2 * LAST_MEMBER_INTERVAL
RESPONSE_INTERVAL = 0.5
OTHER_QUERIER_PRESENT = 2 * 1.0 + RESPONSE_INTERVAL / 2     # by a query that tells robustness 2 and an interval of 1 s
OLDER_HOST_PRESENT = 2 * QUERY_INTERVAL + RESPONSE_INTERVAL
LARGEST_SET = 4096              # sources of one group: as many as the configuration takes
SETTINGS = f"""
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
max_sources = {LARGEST_SET}
[[interface]]
name = "down1"
[igmp]
query_interval = {QUERY_INTERVAL}
query_response_interval = {RESPONSE_INTERVAL}
last_member_query_interval = {LAST_MEMBER_INTERVAL}
startup_query_interval = 0.3
unsolicited_report_interval = 0.2
"""
GENERAL = "0.0.0.0"


@pytest.fixture(scope="module")
def asking() -> Iterator[Site]:
    """Two downstream links on which mcfwd has .5, so that there are lower and higher addresses."""
    with running_site(SETTINGS) as site:
        for number, port in enumerate(site.lab.downstreams):
            network = downstream_network(number)
            links.delete_address(site.lab.router, port, f"{network}.1/24")
            links.add_address(site.lab.router, port, f"{network}.5/24")
            site.mcfwd.wait_for(lambda _, p=port, n=network: role(site, p) == (True, f"{n}.5"), SOON, "new address")
        yield site


@pytest.fixture
def hosts(asking: Site, stack: ExitStack) -> list[Neighbour]:
    """A neighbour on each downstream link; mcfwd is querier on both."""
    for port in asking.lab.downstreams:
        asking.mcfwd.wait_for(lambda m, p=port: m.interface(p)["querier"], SOON, "querier")
    return neighbours(asking, stack)


def role(site: Site, port: str) -> tuple[bool, str]:
    """Whether mcfwd is querier on a port, and the querier's address."""
    row = site.mcfwd.interface(port)
    return row["querier"], row["querier_address"]


def at(number: int, host: int) -> str:
    """An address on a downstream link."""
    return f"{downstream_network(number)}.{host}"


# RFC 9776 8.6 a
def test_13_at_startup_as_many_queries_as_robustness_says_come_a_quarter_of_the_interval_apart(stack, measured):
    settings = "[igmp]\nrobustness = 3\nquery_interval = 2.4\nquery_response_interval = 0.4\n"
    site = stack.enter_context(running_site(settings, 1))
    sent = wait_for(lambda: queries(site, 0)[3:] and queries(site, 0), SOON, "4 queries")[:4]
    gaps = [after.time - before.time for before, after in itertools.pairwise(sent)]
    for gap, wanted in zip(gaps, (0.6, 0.6, 2.4), strict=True):
        assert wanted - EARLY < measured("gap", gap) < wanted + LATE
    assert {(query.ttl, query.packet[1], query.destination) for query in sent} == {(1, 0xC0, "224.0.0.1")}
    assert {query.payload[8] for query in sent} == {3}


# RFC 9776 6.6.2 c
def test_14_a_lower_router_asks_instead_of_us_until_it_has_been_silent_for_long_enough(asking, hosts, measured):
    hosts[0].query(source=at(0, 2))
    asking.mcfwd.wait_for(lambda _: role(asking, "down0") == (False, at(0, 2)), SOON, "election lost")
    heard = asking.downstream[0].select(lambda frame: frame.source == at(0, 2))[-1].time
    again = wait_for(lambda: queries(asking, 0, heard + EARLY, GENERAL), SOON, "query of ours")[0].time
    silence = measured("silence after the other's query", again - heard)
    assert OTHER_QUERIER_PRESENT - EARLY < silence < OTHER_QUERIER_PRESENT + LATE
    assert role(asking, "down0") == (True, at(0, 5))
    # No second startup series, and our own interval again.
    next_one = wait_for(lambda: queries(asking, 0, again + 0.001, GENERAL), SOON, "next query")[0].time
    assert QUERY_INTERVAL - EARLY < next_one - again < QUERY_INTERVAL + LATE
    assert role(asking, "down1") == (True, at(1, 5))


# RFC 9776 6.6.2 b
def test_14_a_router_that_keeps_asking_keeps_us_silent_and_a_lower_one_takes_over_from_it(asking, hosts):
    for host in (4, 3):
        hosts[1].query(source=at(1, host))
        asking.mcfwd.wait_for(lambda _, h=host: role(asking, "down1") == (False, at(1, h)), SOON, "election")
    lost = time.monotonic()
    while time.monotonic() < lost + OTHER_QUERIER_PRESENT + LATE:
        hosts[1].query(source=at(1, 3))
        time.sleep(0.25)
    assert queries(asking, 1, lost, GENERAL) == []
    asking.mcfwd.wait_for(lambda _: role(asking, "down1") == (True, at(1, 5)), SOON, "querier again")


def test_14_a_higher_router_changes_nothing(asking, hosts):
    group = asking.new_group()
    hosts[0].query(source=at(0, 200))
    hosts[0].report(record("TO_EX", group))
    wait_group(asking, "down0", group)      # and so the query before it was heard
    assert role(asking, "down0") == (True, at(0, 5))


# RFC 9776 4.2.14 c, 9.3 b
# RFC 4541 2.1.1 c d
def test_15_a_query_from_nobody_wins_nothing_and_a_report_from_nobody_counts(asking, hosts):
    group = asking.new_group()
    hosts[0].query(source="0.0.0.0")
    hosts[0].report(record("TO_EX", group), source="0.0.0.0")
    wait_group(asking, "down0", group)
    assert role(asking, "down0") == (True, at(0, 5))
    wait_counter(asking, "down0", "rx_query_zero_source", 1)
    asking.wait_told(group, "TO_EX")


def test_16_a_group_that_is_being_asked_for_ends_in_time_when_the_election_is_lost_meanwhile(asking, hosts, measured):
    group = asking.new_group()
    hosts[0].report(record("TO_EX", group))
    wait_group(asking, "down0", group)
    hosts[0].report(record("TO_IN", group))
    asked = wait_for(lambda: queries(asking, 0, 0.0, group), SOON, "specific query")[0].time
    hosts[0].query(source=at(0, 2))
    asking.mcfwd.wait_for(lambda _: role(asking, "down0")[0] is False, SOON, "election lost")
    left = asking.wait_told(group, "TO_IN").time
    assert measured("first query to leave upstream", left - asked) > LAST_MEMBER_QUERY_TIME - EARLY
    assert left - asked < LAST_MEMBER_QUERY_TIME + LATE
    assert asking.mcfwd.group("down0", group) is None
    # The router that began to ask goes on (RFC 2236 section 3).
    assert len(queries(asking, 0, 0.0, group)) == 2


# RFC 9776 7.3.2 a
def test_17_an_older_host_sets_the_version_of_its_group_until_it_has_been_silent_for_long_enough(asking, hosts):
    groups = {1: asking.new_group(), 2: asking.new_group()}
    reported = time.monotonic()
    for version, group in groups.items():
        hosts[0].report_old(version, group)
        hosts[0].report(record("IS_EX", group))
        wait_group(asking, "down0", group, lambda row, v=version: row["compatibility"] == v)
        # What would shut out a host that cannot answer for a source is not done.
        hosts[0].report(record("BLOCK", group, "10.0.0.101"))
    # Version 1 has no leaves, so none are believed.
    hosts[0].leave_old(groups[1])
    hosts[0].report(record("TO_IN", groups[1]))
    for group in groups.values():
        [query_less, row] = queries(asking, 0, 0.0, group), asking.mcfwd.group("down0", group)
        assert query_less == []
        assert state_of(row) == ("exclude", set(), set())

    def grown_up() -> bool:
        hosts[0].report(*(record("IS_EX", group) for group in groups.values()))
        time.sleep(0.2)
        return all(asking.mcfwd.group("down0", group)["compatibility"] == 3 for group in groups.values())

    wait_for(grown_up, OLDER_HOST_PRESENT + SOON, "version 3 again")
    assert OLDER_HOST_PRESENT - EARLY < time.monotonic() - reported < OLDER_HOST_PRESENT + 4 * LATE
    hosts[0].report(*(record("TO_IN", group) for group in groups.values()))
    for group in groups.values():
        asking.wait_told(group, "TO_IN")


# RFC 9776 6.6.3.1 a
def test_17_a_version_2_leave_is_asked_about_and_believed(asking, hosts):
    group = asking.new_group()
    hosts[0].report_old(2, group)
    wait_group(asking, "down0", group)
    hosts[0].leave_old(group)
    asked = wait_for(lambda: queries(asking, 0, 0.0, group), SOON, "specific query")[0].time
    assert asking.wait_told(group, "TO_IN").time > asked + LAST_MEMBER_QUERY_TIME - EARLY


def test_18_memberships_survive_a_querier_that_comes_and_goes_and_the_stream_with_them(asking, hosts, stack):
    group = asking.new_group()
    link = stack.enter_context(Capture(asking.lab.receivers[1], LINK, UDP))
    asking.join(1, group)
    stack.callback(asking.leave_all)
    with asking.sender("10.0.0.1", group):
        link.wait_for(lambda frame: frame.destination == group, SOON)
        hosts[1].query(source=at(1, 2))
        asking.mcfwd.wait_for(lambda _: role(asking, "down1") == (False, at(1, 2)), SOON, "election lost")
        # Only the querier forwards: the other router is taken to carry the stream meanwhile (RFC 4605 section 4.2).
        asking.mcfwd.wait_for(lambda m: m.interface("down1")["drops"]["not_querier"] > 0, SOON, "not_querier")
        assert asking.mcfwd.group("down1", group)
        asking.mcfwd.wait_for(lambda _: role(asking, "down1") == (True, at(1, 5)), SOON, "querier again")
        resumed = time.monotonic()
        link.wait_for(lambda frame: frame.destination == group and frame.time > resumed, SOON)
    assert asking.changes_upstream(group) == [("TO_EX", ())]


# RFC 9776 4.1.8 b
@pytest.mark.parametrize("kind", ["BLOCK", "TO_IN"])
def test_19_thousands_of_sources_are_asked_for_in_queries_that_fit_the_link(asking, hosts, kind):
    group = asking.new_group()
    refused = settled_counters(asking, "down0")["limit_reached"]
    sources = [socket.inet_ntoa((0x0A010000 + number).to_bytes(4, "big")) for number in range(1, 5001)]
    reports = [sources[first : first + 365] for first in range(0, len(sources), 365)]
    for part in reports:
        hosts[0].report(record("ALLOW", group, *part))
    row = wait_group(asking, "down0", group, lambda row: len(row["sources"]) == LARGEST_SET)
    kept = {each["address"] for each in row["sources"]}
    assert kept == set(sources[:LARGEST_SET])
    wait_for(lambda: counter(asking, "down0", "limit_reached") - refused == 3, SOON, "reports with more than that")

    for part in reports if kind == "BLOCK" else [[]]:
        hosts[0].report(record(kind, group, *part))
    wait_no_group(asking, "down0", group)
    sent = queries(asking, 0, 0.0, group)
    assert {len(query.packet) <= 1500 and len(asked_sources(query)) >= 1 for query in sent} == {True}
    assert max(len(asked_sources(query)) for query in sent) >= (366 if kind == "TO_IN" else 365)
    assert Counter(source for query in sent for source in asked_sources(query)) == Counter(dict.fromkeys(kept, 2))
    if kind == "TO_IN":
        assert len(sent) == 2 * -(-LARGEST_SET // 366)


def test_20_nobody_is_asked_about_sources_that_nobody_asked_for(asking, hosts):
    group = asking.new_group()
    hosts[0].report(record("ALLOW", group, "10.0.0.101"))
    wait_group(asking, "down0", group)
    hosts[0].report(record("BLOCK", group), record("BLOCK", group, "10.0.0.102"), record("ALLOW", group))
    hosts[0].report(record("TO_EX", other := asking.new_group()), record("TO_IN", other))
    wait_for(lambda: queries(asking, 0, 0.0, other), SOON, "query for another group")
    assert queries(asking, 0, 0.0, group) == []
    hosts[0].report(record("BLOCK", group, "10.0.0.101"))
    wait_no_group(asking, "down0", group)
    assert [asked_sources(query) for query in queries(asking, 0, 0.0, group)] == [["10.0.0.101"]] * 2


# RFC 9776 4.1.1 a
@pytest.mark.parametrize(
    ("response", "last_member", "codes"),
    [
        (12.7, 0.05, (127, 1)),
        pytest.param(12.8, 12.8, (0x80, 0x80), marks=pytest.mark.slow),
        pytest.param(20.0, 16.0, (0x89, 0x84), marks=pytest.mark.slow),
        (100.0, 0.2, (0xAF, 2)),
    ],
)
def test_20_response_codes_are_at_least_1_and_floating_point_from_128_on(stack, response, last_member, codes):
    settings = f"[igmp]\nquery_response_interval = {response}\nlast_member_query_interval = {last_member}\n"
    site = stack.enter_context(running_site(settings + "query_interval = 200.0\n", 1))
    [host], group = neighbours(site, stack), site.new_group()
    general = wait_for(lambda: queries(site, 0, 0.0, GENERAL), SOON, "general query")[0]
    host.report(record("TO_EX", group))
    wait_group(site, "down0", group)
    host.report(record("TO_IN", group))
    specific = wait_for(lambda: queries(site, 0, 0.0, group), SOON, "specific query")[0]
    assert (general.payload[1], specific.payload[1]) == codes
    assert general.payload[9] == 0x89       # 200 s: mantissa 9 of 16 + 9, exponent 0, times 8


# RFC 9776 9.1 b, 9.3 c
@pytest.mark.parametrize("strict", [True, False])
def test_21_a_report_without_router_alert_is_counted_and_with_the_strict_rule_dropped(stack, strict):
    settings = SETTINGS + f"require_router_alert = {str(strict).lower()}\n"
    site = stack.enter_context(running_site(settings))
    [host, _] = neighbours(site, stack)
    bare, alerting, oldest, wrong = (site.new_group() for _ in range(4))
    host.say(v3_message(record("TO_EX", bare)), V3_ROUTERS, options=b"")
    host.say(v3_message(record("TO_EX", wrong)), V3_ROUTERS, options=b"\x94\x04\0\x01")
    # Version 1 is older than the option, but what could be forged without it could be forged as version 1.
    host.say(sealed(b"\x12\0\0\0" + socket.inet_aton(oldest)), oldest, options=b"")
    host.report(record("TO_EX", alerting))
    wait_group(site, "down0", alerting)
    assert [bool(site.mcfwd.group("down0", group)) for group in (bare, wrong, oldest)] == [not strict] * 3
    wait_counter(site, "down0", "rx_no_router_alert", 3)
    host.say(query_message(), "224.0.0.1", at(0, 0x7F), options=b"")
    wait_for(lambda: counter(site, "down0", "rx_no_router_alert") > 3, SOON, "query without the option")


def test_six_hundred_that_leave_at_once_are_asked_about_and_gone_a_second_after_one_would_be(stack, measured):
    site = stack.enter_context(running_site("", 1))
    [host] = neighbours(site, stack)
    groups = [f"239.9.{number // 200}.{number % 200}" for number in range(600)]

    def say(kind: str) -> None:
        for at in range(0, len(groups), 150):
            host.report(*(record(kind, group) for group in groups[at : at + 150]))

    say("TO_EX")
    site.mcfwd.wait_for(lambda m: m.interface("down0")["groups"] == 600, SOON, "all groups")
    begun = time.monotonic()
    say("TO_IN")
    site.mcfwd.wait_for(lambda m: m.interface("down0")["groups"] == 0, SOON, "none")
    assert measured("600 leaves", time.monotonic() - begun) < 2.0 + 1.0 + LATE
    asked = Counter(frame.destination for frame in queries(site, 0) if frame.destination in groups)
    assert asked == Counter(dict.fromkeys(groups, 2))
    assert site.mcfwd.interface("down0")["igmp"]["query_deferred"] == 0


def test_a_specific_query_sent_to_us_alone_takes_no_members_stream(stack):
    """Members do not hear it, so they would not say that they stay."""
    site = stack.enter_context(running_site("", 1))
    [host], group = neighbours(site, stack), site.new_group()
    ours = bytes.fromhex(links.attribute(site.lab.router, "down0", "IFLA_ADDRESS").replace(":", ""))
    host.report(record("TO_EX", group))
    wait_group(site, "down0", group)
    for destination in (group, at(0, 1)):
        packet = ipv4(at(0, 77), destination, query_message(group), ttl=1, protocol=2, options=ROUTER_ALERT)
        host.send_frame(ours + ethernet(packet)[6:])
    wait_counter(site, "down0", "query_private", 2)
    assert site.mcfwd.group("down0", group)["expires"] > 200.0
    host.query(group, source=at(0, 77))
    wait_group(site, "down0", group, lambda row: row["expires"] <= 1.0)
