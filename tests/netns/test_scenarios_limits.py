"""Scenarios 47 to 50 and the flood: what a port's neighbours may occupy, and what mcfwd says upstream by itself.

| scenario | proven by |
|---|---|
| 47 max_groups, max_sources | here; hosts per group (max_hosts) here too |
| 48 many groups while the kernel allows 20 memberships | here |
| 49 the upstream side as a host | here, test_upstream_queries, test_upstream_older; back to version 3: test_queries |
| 50 no growth over many joins and leaves | here; a hundred thousand with --slow |
| a flood of reports | here |
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from forwarder.lab.capture import UDP, Capture
from forwarder.lab.programs import Sender
from forwarder.lab.topology import LINK, SOURCE, UPSTREAM
from forwarder.lab.wait import wait_for
from netns.flood import Flood, frames
from netns.frames import Injector, udp
from netns.scenarios import (
    LATE,
    SOON,
    TRAFFIC_SOURCES,
    Neighbour,
    counter,
    neighbours,
    record,
    running_site,
    wait_counter,
    wait_group,
    wait_no_group,
)
from netns.site import CONFIGURATION, QUERY_INTERVAL, Site, told

LIMITED = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
max_groups = 4
max_sources = 3
max_hosts = 2
[[interface]]
name = "down1"
"""
RECORDS_OF_A_REPORT = 60


@pytest.fixture(scope="module")
def limited() -> Iterator[Site]:
    """The first of two downstream links takes four groups of three sources."""
    with running_site(LIMITED + CONFIGURATION) as site:
        yield site


@pytest.fixture
def hosts(limited: Site, stack: ExitStack) -> list[Neighbour]:
    """A host on each downstream link."""
    return neighbours(limited, stack)


def groups_of(site: Site, port: str) -> set[str]:
    """The groups with members on a port; a busy agent may be asked more than once."""

    def answer() -> list[set[str]]:
        rows = site.mcfwd.show("groups")
        return [] if rows is None else [{row["group"] for row in rows if row["interface"] == port}]

    return wait_for(answer, SOON, "groups")[0]


def test_47_a_group_beyond_the_limit_is_refused_and_counted_until_another_is_left(limited, hosts):
    *taken, fifth = (limited.new_group() for _ in range(5))
    hosts[0].report(*(record("TO_EX", group) for group in taken))
    for group in taken:
        wait_group(limited, "down0", group)
    hosts[0].report(record("TO_EX", fifth))
    wait_counter(limited, "down0", "limit_reached", 1)
    assert groups_of(limited, "down0") == set(taken)
    assert limited.told_upstream(fifth) == []
    # What is there is refreshed all the same, and another link has a limit of its own.
    hosts[0].report(*(record("IS_EX", group) for group in taken))
    hosts[1].report(record("TO_EX", fifth))
    limited.wait_told(fifth, "TO_EX")

    hosts[0].report(record("TO_IN", taken[0]))
    wait_no_group(limited, "down0", taken[0])
    hosts[0].report(record("TO_EX", fifth))
    wait_group(limited, "down0", fifth)
    hosts[0].report(*(record("TO_IN", group) for group in (*taken[1:], fifth)))
    limited.mcfwd.wait_for(lambda _: not groups_of(limited, "down0"), SOON, "all left")


def test_47_sources_beyond_the_limit_are_refused_and_counted_until_others_are_left(limited, hosts):
    group, other = limited.new_group(), limited.new_group()
    before = counter(limited, "down0", "limit_reached")
    hosts[0].report(record("ALLOW", group, *TRAFFIC_SOURCES), record("ALLOW", other, *TRAFFIC_SOURCES[:3]))
    wait_for(lambda: counter(limited, "down0", "limit_reached") > before, SOON, "limit_reached")
    row = wait_group(limited, "down0", group)
    assert [each["address"] for each in row["sources"]] == TRAFFIC_SOURCES[:3]
    assert len(wait_group(limited, "down0", other)["sources"]) == 3
    limited.wait_told(group, "ALLOW", *TRAFFIC_SOURCES[:3])

    hosts[0].report(record("BLOCK", group, TRAFFIC_SOURCES[0]))
    wait_group(limited, "down0", group, lambda row: len(row["sources"]) == 2)
    hosts[0].report(record("ALLOW", group, TRAFFIC_SOURCES[3]))
    row = wait_group(limited, "down0", group, lambda row: len(row["sources"]) == 3)
    assert [each["address"] for each in row["sources"]] == TRAFFIC_SOURCES[1:]
    hosts[0].report(record("BLOCK", group, *TRAFFIC_SOURCES), record("BLOCK", other, *TRAFFIC_SOURCES))
    limited.mcfwd.wait_for(lambda _: not groups_of(limited, "down0"), SOON, "all left")


