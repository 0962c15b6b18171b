"""Why a flow goes to nobody."""

import pytest

from forwarder.diagnosis.unwanted import Unwanted
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings, RouteSettings
from igmp.link import parse_address

SOURCE, GROUP = parse_address("10.0.0.7"), parse_address("239.1.2.3")
INSTEAD = "; it counts instead of who has joined"


def port(index, name, role="downstream", ifindex=1, up=True):
    return Port(index, 1, name, role, InterfaceSettings(name=name, role=role), ifindex=ifindex, up=up)


PORTS = (port(0, "eth0", "upstream"), port(1, "eth1"), port(2, "eth2"))


def test_nobody_has_joined_where_all_could():
    assert Unwanted(PORTS, (), {}).hint(SOURCE, GROUP) == "nobody has joined"


def test_interfaces_on_which_nobody_could_join_are_named():
    ports = (port(0, "eth0", "upstream"), port(1, "eth1"), port(2, "eth2", up=False), port(3, "eth3", ifindex=0))
    assert Unwanted(ports, (), {0: "no ring", 1: "no ring"}).hint(SOURCE, GROUP) == (
        "nobody has joined; no join is heard on eth1 (degraded), eth2 (down), eth3 (missing): see mcfwd show interfaces"
    )


def test_of_many_interfaces_some_are_named():
    ports = [port(index, f"tap{index}", up=False) for index in range(10)]
    assert "tap7 (down) and 2 more: see" in Unwanted(ports, (), {}).hint(SOURCE, GROUP)


@pytest.mark.parametrize(("said", "words"), [
    ({}, "blocked by the static route 239.1.2.3, which has no interfaces"),
    ({"interfaces": ("eth7",)}, f"the static route 239.1.2.3 goes nowhere: eth7 is missing{INSTEAD}"),
    ({"interfaces": ("eth1",)}, f"the static route 239.1.2.3 leads to eth1 alone{INSTEAD}"),
    ({"source": "10.9.0.0/16"}, "nobody has joined"),
    ({"group": "239.1.0.0/16", "source": "10.0.0.0/8"},
     "blocked by the static route 239.1.0.0/16 source 10.0.0.0/8, which has no interfaces"),
])  # fmt: skip
def test_a_static_route_is_why(said, words):
    routes = (RouteSettings(**{"group": "239.1.2.3", **said}),)
    assert Unwanted(PORTS, routes, {}).hint(SOURCE, GROUP) == words


def test_what_comes_in_by_a_port_that_is_both_goes_where_routes_say():
    ports = (port(0, "eth0", "both"), port(1, "eth1"))
    words = "no static route names it, and eth0 is both: what comes in there goes where routes say, and nowhere else"
    assert Unwanted(ports, (), {}).hint(SOURCE, GROUP, ports[0]) == words
    assert Unwanted(ports, (), {}).hint(SOURCE, GROUP, ports[1]) == "nobody has joined"
    blocked = Unwanted(ports, (RouteSettings(group="239.0.0.0/8"),), {}).hint(SOURCE, GROUP, ports[0])
    assert blocked == "blocked by the static route 239.0.0.0/8, which has no interfaces"
