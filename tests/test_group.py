"""The state tables of one group: vectors R, and every row against its literal reading."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link import Bench, address, filter_of, number_text, record_of, sources

from igmp.checking import Ask
from igmp.filter import Mode, exclude, include
from igmp.group import Group
from igmp.messages import RecordType
from igmp.parameters import Parameters
from igmp.tables import ALLOW, BLOCK, IS_EX, IS_IN, TABLE, TO_EX, TO_IN, understood

GMI, LMQT = 270.0, 2.0
NOBODY = "no state"
IN1 = "INCLUDE{a:100, b:150}"
EX1 = "EXCLUDE X={a:100, b:150} Y={c, d} GT=200"
LEAVING = "EXCLUDE X={a:1.5} Y={c} GT=1.5"

ROWS = [
    #
    (IN1, "IS_IN(b,e)", "INCLUDE{a:100, b:270, e:270}", ""),
    (IN1, "IS_EX(b,e)", "EXCLUDE X={b:150} Y={e} GT=270", ""),
    (IN1, "ALLOW(b,e)", "INCLUDE{a:100, b:270, e:270}", ""),
    (IN1, "BLOCK(b,e)", "INCLUDE{a:100, b:2}", "Q(G,{b}) S=0"),
    (IN1, "TO_EX(b,e)", "EXCLUDE X={b:2} Y={e} GT=270", "Q(G,{b}) S=0"),
    (IN1, "TO_IN(b,e)", "INCLUDE{a:2, b:270, e:270}", "Q(G,{a}) S=0"),
    #
    (EX1, "IS_IN(b,c,e)", "EXCLUDE X={a:100, b:270, c:270, e:270} Y={d} GT=200", ""),
    (EX1, "IS_EX(b,c,e)", "EXCLUDE X={b:150, e:270} Y={c} GT=270", ""),
    (EX1, "ALLOW(b,c,e)", "EXCLUDE X={a:100, b:270, c:270, e:270} Y={d} GT=200", ""),
    (EX1, "BLOCK(b,c,e)", "EXCLUDE X={a:100, b:2, e:2} Y={c, d} GT=200", "Q(G,{b,e}) S=0"),
    (EX1, "TO_EX(b,c,e)", "EXCLUDE X={b:2, e:2} Y={c} GT=270", "Q(G,{b,e}) S=0"),
    (EX1, "TO_IN(b,c,e)", "EXCLUDE X={a:2, b:270, c:270, e:270} Y={d} GT=2", "Q(G,{a}) S=0; Q(G) S=0"),
    #
    (IN1, "TO_IN()", "INCLUDE{a:2, b:2}", "Q(G,{a,b}) S=0"),
    (IN1, "TO_EX()", "EXCLUDE X={} Y={} GT=270", ""),
    (IN1, "IS_EX()", "EXCLUDE X={} Y={} GT=270", ""),
    (IN1, "BLOCK()", "INCLUDE{a:100, b:150}", ""),
    (EX1, "TO_IN()", "EXCLUDE X={a:2, b:2} Y={c, d} GT=2", "Q(G,{a,b}) S=0; Q(G) S=0"),
    (EX1, "TO_EX()", "EXCLUDE X={} Y={} GT=270", ""),
    (EX1, "IS_EX()", "EXCLUDE X={} Y={} GT=270", ""),
    (EX1, "IS_IN()", EX1, ""),
    #
    (NOBODY, "IS_IN(a)", "INCLUDE{a:270}", ""),
    (NOBODY, "IS_EX(a)", "EXCLUDE X={} Y={a} GT=270", ""),
    (NOBODY, "TO_EX()", "EXCLUDE X={} Y={} GT=270", ""),
    (NOBODY, "TO_IN(a,b)", "INCLUDE{a:270, b:270}", ""),
    (NOBODY, "TO_IN()", "none", ""),
    (NOBODY, "ALLOW(a)", "INCLUDE{a:270}", ""),
    (NOBODY, "BLOCK(a)", "none", ""),
    #
    (LEAVING, "BLOCK(a,e)", "EXCLUDE X={a:1.5, e:1.5} Y={c} GT=1.5", ""),
    (LEAVING, "TO_EX(a,e)", "EXCLUDE X={a:1.5, e:1.5} Y={} GT=270", ""),
    (LEAVING, "IS_EX(a,e)", "EXCLUDE X={a:1.5, e:270} Y={} GT=270", ""),
]


def build(bench: Bench, state: str) -> None:
    """Bring G on d1 into `state` at t=0 by nothing but reports in its past."""
    if state == NOBODY:
        return
    listed, blocked, group_timer = re.fullmatch(
        r"(?:IN|EX)CLUDE(?: X=)?\{(.*?)\}(?: Y=\{(.*?)\} GT=(.*))?", state).groups()
    timers = dict(part.strip().split(":") for part in listed.split(",") if part)
    reports = [(float(left) - GMI, f"ALLOW(G,{{{source}}})") for source, left in timers.items()]
    if group_timer is not None:
        both = ",".join([*timers, *blocked.replace(" ", "").split(",")])
        reports.append((min([*(at for at, _ in reports), 0.0]) - 1, f"IS_EX(G,{{{blocked}}})"))
        reports.append((float(group_timer) - GMI, f"IS_EX(G,{{{both}}})"))
    for at, text in sorted(reports, key=lambda report: report[0]):
        bench.hear(at, 1, text)


# RFC 9776 6.1 d, 6.2 a, 6.2.1 a, 6.4.1 a b c d, 6.4.2 a b c d e f g h
# RFC 4541 2.1.2 g
@pytest.mark.parametrize(("before", "record", "after", "queries"), ROWS)
def test_r_records_move_a_group_as_the_vectors_say(before, record, after, queries):
    bench = Bench()
    build(bench, before)
    kind, listed = re.fullmatch(r"(\w+)\((.*)\)", record).groups()
    if before != NOBODY:
        assert bench.until(0.0).state() == before
    bench.hear(0.0, 1, f"{kind}(G,{{{listed}}})")
    assert bench.state() == after
    assert "; ".join(text for _, text in bench.sends(1)) == queries


# The rows once more, read literally from the standard: (state, timers as numbers) -> the same.

def literal(mode, x, y, timer, kind, b):
    """(mode, timers of A or X, Y, group timer, sources asked, group asked) as RFC 9776 sections 6.4.1, 6.4.2 say."""
    a = dict(x)
    match mode, kind:
        case Mode.INCLUDE, (RecordType.MODE_IS_INCLUDE | RecordType.ALLOW_NEW_SOURCES):
            return Mode.INCLUDE, {**a, **dict.fromkeys(b, GMI)}, set(), None, set(), False
        case Mode.INCLUDE, RecordType.MODE_IS_EXCLUDE:
            return Mode.EXCLUDE, {s: a[s] for s in a if s in b}, b - set(a), GMI, set(), False
        case Mode.INCLUDE, RecordType.BLOCK_OLD_SOURCES:
            return Mode.INCLUDE, a, set(), None, set(a) & b, False
        case Mode.INCLUDE, RecordType.CHANGE_TO_EXCLUDE:
            return Mode.EXCLUDE, {s: a[s] for s in a if s in b}, b - set(a), GMI, set(a) & b, False
        case Mode.INCLUDE, RecordType.CHANGE_TO_INCLUDE:
            return Mode.INCLUDE, {**a, **dict.fromkeys(b, GMI)}, set(), None, set(a) - b, False
        case Mode.EXCLUDE, (RecordType.MODE_IS_INCLUDE | RecordType.ALLOW_NEW_SOURCES):
            return Mode.EXCLUDE, {**a, **dict.fromkeys(b, GMI)}, y - b, timer, set(), False
        case Mode.EXCLUDE, RecordType.MODE_IS_EXCLUDE:
            return Mode.EXCLUDE, {s: a.get(s, GMI) for s in b - y}, y & b, GMI, set(), False
        case Mode.EXCLUDE, RecordType.BLOCK_OLD_SOURCES:
            return Mode.EXCLUDE, {**dict.fromkeys(b - y, timer), **a}, y, timer, b - y, False
        case Mode.EXCLUDE, RecordType.CHANGE_TO_EXCLUDE:
            return Mode.EXCLUDE, {s: a.get(s, timer) for s in b - y}, y & b, GMI, b - y, False
        case Mode.EXCLUDE, RecordType.CHANGE_TO_INCLUDE:
            return Mode.EXCLUDE, {**a, **dict.fromkeys(b, GMI)}, y - b, timer, set(a) - b, True
    raise AssertionError


TIMES = st.sampled_from([0.5, 1.5, 2.0, 2.5, 100.0, 270.0])
SETS = st.frozensets(st.integers(1, 6))


@st.composite
def states(draw):
    mode = draw(st.sampled_from(Mode))
    x = draw(st.dictionaries(st.integers(1, 6), TIMES, min_size=mode is Mode.INCLUDE))
    y = draw(SETS) - x.keys() if mode is Mode.EXCLUDE else frozenset()
    return mode, x, y, draw(TIMES) if mode is Mode.EXCLUDE else None


def group_in(mode, x, y, timer) -> Group:
    group = Group(address("G"), 0.0)
    group.filter = include(x) if mode is Mode.INCLUDE else exclude(y)
    group.timers = dict(x)
    group.timer = math.inf if timer is None else timer
    return group


# RFC 9776 6.1 d, 6.2.2 a, 6.4.1 a b c d, 6.4.2 a b c d e f g h
@given(states(), st.sampled_from(RecordType), SETS)
def test_every_row_is_what_the_standard_says(state, kind, b):
    group = group_in(*state)
    mode, x, y, timer, ask, ask_group = literal(*state, kind, b)
    step = group.step(kind, b, 99)
    group.apply(step, GMI)
    assert (group.filter.mode, group.timers, group.timer) == (mode, x, math.inf if timer is None else timer)
    assert group.filter.sources == (frozenset(y) if mode is Mode.EXCLUDE else frozenset(x))
    assert (step.ask, step.ask_group) == (ask, ask_group)


# RFC 9776 6.6.1 c, 6.6.3.2 a
@given(states(), st.sampled_from(RecordType), SETS)
def test_asking_lowers_only_what_ends_later_and_asks_only_that(state, kind, b):
    group = group_in(*state)
    step = group.step(kind, b, 99)
    group.apply(step, GMI)
    timers, timer = dict(group.timers), group.timer
    late = {source for source in step.ask if timers[source] > LMQT}
    assert group.ask(step.ask, step.ask_group, 0.0, Parameters()) == bool(late or step.ask_group)
    assert group.timers == {source: LMQT if source in late else left for source, left in timers.items()}
    assert group.timer == (min(timer, LMQT) if step.ask_group else timer)
    expected = [Ask(tuple(sorted(late)), False)] * bool(late) + [Ask((), False)] * step.ask_group
    assert group.transmit(0.0, Parameters()) == expected


# RFC 9776 6.2 a, 6.2.1 b, 6.4.2 j
@given(states(), st.lists(st.tuples(st.sampled_from(RecordType), SETS, TIMES), max_size=8))
def test_a_group_never_lists_a_source_twice_and_its_filter_follows_its_timers(state, records):
    group, now = group_in(*state), 0.0
    for kind, b, pause in records:
        step = group.step(kind, b, 99)
        group.apply(step, now + GMI)
        group.ask(step.ask, step.ask_group, now, Parameters())
        now += pause
        group.transmit(now, Parameters())
        group.expire(now)
        assert all(until > now for until in group.timers.values())
        if group.filter.mode is Mode.INCLUDE:
            assert group.filter.sources == group.timers.keys()
        else:
            assert not group.filter.sources & group.timers.keys()
            assert group.timer > now
        assert group.deadline > now
        if group.checking is not None:
            assert group.checking.sources.keys() <= group.timers.keys()


@given(states(), st.sampled_from(RecordType), SETS)
def test_a_refresh_is_what_its_row_does(state, kind, b):
    fast, slow = group_in(*state), group_in(*state)
    if fast.refresh(kind, b, GMI):
        step = slow.step(kind, b, 99)
        slow.apply(step, GMI)
        assert (fast.filter, fast.timers, fast.timer) == (slow.filter, slow.timers, slow.timer)
        assert not slow.ask(step.ask, step.ask_group, 0.0, Parameters())
    else:
        assert (fast.filter, fast.timers, fast.timer) == (slow.filter, slow.timers, slow.timer)


@pytest.mark.parametrize(("state", "kind", "listed", "fast"), [
    ("IN{a,b}", IS_IN, "a,b", True),
    ("IN{a,b}", IS_IN, "a", True),
    ("IN{a,b}", IS_IN, "a,c", False),
    ("IN{a,b}", IS_IN, "", False),
    ("IN{a,b}", ALLOW, "a,b", False),
    ("EX{a}", IS_EX, "a", True),
    ("EX{a}", TO_EX, "a", True),
    ("EX{a}", IS_EX, "", False),
    ("EX{a}", IS_IN, "a", False),
])
def test_what_only_prolongs_is_a_refresh(state, kind, listed, fast):
    wanted = filter_of(state)
    including = wanted.mode is Mode.INCLUDE
    group = group_in(wanted.mode, dict.fromkeys(wanted.sources if including else (), 5.0), wanted.sources,
                     None if including else 5.0)
    assert group.refresh(kind, sources(listed), GMI) == fast


def test_the_table_has_a_row_for_every_mode_and_record():
    assert TABLE.keys() == {(mode, kind) for mode in Mode for kind in RecordType}


# RFC 9776 6.6.1 a
@given(states(), TIMES)
def test_another_routers_query_never_raises_a_timer_or_makes_a_source(state, limit):
    group = group_in(*state)
    before, timer = dict(group.timers), group.timer
    group.lower([1, 2, 9], limit)
    assert group.timers == {s: min(left, limit) if s in (1, 2) else left for s, left in before.items()}
    group.lower_group(limit)
    assert group.timer == (min(timer, limit) if state[0] is Mode.EXCLUDE else math.inf)


# RFC 9776 7.3.2 e f
@pytest.mark.parametrize(("compatibility", "kind", "understood_as"), [
    (3, IS_IN, "a"), (3, IS_EX, "a"), (3, TO_IN, "a"), (3, TO_EX, "a"), (3, ALLOW, "a"), (3, BLOCK, "a"),
    (2, IS_IN, "a"), (2, IS_EX, "a"), (2, TO_IN, "a"), (2, TO_EX, ""), (2, ALLOW, "a"), (2, BLOCK, None),
    (1, IS_IN, "a"), (1, IS_EX, "a"), (1, TO_IN, None), (1, TO_EX, ""), (1, ALLOW, "a"), (1, BLOCK, None),
])
def test_older_hosts_change_how_records_are_read(compatibility, kind, understood_as):
    expected = None if understood_as is None else sources(understood_as)
    assert understood(compatibility, kind, sources("a")) == expected


def test_the_notation_of_these_tests_means_what_it_says():
    assert record_of("TO_EX(G,{a})").sources == (address("a"),)
    assert number_text(1.5) == "1.5"