def test_47_hosts_beyond_the_limit_are_members_but_not_tracked(limited, hosts):
    group, before = limited.new_group(), counter(limited, "down0", "limit_reached")
    for number in (31, 32, 33):
        hosts[0].report(record("TO_EX", group), source=f"192.168.10.{number}")
    wait_group(limited, "down0", group, lambda row: row["last_reporter"] == "192.168.10.33")
    wait_for(lambda: counter(limited, "down0", "limit_reached") > before, SOON, "limit_reached")
    rows = {row["host"] for row in limited.mcfwd.show("hosts") if row["group"] == group}
    assert rows == {"192.168.10.31", "192.168.10.32"}
    hosts[0].report(record("TO_IN", group))
    wait_no_group(limited, "down0", group)


def test_48_a_thousand_groups_are_joined_upstream_where_the_kernel_would_allow_twenty(stack):
    site = stack.enter_context(running_site(CONFIGURATION, 1))
    site.lab.router.sysctl("ipv4/igmp_max_memberships", 20)
    [host] = neighbours(site, stack)
    groups = [f"239.48.{number // 250}.{number % 250 + 1}" for number in range(1000)]

    def keep_joined() -> None:
        for first in range(0, 1000, RECORDS_OF_A_REPORT):
            host.report(*(record("IS_EX", group) for group in groups[first : first + RECORDS_OF_A_REPORT]))

    def reported() -> bool:
        keep_joined()
        time.sleep(0.2)
        return {each.group for each in site.told_upstream()} >= set(groups)

    wait_for(reported, SOON, "a thousand groups upstream")
    assert len(site.mcfwd.show("upstream")) == 1000
    link = stack.enter_context(Capture(site.lab.receivers[0], LINK, UDP))
    keep_joined()
    with Injector(site.lab.source) as injector:
        for first in range(0, 1000, 100):   # fewer than the new flows that are taken at once (flow_limit)
            injector.send(*(udp(SOURCE, group, group.encode()) for group in groups[first : first + 100]))
            wait_for(lambda n=first + 100: len(link.select()) >= n, SOON, "a datagram of each")
    assert [frame.destination for frame in link.select()] == groups
    log = site.mcfwd.read_log()
    assert "ENOBUFS" not in log
    assert "No buffer space" not in log
    assert "Traceback" not in log


# --- 49: the upstream side as a host ---


@pytest.fixture
def router(limited: Site, stack: ExitStack) -> Neighbour:
    """The router on the upstream link."""
    return stack.enter_context(Neighbour(limited.lab.source, SOURCE))


# RFC 9776 5.2 b
def test_49_a_query_for_a_group_is_answered_in_time_by_a_member_and_by_nobody_else(limited, hosts, router, measured):
    member, stranger, channel = limited.new_group(), limited.new_group(), "232.1.49.1"
    hosts[1].report(record("TO_EX", member), record("ALLOW", channel, *TRAFFIC_SOURCES[:2]))
    quiet_upstream(limited, member)
    asked = time.monotonic()
    router.query(stranger)
    router.query(channel, *TRAFFIC_SOURCES[1:3])
    router.query(member)
    answer = limited.wait_told(member, "IS_EX", since=asked)
    assert measured("query to answer", answer.time - asked) < 0.5 + LATE
    # Only what was asked for and is wanted.
    limited.wait_told(channel, "IS_IN", TRAFFIC_SOURCES[1], since=asked)
    router.query(channel)
    limited.wait_told(channel, "IS_IN", *TRAFFIC_SOURCES[:2], since=asked)
    assert limited.told_upstream(stranger) == []


# RFC 9776 5.2 a
def test_49_answers_come_after_a_random_time(limited, hosts, router, measured):
    group = limited.new_group()
    hosts[1].report(record("TO_EX", group))
    quiet_upstream(limited, group)
    delays = []
    for _ in range(6):
        hosts[1].report(record("IS_EX", group))
        asked = time.monotonic()
        router.query(response=1.0)
        delays.append(measured("delay", limited.wait_told(group, "IS_EX", since=asked).time - asked))
    assert 0 < min(delays) <= max(delays) < 1.0 + LATE
    assert max(delays) - min(delays) > 0.05


