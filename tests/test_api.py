import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from forwarder.agent.rpc import RpcServer
from forwarder.api import flows, views
from forwarder.api.__main__ import serve
from forwarder.api.agent import AgentClient
from forwarder.api.application import Application
from forwarder.api.pages import Page
from forwarder.api.segments import Segments
from forwarder.api.server import MAX_CONNECTIONS, Server
from forwarder.api.supervisor import SupervisorClient
from forwarder.client import Client, NoAnswerError, RequestError
from forwarder.diagnosis.losses import CURRENT, Situation
from forwarder.lab.wait import wait_for
from forwarder.nouns import NOUNS
from forwarder.process import control, long_messages
from forwarder.process.child import Start
from forwarder.state import membership, routes, segment, snapshot, standing, worker_segment
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.membership import MembershipWriter, PortMembership
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.reasons import REASONS, Reason
from forwarder.state.routes import RouteKey, RouteRow, RouteWriter
from forwarder.state.settings import DataplaneSettings, InterfaceSettings, RouteSettings, Settings
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import PortCounters
from forwarder.supervisor import changes
from igmp.counters import COUNTERS
from igmp.link import Network, parse_address

SOURCE, GROUP = parse_address("10.0.0.7"), parse_address("239.1.2.3")
SECOND = 1_000_000_000

INTERFACE_KEYS = (
    "name index role state address mac mtu link_type querier querier_address igmp_version"
    " rx_packets rx_bytes tx_packets tx_bytes groups segmentation segmentation_reason ring ring_reason"
    " ring_memory ring_replacements degraded drops igmp host_memberships"
    " rx_packets_per_second rx_bits_per_second tx_packets_per_second tx_bits_per_second"
)
KEYS = {
    "interfaces": INTERFACE_KEYS,
    "groups": "interface group mode sources excluded_sources compatibility expires uptime last_reporter static note",
    "hosts": "interface group host mac mode sources expires",
    "refusals": "interface group host mac mode sources reason rule since last count",
    "routes": "group source upstream interfaces kind note",
    "flows": (
        "group source upstream downstreams packets bytes wrong_packets idle verdict hint dropped"
        " packets_per_second bits_per_second since"
    ),
    "upstream": "interface group mode sources version interfaces static",
    "stats": (
        "version uptime processes flows max_flows ring_memory ring_memory_used ready degraded batches"
        " frames_per_batch faults user_kept spare_left_out"
    ),
}


def port(index: int, name: str, role: str = "downstream", assigned: int = 1, **facts: Any) -> Port:
    settings = InterfaceSettings(name=name, role=role)
    return Port(index=index, assigned=assigned, name=name, role=role, settings=settings, **facts)


PORTS = (
    port(
        0, "eth0", "upstream",
        ifindex=2, up=True, mac="02:00:00:00:00:01", addresses=((parse_address("10.0.0.1"), 24),),
    ),
    port(1, "eth1", ifindex=3, up=True),
    port(2, "eth2"),
)


def flow(table: FlowColumns, row: int, reason: int = Reason.FORWARD, **columns: int) -> None:
    """Write one live row."""
    defaults = {"ingress": 0, "source": SOURCE, "group": GROUP, "packets": 5, "bytes": 500, "used": 1, "version": 2}
    for name, value in {**defaults, "reason": int(reason), **columns}.items():
        getattr(table, name)[row] = value


def one_flow(reason: Reason = Reason.FORWARD, **columns: int) -> views.Row:
    table = FlowColumns.allocate(4, 1)
    flow(table, 0, reason, **columns)
    [row] = flows.page([flows.WorkerFlows(table)], PORTS, Page(), 2 * SECOND)
    return row


# --- views ---


def test_an_interface_row_has_exactly_the_fixed_keys():
    for row in views.interfaces(PORTS, {}, {}):
        assert set(row) == set(INTERFACE_KEYS.split())


def test_interfaces_say_what_is_there():
    upstream, downstream, missing = views.interfaces(PORTS, {}, {})
    assert (upstream["state"], downstream["state"], missing["state"]) == ("up", "up", "missing")
    assert (upstream["address"], downstream["address"]) == ("10.0.0.1", None)
    assert upstream["mac"] == "02:00:00:00:00:01"
    assert missing["mac"] is None
    assert upstream["link_type"] == "ether"
    assert set(upstream["drops"]) == set(REASONS)
    assert set(upstream["igmp"]) == set(COUNTERS)


def test_an_interface_nobody_has_counted_for_counts_nothing():
    for row in views.interfaces(PORTS, {}, {}):
        assert [row[key] for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "groups")] == [0] * 5
        assert {*row["drops"].values(), *row["igmp"].values(), row["ring_replacements"]} == {0}


