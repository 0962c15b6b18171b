"""What is doubtful about a configuration: said in a line a kind, however many ports it is about."""

from dataclasses import replace

from test_assignment import link

from forwarder.state.ports import Configuration
from forwarder.state.settings import InterfaceSettings, RouteSettings, Settings
from forwarder.supervisor.assignment import Assignment
from forwarder.supervisor.doubts import HOMELESS, NAMELESS, Surroundings, doubts, unexpected
from forwarder.supervisor.links import Master
from forwarder.supervisor.surroundings import kernel_routed

UP = InterfaceSettings(name="eth0", role="upstream")
LAN, TAPS = InterfaceSettings(name="lan0"), InterfaceSettings(name="tap*")
BRIDGE = Master("br0", "bridge")


def configuration(settings, links):
    _, ports = Assignment(settings.dataplane.ports).updated(settings, links, 1)
    return Configuration(1, settings, ports)


def said(interfaces, *links, default=None, routed=frozenset(), **sizes):
    settings = Settings(interface=interfaces)
    settings = replace(settings, dataplane=replace(settings.dataplane, **sizes))
    there = {each.name: each for each in links}
    return [doubt.words for doubt in doubts(configuration(settings, there), there, Surroundings(default, routed))]


def test_nothing_where_all_is_well():
    assert said((UP, LAN), link("eth0", 2), link("lan0", 3)) == []


def test_a_name_that_no_link_has_is_told_with_those_that_may_be_meant():
    """None that is a port already, and nothing where nothing looks like it."""
    missing = "does not exist yet and will be waited for"
    assert said((UP, LAN), link("eth1", 2), link("lan0", 3), link("wlan7", 4)) == [
        f"eth0 {missing}; did you mean eth1?"
    ]
    assert said((UP, LAN), link("lan0", 3), link("lan1", 4)) == [f"eth0 {missing}"]


def test_states_of_many_ports_are_a_line():
    taps = [link(f"tap{number:03}", 10 + number, up=False) for number in range(40)]
    assert said((UP, TAPS), *taps, ring_memory=1 << 30) == [
        "eth0 does not exist yet and will be waited for",
        "tap000, tap001, tap002, tap003, tap004, tap005, tap006, tap007 +32 are down",
    ]
    assert said((UP, LAN), link("eth0", 2, addresses=()), link("lan0", 3, addresses=())) == [
        f"eth0 {HOMELESS}", f"lan0 {NAMELESS}",
    ]


def test_interfaces_without_a_port_are_counted_by_the_entry_that_means_them():
    taps = [link(f"tap{number:03}", 10 + number) for number in range(300)]
    [words] = said((UP, TAPS), link("eth0", 2), *taps, ring_memory=1 << 30, max_ports=64)
    assert words == ("tap063, tap064, tap065, tap066, tap067, tap068, tap069, tap070 +229 of tap* find no port: "
                     "raise max_ports in [dataplane], which is fixed at start")  # fmt: skip


def test_a_doubt_stays_the_same_while_its_words_come_to_name_others():
    def room(taps):
        there = {name: link(name, 10) for name in ("eth0", *taps)}
        settings = Settings(interface=(UP, TAPS))
        settings = replace(settings, dataplane=replace(settings.dataplane, max_ports=2))
        return list(unexpected(configuration(settings, there), there))

    [one], [two] = room(["tap0", "tap1"]), room(["tap0", "tap1", "tap2"])
    assert one.about == two.about
    assert one.words != two.words


def test_each_port_of_a_bridge_is_told_and_a_default_route_downstream():
    found = said((UP, LAN), link("eth0", 2), link("lan0", 3, master=BRIDGE), default="lan0")
    assert found == [
        "lan0 is a port of the bridge br0, which takes what comes in: name br0 instead",
        "lan0 has the default route and is downstream: remote sources usually come from there",
    ]


def test_a_port_of_a_bridge_needs_no_address():
    found = said((UP, LAN), link("eth0", 2), link("lan0", 3, addresses=(), master=BRIDGE))
    assert found == ["lan0 is a port of the bridge br0, which takes what comes in: name br0 instead"]


def test_what_is_static_and_has_no_effect_is_told():
    lan = replace(LAN, static_groups=("239.1.1.1",), deny=("239.0.0.0/8",))
    there = {"eth0": link("eth0", 2), "lan0": link("lan0", 3)}
    settings = Settings(interface=(UP, lan, TAPS), route=(RouteSettings(group="239.2.2.2", interfaces=("tap0",)),))
    assert [doubt.words for doubt in unexpected(configuration(settings, there), there)] == [
        "static route 239.2.2.2 goes nowhere: tap0 is missing",
        "static group 239.1.1.1 of lan0 is refused by deny of the same interface",
    ]


def test_a_range_that_a_list_refuses_is_a_line():
    lan = replace(LAN, static_groups=("239.1.1.0/24", "238.1.1.1"), deny=("239.0.0.0/8",), allow=("239.0.0.0/8",))
    assert said((UP, lan), link("eth0", 2), link("lan0", 3))[:2] == [
        "static groups 239.1.1.0, 239.1.1.1, 239.1.1.2, 239.1.1.3, 239.1.1.4, 239.1.1.5, 239.1.1.6, 239.1.1.7 +248"
        " of lan0 are refused by deny of the same interface",
        "static group 238.1.1.1 of lan0 is not among allow of the same interface",
    ]


def test_the_kernel_s_multicast_routing_on_our_links_is_told(tmp_path):
    vifs = tmp_path / "ip_mr_vif"
    vifs.write_text(
        "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n"
        " 0 eth0              0       0         0       0 00000 0A000001 00000000\n"
        " 1 other             0       0         0       0 00000 0A000101 00000000\n\n"
    )
    assert kernel_routed(vifs) == {"eth0", "other"}
    assert kernel_routed(tmp_path / "none") == frozenset()
    [words] = said((UP, LAN), link("eth0", 2), link("lan0", 3), routed=kernel_routed(vifs))
    assert words.startswith("the kernel's multicast routing is in use on eth0 too")


def test_another_instance_is_told_where_both_could_send():
    there = {each.name: each for each in (link("eth0", 2), link("lan0", 3))}
    found = doubts(configuration(Settings(interface=(UP, LAN)), there), there, Surroundings(twins=frozenset((2, 3, 4))))
    assert [doubt.words for doubt in found] == [
        "another mcfwd serves lan0 already: what both forward arrives twice; stop one of them"
    ]


def test_ports_that_are_both_need_a_static_route_and_an_address_only_where_they_join():
    both = InterfaceSettings(name="eth0", role="both"), InterfaceSettings(name="lan0", role="both")
    links = link("eth0", 2, addresses=()), link("lan0", 3)
    assert said(both, *links) == [
        "eth0, lan0 are both, and there is no static route: nothing comes or goes there"
    ]
    joining = replace(both[0], join=("239.1.1.1",)), both[1]
    assert said(joining, *links)[0] == f"eth0 {HOMELESS}"
    route = RouteSettings(group="239.1.1.1", upstream="eth0", interfaces=("lan0",))
    settings, there = Settings(interface=both, route=(route,)), {each.name: each for each in links}
    assert list(doubts(configuration(settings, there), there)) == []


def test_a_group_to_join_that_a_list_refuses_is_told():
    refusing = InterfaceSettings(name="lan0", join=("239.1.1.1",), deny=("239.0.0.0/8",))
    assert said((UP, refusing), link("eth0", 2), link("lan0", 3)) == [
        "static group 239.1.1.1 of lan0 is refused by deny of the same interface"
    ]