def test_49_nothing_is_reported_again_without_a_query(limited, hosts):
    group = limited.new_group()
    hosts[1].report(record("TO_EX", group))
    quiet_upstream(limited, group)
    # Downstream, queries and answers go on.
    refreshed = time.monotonic()
    while time.monotonic() < refreshed + 2 * QUERY_INTERVAL:
        hosts[1].report(record("IS_EX", group))
        time.sleep(0.2)
    assert [each.kind for each in limited.told_upstream(group)] == ["TO_EX"] * 2


def test_49_after_a_version_1_query_joins_are_version_1_and_leaves_are_not_said(limited, hosts, router):
    group, other = limited.new_group(), limited.new_group()
    asked = time.monotonic()
    router.query(version=1)
    limited.mcfwd.wait_for(lambda m: m.interface("up0")["igmp_version"] == 1, SOON, "version 1")
    hosts[1].report(record("TO_EX", group), record("TO_EX", other))
    for each in (group, other):
        limited.wait_told(each, "report v1", since=asked)
    hosts[1].report(record("TO_IN", other))
    wait_no_group(limited, "down1", other)
    since = [frame for frame in limited.upstream.select() if frame.source == UPSTREAM and frame.time > asked]
    assert {each.kind for frame in since for each in told(frame)} == {"report v1"}
    assert {frame.destination for frame in since} == {each.group for frame in since for each in told(frame)}
    limited.mcfwd.wait_for(lambda m: m.interface("up0")["igmp_version"] == 3, SOON, "version 3 again")


def quiet_upstream(site: Site, group: str) -> None:
    """Returns when the join of a group was said as often as it is said."""
    wait_for(lambda: len(site.told_upstream(group)) >= 2, SOON, f"reports of {group}")


# --- 50: no growth ---

# Leaves of hosts that are tracked need no queries, whose rate is bounded.
CHURN = """
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
quick_leave = true
[igmp]
robustness = 1
query_interval = 30.0
query_response_interval = 0.5
last_member_query_interval = 0.05
unsolicited_report_interval = 0.05
"""
GROUPS_A_ROUND = 1000
SLACK = 1 << 20                 # octets by which an allocator may wander


def resident(pid: int) -> int:
    """Octets of memory a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_50_memory_and_descriptors_stay_as_they_are_over_joins_and_leaves(stack, rounds, record_property):
    site = stack.enter_context(running_site(CHURN, 1))
    [host] = neighbours(site, stack)
    groups = [f"239.50.{number // 250}.{number % 250 + 1}" for number in range(GROUPS_A_ROUND)]

    def report(kind: str) -> None:
        for first in range(0, GROUPS_A_ROUND, RECORDS_OF_A_REPORT):
            host.report(*(record(kind, group) for group in groups[first : first + RECORDS_OF_A_REPORT]))

    def cycle() -> None:
        for kind, count in (("TO_EX", GROUPS_A_ROUND), ("TO_IN", 0)):
            report(kind)
            site.mcfwd.wait_for(lambda m, n=count: len(m.show("groups")) == n, SOON, f"{count} groups")

    for _ in range(2):
        cycle()
    pids = {name: pid for name, pid in site.mcfwd.pids.items() if name != "mcfwd-api"}
    before = {name: (resident(pid), descriptors(pid)) for name, pid in pids.items()}
    for _ in range(rounds):
        cycle()
        site.upstream.frames.clear()
        site.downstream[0].frames.clear()
    after = {name: (resident(pid), descriptors(pid)) for name, pid in pids.items()}
    for name in pids:
        grown = after[name][0] - before[name][0]
        record_property(f"{name} grown", grown)
        cycles = rounds * GROUPS_A_ROUND
        print(f"{name}: {before[name][0] >> 10} KiB, {grown >> 10:+} KiB after {cycles} joins and leaves")
        assert grown < SLACK
        assert after[name][1] == before[name][1]
    assert site.mcfwd.pids.items() >= pids.items()
    site.mcfwd.wait_for(lambda m: m.show("routes") == m.show("upstream") == [], SOON, "nothing left")


# --- the flood ---

FLOOD_RATE = 20_000             # reports a second
FLOOD_QUERY_INTERVAL, FLOOD_RESPONSE = 1.5, 0.5
FLOOD_MEMBERSHIP = 2 * FLOOD_QUERY_INTERVAL + 2 * FLOOD_RESPONSE
MAX_GROUPS = 512
FLOODED = f"""
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
max_groups = {MAX_GROUPS}
[[interface]]
name = "down1"
[[interface]]
name = "down2"
[igmp]
query_interval = {FLOOD_QUERY_INTERVAL}
query_response_interval = {FLOOD_RESPONSE}
last_member_query_interval = 0.2
startup_query_interval = 0.3
"""
STREAM_RATE = 1000.0
PROMISED = 0.1                  # seconds from a join to its report upstream
TOLERATED = 2.0                 # the same for a single join on a machine that does other things too


STARVED = 0.25                  # share of the time for which the agent waited for a core: more says nothing of mcfwd


def waited(pid: int) -> float:
    """Seconds for which a process was ready to run and had no core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Watch:
    """What becomes of memberships and joins while a flood lasts."""

    def __init__(self, site: Site, stream: str, own: str) -> None:
        self._site, self._members = site, {("down0", stream), ("down0", own), ("down1", stream)}
        self._agent = site.mcfwd.pids["mcfwd-agent"]
        self.joins: list[float] = []            # seconds from a join on down2 to its report upstream
        self.missing: set[tuple[str, str]] = set()
        self.most = 0                           # groups on down0

    def last(self, seconds: float) -> None:
        """Looks again and again."""
        began, before = time.monotonic(), waited(self._agent)
        while time.monotonic() < began + seconds:
            self._join(self._site.new_group())
            flooded = groups_of(self._site, "down0")
            self.most = max(self.most, len(flooded))
            present = {("down0", group) for group in flooded}
            present |= {("down1", group) for group in groups_of(self._site, "down1")}
            self.missing |= self._members - present
            time.sleep(0.2)
        self.starved = (waited(self._agent) - before) / (time.monotonic() - began)

    def _join(self, group: str) -> None:
        joined = self._site.join(2, group)
        self.joins.append(self._site.wait_told(group, "TO_EX", since=joined).time - joined)
        self._site.leave(2, group)


