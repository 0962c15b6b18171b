"""Scenarios 22 to 33: what each record of an IGMPv3 report makes of the state of a group (RFC 9776 section 6.4).

Every row of the state tables is sent as records, read back with `show groups`, and proven with data of four sources.
All of them are proven here; with streams that flow all the time, and by time alone, in test_state_cases.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from forwarder.lab.capture import Capture
from forwarder.lab.wait import wait_for
from netns.scenarios import (
    EARLY,
    LATE,
    SOON,
    TRAFFIC_SOURCES,
    V3_ROUTERS,
    Neighbour,
    asked_sources,
    neighbours,
    passing,
    queries,
    record,
    running_site,
    settled_counters,
    state_of,
    udp_capture,
    v3_message,
    wait_counter,
    wait_group,
    wait_no_group,
)
from netns.site import Site, sealed
from netns.states import EXCLUDE, INCLUDE, State, admitted, exclude, include, sources

LAST_MEMBER_INTERVAL = 0.75
LAST_MEMBER_QUERY_TIME = 2 * LAST_MEMBER_INTERVAL
MEMBERSHIP = 2 * 30.0 + 2 * 1.0     # seconds: nothing times out but what is asked about
SETTINGS = f"""
[igmp]
query_interval = 30.0
query_response_interval = 1.0
last_member_query_interval = {LAST_MEMBER_INTERVAL}
startup_query_interval = 0.3
"""
MARK = "239.1.1.250"                # a group that both links take from anybody
CHANNEL = "232.1.1.1"


@pytest.fixture(scope="module")
def tables() -> Iterator[Site]:
    """One downstream link that takes the group MARK."""
    with running_site(SETTINGS, 1) as site:
        yield site


@pytest.fixture
def host(tables: Site, stack: ExitStack) -> Neighbour:
    """The one who reports; nobody answers queries."""
    [host] = neighbours(tables, stack)
    host.report(record("TO_EX", MARK))
    wait_group(tables, "down0", MARK)
    return host


@pytest.fixture
def link(tables: Site, stack: ExitStack) -> Capture:
    """The UDP of the downstream link."""
    return udp_capture(tables, stack, 0)


@dataclass(frozen=True)
class Row:
    """A row of the tables; A = {1, 2}, or X = {1, 2} and Y = {3}, is what the record meets."""

    number: int
    before: str
    kind: str
    listed: tuple[int, ...]
    after: State
    refreshed: tuple[int, ...] = ()         # whose timers are new afterwards
    asked: tuple[int, ...] = ()             # Q(G, asked)
    asks_group: bool = False                # Q(G)
    finally_: State | None = None           # when nobody has answered; None: nothing is asked

    def __str__(self) -> str:
        return f"{self.number} {self.before} {self.kind}"


ROWS = [
    Row(22, INCLUDE, "ALLOW", (2, 3), include(1, 2, 3), refreshed=(2, 3)),
    Row(23, INCLUDE, "IS_IN", (2, 3), include(1, 2, 3), refreshed=(2, 3)),
    Row(24, INCLUDE, "IS_EX", (2, 3), exclude((2,), (3,))),
    Row(25, INCLUDE, "TO_EX", (2, 3), exclude((2,), (3,)), asked=(2,), finally_=exclude((), (2, 3))),
    Row(26, INCLUDE, "BLOCK", (2, 3), include(1, 2), asked=(2,), finally_=include(1)),
    Row(27, EXCLUDE, "ALLOW", (2, 3, 4), exclude((1, 2, 3, 4), ()), refreshed=(2, 3, 4)),
    Row(27, EXCLUDE, "IS_IN", (2, 3, 4), exclude((1, 2, 3, 4), ()), refreshed=(2, 3, 4)),
    Row(28, EXCLUDE, "IS_EX", (2, 3, 4), exclude((2, 4), (3,)), refreshed=(4,)),
    Row(29, EXCLUDE, "TO_EX", (2, 3, 4), exclude((2, 4), (3,)), asked=(2, 4), finally_=exclude((), (2, 3, 4))),
    Row(30, EXCLUDE, "BLOCK", (2, 3, 4), exclude((1, 2, 4), (3,)), asked=(2, 4), finally_=exclude((1,), (2, 3, 4))),
    Row(31, INCLUDE, "TO_IN", (2, 3), include(1, 2, 3), refreshed=(2, 3), asked=(1,), finally_=include(2, 3)),
    Row(
        31, EXCLUDE, "TO_IN", (2, 3), exclude((1, 2, 3), ()),
        refreshed=(2, 3), asked=(1,), asks_group=True, finally_=include(2, 3),
    ),
]  # fmt: skip


def prepare(site: Site, host: Neighbour, group: str, mode: str) -> float:
    """Brings the group to INCLUDE({1, 2}) or EXCLUDE({1, 2}, {3}); the time left of the younger timers."""
    if mode == INCLUDE:
        host.report(record("ALLOW", group, *sources(1, 2)))
    else:
        host.report(record("TO_EX", group, *sources(3)), record("ALLOW", group, *sources(1, 2)))
    state = include(1, 2) if mode == INCLUDE else exclude((1, 2), (3,))
    wait_group(site, "down0", group, lambda row: state_of(row) == state)
    # What is refreshed is told from what is not by half a second.
    row = wait_group(site, "down0", group, lambda row: row["sources"][0]["expires"] < MEMBERSHIP - 0.5)
    return float(row["sources"][0]["expires"])


# RFC 9776 6.4.1 a b c d, 6.4.2 a b c d e f g h
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_22_to_31_every_row_of_the_tables(tables, host, link, measured, row):
    group = tables.new_group()
    age = prepare(tables, host, group, row.before)
    assert passing(tables, link, group, TRAFFIC_SOURCES, MARK) == admitted(
        include(1, 2) if row.before == INCLUDE else exclude((1, 2), (3,))
    )
    host.report(record(row.kind, group, *sources(*row.listed)))
    reported = wait_for(lambda: tables.said(0, group)[-1:], SOON, "report")[0].time

    # The state is as the table says while the queries, if any, are not answered.
    known = wait_group(tables, "down0", group, lambda found: state_of(found) == row.after)
    timers = {each["address"]: each["expires"] for each in known["sources"]}
    assert {address for address, left in timers.items() if left > age} == set(sources(*row.refreshed))
    assert {a for a, left in timers.items() if left <= LAST_MEMBER_QUERY_TIME} == set(sources(*row.asked))
    assert passing(tables, link, group, TRAFFIC_SOURCES, MARK) == admitted(row.after)

    if not row.asked:
        assert queries(tables, 0, 0.0, group) == []
        return
    wait_group(tables, "down0", group, lambda found: state_of(found) == row.finally_)
    assert measured("record to final state", time.monotonic() - reported) > LAST_MEMBER_QUERY_TIME - EARLY
    assert passing(tables, link, group, TRAFFIC_SOURCES, MARK) == admitted(row.finally_)
    check_asked(tables, group, row)


def check_asked(site: Site, group: str, row: Row) -> None:
    """The specific queries of a row: twice each, one interval apart, without the S flag, each with its sources."""
    count = 4 if row.asks_group else 2
    sent = wait_for(lambda: queries(site, 0, 0.0, group)[count - 1 :] and queries(site, 0, 0.0, group), SOON, "queries")
    asked = [asked_sources(query) for query in sent]
    assert sorted(asked) == sorted([sources(*row.asked)] * 2 + [[]] * (count - 2))
    gap = sent[-1].time - sent[0].time
    assert LAST_MEMBER_INTERVAL - EARLY < gap < LAST_MEMBER_INTERVAL + LATE
    assert {query.payload[8] & 8 for query in sent} == {0}
    assert {query.payload[1] for query in sent} == {int(LAST_MEMBER_INTERVAL * 10)}


def test_23_the_timers_of_what_is_reported_again_start_anew(tables, host):
    group = tables.new_group()
    age = prepare(tables, host, group, INCLUDE)
    host.report(record("IS_IN", group, *sources(1)))
    row = wait_group(tables, "down0", group, lambda row: row["sources"][0]["expires"] > age)
    one, two = row["sources"]
    assert MEMBERSHIP - 5 < one["expires"] <= MEMBERSHIP
    assert two["expires"] <= age


# RFC 9776 6.2.2 b
def test_31_an_excluding_group_that_nobody_answers_for_is_deleted_when_no_source_is_wanted(tables, host, link):
    group = tables.new_group()
    host.report(record("TO_EX", group, *sources(3)))
    assert wait_group(tables, "down0", group)["excluded_sources"] == sources(3)
    host.report(record("TO_IN", group))
    wait_no_group(tables, "down0", group)
    assert [asked_sources(query) for query in queries(tables, 0, 0.0, group)] == [[], []]
    assert passing(tables, link, group, TRAFFIC_SOURCES, MARK) == set()
    assert tables.changes_upstream(group) == [("TO_EX", tuple(sources(3))), ("TO_IN", ())]


def test_31_an_answer_keeps_what_was_asked_for_and_the_repetition_says_so(tables, host):
    group = tables.new_group()
    host.report(record("TO_EX", group))
    wait_group(tables, "down0", group)
    host.report(record("TO_IN", group))
    wait_for(lambda: queries(tables, 0, 0.0, group), SOON, "query")
    host.report(record("IS_EX", group))
    row = wait_group(tables, "down0", group, lambda row: row["expires"] > LAST_MEMBER_QUERY_TIME + 1)
    assert row["mode"] == EXCLUDE
    sent = wait_for(lambda: queries(tables, 0, 0.0, group)[1:] and queries(tables, 0, 0.0, group), SOON, "repetition")
    assert [query.payload[8] & 8 for query in sent] == [0, 8]
    assert tables.changes_upstream(group) == [("TO_EX", ())]


# --- records that do not apply, and reports that lie ---


def test_32_a_channel_cannot_be_excluded_from_but_included_and_empty_records_do_what_they_say(tables, host, link):
    host.report(record("IS_EX", CHANNEL), record("TO_EX", CHANNEL, *sources(1)), record("ALLOW", CHANNEL, *sources(2)))
    row = wait_group(tables, "down0", CHANNEL)
    assert state_of(row) == include(2)
    wait_counter(tables, "down0", "rx_ssm_exclude", 2)
    assert passing(tables, link, CHANNEL, TRAFFIC_SOURCES, MARK) == set(sources(2))
    host.report_old(2, CHANNEL)
    wait_counter(tables, "down0", "rx_ssm_legacy", 1)
    assert state_of(wait_group(tables, "down0", CHANNEL)) == include(2)

    new = tables.new_group()
    host.report(record("ALLOW", new), record("ALLOW", CHANNEL), record("BLOCK", CHANNEL))
    host.report(record("TO_IN", CHANNEL))
    wait_no_group(tables, "down0", CHANNEL)
    assert tables.mcfwd.group("down0", new) is None
    assert tables.changes_upstream(CHANNEL) == [("ALLOW", tuple(sources(2))), ("BLOCK", tuple(sources(2)))]


def damaged_report(kind: str, before: str, after: str) -> bytes:
    """A report that joins `before`, then has the named defect, then joins `after`."""
    first, last = record("TO_EX", before), record("TO_EX", after)
    match kind:
        case "more sources than the packet has":
            return v3_message(first, record("TO_EX", after, count=900), count=2)
        case "longer auxiliary data than the packet has":
            return sealed(bytes((0x22, 0, 0, 0, 0, 0, 0, 2)) + first + last[:1] + b"\xff" + last[2:])
        case "more records than the packet has":
            return v3_message(first, count=2000)
        case "auxiliary data":
            return v3_message(record("TO_EX", before, auxiliary=b"ignored!"), last)
        case "an unknown record type":
            return v3_message(first, record("77", "239.99.99.99", *sources(1)), last)
        case "more data than records":
            return v3_message(first, last, b"trailing", count=2)
        case _:
            return v3_message(first, last)[:-1] + b"\x00"     # wrong checksum: the last octet was not 0


DAMAGES = {
    # defect: whether the records before and after it are taken, and the counter
    "more sources than the packet has": (True, False, "rx_malformed"),
    "longer auxiliary data than the packet has": (True, False, "rx_malformed"),
    "more records than the packet has": (True, False, "rx_malformed"),
    "auxiliary data": (True, True, None),
    "an unknown record type": (True, True, "rx_unknown_record"),
    "more data than records": (True, True, None),
    "a wrong checksum": (False, False, "rx_bad_checksum"),
}


# RFC 9776 4.2.13 d
@pytest.mark.parametrize("kind", DAMAGES)
def test_33_a_report_that_lies_is_counted_and_what_is_whole_in_it_is_taken(tables, host, kind):
    before, after, mark = (tables.new_group() for _ in range(3))
    taken_before, taken_after, name = DAMAGES[kind]
    was = settled_counters(tables, "down0")
    host.say(damaged_report(kind, before, after), V3_ROUTERS)
    host.report(record("TO_EX", mark))
    wait_group(tables, "down0", mark)
    assert [bool(tables.mcfwd.group("down0", each)) for each in (before, after)] == [taken_before, taken_after]
    now = settled_counters(tables, "down0")
    counted = {key: count - was[key] for key, count in now.items() if count != was[key] and key.startswith("rx_")}
    assert counted == ({name: 1} if name else {})
