"""What a downstream port contributes upstream, while its memberships and routes stay what they are."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from link import D1, D2, UP, Bench, address

from forwarder.state.access import contribution_of
from forwarder.state.settings import InterfaceSettings
from igmp.access import OPEN, AccessList, Rule
from igmp.database import Database, restrict
from igmp.filter import NOTHING, exclude, include, merge
from igmp.parameters import PortOptions

G, G2 = address("G"), address("G2")
NOBODY = contribution_of(InterfaceSettings(name="eth1", contribute=()))


def of(*texts: str) -> AccessList:
    return contribution_of(InterfaceSettings(name="eth1", contribute=texts))


def bench(contribution: AccessList) -> Bench:
    made = Bench(ports=(UP, D2))
    made.add(D1, contribution=contribution)
    return made


def change(made: Bench, port: int, **said: object) -> None:
    before = made.proxy._ports.options[port]
    made.take(made.proxy.set_options(port, replace(before, **said), made.now))


def upstream(made: Bench) -> dict[int, tuple[int, ...]]:
    """By group, whence what is told upstream comes."""
    return {each.group: each.origins for each in made.proxy.upstream(made.now)}


def test_texts_say_what_is_contributed():
    assert contribution_of(InterfaceSettings(name="eth1")) is OPEN
    assert not NOBODY.admits(None, G)
    assert [of("deny 239.1.1.1", "239.0.0.0/8").admits(None, group) for group in (G, G2)] == [False, True]
    assert [of("deny 239.1.1.1").admits(None, group) for group in (G, G2)] == [False, True]


def test_what_is_not_contributed_is_a_membership_with_a_route_and_no_report():
    made = bench(of("239.1.1.2"))
    made.hear(0.0, D1, "TO_EX(G,{})")
    made.hear(1.0, D1, "TO_EX(G2,{})")
    assert made.routes == {(G, None): 1 << D1, (G2, None): 1 << D1}
    assert made.state() == "EXCLUDE X={} Y={} GT=269"
    assert upstream(made) == {G2: (D1,)}
    assert made.run(5.0).sends(UP)[0] == (1, "TO_EX(G2,{})")


def test_another_port_asks_for_it_and_both_are_served():
    made = bench(NOBODY)
    made.hear(0.0, D1, "TO_EX(G,{})")
    made.hear(1.0, D2, "TO_EX(G,{})")
    assert made.routes == {(G, None): 1 << D1 | 1 << D2}
    assert upstream(made) == {G: (D2,)}
    made.hear(2.0, D2, "TO_IN(G,{})")
    made.run(10.0)
    assert upstream(made) == {}
    assert made.routes == {(G, None): 1 << D1}
    assert made.sends(UP)[-1][1] == "TO_IN(G,{})"


def test_sources_are_contributed_one_by_one():
    made = bench(of("10.99.0.1,239.0.0.0/8"))
    made.hear(0.0, D1, "ALLOW(G,{a,b})")
    made.hear(0.0, D2, "ALLOW(G,{c})")
    assert made.merged() == "IN{a,c}"
    assert made.wanted("b") == 1 << D1


def test_another_list_joins_and_leaves_at_once():
    made = bench(NOBODY)
    made.hear(0.0, D1, "TO_EX(G,{})")
    made.proxy.set_static(D1, [(None, G2)], 0.0)
    change(made, D1, contribution=OPEN)
    assert upstream(made) == {G: (D1,), G2: (D1,)}
    made.run(2.0)
    change(made, D1, contribution=of("deny 239.1.1.1"))
    assert upstream(made) == {G2: (D1,)}
    assert made.routes[G, None] == 1 << D1
    assert [text for _, text in made.run(5.0).sends(UP)][-1] == "TO_IN(G,{})"


def test_a_successor_reports_what_is_contributed_and_says_nothing_of_it():
    made = bench(of("239.1.1.2")).run(0.0)
    made.inherit((G, None, 1 << D1), (G2, None, 1 << D1)).run(0.0)
    assert upstream(made) == {G2: (D1,)}
    assert made.routes == {(G, None): 1 << D1, (G2, None): 1 << D1}
    assert made.run(5.0).sends(UP) == []


def test_a_list_that_changes_before_memberships_are_back_is_told_of():
    made = bench(of("239.1.1.2"))
    made.run(0.0)
    made.inherit((G, None, 1 << D1), (G2, None, 1 << D1))
    change(made, D1, contribution=OPEN)
    made.run(0.0)
    assert upstream(made) == {G: (D1,), G2: (D1,)}
    assert "TO_EX(G,{})" in made.sends(UP)[0][1]


def test_a_port_that_goes_takes_its_list_with_it():
    made = bench(NOBODY)
    made.take(made.proxy.remove_port(D1, 0.0))
    made.proxy.add_port(D1, PortOptions("downstream"))
    made.take(made.proxy.set_static(D1, [(None, G)], 0.0))
    assert made.proxy._merging.database._contributions == {}


wishes = st.dictionaries(
    st.integers(1, 4),
    st.one_of(st.frozensets(st.integers(1, 5), min_size=1).map(include), st.frozensets(st.integers(1, 5)).map(exclude)),
)
contributions = st.dictionaries(st.integers(1, 4), st.sampled_from([
    OPEN, NOBODY, of("deny 0.0.0.1,239.0.0.0/8"), of("0.0.0.2,239.1.1.1", "deny 239.1.1.1"), of("239.1.1.0/24"),
]))  # fmt: skip


@given(wishes, contributions, st.none() | st.frozensets(st.integers(1, 4)), st.sampled_from([OPEN, of("239.1.1.1")]))
def test_upstream_is_told_the_merge_of_what_each_port_contributes(wants, lists, counted, access):
    database = Database()
    for port, contribution in lists.items():
        database.contribute(port, contribution)
    for port, wanted in wants.items():
        database.set(port, G, wanted)
    ports = [port for port in wants if counted is None or port in counted]
    parts = {port: restrict(restrict(wants[port], G, lists.get(port, OPEN)), G, access) for port in ports}
    assert database.admitted(G, access, counted) == (merge(list(parts.values())) if parts else NOTHING)
    assert database.origins(G, access, counted) == tuple(sorted(port for port, part in parts.items() if part))
    for port in lists:
        database.contribute(port, OPEN)
    assert database.admitted(G, OPEN, None) == (merge(list(wants.values())) if wants else NOTHING)


def test_rules_without_a_word_allow():
    assert of("239.0.0.0/8").rules == (Rule.parse("allow 239.0.0.0/8"),)