@pytest.mark.slow
def test_a_flood_of_reports_on_one_port_costs_no_member_anything(stack, measured, record_property):
    site = stack.enter_context(running_site(FLOODED, 3))
    mcfwd, stream, own = site.mcfwd, site.new_group(), site.new_group()
    for number, group in ((0, stream), (1, stream), (0, own)):
        site.join(number, group)
        mcfwd.wait_member(f"down{number}", group, SOON)
    stack.enter_context(Sender(site.lab.source, stream, rate=STREAM_RATE, size=200))
    for number in (0, 1):
        site.receivers[number].wait_received(100)
    drops, watch = mcfwd.interface("up0")["drops"]["ring_full"], Watch(site, stream, own)

    with Flood(site.lab.receivers[0], FLOOD_RATE, frames(40_000, "192.168.10")) as flood:
        began = time.monotonic()
        watch.last(3 * FLOOD_MEMBERSHIP)
        rate = flood.sent / (time.monotonic() - began)
    row, worst = mcfwd.interface("down0"), max(watch.joins)
    record_property("reports a second", round(rate))
    print(f"{rate:.0f} reports a second; the agent waited {watch.starved:.0%} of the time for a core")
    print(f"at most {watch.most} groups of {MAX_GROUPS}, refused {row['igmp']['limit_reached']}")
    measured("join on another port, median", sorted(watch.joins)[len(watch.joins) // 2])
    measured("join on another port, worst", worst)
    assert watch.most <= MAX_GROUPS
    assert row["igmp"]["limit_reached"] > 1000
    # A machine that stops the worker for longer than its ring lasts says so.
    refused = mcfwd.interface("up0")["drops"]["ring_full"] - drops
    lost = [site.receivers[number].report().total("lost") for number in (0, 1)]
    if watch.starved > STARVED and (watch.missing or lost != [refused] * 2 or worst > TOLERATED):
        seen = f"missing {watch.missing}, lost {lost}, worst join {worst:.1f} s"
        pytest.skip(f"the agent waited {watch.starved:.0%} of the time for a core: {seen}")

    assert rate > 0.9 * FLOOD_RATE
    assert watch.missing == set()
    assert lost == [refused] * 2
    assert sorted(watch.joins)[len(watch.joins) // 2] < PROMISED
    assert worst < TOLERATED
    for group in (stream, own):
        assert site.changes_upstream(group) == [("TO_EX", ())]
    # The flood's groups end by themselves; what real members joined stays.
    mcfwd.wait_for(lambda _: groups_of(site, "down0") == {stream, own}, FLOOD_MEMBERSHIP + SOON, "flood's groups gone")
    assert "Traceback" not in mcfwd.read_log()
