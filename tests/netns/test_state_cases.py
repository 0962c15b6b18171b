"""What a report makes of a group, told from outside: `show groups` says it, and numbered streams show it.

The cases are those of the Linux bridge's own tests of IGMPv3, twelve of a single group: one that includes or excludes
meets each record, and one that excludes is not reported any more. Every source sends all the time; S5 is named by
nobody.

What a router asks meanwhile, and which timers are new, is in test_scenarios_states.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from forwarder.lab.capture import Capture
from netns.scenarios import (
    EARLY,
    TRAFFIC_SOURCES,
    Neighbour,
    neighbours,
    record,
    running_site,
    state_of,
    udp_capture,
    wait_group,
    wait_no_group,
)
from netns.site import Site
from netns.states import State, admitted, exclude, include, sources
from netns.streams import Streams

SENDERS = [*TRAFFIC_SOURCES, "10.0.0.105"]
MARK = "239.1.1.250"
# The mark is wanted whatever is reported. What is asked about ends after 3 s: longer than a look at the streams takes.
LINKS = f"""
[[interface]]
name = "up0"
role = "upstream"
[[interface]]
name = "down0"
static_groups = ["{MARK}"]
[[interface]]
name = "down1"
static_groups = ["{MARK}"]
"""
SETTINGS = f"""{LINKS}
[igmp]
query_interval = 30.0
query_response_interval = 1.0
last_member_query_interval = 1.5
"""
MEMBERSHIP = 2 * 2.5 + 2 * 0.5              # seconds, of SHORT_LIVED
SHORT_LIVED = f"""{LINKS}
[igmp]
query_interval = 2.5
query_response_interval = 0.5
"""

Told = tuple[str, tuple[int, ...]]          # a record: its type and sources


@dataclass(frozen=True)
class Case:
    """A group in a state, by reports; a record, and what it makes of the group at once, and when nobody answers."""

    name: str
    before: State | None
    told: Told
    after: State
    unanswered: State | None = None         # None: nothing is asked, so nothing changes

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


IN, EX = include(1, 2), exclude((1, 2), (3,))
CASES = [
    Case("nothing meets IS_IN", None, ("IS_IN", (1, 2, 3)), include(1, 2, 3)),
    Case("include meets ALLOW", IN, ("ALLOW", (2, 3)), include(1, 2, 3)),
    Case("include meets IS_IN", IN, ("IS_IN", (2, 3)), include(1, 2, 3)),
    Case("include meets IS_EX", IN, ("IS_EX", (2, 3)), exclude((2,), (3,))),
    Case("include meets TO_EX", IN, ("TO_EX", (2, 3)), exclude((2,), (3,)), exclude((), (2, 3))),
    Case("exclude meets ALLOW", EX, ("ALLOW", (2, 3)), exclude((1, 2, 3), ())),
    Case("exclude meets IS_IN", EX, ("IS_IN", (2, 3)), exclude((1, 2, 3), ())),
    Case("exclude meets IS_EX", EX, ("IS_EX", (2, 3, 4)), exclude((2, 4), (3,))),
    Case("exclude meets TO_EX", EX, ("TO_EX", (2, 3, 4)), exclude((2, 4), (3,)), exclude((), (2, 3, 4))),
    Case("include meets BLOCK", IN, ("BLOCK", (2, 3)), include(1, 2), include(1)),
    Case("exclude meets BLOCK", EX, ("BLOCK", (2, 4)), exclude((1, 2, 4), (3,)), exclude((1,), (2, 3, 4))),
]


@pytest.fixture(scope="module")
def links() -> Iterator[Site]:
    """Two downstream links on which only what is asked about times out."""
    with running_site(SETTINGS) as site:
        yield site


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Site]:
    """The same where what is not reported again ends after MEMBERSHIP."""
    with running_site(SHORT_LIVED) as site:
        yield site


@pytest.fixture
def hosts(links: Site, stack: ExitStack) -> list[Neighbour]:
    """One who reports on each link; nobody answers queries."""
    return neighbours(links, stack)


@pytest.fixture
def ports(links: Site, stack: ExitStack) -> list[Capture]:
    """The UDP of both links."""
    return [udp_capture(links, stack, number) for number in range(2)]


def streams(site: Site, stack: ExitStack, group: str) -> Streams:
    """All senders to a group, until the test ends."""
    return stack.enter_context(Streams(site.lab.source, SENDERS, group, MARK))


def bring(host: Neighbour, group: str, state: State | None) -> None:
    """Reports that make a group, which nobody wants yet, be in a state."""
    if state is None:
        return
    mode, wanted, blocked = state
    if mode == "exclude":
        host.report(record("TO_EX", group, *sorted(blocked)))
    if wanted:
        host.report(record("ALLOW", group, *sorted(wanted)))


def wait_state(site: Site, port: str, group: str, state: State | None) -> None:
    """Returns as soon as `show groups` says so."""
    if state is None:
        wait_no_group(site, port, group)
    else:
        wait_group(site, port, group, lambda row: state_of(row) == state)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_state_and_the_streams_are_what_the_record_says(links, hosts, ports, stack, case):
    group = links.new_group()
    flowing = streams(links, stack, group)
    bring(hosts[0], group, case.before)
    states = [case.before, case.after, *([case.unanswered] if case.unanswered else [])]
    looks = []
    for state in states:
        wait_state(links, "down0", group, state)
        looks.append(flowing.look(*ports))
        assert flowing.passed(ports[0], looks[-1]) == admitted(state, SENDERS)
        assert flowing.passed(ports[1], looks[-1]) == set()
        if state is case.before:
            kind, listed = case.told
            hosts[0].report(record(kind, group, *sources(*listed)))
    # Who is wanted all the time loses nothing while the group changes.
    always = set.intersection(*(admitted(state, SENDERS) for state in states))
    for source in always:
        throughout = range(looks[0].start, looks[-1].stop)
        assert flowing.came(ports[0], source, throughout) == list(throughout)


def test_a_group_that_excludes_and_is_not_reported_any_more_includes_what_still_is(short_lived, stack, measured):
    site, group = short_lived, short_lived.new_group()
    host, port = neighbours(site, stack)[0], udp_capture(site, stack, 0)
    flowing = streams(site, stack, group)
    bring(host, group, exclude((), (2, 3)))
    wait_state(site, "down0", group, exclude((), (2, 3)))
    reported = site.said(0, group)[0].time
    assert flowing.passed(port, flowing.look(port)) == set(SENDERS) - set(sources(2, 3))

    # Whoever excludes falls silent; another one includes. For now both are served.
    time.sleep(max(0.0, reported + MEMBERSHIP / 2 - time.monotonic()))
    host.report(record("ALLOW", group, *sources(1, 4)))
    wait_state(site, "down0", group, exclude((1, 4), (2, 3)))
    wait_state(site, "down0", group, include(1, 4))
    assert measured("last report to include", time.monotonic() - reported) > MEMBERSHIP - EARLY
    assert flowing.passed(port, flowing.look(port)) == set(sources(1, 4))
    wait_state(site, "down0", group, None)
    assert flowing.passed(port, flowing.look(port)) == set()


def test_a_group_that_excludes_and_includes_nobody_ends_when_it_is_not_reported_any_more(short_lived, stack):
    site, group = short_lived, short_lived.new_group()
    host, port = neighbours(site, stack)[0], udp_capture(site, stack, 0)
    flowing = streams(site, stack, group)
    bring(host, group, exclude((), (3,)))
    wait_state(site, "down0", group, exclude((), (3,)))
    assert flowing.passed(port, flowing.look(port)) == set(SENDERS) - set(sources(3))
    wait_state(site, "down0", group, None)
    assert flowing.passed(port, flowing.look(port)) == set()


def test_a_link_that_excludes_gets_the_sources_that_another_one_includes(links, hosts, ports, stack):
    group = links.new_group()
    flowing = streams(links, stack, group)
    hosts[0].report(record("TO_EX", group, *sources(4)))
    hosts[1].report(record("IS_IN", group, *sources(3, 4)))
    wait_state(links, "down0", group, exclude((), (4,)))
    wait_state(links, "down1", group, include(3, 4))
    rounds = flowing.look(*ports)
    assert [flowing.passed(port, rounds) for port in ports] == [set(SENDERS) - set(sources(4)), set(sources(3, 4))]


def test_a_version_2_report_brings_every_source_and_a_leave_ends_them(links, hosts, ports, stack):
    group = links.new_group()
    flowing = streams(links, stack, group)
    assert flowing.passed(ports[0], flowing.look(ports[0])) == set()
    hosts[0].report_old(2, group)
    wait_state(links, "down0", group, exclude((), ()))
    assert flowing.passed(ports[0], flowing.look(ports[0])) == set(SENDERS)
    hosts[0].leave_old(group)
    assert flowing.passed(ports[0], flowing.look(ports[0])) == set(SENDERS)     # it is being asked about
    wait_state(links, "down0", group, None)
    assert flowing.passed(ports[0], flowing.look(ports[0])) == set()
