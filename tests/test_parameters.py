"""The intervals of RFC 9776 section 8 and what configurations are refused."""

from dataclasses import FrozenInstanceError, replace

import pytest

from forwarder.agent.options import options_of
from forwarder.state.ports import Port
from forwarder.state.settings import IgmpSettings, InterfaceSettings
from igmp.parameters import Parameters, PortOptions


# RFC 9776 8.1 c, 8.4 a, 8.5 a, 8.10 a, 8.13 a
@pytest.mark.parametrize(("name", "value"), [
    ("group_membership_interval", 270.0),
    ("other_querier_present_interval", 255.0),
    ("older_host_present_interval", 260.0),
    ("startup_interval", 31.25),
    ("startup_queries", 2),
    ("last_member_queries", 2),
    ("last_member_query_time", 2.0),
])
def test_defaults_give_the_intervals_of_the_standard(name, value):
    assert getattr(Parameters(), name) == value


def test_a_port_has_the_limits_that_the_configuration_gives_it_when_it_says_nothing():
    own = InterfaceSettings(name="eth1", role="downstream")
    port = Port(1, 1, own.name, own.role, own)
    assert PortOptions("downstream") == options_of(port, IgmpSettings())


def test_the_older_standard_has_a_shorter_membership():
    assert Parameters(gmi_rfc3376=True).group_membership_interval == 260.0


# RFC 9776 8.12 a
def test_an_older_querier_is_remembered_400_seconds_or_as_the_newer_standard_says():
    assert Parameters().older_version_querier_present(10.0) == 400.0
    assert Parameters(rfc9776=True).older_version_querier_present(10.0) == 350.0


# RFC 9776 8.7 a, 8.9 a
def test_counts_follow_the_robustness_unless_configured():
    assert Parameters(robustness=3).last_member_queries == 3
    assert Parameters(robustness=3).startup_queries == 3
    assert Parameters(robustness=3, last_member_query_count=1, startup_query_count=5).last_member_queries == 1
    assert Parameters(startup_query_interval=1.0).startup_interval == 1.0


def test_adopted_values_change_what_is_derived():
    """Vector E-05."""
    adopted = Parameters().adopt(3, 216.0)
    assert adopted.other_querier_present_interval == 653.0
    assert adopted.group_membership_interval == 668.0
    assert adopted.older_host_present_interval == 658.0
    assert adopted.last_member_queries == 3


# RFC 9776 4.1.6 b
def test_a_zero_keeps_our_own_value():
    assert Parameters(robustness=4).adopt(0, 0.0) == Parameters(robustness=4)


# RFC 9776 8.1 a, 8.3 b
@pytest.mark.parametrize("values", [
    {"robustness": 0},
    {"query_interval": 0.0},
    {"last_member_query_interval": -1.0},
    {"last_member_query_count": 0},
    {"query_response_interval": 125.0},
    {"older_querier_timeout": 0.0},
])
def test_values_that_cannot_work_are_refused_by_name(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Parameters(**values).check()


# RFC 9776 7.3.1 g
def test_a_version_2_port_cannot_allow_more_than_its_eight_bits():
    Parameters(query_response_interval=25.5).check(2)
    Parameters(query_response_interval=60.0).check(3)
    with pytest.raises(ValueError, match="more than 25"):
        Parameters(query_response_interval=26.0).check(2)


@pytest.mark.parametrize("values", [{"role": "sideways"}, {"igmp_version": 4}])
def test_options_that_cannot_work_are_refused_by_name(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        replace(PortOptions("upstream"), **values).check()


def test_parameters_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Parameters().robustness = 3


@pytest.mark.parametrize("name", ["specific_query_burst", "specific_query_rate"])
def test_a_rate_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        Parameters(**{name: 0}).check()
