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
from igmp.packet import Rules

LINK = {UP: LINKS[UP], D1: Link((Network.parse("192.168.10.9/24"),))}
STARTS_OVER = {"name", "role"}          # another port, or another protocol
VALUES = {
    "allow": ("239.0.0.0/8",), "querier_address": "192.168.10.9", "ssm_range": ("232.1.0.0/16",),
    "query_interval": 60.0, "access": ("deny 239.9.9.9",),
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


# What a reload relaxes is asked for at once, what it forbids ends

OWN = InterfaceSettings(
    name="tap1", deny=("239.1.1.1",), boundary=("239.2.0.0/16",), allow=("224.0.0.0/4",), max_groups=5,
)  # fmt: skip
SAID = IgmpSettings(require_router_alert=True, ssm_range=("232.0.0.0/8", "239.9.0.0/16"))


def reloaded(own: dict[str, Any], igmp: dict[str, Any], querier: bool = True) -> tuple[Bench, list[tuple[float, str]]]:
    """What goes out of the port when this is another thing than in OWN and SAID."""
    settings = Settings(interface=(InterfaceSettings(name="eth0", role="upstream"), OWN), igmp=SAID)
    bench = Bench(ports=())
    configure(bench, settings, first=True)
    bench.run(0.0)
    if not querier:
        bench.ask(0.0, D1, Query(), "192.168.10.2")
    bench.now = 1.0
    interfaces = settings.interface[0], replace(OWN, **own)
    configure(bench, replace(settings, interface=interfaces, igmp=replace(SAID, **igmp)))
    return bench, bench.sends(D1, since=1.0, general=True)


@pytest.mark.parametrize(("own", "igmp"), [
    ({"deny": ()}, {}), ({"deny": ("239.7.0.0/16",)}, {}), ({"boundary": ()}, {}), ({"allow": ()}, {}),
    ({"access": ("allow 239.1.1.1",)}, {}),
    ({"allow": ("224.0.0.0/4", "10.0.0.7,232.1.1.1")}, {}), ({"max_groups": 6}, {}), ({"max_sources": 2000}, {}),
    ({"max_port_sources": 70000}, {}),
    ({"max_hosts": 600}, {}), ({}, {"ssm_range": ()}), ({}, {"ssm_range": ("232.0.0.0/8",)}),
    ({}, {"accept_any_ttl": True}), ({"accept_any_ttl": True}, {}), ({"require_router_alert": False}, {}),
])
def test_what_is_relaxed_is_asked_for_at_once(own, igmp):
    assert reloaded(own, igmp)[1] == [(1.0, "Q()")]
    assert reloaded(own, igmp, querier=False)[1] == []          # the querier asks there, not we


@pytest.mark.parametrize(("own", "igmp"), [
    ({"deny": ("239.1.1.1", "239.1.1.2")}, {}), ({"max_groups": 4}, {}), ({}, {"strict_sources": True}),
    ({"boundary": ("239.2.0.0/16", "239.3.0.0/16")}, {}), ({"quick_leave": True}, {}), ({"query_interval": 90.0}, {}),
    ({}, {"ssm_range": ("232.0.0.0/8", "239.9.0.0/16", "239.8.0.0/16")}),
])
def test_what_is_as_strict_or_stricter_asks_for_nothing_out_of_turn(own, igmp):
    queries = reloaded(own, igmp)[1]
    assert queries == ([(1.0, "Q()")] if "query_interval" in own else [])     # other values are told as at startup


def test_a_refused_member_is_back_as_soon_as_it_answers():
    bench, queries = reloaded({}, {})
    bench.hear(1.0, D1, "TO_EX(G,{})")
    assert (bench.state(), queries) == ("none", [])
    eth0, own = InterfaceSettings(name="eth0", role="upstream"), replace(OWN, deny=())
    configure(bench, Settings(interface=(eth0, own), igmp=SAID))
    assert bench.sends(D1, since=1.0, general=True) == [(1.0, "Q()")]
    bench.hear(1.0, D1, "IS_EX(G,{})")
    assert bench.state() == "EXCLUDE X={} Y={} GT=270"


def test_hosts_of_a_network_that_is_believed_now_are_asked_at_once():
    bench = Bench().run(0.0)
    bench.hear(0.0, D1, "TO_EX(G,{})", "172.16.0.5")
    assert bench.state() == "none"
    for link, asked in ((replace(LINKS[D1], altnets=(Network.parse("172.16.0.0/12"),)), [(0.0, "Q()")]),
                        (replace(LINKS[D1], mtu=900, altnets=()), [])):
        bench.log.clear()
        bench.take(bench.proxy.port_up(D1, link, 0.0))
        assert bench.sends(D1, general=True) == asked


def test_groups_that_become_source_specific_lose_who_named_no_source():
    """And nothing else: sources stay, another group stays, and old hosts count no more where they are not heard."""
    bench = Bench().run(0.0)
    for text in ("TO_EX(G,{})", "IS_IN(G,{a})", "ALLOW(G2,{b})", "v2 Report(G3)", "TO_EX(S,{})"):
        bench.hear(0.0, D1, text)
    assert bench.state(group="S") == "none"
    here = replace(bench.proxy._ports.options[D1], rules=Rules(ssm_range=(Network.parse("239.1.1.0/31"),)))
    bench.log.clear()
    bench.take(bench.proxy.set_options(D1, here, 0.0))
    assert [bench.state(group=each) for each in ("G", "G2", "G3")] == [
        "INCLUDE{a:270}", "INCLUDE{b:270}", "EXCLUDE X={} Y={} GT=270"]
    assert bench.sends(UP) == [(0.0, "TO_IN(G,{a})")]
    bench.hear(0.0, D1, "TO_EX(S,{})")
    assert bench.state(group="S") == "EXCLUDE X={} Y={} GT=270"       # no longer in the range


def test_an_old_report_of_a_group_that_is_source_specific_now_keeps_nothing_of_version_2():
    bench = Bench().run(0.0)
    bench.hear(0.0, D1, "v2 Report(G)")
    bench.hear(0.0, D1, "IS_IN(G,{a})")
    rules = Rules(ssm_range=(Network.parse("239.0.0.0/8"),))
    bench.take(bench.proxy.set_options(D1, replace(bench.proxy._ports.options[D1], rules=rules), 0.0))
    assert [each.compatibility for each in bench.proxy.groups(0.0)] == [3]
