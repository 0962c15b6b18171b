"""Two looks at the tables of workers: what came in between, and what of it is lost."""

from typing import Any

from forwarder.api.glances import Glance, dropped_between, flow_facts, members
from forwarder.diagnosis.facts import News
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.routes import RouteKey, RouteRow
from forwarder.state.settings import InterfaceSettings
from igmp.link import parse_address

SECOND = 1_000_000_000
SOURCE, GROUP = parse_address("10.0.0.7"), parse_address("239.1.2.3")


def row(**changed: Any) -> dict[str, Any]:
    plain = {"ingress": 0, "source": SOURCE, "group": GROUP, "reason": int(Reason.FORWARD), "ports": 2, "packets": 10,
             "bytes": 1000, "dropped": 1, "ttl_expired": 1, "last_seen": 9 * SECOND, "frame": 92 << 8 | 16}  # fmt: skip
    return {**plain, **changed}


def test_what_came_between_two_looks_is_news():
    lost = FlowDrop(0, SOURCE << 32 | GROUP, 1, Reason.MTU, 3, 8 * SECOND)
    old = FlowDrop(0, SOURCE << 32 | GROUP, 1, Reason.MTU, 3, 5 * SECOND)
    first = Glance(9 * SECOND, [("worker-0", row(), [])])
    later = row(packets=15, dropped=4, ttl_expired=2, last_seen=10 * SECOND)
    [flow] = flow_facts(first, Glance(11 * SECOND, [("worker-0", later, [lost, old])]), [])
    assert flow.news == News(5, 3, 1, 2.0)
    assert (flow.age, flow.ttl, flow.length, flow.losses, flow.stopped) == (1.0, 16, 92, (lost,), False)


def test_of_a_flow_that_is_new_or_whose_row_is_anothers_there_is_no_news():
    first = Glance(9 * SECOND, [("worker-0", row(packets=99), [])])
    second = Glance(10 * SECOND, [("worker-0", row(), []), ("worker-1", row(), [])])
    assert [flow.news for flow in flow_facts(first, second, ["worker-1"])] == [None, None]
    assert [flow.stopped for flow in flow_facts(first, second, ["worker-1"])] == [False, True]


def test_a_copy_that_comes_in_where_we_send_it_has_returned():
    copy = row(ingress=1, reason=int(Reason.WRONG_INTERFACE), ports=0)
    elsewhere = row(ingress=2, reason=int(Reason.WRONG_INTERFACE), ports=0)
    second = Glance(9 * SECOND, [("worker-0", each, []) for each in (row(), copy, elsewhere)])
    assert [flow.returned for flow in flow_facts(Glance(0), second, [])] == [False, True, False]


def test_what_ports_dropped_meanwhile():
    first = Glance(0, (), {0: {"mtu": 1, "ring_full": 4}})
    second = Glance(1, (), {0: {"mtu": 1, "ring_full": 9}, 1: {"mtu": 7}})
    assert dropped_between(first, second) == {0: {"ring_full": 5}}


def test_bits_of_an_index_s_former_owner_are_no_members():
    ports = [Port(index, assigned, f"e{index}", "downstream", InterfaceSettings(name="e"))
             for index, assigned in ((1, 1), (2, 8))]  # fmt: skip
    rows = [RouteRow(RouteKey(GROUP), 0b110, "learned", 7), RouteRow(RouteKey(GROUP, static=True), 6, "static", 9)]
    assert members(rows, ports) == {None: 0b10}
