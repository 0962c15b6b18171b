"""Rules of the configuration that no other test's file is about."""

from forwarder.config.rules import LARGEST_SETTINGS, of_interface, of_settings
from forwarder.state.settings import InterfaceSettings, RouteSettings, Settings

UP = InterfaceSettings(name="up0", role="upstream")


def test_settings_that_no_snapshot_has_room_for_are_refused_by_the_key_that_is_too_long():
    lists = tuple(f"239.{at >> 8 & 255}.{at & 255}.0/24" for at in range(80_000))
    entry = InterfaceSettings(name="tap*", deny=lists, allow=("239.1.0.0/16",))
    problems = list(of_settings(Settings(interface=(UP, entry))))
    assert [key for key, _ in problems] == ["interface[1].deny"]
    assert str(LARGEST_SETTINGS) in problems[0][1]
    assert list(of_settings(Settings(interface=(UP, InterfaceSettings(name="tap*", deny=lists[:1500]))))) == []


def told(*interfaces: InterfaceSettings, route: tuple[RouteSettings, ...] = ()) -> list[tuple[str, str]]:
    settings = Settings(interface=interfaces, route=route)
    return [*of_settings(settings), *(problem for each in interfaces for problem in of_interface(each))]


def both(name: str, **said) -> InterfaceSettings:
    return InterfaceSettings(name=name, role="both", **said)


def test_interfaces_that_are_both_are_enough_and_one_alone_is_not():
    assert told(both("eth0"), both("eth1")) == []
    assert told(both("tap*")) == []
    assert told(UP, both("eth1")) == []
    assert [key for key, words in told(both("eth0")) if "the only one" in words] == ["interface"]
    assert told(UP, InterfaceSettings(name="eth1", role="upstream"))[0][1].startswith('none has role = "downstream"')


def test_a_group_to_join_is_judged_as_a_static_one():
    assert told(both("eth0", join=("239.1.1.1", "10.0.0.1,232.1.1.1")), both("eth1")) == []
    assert told(both("eth0", join=("239.1.1.1", "232.1.1.1")), both("eth1")) == [
        ("interface[0].join[1]", '"232.1.1.1" is in ssm_range: name its source too, as in "10.0.0.7,232.1.1.1"')
    ]
    assert [key for key, _ in told(UP, InterfaceSettings(name="eth1", join=("10.0.0.1", "224.0.0.1", "1,2")))] == [
        "join[0]", "join[1]", "join[2]"
    ]


def test_a_wildcard_may_lead_to_what_it_covers_besides():
    def ways(upstream: str, *interfaces: str) -> list[tuple[str, str]]:
        route = RouteSettings(group="239.1.1.1", upstream=upstream, interfaces=interfaces)
        return told(both("tap*"), both("eth0"), route=(route,))

    assert ways("tap*", "tap*", "eth0") == []
    assert ways("eth0", "eth0", "tap*") == [("route[0].interfaces[0]", '"eth0" is where the group comes from')]
