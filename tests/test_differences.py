"""What a reload changes and what it cannot, in words."""

from dataclasses import replace

import pytest

from forwarder.state.settings import (
    ControlSettings,
    DataplaneSettings,
    IgmpSettings,
    InterfaceSettings,
    ProcessSettings,
    RouteSettings,
    Settings,
    interface_from_json,
)
from forwarder.supervisor.differences import LONGEST, differences, ignored

LAN, WAN = InterfaceSettings(name="lan2"), InterfaceSettings(name="eth0", role="upstream")
ROUTE = RouteSettings(group="239.1.1.1", source="10.0.0.1", upstream="eth0", interfaces=("lan2", "lan3"))
SETTINGS = Settings(interface=(WAN, LAN), route=(ROUTE,))


@pytest.mark.parametrize(("change", "words"), [
    ({}, []),
    ({"igmp": IgmpSettings(query_interval=60.0, startup_query_count=3)},
     ["igmp.query_interval is 60.0, was 125.0", "igmp.startup_query_count is 3, was null"]),
    ({"interface": (LAN, WAN)}, []),
    ({"interface": (WAN,)}, ["lan2 is gone"]),
    ({"interface": (WAN, LAN, InterfaceSettings(name="tap*"))}, ["tap* is new (downstream)"]),
    ({"interface": (WAN, replace(LAN, deny=("239.1.1.1",), threshold=2))},
     ["lan2: threshold is 2, was 1", 'lan2: deny is ["239.1.1.1"], was []']),
    ({"interface": (replace(WAN, role="downstream"), LAN)}, ['eth0: role is "downstream", was "upstream"']),
    ({"route": ()}, ["route 239.1.1.1 source 10.0.0.1 from eth0 to lan2, lan3 is gone"]),
    ({"route": (RouteSettings(group="239.1.1.2"), ROUTE)}, ["route 239.1.1.2 to nobody is new"]),
    ({"dataplane": DataplaneSettings(workers=2)}, ["dataplane.workers is 2, was 1"]),
    ({"dataplane": DataplaneSettings(max_routes=100)}, []),
])  # fmt: skip
def test_what_is_another_is_told(change, words):
    assert [each.words for each in differences(SETTINGS, replace(SETTINGS, **change))] == words


def test_what_is_said_as_it_was_anyway_is_no_difference():
    said, unsaid = (interface_from_json({"name": "lan2"} | more) for more in ({"threshold": 1, "deny": []}, {}))
    assert differences(Settings(interface=(said,)), Settings(interface=(unsaid,))) == []
    assert differences(Settings(interface=(unsaid,)), Settings(interface=(said,))) == []


def test_a_value_is_told_as_far_as_it_fits_a_line():
    many = replace(LAN, deny=tuple(f"239.1.1.{number}" for number in range(100)))
    [difference] = differences(SETTINGS, replace(SETTINGS, interface=(WAN, many)))
    words = difference.words
    assert words.endswith("..., was []")
    assert len(words) < LONGEST + 40


def test_what_needs_a_restart_is_named():
    sizes = DataplaneSettings(workers=2, max_routes=100, ring_memory=1 << 21)
    settings = replace(SETTINGS, dataplane=sizes, control=ControlSettings(socket="/s"),
                       process=ProcessSettings(user="mcfwd"))  # fmt: skip
    fixed = ["dataplane.ring_memory", "dataplane.max_routes", "control.socket", "process.user"]
    assert ignored(SETTINGS, settings) == fixed
    assert ignored(SETTINGS, replace(SETTINGS, route=())) == []