def test_counters_are_shown_as_they_are():
    counted = PortCounters(1, 10, 11, 12, 13, {reason: 20 + at for at, reason in enumerate(REASONS)}, 1, 4)
    [row] = views.interfaces([PORTS[1]], {}, {1: counted})
    assert [row[key] for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")] == [10, 11, 12, 13]
    assert (row["drops"], row["ring_replacements"]) == (counted.drops, 4)


@pytest.mark.parametrize(("number", "words"), [
    (1, "ether"), (512, "ppp"), (519, "rawip"), (768, "ipip"), (772, "loopback"), (776, "sit"), (778, "gre"),
    (65534, "none"), (424, "424"),
])  # fmt: skip
def test_link_types_have_the_words_of_ip_link(number, words):
    [row] = views.interfaces([port(1, "eth1", link_type=number)], {}, {})
    assert row["link_type"] == words


@pytest.mark.parametrize(("taken", "how"), [(None, None), (True, "gso"), (False, "plain")])
def test_how_datagrams_leave_is_said_with_the_reason(taken, how):
    [row] = views.interfaces([PORTS[1]], {}, {}, taken)
    assert row["segmentation"] == how
    assert row["segmentation_reason"]


def test_a_worker_that_has_no_ring_yet_takes_it_from_nobody():
    none, blocks = (PortCounters(1, 0, 0, 0, 0, dict.fromkeys(REASONS, 0), ring) for ring in (None, 2))
    assert views.total([none, blocks, none], 1).ring == 2
    assert views.total([none], 1).ring is None
    assert views.total([], 1) == none


def test_interfaces_say_what_the_supervisor_says_of_their_sockets():
    rows = (0, 1, 64 << 20, "why", None), (1, 1, 0, None, "no"), (2, 0, 7, "old", "old")
    said = {row[0]: standing.Standing(*row) for row in rows}
    upstream, downstream, missing = views.interfaces(PORTS, {}, {}, standings=said)
    assert (upstream["ring_memory"], upstream["degraded"]) == (64 << 20, None)
    assert upstream["ring_reason"].endswith("; smaller than it should be: why")
    assert (downstream["ring_memory"], downstream["degraded"], downstream["state"]) == (0, "no", "up")
    assert (missing["ring_memory"], missing["degraded"]) == (0, None)    # said of the index's former owner
    assert views.degraded(PORTS, said) == [{"interface": "eth1", "reason": "no"}]


def test_standings_survive_json():
    said = [standing.Standing(0, 1, 64 << 20, "why"), standing.Standing(1, 1, degraded="no")]
    assert standing.from_json(json.loads(json.dumps(standing.to_json(said)))) == said


def test_querier_is_null_upstream_and_known_downstream():
    said = PortMembership(1, False, parse_address("10.0.1.9"), 3, 7, dict.fromkeys(COUNTERS, 1))
    upstream, downstream, _ = views.interfaces(PORTS, {0: said, 1: said}, {})
    assert (upstream["querier"], upstream["querier_address"]) == (None, None)
    assert (downstream["querier"], downstream["querier_address"]) == (False, "10.0.1.9")
    assert (downstream["igmp_version"], downstream["groups"], downstream["igmp"]["leave"]) == (3, 7, 1)


def test_what_was_said_of_an_indexs_former_owner_is_not_shown():
    said = PortMembership(1, True, 1, 3, 7, dict.fromkeys(COUNTERS, 1))
    [row] = views.interfaces([port(1, "tap0", assigned=4)], {1: said}, {})
    assert (row["querier"], row["groups"], row["igmp"]["leave"]) == (None, 0, 0)
    before = PortCounters(1, 10, 10, 10, 10, dict.fromkeys(REASONS, 1))
    now = PortCounters(4, 1, 2, 3, 4, dict.fromkeys(REASONS, 5))
    assert views.total([before, now, now], 4) == PortCounters(4, 2, 4, 6, 8, dict.fromkeys(REASONS, 10))


def shown_routes(rows: list[RouteRow], *routes: RouteSettings, ports: tuple[Port, ...] = PORTS) -> list[views.Row]:
    return views.routes(rows, Configuration(1, Settings(), ports, Added(routes=routes)))


def test_learned_routes_name_their_ports():
    [row] = shown_routes([RouteRow(RouteKey(GROUP), 0b110, "learned", 1)])
    assert row == {
        "group": "239.1.2.3", "source": None, "upstream": None, "interfaces": ["eth1", "eth2"], "kind": "learned",
        "note": None,
    }  # fmt: skip


def test_static_routes_are_shown_as_they_were_asked_for_pending_ones_too():
    written = RouteRow(RouteKey(GROUP, 8, SOURCE, 24, 0, static=True), 0b10, "static", 1)
    rows = shown_routes(
        [written],
        RouteSettings(group="239.0.0.0/8", source="10.0.0.0/24", upstream="eth0", interfaces=("eth1", "absent")),
        RouteSettings(group="239.1.2.3/32", upstream="tap9", interfaces=("eth*", "tap*")),
        RouteSettings(group="239.1.2.4"),
    )
    assert rows == [
        {"group": "239.0.0.0/8", "source": "10.0.0.0/24", "upstream": "eth0", "interfaces": ["eth1", "absent"],
         "kind": "static", "note": None},
        {"group": "239.1.2.3", "source": None, "upstream": "tap9", "interfaces": ["eth1", "eth2", "tap*"],
         "kind": "static", "note": "nothing comes in: tap9 is missing"},
        {"group": "239.1.2.4", "source": None, "upstream": None, "interfaces": [], "kind": "block", "note": None},
    ]  # fmt: skip


def test_a_learned_route_says_which_static_one_overrules_it():
    rows = [RouteRow(RouteKey(GROUP, 32, source), 2, "learned", 1) for source in (None, SOURCE)]
    *_, anyone, one = shown_routes(rows, RouteSettings(group="239.0.0.0/8", source="10.0.0.0/24"))
    assert anyone["note"] == "overruled for its sources by the static route 239.0.0.0/8 source 10.0.0.0/24"
    assert one["note"] == "overruled by the static route 239.0.0.0/8 source 10.0.0.0/24"


def test_a_bit_older_than_its_ports_assignment_is_masked():
    ports = (port(0, "eth0", "upstream"), port(1, "tap9", assigned=8))
    rows = [RouteRow(RouteKey(GROUP), 2, "learned", stamp) for stamp in (7, 8)]
    old, new = shown_routes(rows, ports=ports)
    assert (old["interfaces"], new["interfaces"]) == ([], ["tap9"])


def test_hosts_without_an_address_are_null():
    row = {**HOSTS[0], "host": 0}
    [known, unknown] = views.hosts([row, {**row, "mac": 0}, {**row, "port": 9}], PORTS)
    assert (known["host"], known["mac"], unknown["mac"]) == (None, "02:00:00:00:00:07", None)


def test_what_is_reported_upstream_says_whence_it_comes():
    [row] = views.upstream(UPSTREAM, PORTS)
    assert (row["interface"], row["interfaces"], row["static"]) == ("eth0", ["eth1", "eth2"], False)


def test_a_group_that_the_upstream_s_lists_refuse_has_a_note():
    closed = replace(PORTS[0], settings=replace(PORTS[0].settings, deny=("239.0.0.0/8",)))
    anyone = {**GROUPS[0], "mode": "exclude", "sources": []}
    shown = views.groups([anyone, GROUPS[0]], Configuration(1, Settings(), (closed, *PORTS[1:])))
    assert [row["note"] for row in shown] == ["not asked for upstream: refused by deny of eth0"] * 2
    assert [row["note"] for row in views.groups([anyone], Configuration(1, Settings(), PORTS))] == [None]


def test_rows_of_a_port_that_is_gone_are_left_out():
    group = {"port": 9, "group": GROUP}
    assert views.groups([group], Configuration(1, Settings(), PORTS)) == []
    assert views.hosts([group], PORTS) == []
    assert views.upstream([group], PORTS) == []


def test_stats_measure_heartbeats_and_batches():
    processes = {"version": "1.0", "started": 10.0, "processes": [
        {"name": "mcfwd", "pid": 1, "user": "root", "started": 10.0, "restarts": 0},
        {"name": "mcfwd-agent", "pid": 2, "user": "nobody", "started": 15.0, "restarts": 3},
    ], "kept": "no user was free"}  # fmt: skip
    stats = views.stats(processes, {"mcfwd-agent": 19.5}, DataplaneSettings(), views.Load(3, 4, 10), 20.0)
    assert set(stats) == set(KEYS["stats"].split())
    assert (stats["uptime"], stats["flows"], stats["batches"], stats["frames_per_batch"]) == (10.0, 3, 4, 2.5)
    assert (stats["ready"], stats["ring_memory_used"], stats["degraded"]) == (False, 0, [])
    own, agent = stats["processes"]
    assert own["heartbeat"] is None
    assert agent == {"name": "mcfwd-agent", "pid": 2, "user": "nobody", "uptime": 5.0, "restarts": 3, "heartbeat": 0.5}
    assert (own["user"], stats["user_kept"]) == ("root", "no user was free")


def test_stats_say_whether_ports_are_served_and_which_are_not():
    processes = {"version": "1.0", "started": 10.0, "processes": [], "ready": True, "ring_memory": 4 << 20}
    degraded = [{"interface": "eth1", "reason": "no"}]
    stats = views.stats(processes, {}, DataplaneSettings(), views.Load(0, 0, 0), 20.0, degraded)
    assert (stats["ready"], stats["ring_memory_used"], stats["degraded"]) == (True, 4 << 20, degraded)


def test_stats_before_anything_was_published():
    stats = views.stats({}, {}, DataplaneSettings(), views.Load(0, 0, 0), 20.0)
    assert (stats["version"], stats["uptime"], stats["processes"], stats["frames_per_batch"]) == (None, None, [], None)


# --- flows ---


def test_a_flow_has_exactly_the_fixed_keys():
    assert one_flow(ports=0b10, first_seen=SECOND // 4, last_seen=SECOND // 2) == {
        "group": "239.1.2.3", "source": "10.0.0.7", "upstream": "eth0", "downstreams": ["eth1"], "packets": 5,
        "bytes": 500, "wrong_packets": 0, "idle": 1.5, "verdict": "forward", "hint": None,
        "dropped": {}, "packets_per_second": 2.9, "bits_per_second": 2286, "since": 1.75,
    }  # fmt: skip


def test_a_flow_of_which_nothing_is_known_from_before_has_no_rate():
    row = one_flow(first_seen=0)
    assert (row["packets_per_second"], row["bits_per_second"], row["since"]) == (None, None, None)


def test_the_rate_of_a_flow_that_always_expires_is_that_of_the_packets_it_shows():
    row = one_flow(Reason.NO_MEMBERS, packets=0, bytes=0, dropped=6, ttl_expired=6, first_seen=SECOND // 2)
    assert (row["packets"], row["packets_per_second"], row["bits_per_second"]) == (6, 4.0, 0)


def test_a_flow_whose_last_packet_is_younger_than_the_question_is_not_idle():
    row = one_flow(last_seen=3 * SECOND)
    assert str(row["idle"]) == "0.0"


def test_packets_of_the_wrong_interface_are_counted_apart():
    row = one_flow(Reason.WRONG_INTERFACE)
    assert (row["verdict"], row["packets"], row["wrong_packets"]) == ("wrong_interface", 5, 5)


@pytest.mark.parametrize("reason", [Reason.FORWARD, Reason.NO_MEMBERS])
def test_a_flow_that_always_expires_says_so_and_how_to_cure_it(reason):
    row = one_flow(reason, packets=0, dropped=5, ttl_expired=5)
    assert (row["verdict"], row["packets"]) == ("ttl_expired", 5)
    assert row["hint"] == "sender uses TTL 1; raise it (IP_MULTICAST_TTL)"


def test_a_flow_that_expires_now_and_then_is_forwarded_and_gets_the_hint():
    row = one_flow(packets=9, dropped=1, ttl_expired=1)
    assert (row["verdict"], row["packets"]) == ("forward", 9)
    assert "TTL" in row["hint"]


def test_a_refused_source_gets_a_hint_about_altnets():
    assert one_flow(Reason.SOURCE_NOT_ALLOWED)["hint"].endswith("add its network to altnets there")


def test_a_refused_source_downstream_may_mean_that_roles_are_swapped():
    assert "or make eth1 upstream" in one_flow(Reason.SOURCE_NOT_ALLOWED, ingress=1)["hint"]


def test_a_flow_that_a_static_route_keeps_from_members_says_so():
    table = FlowColumns.allocate(4, 1)
    flow(table, 0, Reason.NO_MEMBERS)
    situation = Situation(routes=(RouteSettings(group="239.0.0.0/8", interfaces=("eth2",)),))
    [row] = flows.page([flows.WorkerFlows(table)], PORTS, flows.Page(), SECOND, situation)
    assert row["hint"].startswith("the static route 239.0.0.0/8 goes nowhere: eth2 is missing")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_verdict(reason):
    assert one_flow(reason)["verdict"] == reason.name.lower()


def test_what_stops_all_flows_is_said_first():
    table = FlowColumns.allocate(4, 1)
    flow(table, 0)
    flow(table, 1, ingress=1)
    flow(table, 2, ingress=2)
    down = [PORTS[0], replace(PORTS[1], up=False), PORTS[2]]

    def verdicts(stopped: bool) -> list[str]:
        shown = [flows.WorkerFlows(table, stopped=stopped)]
        return [row["verdict"] for row in flows.page(shown, down, Page(), 0)]

    assert verdicts(stopped=False) == ["forward", "interface_down", "interface_missing"]
    assert verdicts(stopped=True) == ["worker_stopped"] * 3
    row = flows.page([flows.WorkerFlows(table)], down, Page(offset=1), 0)[0]
    assert row["hint"] == "eth1 is down: nothing comes in there"


def test_what_comes_in_where_we_send_it_is_said_to_arrive_twice():
    table, other = FlowColumns.allocate(4, 1), FlowColumns.allocate(4, 1)
    flow(table, 0, Reason.WRONG_INTERFACE, ingress=1)
    flow(table, 1, Reason.WRONG_INTERFACE, ingress=1, group=GROUP + 1)
    flow(other, 0, ports=0b10)
    up = [PORTS[0], PORTS[1], PORTS[2]]
    twice, wrong, _ = flows.page([flows.WorkerFlows(each) for each in (table, other)], up, Page(), 0)
    assert twice["verdict"] == wrong["verdict"] == "wrong_interface"
    assert twice["hint"].startswith("we send it to eth1, and it comes in there: another forwarder")
    assert "another interface than eth1" in wrong["hint"]


def lost(reason: Reason, egress: int = 1, packets: int = 3, seen: int = SECOND) -> FlowDrop:
    return FlowDrop(0, SOURCE << 32 | GROUP, egress, reason, packets, seen)


def with_losses(*drops: FlowDrop, reason: Reason = Reason.FORWARD, situation: Situation = flows.NOTHING_KNOWN, **own):
    table = FlowColumns.allocate(4, 1)
    flow(table, 0, reason, last_seen=SECOND)
    ports = [PORTS[0], replace(PORTS[1], settings=replace(PORTS[1].settings, **own)), PORTS[2]]
    [row] = flows.page([flows.WorkerFlows(table, drops)], ports, Page(), SECOND, situation)
    return row


@pytest.mark.parametrize(("reason", "words"), [
    (Reason.MTU, "MTU of eth1 (1500)"), (Reason.TTL_THRESHOLD, "threshold of eth1 (7)"),
    (Reason.RATE_LIMITED, "over flow_rate_limit of eth1"), (Reason.BOUNDARY, "lists (allow, deny, boundary) of eth1"),
    (Reason.NOT_QUERIER, "eth1: 10.0.0.2 is the querier there"),
    (Reason.TRANSMIT_FAILED, "eth1 cannot send: its sockets are being opened"),
])  # fmt: skip
def test_what_is_dropped_at_an_egress_is_said_with_the_setting_that_does_it(reason, words):
    situation = Situation({1: PortMembership(1, False, parse_address("10.0.0.2"), 3, 0, {})},
                          {1: "its sockets are being opened"})  # fmt: skip
    row = with_losses(lost(reason), situation=situation, threshold=7, flow_rate_limit=1000)
    assert row["verdict"] == "forward"
    assert row["dropped"] == {"eth1": {reason.name.lower(): 3}}
    assert words in row["hint"]


def test_the_worst_loss_is_the_one_that_is_explained_and_others_are_mentioned():
    row = with_losses(lost(Reason.MTU, packets=2), lost(Reason.BOUNDARY, packets=5, egress=2), lost(Reason.MTU))
    assert row["dropped"] == {"eth1": {"mtu": 5}, "eth2": {"boundary": 5}}
    assert row["hint"] == (
        "lists (allow, deny, boundary) of eth2 keep it out there; something is dropped on 1 more interface"
    )


def test_what_was_lost_long_ago_is_counted_and_explains_nothing():
    row = with_losses(lost(Reason.MTU, seen=SECOND - CURRENT - 1))
    assert (row["dropped"], row["hint"]) == ({"eth1": {"mtu": 3}}, None)


def test_a_loss_elsewhere_does_not_explain_why_nobody_gets_a_flow():
    row = with_losses(lost(Reason.MTU), reason=Reason.SOURCE_NOT_ALLOWED)
    assert "altnets" in row["hint"]


def test_losses_of_other_flows_and_at_ports_that_are_gone_are_left_out():
    other = FlowDrop(0, SOURCE << 32 | GROUP + 1, 1, Reason.MTU, 3, SECOND)
    row = with_losses(other, lost(Reason.MTU, egress=9))
    assert (row["dropped"], row["hint"]) == ({}, None)


def test_pages_run_through_the_tables_of_all_workers():
    tables = [FlowColumns.allocate(8, 1) for _ in range(2)]
    for at in range(10):
        flow(tables[at // 5], at % 5 + 2, group=GROUP + at)
    shown = [flows.WorkerFlows(each) for each in tables]
    pages = [flows.page(shown, PORTS, Page(offset, 4), 0) for offset in (0, 4, 8, 12)]
    assert [len(page) for page in pages] == [4, 4, 2, 0]
    assert len({row["group"] for page in pages for row in page}) == 10


def test_the_worst_come_first_over_the_tables_of_all_workers():
    tables = [FlowColumns.allocate(8, 1) for _ in range(3)]
    flow(tables[0], 0, group=GROUP, packets=100)
    flow(tables[0], 1, group=GROUP + 1, packets=7, reason=Reason.WRONG_INTERFACE)
    flow(tables[2], 2, group=GROUP + 2, packets=0, dropped=50, reason=Reason.NO_MEMBERS)
    flow(tables[2], 3, group=GROUP + 3, packets=9, reason=Reason.SOURCE_NOT_ALLOWED)
    flow(tables[2], 4, group=GROUP + 4, packets=0, dropped=8, ttl_expired=8)
    flow(tables[0], 5, group=GROUP + 5, packets=101)

    def groups(offset: int, limit: int) -> list[int]:
        rows = flows.page([flows.WorkerFlows(each) for each in tables], PORTS, Page(offset, limit, worst=True), 0)
        return [int(row["group"].rpartition(".")[2]) - 3 for row in rows]

    assert groups(0, 10) == [3, 4, 1, 2, 5, 0]
    assert [groups(0, 2), groups(2, 3), groups(5, 9), groups(6, 1)] == [[3, 4], [1, 2, 5], [0], []]
    assert flows.page([], PORTS, Page(worst=True), 0) == []


@pytest.mark.parametrize(
    ("groups", "found"), [("239.1.2.3", 1), ("239.1.2.0/24", 2), ("0.0.0.0/0", 3), ("224.0.0.0/8", 0)]
)
def test_the_filter_takes_a_group_or_a_network(groups, found):
    table = FlowColumns.allocate(8, 1)
    for row, group in enumerate((GROUP, GROUP + 1, GROUP + 256)):
        flow(table, row, group=group)
    assert len(flows.page([flows.WorkerFlows(table)], PORTS, Page(groups=(Network.parse(groups),)), 0)) == found


def test_a_row_that_is_being_written_is_left_out():
    table = FlowColumns.allocate(8, 1)
    flow(table, 0, version=3)
    flow(table, 1)
    assert len(flows.page([flows.WorkerFlows(table)], PORTS, Page(), 0)) == 1


def test_wide_bitmaps_and_unknown_ingress():
    table = FlowColumns.allocate(8, 2)
    flow(table, 0, ingress=77)
    table.ports[0, 1] = 1 << 6
    [row] = flows.page([flows.WorkerFlows(table)], [port(70, "tap70")], Page(), 0)
    assert (row["upstream"], row["downstreams"]) == (None, ["tap70"])


def test_a_row_with_a_reason_that_nobody_knows_is_left_out():
    table = FlowColumns.allocate(8, 1)
    for at, reason in enumerate((max(Reason), max(Reason) + 1)):
        flow(table, at, reason=reason)
    shown = flows.page([flows.WorkerFlows(table)], PORTS, Page(), 0)
    assert [row["verdict"] for row in shown] == ["flow_table_full"]


def test_readers_never_see_half_of_a_row():
    """A row whose source and group are rewritten together is always seen whole."""
    table = FlowColumns.allocate(1, 1)
    flow(table, 0, source=0, group=0, version=2)
    stop = threading.Event()

    def rewrite() -> None:
        one = np.uint64(1)
        for value in range(1, 1 << 30):
            table.version[0] += one
            table.source[0] = value
            table.group[0] = value
            table.version[0] += one
            if stop.is_set():
                return

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        seen = [row for _ in range(2000) for row in flows.page([flows.WorkerFlows(table)], PORTS, Page(), 0)]
    finally:
        stop.set()
        writer.join()
    assert all(row["source"] == row["group"] for row in seen)


# --- the process, over a real socket ---


def descriptors() -> dict[str, int]:
    """Small real segments with one of everything in them."""
    own = {
        "configuration": snapshot.create("configuration"),
        "processes": snapshot.create("processes"),
        "routes": routes.create(64, 8),
        "membership": membership.create(8),
        "worker-0": worker_segment.create(0, 8, 4096),
        "segment": segment.create("api", 8),
    }
    settings = Settings(interface=tuple(each.settings for each in PORTS))
    snapshot.SnapshotWriter(own["configuration"]).publish(Configuration(1, settings, PORTS).to_json())
    row = {"name": "mcfwd-worker-0", "pid": 4, "user": "nobody", "started": 1.0, "restarts": 0}
    snapshot.SnapshotWriter(own["processes"]).publish({"version": "0", "started": 1.0, "processes": [row]})
    RouteWriter(own["routes"]).set(RouteKey(GROUP), 0b10, "learned", 1)
    MembershipWriter(own["membership"]).assign(1, 1)
    worker = WorkerSegment(own["worker-0"], writable=True)
    worker.header[worker_segment.HEARTBEAT] = 1
    for at in range(2500):
        flow(worker.flows, at, group=GROUP + at, ports=2)
    return own


GROUPS = [{
    "port": 1, "group": GROUP + at, "mode": "include", "sources": [[SOURCE, 1.23456]], "excluded_sources": [],
    "compatibility": 3, "expires": None, "uptime": 5.0, "last_reporter": SOURCE, "static": False,
} for at in range(1000)]  # fmt: skip
HOSTS = [{
    "port": 1, "group": GROUP, "host": SOURCE, "mac": 0x0200_0000_0007, "mode": "include", "sources": [SOURCE],
    "expires": 1.5,
}]  # fmt: skip
REFUSALS = [{
    "port": at, "group": GROUP + group, "host": SOURCE, "mac": 0x0200_0000_0007, "mode": "exclude", "sources": [],
    "reason": "deny", "rule": "deny 239.1.0.0/16", "since": 61.23456, "last": 1.5, "count": 2,
} for at in (1, 9) for group in range(5)]  # fmt: skip
UPSTREAM = [{"port": 0, "group": GROUP, "mode": "include", "sources": [SOURCE], "version": 3,
             "origins": [1, 2, 9], "static": False}]  # fmt: skip


CONFIGURED = Settings(
    interface=tuple(each.settings for each in PORTS),
    route=(RouteSettings(group="239.9.0.0/16", interfaces=("eth1",)),),
)


def test_what_is_answered_before_anything_was_published():
    lent = {
        "configuration": snapshot.create("configuration"), "processes": snapshot.create("processes"),
        "routes": routes.create(64, 8), "membership": membership.create(8), "segment": segment.create("api", 8),
    }  # fmt: skip
    segments = Segments(lent, lambda: 5 * SECOND)
    assert (segments.interfaces(), segments.routes(), segments.flows(Page())) == ([], [], [])
    stats = segments.stats()
    assert (stats["version"], stats["uptime"], stats["flows"], stats["max_flows"]) == (None, None, 0, 65536)


@pytest.mark.parametrize(("said", "shown"), [((0, 0), None), ((0, 2), "gso"), ((2, 3), "gso"), ((2, 1), "plain")])
def test_segmentation_is_what_all_workers_say_that_have_asked(said, shown):
    lent = {**descriptors(), "worker-1": worker_segment.create(1, 8, 64)}
    for number, words in enumerate(said):
        WorkerSegment(lent[f"worker-{number}"], writable=True).header[worker_segment.GSO] = words
    assert [row["segmentation"] for row in Segments(lent).interfaces()] == [shown] * len(PORTS)


def test_what_all_workers_have_done_is_added_up():
    lent = {**descriptors(), "worker-1": worker_segment.create(1, 8, 64)}
    for number in range(2):
        worker = WorkerSegment(lent[f"worker-{number}"], writable=True)
        worker.header[worker_segment.BATCHES], worker.header[worker_segment.FRAMES] = 3 + number, 100
        worker.header[worker_segment.HEARTBEAT] = (4 + number) * SECOND
        worker.ports[1, worker_segment.ASSIGNED], worker.ports[1, worker_segment.TX_BYTES] = 1, 50 + number
    flow(worker.flows, 5)
    MembershipWriter(lent["membership"]).beat(3 * SECOND)
    segment.Segment(lent["segment"], writable=True).words[0] = 2 * SECOND
    rows = [{"name": f"mcfwd-{name}", "pid": 4, "user": "nobody", "started": 1.0, "restarts": 0}
            for name in ("agent", "api", "worker-0", "worker-1")]  # fmt: skip
    snapshot.SnapshotWriter(lent["processes"]).publish({"version": "0", "started": 1.0, "processes": rows})
    segments = Segments(lent, lambda: 10 * SECOND)
    stats = segments.stats()
    assert (stats["flows"], stats["batches"], stats["frames_per_batch"], stats["uptime"]) == (2501, 7, 28.6, 9.0)
    assert [each["heartbeat"] for each in stats["processes"]] == [7.0, 8.0, 6.0, 5.0]
    assert segments.stats()["processes"] == stats["processes"]      # of the copy before
    assert [row["tx_bytes"] for row in segments.interfaces()] == [0, 101, 0]


class Company:
    """Workers whose segments are read, and a clock."""

    def __init__(self, workers: int) -> None:
        self.now = 100 * SECOND
        self._fds = [worker_segment.create(number, 8, 64) for number in range(workers)]
        self.segments = Segments(descriptors(), lambda: self.now)
        self._tell()

    def replace(self, flows: int, workers: int) -> None:
        """As the supervisor does: other segments, of which the first has what was counted by who is dismissed."""
        new = [worker_segment.create(number, 8, flows) for number in range(workers)]
        for former, fd in zip(self._fds, new, strict=False):
            worker_segment.hand_on(former, fd)
        for dismissed in self._fds[workers:]:
            worker_segment.add(dismissed, new[0])
        for fd in self._fds:
            os.close(fd)
        self._fds = new
        self._tell()

    def _tell(self) -> None:
        self.segments.read_workers({f"worker-{number}": os.dup(fd) for number, fd in enumerate(self._fds)})

    def carry(self, seconds: int, packets: int) -> None:
        """So many packets of 100 octets a second by each worker, each with a flow of its own that is not young."""
        for _ in range(seconds):
            self.now += SECOND
            for number, fd in enumerate(self._fds):
                worker = WorkerSegment(fd, writable=True)
                worker.ports[1, worker_segment.ASSIGNED] = 1
                worker.ports[1, worker_segment.TX_PACKETS] += np.uint64(packets)
                counted = int(worker.flows.packets[0]) + packets
                flow(worker.flows, 0, group=GROUP + number, first_seen=SECOND, packets=counted, bytes=100 * counted)
                worker.header[worker_segment.BATCHES] += 1
            self.segments.sample()

    def rates(self) -> tuple[float | None, list[tuple[str, float | None]]]:
        """Of packets that go out, and of all flows."""
        shown = self.segments.interfaces()[1]["tx_packets_per_second"]
        return shown, [(row["group"], row["packets_per_second"]) for row in self.segments.flows(Page())]


@pytest.mark.parametrize(("flows", "workers"), [(64, 1), (64, 3), (128, 2), (64, 2), (32, 1)])
def test_rates_begin_again_with_other_segments_of_workers(flows, workers):
    company, groups = Company(2), [f"239.1.2.{number}" for number in (3, 4, 5)]
    company.carry(6, 50)
    assert company.rates() == (100.0, [(group, 50.0) for group in groups[:2]])
    company.replace(flows, workers)
    assert company.rates() == (None, [(group, None) for group in groups[: min(workers, 2)]])
    company.carry(1, 7)         # a sample of now is none to measure from
    assert company.rates() == (None, [(group, None) for group in groups[:workers]])
    company.carry(1, 7)
    assert company.rates() == (7.0 * workers, [(group, 7.0) for group in groups[:workers]])
    company.carry(6, 7)
    assert company.rates() == (7.0 * workers, [(group, 7.0) for group in groups[:workers]])


class Standing:
    """What answers in the supervisor's place, by its own rules; `asked` is what it was asked."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self.added = channel, Added()
        self.asked: list[dict[str, Any]] = []
        self.reason = changes.Cause.CONFIGURATION      # why a reload is refused

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._channel.fileno(), self._answer)

    def _answer(self) -> None:
        received = control.receive(self._channel)
        assert received
        request = long_messages.whole(*received)
        self.asked.append(request)
        answer = {"type": "answer", "id": request["id"], "refusal": None, "words": ""}
        try:
            if request["type"] == "reload" and self.reason is None:
                answer["ignored"] = ["dataplane.workers"]
            elif request["type"] == "reload":
                raise changes.ChangeError(self.reason, "mcfwd.toml: igmp.robustness: is 0")
            else:
                self.added = changes.apply(request, self.added, CONFIGURED)
        except changes.ChangeError as refused:
            answer |= {"refusal": refused.reason.value, "words": str(refused), "operation": refused.operation}
        control.send(self._channel, answer)


class Instance:
    """An API on a Unix socket in a thread of its own; agent and supervisor answer, or keep silent."""

    def __init__(
        self, path: Path, answering: bool, patience: float, segments: type[Segments] = Segments,
        refusals: list[dict[str, Any]] = REFUSALS,
    ) -> None:
        self._segments, self._refusals = segments, refusals
        self.path, self._answering, self._patience = str(path), answering, patience
        self._ready = threading.Event()
        self._thread = threading.Thread(target=uvloop.run, args=(self._serve(),))    # as in life

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        agent = AgentClient(ours, timeout=5.0 if self._answering else 0.05)
        agent.attach(self._loop)
        if self._answering:
            rows = {"groups": GROUPS, "hosts": HOSTS, "refusals": self._refusals, "upstream": UPSTREAM}
            nouns = {noun: partial(list, answer) for noun, answer in rows.items()}
            RpcServer(theirs.detach(), nouns).attach(self._loop)
        asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = SupervisorClient(asking, timeout=5.0 if self._answering else 0.05)
        supervisor.attach(self._loop)
        self.supervisor = Standing(asked)
        if self._answering:
            self.supervisor.attach(self._loop)
        application = Application(self._segments(descriptors()), agent, supervisor)
        server = self.server = Server(application.handle, patience=self._patience)
        listening = await self._loop.create_unix_server(server, self.path)
        self._ready.set()
        while not self._stop.is_set():
            server.sweep()
            try:
                await asyncio.wait_for(self._stop.wait(), 0.02)
            except TimeoutError:
                continue
        listening.close()
        await server.shutdown(0.1)
        for each in (theirs, asking, asked):
            each.close()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to any bytes."""
        with self.connect() as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, body

    def get(self, target: str) -> Any:
        return self.exchange(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.path)
        return connection


@contextmanager
def running(
    folder: Path, answering: bool = True, patience: float = 5.0, segments: type[Segments] = Segments,
    refusals: list[dict[str, Any]] = REFUSALS,
) -> Iterator[Instance]:
    instance = Instance(folder / "s", answering, patience, segments, refusals)
    instance.start()
    try:
        yield instance
    finally:
        instance.stop()


@pytest.mark.parametrize("noun", KEYS)
def test_every_noun_answers_with_exactly_its_keys(tmp_path, noun):
    with running(tmp_path) as instance:
        answer = Client(instance.path).get(noun)
        rows = [answer] if noun == "stats" else answer
        assert rows
        assert all(set(row) == set(KEYS[noun].split()) for row in rows)
    assert noun == "stats" or set(NOUNS[noun].keys) == set(KEYS[noun].split())


def test_the_client_fetches_all_pages(tmp_path):
    with running(tmp_path) as instance:
        assert len({row["group"] for row in Client(instance.path).get("flows")}) == 2500
        assert len(json.loads(instance.get("/v1/flows")[2])) == 1000
        assert len(json.loads(instance.get("/v1/flows?group=239.1.2.3")[2])) == 1


def test_clients_that_ask_the_same_at_once_get_one_answer(tmp_path):
    """Each had one of its own worked out, in the same turn: the process was silent for so long that it was killed."""
    worked_out = []

    class Counted(Segments):
        def routes(self) -> Any:
            worked_out.append(1)
            time.sleep(0.05)
            return super().routes()

    with running(tmp_path, segments=Counted) as instance:
        clients = [instance.connect() for _ in range(40)]
        for client in clients:
            client.sendall(b"GET /v1/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = {b"".join(iter(partial(client.recv, 65536), b"")).partition(b"\r\n\r\n")[2] for client in clients}
        for client in clients:
            client.close()
    assert len(worked_out) < 20
    assert [json.loads(each) for each in answers] == [json.loads(next(iter(answers)))]


def test_a_page_says_of_how_many_flows_it_is_one(tmp_path):
    with running(tmp_path) as instance:
        client = Client(instance.path)
        assert [(len(client.get("flows", limit)), client.total) for limit in (7, 1000, 1200, 9999)] == [
            (7, 2500), (1000, 2500), (1200, 2500), (2500, 2500),
        ]  # fmt: skip
        assert (len(client.get("interfaces", 1)), client.total) == (1, len(client.get("interfaces")))
        assert len(client.get("flows", 5, worst=True)) == 5
        client.get("stats")
        assert client.total is None
        for target, said in (("/v1/flows?limit=3", "2500"), ("/v1/flows?group=239.1.2.3&limit=0", "1")):
            assert instance.get(target)[1]["x-total-count"] == said


def test_the_agents_rows_arrive_whole(tmp_path):
    with running(tmp_path) as instance:
        rows = Client(instance.path).get("groups")
        assert len(rows) == 1000
        assert rows[0]["sources"] == [{"address": "10.0.0.7", "expires": 1.235}]
        assert rows[0]["expires"] is None


@pytest.mark.parametrize(("query", "groups"), [
    ("", [3, 4, 5, 6, 7]), ("?limit=2", [3, 4]), ("?offset=3&limit=9", [6, 7]), ("?offset=4", [7]), ("?limit=0", []),
    ("?group=239.1.2.4", [4]), ("?group=239.1.2.4/31", [4, 5]), ("?group=239.1.2.4/31&offset=1", [5]),
    ("?group=239.7.0.0/16", []),
])  # fmt: skip
def test_refused_joins_are_answered_whole_or_a_page_of_them(tmp_path, query, groups):
    """Those of a port that is gone are left out."""
    with running(tmp_path) as instance:
        status, _, body = instance.get(f"/v1/refusals{query}")
        rows = json.loads(body)
        assert (status, [row["group"] for row in rows]) == (200, [f"239.1.2.{last}" for last in groups])
        assert all(row["interface"] == "eth1" and (row["since"], row["last"]) == (61.235, 1.5) for row in rows)
        assert instance.get("/v1/refusals?limit=x")[0] == 400


class Living(Segments):
    """At a time when the worker has just said that it lives."""

    def __init__(self, lent: dict[str, int]) -> None:
        super().__init__(lent, lambda: 2 * SECOND)


@pytest.mark.parametrize(("target", "total", "shown"), [
    ("flows?group=239.1.2.3&group=239.1.2.6/31", 3, ["239.1.2.3", "239.1.2.6", "239.1.2.7"]),
    ("flows?group=239.1.2.3&source=10.0.0.8", 0, []),
    ("flows?interface=eth2", 0, []),
    ("flows?interface=eth1&limit=2", 2500, ["239.1.2.3", "239.1.2.4"]),
    ("flows?order=-group&limit=1", 2500, ["239.1.11.198"]),
    ("flows?order=worst&problems=true", 0, []),
    ("flows?order=hint&limit=2&offset=1", 2500, ["239.1.2.4", "239.1.2.5"]),
    ("groups?group=239.1.2.3&interface=eth*", 1, ["239.1.2.3"]),
    ("groups?order=-group&limit=2&offset=1", 1000, ["239.1.5.233", "239.1.5.232"]),
    ("groups?problems=1", 0, []),
    ("hosts?host=10.0.0.0/8", 1, ["239.1.2.3"]),
    ("hosts?host=10.0.0.8", 0, []),
    ("routes?interface=eth1", 1, ["239.1.2.3"]),
    ("upstream?interface=eth2&source=10.0.0.7", 1, ["239.1.2.3"]),
    ("refusals?problems&group=239.1.2.4", 1, ["239.1.2.4"]),
])  # fmt: skip
def test_rows_are_chosen_and_ordered_by_the_instance_which_says_that_it_was(tmp_path, target, total, shown):
    with running(tmp_path, segments=Living) as instance:
        status, headers, body = instance.get(f"/v1/{target}")
        assert (status, headers["x-total-count"], [row["group"] for row in json.loads(body)]) == (
            200, str(total), shown
        )  # fmt: skip
        assert headers["x-followed"].split(", ") == sorted({each.partition("=")[0] for each in
                                                            target.partition("?")[2].split("&")})  # fmt: skip


def test_what_was_refused_is_a_problem_of_flows(tmp_path):
    """REFUSALS are of 239.1.2.3 to 7 on eth1, where the flows go: nobody lacks them. On eth2 somebody does."""
    with running(tmp_path, segments=Living) as instance:
        assert json.loads(instance.get("/v1/flows?problems=true")[2]) == []
    os.unlink(instance.path)
    elsewhere = [{**row, "port": 2} for row in REFUSALS]
    with running(tmp_path, segments=Living, refusals=elsewhere) as instance:
        assert [row["group"] for row in json.loads(instance.get("/v1/flows?problems=true")[2])] == [
            f"239.1.2.{last}" for last in range(3, 8)
        ]


def test_pages_of_what_the_agent_says_are_of_one_answer(tmp_path):
    """Each page would have been an answer of its own."""
    asked = []

    class Counting(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            asked.append(1)
            return super().__iter__()

    with running(tmp_path, refusals=Counting(REFUSALS)) as instance:
        pages = [json.loads(instance.get(f"/v1/refusals?offset={at}&limit=2")[2]) for at in (0, 2, 4, 6)]
        assert [row["group"][-1] for page in pages for row in page] == list("34567")
        assert len(asked) == 1
        assert json.loads(instance.get("/v1/refusals?offset=0&limit=2")[2]) == pages[0]
        assert len(asked) == 2
        assert len(json.loads(instance.get("/v1/refusals?offset=2&limit=2&interface=eth2")[2])) == 0
        assert len(asked) == 3
        client = Client(instance.path)
        assert (len(client.get("groups", 7)), client.total) == (7, 1000)


def test_interfaces_are_chosen_too_and_without_a_question_nothing_is_said_of_it(tmp_path):
    with running(tmp_path) as instance:
        assert [row["name"] for row in json.loads(instance.get("/v1/interfaces?interface=*1")[2])] == ["eth1"]
        assert [row["name"] for row in json.loads(instance.get("/v1/interfaces?order=-name")[2])] == [
            "eth2", "eth1", "eth0",
        ]  # fmt: skip
        assert "x-followed" not in instance.get("/v1/interfaces")[1]


def test_a_silent_agent_is_null_and_hinders_nothing_else(tmp_path):
    with running(tmp_path, answering=False) as instance:
        assert instance.get("/v1/groups")[::2] == (200, b"null")
        assert instance.get("/v1/upstream")[::2] == (200, b"null")
        assert instance.get("/v1/refusals")[::2] == (200, b"null")
        assert Client(instance.path).get("flows")
        assert Client(instance.path).get("interfaces")


# --- changes ---

ROUTE = {"group": "239.1.1.1", "source": None, "upstream": "eth0", "interfaces": ["eth1"], "kind": "static"}
STATIC = {"interface": "eth1", "group": "232.1.1.1", "source": "10.0.0.7"}


def refusal(instance: Instance, method: str, noun: str, body: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        Client(instance.path).change(method, noun, body)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(("noun", "body"), [("routes", ROUTE), ("groups", STATIC)])
def test_what_is_added_can_be_deleted_once(tmp_path, noun, body):
    with running(tmp_path) as instance:
        client = Client(instance.path)
        client.change("POST", noun, body)
        assert instance.supervisor.added != Added()
        assert refusal(instance, "POST", noun, body)[0] == 409
        client.change("DELETE", noun, body)
        assert instance.supervisor.added == Added()
        status, words = refusal(instance, "DELETE", noun, body)
        assert status == 404
        assert "there is no static" in words


def test_a_route_is_deleted_by_the_query_string_too(tmp_path):
    with running(tmp_path) as instance:
        Client(instance.path).change("POST", "routes", ROUTE)
        line = "DELETE /v1/routes?group=239.1.1.1&upstream=eth0 HTTP/1.1"
        assert instance.exchange(f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())[0] == 200
        assert instance.supervisor.added == Added()


@pytest.mark.parametrize(("reason", "status"), [
    ("invalid", 400), ("exists", 409), ("unknown", 404), ("configured", 409), ("full", 507), ("configuration", 422),
    ("fault", 500),
])  # fmt: skip
def test_every_refusal_has_its_status(tmp_path, reason, status):
    with running(tmp_path) as instance:
        instance.supervisor.reason = changes.Cause(reason)
        assert refusal(instance, "POST", "reload", {}) == (status, "mcfwd.toml: igmp.robustness: is 0")


def test_what_is_done_is_said_with_its_status(tmp_path):
    body = json.dumps(ROUTE)
    head = f"/v1/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with running(tmp_path) as instance:
        for method, status in (("POST", 201), ("DELETE", 200)):
            answered, headers, words = instance.exchange(f"{method} {head}{body}".encode())
            assert (answered, headers["content-type"], words) == (status, "application/json", b"{}")


@pytest.mark.parametrize("sources", [["10.0.0.7"], [{"address": "10.0.0.7", "expires": 1.0}]])
def test_a_group_can_be_asked_for_as_it_is_shown(tmp_path, sources):
    with running(tmp_path) as instance:
        Client(instance.path).change("POST", "groups", {"interface": "eth1", "group": "232.1.1.1", "sources": sources})
        assert instance.supervisor.added == Added(groups=(("eth1", "10.0.0.7,232.1.1.1"),))


def test_what_the_file_says_stays(tmp_path):
    with running(tmp_path) as instance:
        status, words = refusal(instance, "DELETE", "routes", {"group": "239.9.0.0/16"})
        assert (status, words) == (409, "route 239.9.0.0/16 is in the configuration file; change it there")


def test_a_reload_answers_what_needs_a_restart(tmp_path):
    with running(tmp_path) as instance:
        instance.supervisor.reason = None
        client = Client(instance.path)
        assert client.change("POST", "reload", {}) == {"ignored": ["dataplane.workers"]}
        assert client.change("POST", "routes", ROUTE) == {}


def test_a_reload_that_is_refused_says_why(tmp_path):
    with running(tmp_path) as instance:
        assert refusal(instance, "POST", "reload", {}) == (422, "mcfwd.toml: igmp.robustness: is 0")


@pytest.mark.parametrize(
    ("noun", "body", "words"),
    [
        ("routes", {}, "group: is missing"),
        ("routes", {"group": 7}, "group: should be text"),
        ("routes", {"group": "10.0.0.0/8"}, 'group: "10.0.0.0/8" is not a range of groups'),
        ("routes", {**ROUTE, "interfaces": [1]}, "interfaces: should be a list of interface names"),
        ("routes", {**ROUTE, "interfaces": ["eth7"]}, 'interfaces[0]: no [[interface]] covers "eth7"'),
        ("routes", {**ROUTE, "kind": "learned"}, 'kind: should be "static" or "block", not "learned"'),
        ("routes", {**ROUTE, "kind": "block"}, 'kind: a route of kind "block" has no interfaces'),
        ("routes", {"group": "239.1.1.1", "kind": "static"}, 'interfaces: is empty, as only kind "block" has it'),
        ("routes", {"grup": "239.1.1.1"}, "grup: unknown key; known are"),
        ("routes", [], "the body should be a JSON object"),
        ("groups", {"group": "239.1.1.1"}, "interface: is missing"),
        ("groups", {**STATIC, "source": None}, 'group: "232.1.1.1" is in ssm_range'),
        ("groups", {**STATIC, "source": "239.0.0.1"}, "source and group: should begin with a unicast"),
        ("groups", {**STATIC, "source": None, "sources": ["10.0.0.1", "10.0.0.2"]}, "sources: a request can"),
        ("groups", {**STATIC, "source": None, "sources": "10.0.0.1"}, "sources: a request can"),
        ("groups", {**STATIC, "grup": 1}, "grup: unknown key; known are compatibility, excluded_sources"),
        ("routes", {**ROUTE, "interfaces": ["\ud800"]}, "the request has text that is not Unicode"),
    ],
)
def test_requests_that_mean_nothing_are_refused_in_words(tmp_path, noun, body, words):
    with running(tmp_path) as instance:
        status, said = refusal(instance, "POST", noun, body)
        assert (status, said[: len(words)]) == (400, words)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), (b"\xff", 400), (b"[" * 30000, 400), (b" " * 40000, 413), (b'"text"', 400),
        (rb'{"group": "239.1.1.1", "interfaces": ["\ud800"]}', 400),      # half a character
        (json.dumps({"group": "é" * 15_000}, ensure_ascii=False).encode(), 413),    # 90 kB as a message
    ],
)  # fmt: skip
def test_bodies_that_are_no_request(tmp_path, body, status):
    with running(tmp_path) as instance:
        head = f"POST /v1/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        answered, _, words = instance.exchange(head.encode() + body)
        assert answered == status
        assert json.loads(words)["error"]


def test_after_a_request_that_no_message_holds_the_supervisor_is_asked_as_ever(tmp_path):
    with running(tmp_path) as instance:
        assert refusal(instance, "POST", "routes", {"group": "é" * 15_000})[0] == 413
        assert refusal(instance, "POST", "reload", {}) == (422, "mcfwd.toml: igmp.robustness: is 0")


def test_the_body_of_a_reload_is_read_before_the_answer(tmp_path):
    with running(tmp_path) as instance:
        assert refusal(instance, "POST", "reload", {"any": "x" * 30_000})[0] == 422
        assert refusal(instance, "POST", "reload", {"any": "x" * 40_000})[0] == 413


def test_a_silent_supervisor_is_an_error_after_a_while(tmp_path):
    with running(tmp_path, answering=False) as instance:
        assert refusal(instance, "POST", "routes", ROUTE)[0] == 504
        assert Client(instance.path).get("interfaces")


def test_an_answer_that_goes_on_is_waited_for_and_one_that_stops_is_not():
    """The agent is silent for half of the time limit between parts, and for ever in the middle of the second answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)

    async def answered(parts: int, complete: bool) -> views.Row | list[Any] | None:
        loop = asyncio.get_running_loop()
        agent = AgentClient(ours.dup(), timeout=0.2)
        agent.attach(loop)
        question = loop.create_task(agent.rows("groups"))
        number = json.loads(await loop.sock_recv(theirs, 4096))["id"]
        for part in range(parts):
            await asyncio.sleep(0.1)
            more = not complete or part + 1 < parts
            theirs.send(json.dumps({"id": number, "rows": [part], "more": more}).encode())
        rows = await question
        agent.close()
        return rows

    with ours, theirs:
        assert uvloop.run(answered(5, complete=True)) == [0, 1, 2, 3, 4]
        assert uvloop.run(answered(2, complete=False)) is None


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /", 404),
        ("GET /v1/", 404),
        ("GET /v1/nouns", 404),
        ("GET /v1/flows/", 404),
        ("POST /v1/flows", 405),
        ("GET /v1/reload", 405),
        ("PUT /v1/groups", 405),
        ("GET /v1/flows?limit=-1", 400),
        ("GET /v1/flows?offset=x", 400),
        ("GET /v1/flows?order=best", 400),
        ("GET /v1/flows?group=everything", 400),
        ("GET /v1/flows?group=%ff", 400),
        ("GET /v1/flows?host=10.0.0.7", 400),
        ("GET /v1/flows?colour=red", 400),
        ("GET /v1/flows?interface=", 400),
        (f"GET /v1/flows?interface={'x' * 61}", 400),
        ("GET /v1/flows?problems=maybe", 400),
        ("GET /v1/flows?order=hint&limit=10000&offset=1", 400),
        ("GET /v1/interfaces?group=239.1.2.3", 400),
        ("GET /v1/hosts?problems=true", 400),
        ("GET /v1/groups?order=colour", 400),
        ("GET /v1/stats?limit=1", 400),
        ("nonsense", 400),
        (f"GET /{'x' * 10000}", 400),
    ],
)
def test_every_error_is_json(tmp_path, request_line, status):
    with running(tmp_path) as instance:
        request = f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        answered, headers, body = instance.exchange(request)
        assert (answered, headers["content-type"]) == (status, "application/json")
        assert json.loads(body)["error"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/stats HTTP/9.9\r\n\r\n",
        b"GET /v1/stats HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
        b"GET /v1/stats HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % at for at in range(500)) + b"\r\n",
        b"GET /v1/stats HTTP/1.1\r\nContent-Length: minus one\r\n\r\n",
        b"GET /v1/stats HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_proper_http_harms_nobody(tmp_path, request_bytes):
    with running(tmp_path, patience=0.2) as instance:
        status, headers, body = instance.exchange(request_bytes)
        assert status in (200, 400)
        assert headers["content-type"] == "application/json"
        json.loads(body)
        assert Client(instance.path).get("stats")


def test_an_error_reaches_the_client_in_words(tmp_path):
    with running(tmp_path) as instance, pytest.raises(RequestError, match="unknown path /v1/nouns"):
        Client(instance.path).get("nouns")


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /v1/stats HT", b"POST /v1/stats HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_a_client_that_dawdles_is_cut_off(tmp_path, beginning):
    with running(tmp_path, patience=0.1) as instance, instance.connect() as connection:
        connection.sendall(beginning)
        while connection_answers(connection):
            pass


def connection_answers(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_a_client_that_does_not_read_is_cut_off(tmp_path):
    with running(tmp_path, patience=0.2) as instance, instance.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /v1/flows?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_until(connection, request, time.monotonic() + 10)


def send_until(connection: socket.socket, request: bytes, deadline: float) -> None:
    while time.monotonic() < deadline:
        connection.sendall(request)


def test_connections_are_limited_and_the_rest_is_told_so(tmp_path):
    """All are being answered, as far as what was asked has come."""
    with running(tmp_path) as instance:
        held = [instance.connect() for _ in range(MAX_CONNECTIONS)]
        for connection in held:
            connection.sendall(b"POST /v1/routes HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")

        def all_answered() -> bool:
            return [each.answered for each in instance.server.connections] == [True] * MAX_CONNECTIONS

        wait_for(all_answered, 10.0, "all being answered")
        for request in (b"", b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n") * 3:
            status, _, body = instance.exchange(request)
            assert (status, json.loads(body)) == (503, {"error": f"more than {MAX_CONNECTIONS} connections"})
        for connection in held:
            connection.sendall(b"{}")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")
            connection.close()


def test_who_asks_takes_the_place_of_who_has_been_silent_for_longest(tmp_path):
    """A hundred that hold connections keep nobody from an answer."""
    with running(tmp_path) as instance:
        held = []
        for _ in range(MAX_CONNECTIONS + 36):
            held.append(instance.connect())
            held[-1].sendall(b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            assert held[-1].recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(20):
            assert instance.get("/v1/stats")[0] == 200
        cut = [is_cut_off(connection) for connection in held]
        assert cut == sorted(cut, reverse=True)     # those that came first
        assert 37 <= sum(cut) <= 56     # one for each that came, unless another had just ended
        for connection in held:
            connection.close()


def is_cut_off(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_places_are_free_again_once_the_dawdlers_are_cut_off(tmp_path):
    with running(tmp_path, patience=0.1) as instance:
        held = [instance.connect() for _ in range(MAX_CONNECTIONS)]
        for connection in held:
            assert connection_answers(connection) == b""
            connection.close()
        assert Client(instance.path).get("stats")


# --- questions to the agent ---


async def asked(use: Callable[[AgentClient, socket.socket], Awaitable[Any]], timeout: float = 5.0) -> Any:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent = AgentClient(ours, timeout)
    agent.attach(asyncio.get_running_loop())
    try:
        with theirs:
            theirs.setblocking(False)
            return await use(agent, theirs)
    finally:
        agent.close()


async def question(theirs: socket.socket) -> Any:
    return json.loads(await asyncio.get_running_loop().sock_recv(theirs, 65536))


def test_many_askers_are_one_question():
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        askers = [asyncio.ensure_future(agent.rows("groups")) for _ in range(5)]
        asked_for = await question(theirs)
        askers.pop().cancel()
        theirs.send(json.dumps({"id": asked_for["id"], "rows": [{"a": 1}], "more": True}).encode())
        theirs.send(json.dumps({"id": asked_for["id"], "rows": [{"a": 2}], "more": False}).encode())
        return await asyncio.gather(*askers), asked_for["noun"]

    assert uvloop.run(asked(use)) == ([[{"a": 1}, {"a": 2}]] * 4, "groups")


def test_a_row_of_as_many_sources_as_a_group_may_have_comes_whole():
    """2 MB of text where a socket takes 200 kB at a time."""
    rows = [{"group": 1}, {"group": 2, "sources": [[3232235777 + each, 259.123456789] for each in range(65535)]}]

    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        RpcServer(theirs.dup().detach(), {"groups": lambda: rows}).attach(asyncio.get_running_loop())
        return await agent.rows("groups")

    assert uvloop.run(asked(use)) == rows


def test_a_late_answer_is_not_taken_for_the_next():
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        late = await agent.rows("groups")
        first = await question(theirs)
        theirs.send(json.dumps({"id": first["id"], "rows": [{"late": True}], "more": False}).encode())
        return late, await agent.rows("groups")

    assert uvloop.run(asked(use, timeout=0.05)) == (None, None)


def test_what_a_predecessor_asked_for_is_not_taken_for_an_answer():
    """Both have the same socket; groups were shown the rows of hosts, and the answer was an internal error."""
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        await agent.rows("hosts")
        asked_before = await question(theirs)
        successor = AgentClient(agent._socket.dup(), timeout=0.05)
        agent.close()
        successor.attach(asyncio.get_running_loop())
        asking = asyncio.ensure_future(successor.rows("groups"))
        await question(theirs)
        theirs.send(json.dumps({"id": asked_before["id"], "rows": [{"host": 1}], "more": False}).encode())
        try:
            return await asking
        finally:
            successor.close()

    async def run() -> Any:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.setblocking(False)
            agent = AgentClient(ours, timeout=0.05)
            agent.attach(asyncio.get_running_loop())
            return await use(agent, theirs)

    assert uvloop.run(run()) is None


@pytest.mark.parametrize(
    "answer", [b"{", b"[]", b'{"id":1}', b'{"id":1,"rows":3,"more":false}', b'{"id":[],"rows":[]}']
)
def test_nonsense_from_the_agent_is_no_answer(answer):
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        theirs.send(answer)
        return await agent.rows("groups")

    assert uvloop.run(asked(use, timeout=0.05)) is None


def test_an_agent_whose_queue_is_full_is_no_answer():
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        return [await agent.rows("groups") for _ in range(600)]

    assert set(uvloop.run(asked(use, timeout=0.0))) == {None}


def test_an_agent_that_is_gone_is_no_answer():
    async def use(agent: AgentClient, theirs: socket.socket) -> Any:
        theirs.close()
        await asyncio.sleep(0)
        return await agent.rows("groups")

    assert uvloop.run(asked(use, timeout=0.05)) is None


def test_no_instance_is_said_with_the_socket_that_was_tried(tmp_path):
    with pytest.raises(NoAnswerError, match=f"tried {tmp_path}/s "):
        Client(f"{tmp_path}/s").get("stats")


# --- the process itself ---


class Told:
    """What the API process is lent, and the other ends."""

    def __init__(self, path: str) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.rpc, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self.lent = {**descriptors(), "listener": listener.detach(), "agent": agent.detach()}
        self.start = Start(theirs, {}, self.lent)
        self.beats = segment.Segment(self.lent["segment"]).words


def test_what_is_served_comes_from_agent_supervisor_and_segments(tmp_path):
    told = Told(f"{tmp_path}/s")

    async def use() -> None:
        loop, client = asyncio.get_running_loop(), Client(f"{tmp_path}/s")
        RpcServer(told.rpc.detach(), {"groups": lambda: GROUPS}).attach(loop)
        supervisor = Standing(told.channel)
        serving = asyncio.ensure_future(serve(told.start))
        assert json.loads(await loop.sock_recv(told.channel, 1000))["type"] == "ready"
        supervisor.attach(loop)
        assert 0 < told.beats[0] <= time.monotonic_ns()
        assert (await asyncio.to_thread(client.get, "stats"))["flows"] == 2500
        assert len(await asyncio.to_thread(client.get, "groups")) == 1000
        await asyncio.to_thread(client.change, "POST", "routes", ROUTE)
        assert supervisor.added != Added()
        serving.cancel()

    told.channel.setblocking(False)
    uvloop.run(use())


def test_it_goes_on_to_answer_after_a_collection_of_garbage(tmp_path):
    """uvloop holds no server of Unix sockets: what nobody held was closed, and the process answered nobody again."""
    told = Told(f"{tmp_path}/s")

    async def use() -> Any:
        serving = asyncio.ensure_future(serve(told.start))
        await asyncio.get_running_loop().sock_recv(told.channel, 1000)
        gc.collect()
        answer = await asyncio.to_thread(Client(f"{tmp_path}/s", timeout=5.0).get, "stats")
        serving.cancel()
        return answer

    told.channel.setblocking(False)
    assert uvloop.run(use())["flows"] == 2500


def test_the_process_answers_on_the_socket_it_is_given(tmp_path):
    listener, channel, theirs = socket.socket(socket.AF_UNIX), *socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rpc = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{tmp_path}/s")
    listener.listen()
    command = [sys.executable, "-m", "forwarder.api", str(theirs.fileno()), str(os.getpid())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        try:
            lent = {**descriptors(), "listener": listener.fileno(), "agent": rpc[0].fileno()}
            control.send(channel, {"type": "start", "name": "mcfwd-api", "log_level": "info"}, lent)
            channel.settimeout(20)
            assert control.receive(channel) == ({"type": "here"}, {})
            assert control.receive(channel) == ({"type": "ready"}, {})
            assert Client(f"{tmp_path}/s").get("stats")["flows"] == 2500
            assert segment.Segment(lent["segment"]).words[0] > 0
        finally:
            process.kill()
