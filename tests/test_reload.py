"""A reload of any option forgets nothing that queriers and hosts taught, on either side."""

from dataclasses import fields, replace
from typing import Any

import pytest
from link import D1, LINKS, UP, Bench

from forwarder.agent.options import options_of
from forwarder.state.ports import Port
from forwarder.state.settings import IgmpSettings, InterfaceSettings, Settings
from igmp.link import Link, Network
from igmp.messages import Query

LINK = {UP: LINKS[UP], D1: Link((Network.parse("192.168.10.9/24"),))}
STARTS_OVER = {"name", "role"}          # another port, or another protocol
VALUES = {
    "allow": ("239.0.0.0/8",), "querier_address": "192.168.10.9", "ssm_range": ("232.1.0.0/16",),
    "query_interval": 60.0,
}  # fmt: skip


def another(field: Any, value: Any) -> Any:
    """A value that the option does not have."""
    if field.name in VALUES:
        return VALUES[field.name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if field.name == "igmp_version":
        return 3
    return ("239.9.9.9",) if "tuple" in str(field.type) else 3


def configure(bench: Bench, settings: Settings, first: bool = False) -> None:
    for index, own in zip((UP, D1), settings.interface, strict=True):
        options = options_of(Port(index, 1, own.name, own.role, own), settings.igmp)
        if first:
            bench.proxy.add_port(index, options)
            bench.take(bench.proxy.port_up(index, LINK[index], bench.now))
        else:
            bench.take(bench.proxy.set_options(index, options, bench.now))
    bench.take(bench.proxy.set_merge_only_querier(settings.igmp.merge_only_querier, bench.now))


def learned(bench: Bench) -> tuple[Any, ...]:
    ports, now = bench.proxy._ports, bench.now
    querier, host = ports.queriers[D1], ports.hosts[UP]
    taught = [(each.robustness, each.query_interval) for each in (querier.parameters, host._speaker.parameters)]
    timers = [(group.group, group.filter, group.timer, group.v1_until, group.v2_until) for group in querier.members]
    return (taught, bench.proxy.querier(D1).address, querier._election.winner, querier._timers.get(4 << 32), timers,
            bench.proxy.hosts(now), dict(host._older_until))


OPTIONS = [("interface", each) for each in fields(InterfaceSettings) if each.name not in STARTS_OVER]
OPTIONS += [("igmp", each) for each in fields(IgmpSettings)]


@pytest.mark.parametrize(("table", "field"), OPTIONS, ids=lambda each: getattr(each, "name", each))
def test_a_reload_of_an_option_keeps_what_was_learned(table, field):
    own = InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap1")
    settings, bench = Settings(interface=own), Bench(ports=())
    configure(bench, settings, first=True)
    bench.run(0.0)
    bench.ask(0.0, D1, Query(robustness=4, interval=50.0), "192.168.10.2")
    bench.ask(0.0, UP, Query(robustness=5, interval=60.0))
    bench.ask(1.0, UP, Query(version=2))
    for text in ("TO_EX(G,{})", "v2 Report(G2)", "v1 Report(G3)"):
        bench.hear(1.0, D1, text)
    before = learned(bench)
    changed = another(field, getattr(own[1] if table == "interface" else settings.igmp, field.name))
    if table == "igmp":
        settings = replace(settings, igmp=replace(settings.igmp, **{field.name: changed}))
    else:
        settings = replace(settings, interface=tuple(replace(each, **{field.name: changed}) for each in own))
    configure(bench, settings)
    assert learned(bench) == before
