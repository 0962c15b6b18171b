"""What a configuration says and cannot have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_access_list import ENTRIES, PAIRS

from forwarder.state.access import access_of
from forwarder.state.contradictions import Lists, Overruling, Unasked, group_note, group_notes, route_note
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.settings import InterfaceSettings, RouteSettings, Settings
from igmp.link import parse_address


def port(index, name, ifindex=7, up=True, role="downstream", **said):
    return Port(index, 1, name, role, InterfaceSettings(name=name, role=role, **said), ifindex, up)


PORTS = [port(0, "eth0", role="upstream"), port(1, "lan0"), port(2, "lan1", up=False), port(3, "tap0", ifindex=0)]


@pytest.mark.parametrize(("upstream", "interfaces", "note"), [
    (None, ["lan0"], None),
    ("eth0", ["lan0", "tap0"], None),
    (None, [], None),                   # it blocks
    (None, ["tap0"], "goes nowhere: tap0 is missing"),
    (None, ["lan1"], "goes nowhere: lan1 is down"),
    (None, ["tap0", "tap1"], "goes nowhere: tap0, tap1 are missing"),
    (None, ["tap*"], "goes nowhere: tap* is missing"),
    ("tap0", ["lan0"], "nothing comes in: tap0 is missing"),
])  # fmt: skip
def test_a_route_without_a_way_says_so(upstream, interfaces, note):
    route = RouteSettings(group="239.1.1.1", upstream=upstream, interfaces=tuple(interfaces))
    assert route_note(route, PORTS) == note


@pytest.mark.parametrize(("said", "group", "note"), [
    ({}, "239.1.1.1", None),
    ({"deny": ("239.0.0.0/8",)}, "239.1.1.1", "refused by deny of the same interface"),
    ({"deny": ("10.0.0.7,232.1.1.1",)}, "10.0.0.7, 232.1.1.1", "refused by deny of the same interface"),
    ({"deny": ("10.0.0.8,232.1.1.1",)}, "10.0.0.7,232.1.1.1", None),
    ({"boundary": ("239.255.0.0/16",)}, "239.255.1.1", "refused by boundary of the same interface"),
    ({"allow": ("239.2.0.0/16",)}, "239.1.1.1", "not among allow of the same interface"),
    ({"allow": ("239.1.0.0/16",)}, "239.1.1.1", None),
    ({"access": ("deny 239.1.1.1", "allow 239.1.0.0/16")}, "239.1.1.1", "refused by deny of the same interface"),
    ({"access": ("deny 239.1.1.1", "allow 239.1.0.0/16")}, "239.1.1.2", None),
    ({"access": ("deny 239.1.1.1", "allow 239.1.0.0/16")}, "239.2.1.2", "not among allow of the same interface"),
    ({"access": ("allow 239.1.1.1",), "deny": ("239.0.0.0/8",)}, "239.1.1.1", None),
])  # fmt: skip
def test_a_group_that_its_own_port_refuses_says_by_which_list(said, group, note):
    assert group_note(group, port(1, "lan0", **said)) == note


def test_groups_of_the_file_and_of_run_time_are_looked_at():
    ports = (port(1, "lan0", deny=("239.0.0.0/8",), static_groups=("239.1.1.1", "233.1.1.1")), port(2, "lan1"))
    added = Added(groups=(("lan*", "239.2.2.2"),))
    found = group_notes(Configuration(1, Settings(), ports, added))
    assert [(each.name, group) for each, group, _ in found] == [("lan0", "239.1.1.1"), ("lan0", "239.2.2.2")]


@pytest.mark.parametrize(("source", "group", "note"), [
    (None, "239.1.1.1", "overruled by the static route 239.1.0.0/16"),
    ("10.0.0.7", "239.1.1.1", "overruled by the static route 239.1.0.0/16"),
    (None, "239.2.1.1", "overruled for its sources by the static route 239.2.0.0/16 source 10.0.0.0/8"),
    ("10.0.0.7", "239.2.1.1", "overruled by the static route 239.2.0.0/16 source 10.0.0.0/8"),
    ("192.168.0.7", "239.2.1.1", None),
    (None, "239.3.1.1", None),
])  # fmt: skip
def test_a_learned_route_is_overruled_by_what_covers_it(source, group, note):
    overruling = Overruling([
        RouteSettings(group="239.1.0.0/16"), RouteSettings(group="239.2.0.0/16", source="10.0.0.0/8"),
        RouteSettings(group="239.3.0.0/16", upstream="tun0"),   # of no port yet, so there is no such route
    ], PORTS)  # fmt: skip
    assert overruling.note(source and parse_address(source), parse_address(group)) == note


@pytest.mark.parametrize(("sources", "group", "note"), [
    ([None], "239.1.1.1", "not asked for upstream: refused by deny of eth0"),
    ([None], "239.2.1.1", None),
    (["10.0.0.7"], "232.1.1.1", "not asked for upstream: refused by deny of eth0"),
    (["10.0.0.7", "10.0.0.8"], "232.1.1.1", None),
    ([None], "232.1.1.1", None),
    ([], "239.1.1.1", None),
])  # fmt: skip
def test_a_group_that_no_upstream_may_be_asked_for_says_so(sources, group, note):
    closed = port(0, "eth0", role="upstream", deny=("239.1.0.0/16", "10.0.0.7,232.1.1.1"))
    wanted = [each and parse_address(each) for each in sources]
    assert Unasked([closed, PORTS[1]]).note(wanted, parse_address(group)) == note
    assert Unasked([closed, port(2, "eth2", role="upstream")]).note(wanted, parse_address(group)) is None
    assert Unasked(PORTS[1:]).note(wanted, parse_address(group)) is None


@pytest.mark.parametrize(("sources", "group", "interface", "note"), [
    ([None], "239.1.1.1", "lan0", "not asked for upstream for lan0: not among its contribute"),
    ([None], "239.1.1.2", "lan0", None),
    ([None], "239.1.1.1", "lan1", None),
    (["10.0.0.7", "10.0.0.8"], "239.1.1.2", "lan0", None),
    ([], "239.1.1.1", "lan0", None),
])  # fmt: skip
def test_what_a_port_does_not_contribute_says_so(sources, group, interface, note):
    ports = [PORTS[0], port(1, "lan0", contribute=("239.1.1.2",)), port(2, "lan1")]
    wanted = [each and parse_address(each) for each in sources]
    assert Unasked(ports).note(wanted, parse_address(group), interface) == note
    assert Unasked(ports[1:]).note(wanted, parse_address(group), interface) is None     # no upstream to ask


@given(
    st.lists(st.tuples(st.sampled_from(["allow ", "deny "]), st.sampled_from(ENTRIES)).map("".join), max_size=4),
    st.sampled_from(PAIRS),
)
def test_notes_say_what_memberships_and_data_are_told(texts, pair):
    own = InterfaceSettings(name="eth1", access=tuple(texts))
    assert (Lists(own).refusing(*pair) is None) == access_of(own).admits(*pair)
