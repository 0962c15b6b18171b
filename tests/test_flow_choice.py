from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.api import flows
from forwarder.api.flow_choice import choose
from forwarder.api.flow_order import ORDERS, WorkerFlows
from forwarder.api.pages import Page
from forwarder.api.samples import Sample
from forwarder.api.selection import select
from forwarder.api.views import Row
from forwarder.diagnosis.losses import CURRENT, Situation
from forwarder.nouns import NOUNS
from forwarder.state.egress_drops import FlowDrop
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.ports import Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import InterfaceSettings
from igmp.link import Network, parse_address

SECOND = 1_000_000_000
NOW = 100 * SECOND
SOURCE, GROUP = parse_address("10.0.0.7"), parse_address("239.1.2.3")


def port(index: int, name: str, up: bool = True) -> Port:
    settings = InterfaceSettings(name=name, role="upstream" if name == "eth0" else "downstream")
    return Port(index, 1, name, settings.role, settings, ifindex=index + 1, up=up)


PORTS = (port(0, "eth0"), port(1, "eth1"), port(2, "eth10"), port(70, "tap70", up=False))
REASONS = (Reason.FORWARD, Reason.NO_MEMBERS, Reason.WRONG_INTERFACE, Reason.SOURCE_NOT_ALLOWED)
FLOW = st.fixed_dictionaries({
    "ingress": st.sampled_from([0, 1, 2, 9, 70]),
    "source": st.integers(SOURCE, SOURCE + 3),
    "group": st.integers(GROUP, GROUP + 9),
    "reason": st.sampled_from([int(reason) for reason in REASONS]),
    "packets": st.integers(0, 5), "bytes": st.integers(0, 5), "dropped": st.integers(0, 5),
    "ttl_expired": st.integers(0, 1),
    "last_seen": st.integers(NOW - 5, NOW + 2),
    "first_seen": st.sampled_from([0, 5, NOW - 2 * SECOND, NOW - 3 * SECOND]),
    "ports": st.sampled_from([(0, 0), (2, 0), (4, 0), (6, 0), (0, 1 << 6), (2, 1 << 6)]),
})  # fmt: skip
TABLES = st.lists(st.tuples(st.lists(FLOW, max_size=6), st.booleans()), min_size=1, max_size=3)


def tables_of(drawn: list[tuple[list[dict[str, Any]], bool]]) -> list[WorkerFlows]:
    return [WorkerFlows(columns_of(rows), drops_of(rows), stopped, sample_of(rows)) for rows, stopped in drawn]


def columns_of(rows: list[dict[str, Any]]) -> FlowColumns:
    columns = FlowColumns.allocate(8, 2)
    for at, row in enumerate(rows):
        for name, value in {**row, "used": 1, "version": 2}.items():
            getattr(columns, name)[at + 1] = value
    return columns


def drops_of(rows: list[dict[str, Any]]) -> list[FlowDrop]:
    """Every other flow loses something at eth1."""
    return [FlowDrop(row["ingress"], row["source"] << 32 | row["group"], 1, Reason.MTU, at + 1, row["last_seen"])
            for at, row in enumerate(rows) if at % 2]  # fmt: skip


def sample_of(rows: list[dict[str, Any]]) -> Sample:
    """What there was two seconds ago: the first flows, with a packet less."""
    first_seen = np.array([0, *(row["first_seen"] for row in rows[:3])], np.uint64)
    packets = np.array([0, *(max(row["packets"] - 1, 0) for row in rows[:3])], np.uint64).tobytes()
    return Sample(NOW - 2 * SECOND, 1, (), (), first_seen.tobytes(), packets, packets, packets)


def shown(tables: list[WorkerFlows], page: Page) -> list[Row]:
    return flows.page(tables, PORTS, page, NOW)


@given(TABLES, st.sampled_from(list(ORDERS)), st.booleans(), st.integers(0, 3), st.integers(0, 9))
def test_an_order_of_columns_is_that_of_the_rows_as_they_are_shown(drawn, key, descending, offset, limit):
    tables, page = tables_of(drawn), Page(offset, limit, key=key, descending=descending)
    rows, total = select("flows", shown(tables, Page()), page)
    assert [row[key] for row in shown(tables, page)] == [row[key] for row in rows]
    assert choose(tables, PORTS, page, NOW).total == total


