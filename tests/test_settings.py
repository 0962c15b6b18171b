"""Defaults are a promise: what runs without a configuration file must not change behind anybody's back."""

from dataclasses import FrozenInstanceError, asdict, replace

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
    interface_to_json,
)

INTERFACE = {
    "role": "downstream", "priority": 1, "altnets": None, "threshold": 1, "igmp_version": "auto", "querier": True,
    "querier_address": None, "quick_leave": False, "quick_leave_untracked": False, "max_groups": 4096,
    "max_sources": 1024, "max_port_sources": 65536, "max_hosts": 512, "allow": (), "deny": (), "access": (),
    "boundary": (), "contribute": None,
    "rate_limit": None, "flow_rate_limit": None, "static_groups": (),
    **dict.fromkeys(("robustness", "query_interval", "require_router_alert", "forward_when_not_querier")),
}  # fmt: skip
IGMP = {    # RFC 9776 section 8, but for the older querier's timeout, which is that of RFC 3376 with its defaults
    "robustness": 2, "query_interval": 125.0, "query_response_interval": 10.0, "last_member_query_interval": 1.0,
    "last_member_query_count": None, "startup_query_interval": None, "startup_query_count": None,
    "unsolicited_report_interval": 1.0, "older_querier_timeout": 400.0, "require_router_alert": False,
    "accept_any_ttl": False, "strict_sources": False, "gmi_rfc3376": False, "rfc9776": False,
    "merge_only_querier": False, "forward_when_not_querier": False, "ssm_range": ("232.0.0.0/8",), "ssm_upstream": True,
}  # fmt: skip
DATAPLANE = {
    "profile": "balanced", "gather_ms": None, "busy_poll": False, "workers": 1, "ring_memory": 160 << 20,
    "max_ports": None, "max_flows": 65536, "max_routes": 262144, "flow_limit": 512, "failover_time": 1.0,
}  # fmt: skip


def test_defaults():
    for settings, expected in (
        (InterfaceSettings(name="eth0"), INTERFACE), (IgmpSettings(), IGMP), (DataplaneSettings(), DATAPLANE),
        (ControlSettings(), {"socket": None, "socket_group": None, "socket_mode": "0660"}),
        (ProcessSettings(), {"user": None}),
        (RouteSettings(group="239.1.1.1"), {"source": None, "upstream": None, "interfaces": ()}),
    ):  # fmt: skip
        found = asdict(settings)
        assert {name: found[name] for name in expected} == expected


def test_without_a_file_there_is_a_proxy_without_interfaces():
    assert (Settings().mode, Settings().interface, Settings().route) == ("proxy", (), ())
    assert (Settings().igmp, Settings().dataplane) == (IgmpSettings(), DataplaneSettings())


def test_json_and_back():
    settings = Settings(
        interface=(InterfaceSettings(name="eth0", role="upstream", altnets=("10.0.0.0/8",), max_hosts=7),),
        igmp=IgmpSettings(robustness=3, ssm_range=()),
        route=(RouteSettings(group="239.1.1.1", interfaces=("eth1", "eth2")),),
        dataplane=DataplaneSettings(workers=2), control=ControlSettings(socket="/run/s"),
    )  # fmt: skip
    assert Settings.from_json(settings.to_json()) == settings


def test_an_entry_holds_what_it_says_and_the_defaults_are_the_class_s():
    said = {"name": "d0", "max_groups": 7, "deny": ["239.1.1.1"]}
    entry = interface_from_json(said)
    assert vars(entry) == said | {"deny": ("239.1.1.1",)}
    assert entry == InterfaceSettings(name="d0", max_groups=7, deny=("239.1.1.1",))
    assert hash(entry) == hash(InterfaceSettings(name="d0", max_groups=7, deny=("239.1.1.1",)))
    assert (entry.threshold, entry.query_interval, entry.allow) == (1, None, ())
    assert interface_to_json(entry) == interface_to_json(replace(entry)) == said | {"deny": ("239.1.1.1",)}
    with pytest.raises(FrozenInstanceError):
        entry.threshold = 2
