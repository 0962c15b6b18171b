"""What /proc/net tells of the groups that this host has joined."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.agent.kernel_groups import held_groups, parse
from igmp.filter import EVERYTHING, include
from igmp.link import parse_address

G, G2, S1, S2 = map(parse_address, ("239.1.2.3", "232.9.9.9", "10.0.0.7", "10.0.0.8"))


def line(group: int, users: int) -> str:
    printed = int.from_bytes(group.to_bytes(4), sys.byteorder)      # the octets, as a number of this machine
    return f"\t\t\t\t{printed:08X} {users:5d} 0:00000000\t\t0\n"


def groups(*lines: str, before: str = "") -> str:
    head = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    return head + before + "4\teth0      :     2      V3\n" + "".join(lines) + "11\teth1      :     1      V2\n"


def sources(*rows: tuple[int, int, int, int], ifindex: int = 4) -> str:
    head = "Idx Device        MCA        SRC    INC    EXC\n"
    return head + "".join(f"{ifindex:3d}   eth0 0x{g:08x} 0x{s:08x} {i:6d} {e:6d}\n" for g, s, i, e in rows)


@pytest.mark.parametrize(("users", "rows", "held"), [
    (1, [], EVERYTHING),
    (1, [(G2, S1, 1, 0), (G2, S2, 1, 0)], include([S1, S2])),
    (2, [(G2, S1, 2, 0), (G2, S2, 1, 0)], include([S1, S2])),
    (2, [(G2, S1, 1, 0), (G2, S2, 1, 0)], EVERYTHING),      # two channels, or one and any source
    (1, [(G2, S1, 0, 1)], EVERYTHING),
    (2, [(G2, S1, 1, 0), (G2, S2, 0, 1)], EVERYTHING),
])
def test_how_a_group_filters_is_what_may_be_of_it_at_most(users, rows, held):
    assert parse(groups(line(G, 1), line(G2, users)), sources(*rows), 4) == {G: EVERYTHING, G2: held}


def test_other_interfaces_and_groups_of_the_link_do_not_count():
    loopback = "1\tlo        :     1      V3\n" + line(G2, 1)
    text = groups(line(G, 1), line(parse_address("224.0.0.251"), 1), before=loopback)
    assert parse(text, sources((G, S1, 1, 0), ifindex=1), 4) == {G: EVERYTHING}
    assert parse(text, "", 11) == parse(text, "", 12) == {}


@given(st.text(), st.text())
def test_any_text_is_read(first: str, second: str):
    assert parse(groups(line(G, 1)) + "4\n\t" + first, second, 4)[G] == EVERYTHING


def test_these_files_are_here_and_the_loopback_holds_nothing_that_is_reported():
    assert held_groups(1) == {}