@given(
    TABLES, st.lists(st.sampled_from(["239.1.2.3", "239.1.2.4/30", "0.0.0.0/0"]), max_size=2),
    st.lists(st.sampled_from(["10.0.0.7", "10.0.0.8/31"]), max_size=2),
    st.lists(st.sampled_from(["eth1", "eth*", "tap70", "none"]), max_size=2),
)  # fmt: skip
def test_filters_of_columns_let_through_what_those_of_rows_do(drawn, groups, sources, interfaces):
    page = Page(groups=tuple(map(Network.parse, groups)), sources=tuple(map(Network.parse, sources)),
                interfaces=tuple(interfaces))  # fmt: skip
    tables = tables_of(drawn)
    rows, _ = select("flows", shown(tables, Page()), page)
    assert shown(tables, page) == rows


@given(TABLES)
def test_a_problem_is_what_is_not_forwarded_although_wanted_or_is_lost_somewhere(drawn):
    tables = tables_of(drawn)
    expected = [
        row for row in shown(tables, Page())
        if row["verdict"] not in ("forward", "no_members", "standby_duplicate") or row["dropped"]
    ]  # fmt: skip
    assert shown(tables, Page(problems=True)) == expected


def test_every_key_of_a_row_but_its_hint_is_an_order():
    assert set(ORDERS) == set(NOUNS["flows"].keys) - {"hint"}


def one(reason: Reason = Reason.FORWARD, drops: list[FlowDrop] | None = None) -> list[WorkerFlows]:
    row = {"ingress": 0, "source": SOURCE, "group": GROUP, "reason": int(reason), "packets": 3, "last_seen": NOW}
    return [WorkerFlows(columns_of([row]), drops or [])]


def problems(tables: list[WorkerFlows], *vain: int) -> int:
    return choose(tables, PORTS, Page(problems=True), NOW, vain).total


def test_what_somebody_asked_for_in_vain_is_a_problem():
    assert problems(one()) == problems(one(Reason.NO_MEMBERS)) == 0
    assert problems(one(), SOURCE << 32 | GROUP) == problems(one(Reason.NO_MEMBERS), SOURCE << 32 | GROUP) == 1
    assert problems(one(), SOURCE << 32 | GROUP + 1) == 0


def test_what_was_lost_long_ago_or_where_nothing_is_any_more_is_none():
    now, long_ago = (FlowDrop(0, SOURCE << 32 | GROUP, 1, Reason.MTU, 3, NOW - ago) for ago in (0, CURRENT + 1))
    gone = FlowDrop(0, SOURCE << 32 | GROUP, 5, Reason.MTU, 3, NOW)
    other = FlowDrop(1, SOURCE << 32 | GROUP, 1, Reason.MTU, 3, NOW)
    assert [problems(one(drops=[each])) for each in (now, long_ago, gone, other)] == [1, 0, 0, 0]
    assert problems(one(drops=[now, long_ago])) == 1


def test_rows_of_several_tables_are_portions_in_their_order():
    many = [WorkerFlows(FlowColumns.allocate(2 * flows.PORTION, 1)) for _ in range(2)]
    for number, table in enumerate(many):
        columns = table.columns
        columns.used[:], columns.version[:] = 1, 2
        columns.packets[:] = np.arange(len(columns.packets), dtype=np.uint64) * 2 + number
    choice = choose(many, PORTS, Page(limit=10**6, key="packets", descending=True), NOW)
    portions = list(flows.portions(many, PORTS, choice, NOW, Situation()))
    packets = [row["packets"] for portion in portions for row in portion]
    assert packets == list(range(4 * flows.PORTION))[::-1]
    assert [len(portion) for portion in portions] == [flows.PORTION] * 4


@pytest.mark.parametrize("page", [Page(), Page(worst=True), Page(key="packets"), Page(problems=True)])
def test_no_tables_are_no_flows(page):
    assert shown([], page) == shown([WorkerFlows(FlowColumns.allocate(4, 1))], page) == []
