"""What the configuration says reaches the protocol, every key of it."""

from dataclasses import fields, replace

import pytest

from forwarder.agent.options import Options, link_of, options_of, parameters_of, rules_of
from forwarder.state.access import access_of
from forwarder.state.ports import Port
from forwarder.state.settings import IgmpSettings, InterfaceSettings, Settings, igmp_of
from igmp.access import AccessList, Entry, Rule
from igmp.link import Link, Network, parse_address
from igmp.packet import Rules
from igmp.parameters import Parameters, PortOptions

IGMP = IgmpSettings(
    robustness=3, query_interval=60.0, max_query_interval=500.0, query_response_interval=5.0,
    last_member_query_interval=0.5,
    last_member_query_count=4, startup_query_interval=7.0, startup_query_count=6, unsolicited_report_interval=0.7,
    older_querier_timeout=90.0, require_router_alert=True, accept_any_ttl=True, strict_sources=True, gmi_rfc3376=True,
    rfc9776=True, specific_query_burst=30, specific_query_rate=20, report_interval=30.0, linger=4.0,
    igmp_priority=3, forward_when_not_querier=True, ssm_range=("233.0.0.0/8", "234.1.0.0/16"),
)  # fmt: skip
OWN = InterfaceSettings(
    name="eth1", igmp_version=2, querier=False, querier_address="10.0.1.5", max_groups=11, max_sources=12,
    max_port_sources=14, max_hosts=13, quick_leave=True, quick_leave_untracked=True,
    allow=("239.0.0.0/8", "10.0.0.7,232.1.1.1"), deny=("239.9.9.9",), boundary=("239.255.0.0/16",),
    access=("deny 239.3.3.3",), contribute=("239.4.0.0/16",), altnets=("172.16.0.0/12",),
)  # fmt: skip
PARAMETERS = Parameters(
    robustness=3, query_interval=60.0, max_query_interval=500.0, query_response_interval=5.0,
    last_member_query_interval=0.5,
    last_member_query_count=4, startup_query_interval=7.0, startup_query_count=6, unsolicited_report_interval=0.7,
    older_querier_timeout=90.0, gmi_rfc3376=True, rfc9776=True, specific_query_burst=30, specific_query_rate=20,
    report_interval=30.0, linger=4.0,
)  # fmt: skip
RULES = Rules(True, True, True, (Network.parse("233.0.0.0/8"), Network.parse("234.1.0.0/16")))
ACCESS = AccessList(
    allow=(Entry.parse("239.0.0.0/8"), Entry.parse("10.0.0.7,232.1.1.1")), deny=(Entry.parse("239.9.9.9"),),
    boundary=(Network.parse("239.255.0.0/16"),), ordered=(Rule.parse("deny 239.3.3.3"),),
)  # fmt: skip


def port(settings: InterfaceSettings = OWN, role: str = "downstream", **facts: object) -> Port:
    return Port(index=1, assigned=1, name="eth1", role=role, settings=settings, **facts)


def test_rules():
    assert rules_of(IGMP) == RULES
    assert rules_of(IgmpSettings()) == Rules()


def test_parameters():
    assert parameters_of(IGMP) == PARAMETERS
    assert parameters_of(IgmpSettings()) == Parameters()


def test_options_of_a_port():
    said = options_of(port(), IGMP)
    assert said == PortOptions(
        "downstream", PARAMETERS, igmp_version=2, querier=False, querier_address=parse_address("10.0.1.5"),
        max_groups=11, max_sources=12, max_port_sources=14, max_hosts=13, quick_leave=True,
        quick_leave_untracked=True, access=ACCESS,
        contribution=AccessList(ordered=(Rule.parse("239.4.0.0/16"),)), rules=RULES,
    )  # fmt: skip
    unsaid = {each.name for each in fields(said) if getattr(said, each.name) == getattr(PortOptions("x"), each.name)}
    assert not unsaid


@pytest.mark.parametrize("role", ["upstream", "downstream"])
def test_options_that_nobody_named(role):
    assert options_of(port(InterfaceSettings(name="eth1"), role), IgmpSettings()) == PortOptions(role)


KEYS = {each.name for each in fields(InterfaceSettings)} & {each.name for each in fields(IgmpSettings)}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_of_an_interface_holds_there_instead_of_what_igmp_says(key):
    """Whatever says so, what it says of the port is the same; other keys of [igmp] hold on."""
    here, elsewhere = getattr(IGMP, key), getattr(IgmpSettings(), key)
    own, common = InterfaceSettings(name="eth1", **{key: here}), replace(IGMP, **{key: elsewhere})
    assert igmp_of(common, own) == IGMP
    assert igmp_of(IGMP, replace(own, **{key: None})) is IGMP
    assert options_of(port(own), common) == options_of(port(InterfaceSettings(name="eth1")), IGMP)
    assert Options(Settings(igmp=common)).of(port(own)) == options_of(port(own), common)


def test_what_an_interface_may_say_for_itself():
    assert {each.name for each in fields(IgmpSettings)} - KEYS == {
        "strict_sources", "merge_only_querier", "ssm_range", "ssm_upstream"}


def test_lists():
    assert access_of(OWN) == ACCESS
    assert access_of(InterfaceSettings(name="eth1")) == AccessList()


def test_a_link():
    said = link_of(port(addresses=((parse_address("10.0.1.1"), 24),), peers=(7,), mtu=9000))
    assert said == Link((Network(parse_address("10.0.1.1"), 24),), (7,), (Network.parse("172.16.0.0/12"),), 9000)
    assert link_of(port(InterfaceSettings(name="eth1"))).altnets is None


def test_options_are_what_the_configuration_says_whatever_was_said_before():
    """Each step from what stood before: another entry, other timers, another role, and all of that again."""
    entries = OWN, replace(OWN, max_groups=7), replace(OWN, deny=()), replace(OWN, robustness=7)
    said = None
    for igmp in (IGMP, replace(IGMP, robustness=4), IGMP):
        settings = Settings(igmp=igmp)
        for entry in (*entries, *entries[::2]):
            for role in ("downstream", "upstream"):
                said, here = Options(settings, said), port(entry, role)
                assert said.of(here) == options_of(here, igmp)


def test_what_is_said_again_is_the_same_object_and_ports_share_what_their_entries_say_alike():
    said = Options(Settings(igmp=IGMP))
    first = said.of(port())
    assert first is said.of(replace(port(), index=2, name="eth2", settings=replace(OWN, name="eth2")))
    again = Options(Settings(igmp=replace(IGMP)), said)
    assert again.of(port(replace(OWN))) is first
    assert Options(Settings(igmp=replace(IGMP, robustness=7)), again).of(port()) is not first
