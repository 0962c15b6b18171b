import pytest

from forwarder.api.pages import Page
from forwarder.api.selection import select
from igmp.link import Network

GROUPS = [
    {"interface": interface, "group": group, "sources": [{"address": source, "expires": None}] if source else [],
     "excluded_sources": [], "note": note, "uptime": uptime}
    for interface, group, source, note, uptime in [
        ("eth1", "239.1.2.3", None, None, 5.0), ("eth2", "239.1.2.3", "10.0.0.7", "refused", 3.0),
        ("tap3", "239.7.0.1", "10.9.0.7", None, 4.0),
    ]
]  # fmt: skip
ROUTES = [
    {"group": "239.0.0.0/8", "source": None, "upstream": "eth0", "interfaces": ["eth1", "eth2"], "note": None},
    {"group": "239.1.2.3", "source": "10.0.0.0/8", "upstream": None, "interfaces": ["eth2"], "note": "eth2 is down"},
]


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(Network.parse, texts))


@pytest.mark.parametrize(("page", "found"), [
    (Page(), [0, 1, 2]),
    (Page(groups=networks("239.1.2.3")), [0, 1]),
    (Page(groups=networks("239.1.2.3", "239.7.0.0/16")), [0, 1, 2]),
    (Page(groups=networks("239.1.2.3"), interfaces=("eth2", "tap*")), [1]),
    (Page(interfaces=("t*", "eth1")), [0, 2]),
    (Page(interfaces=("eth",)), []),
    (Page(sources=networks("10.0.0.0/16")), [1]),
    (Page(problems=True), [1]),
    (Page(key="uptime"), [1, 2, 0]),
    (Page(key="uptime", descending=True, limit=1), [0]),
    (Page(offset=1, limit=1), [1]),
    (Page(offset=7), []),
])  # fmt: skip
def test_rows_are_those_that_every_kind_of_filter_lets_through(page, found):
    assert select("groups", GROUPS, page)[0] == [GROUPS[at] for at in found]


@pytest.mark.parametrize(("page", "found"), [
    (Page(groups=networks("239.1.2.3")), [0, 1]),
    (Page(groups=networks("239.9.0.0/16")), [0]),
    (Page(groups=networks("224.0.0.0/4")), [0, 1]),
    (Page(sources=networks("10.1.2.3")), [1]),
    (Page(interfaces=("eth0",)), [0]),
    (Page(interfaces=("eth2",)), [0, 1]),
    (Page(problems=True), [1]),
])  # fmt: skip
def test_a_network_is_met_by_whatever_shares_addresses_with_it(page, found):
    assert select("routes", ROUTES, page)[0] == [ROUTES[at] for at in found]


def test_the_number_is_that_of_all_that_were_meant():
    assert select("groups", GROUPS, Page(groups=networks("239.1.2.3"), limit=1)) == ([GROUPS[0]], 2)


@pytest.mark.parametrize(("row", "ailing"), [
    ({"state": "up", "degraded": None}, False), ({"state": "up", "degraded": "no ring"}, True),
    ({"state": "missing", "degraded": None}, True), ({"state": "down", "degraded": None}, True),
])  # fmt: skip
def test_an_interface_has_a_problem_where_it_is_not_up_or_not_served(row, ailing):
    assert bool(select("interfaces", [row], Page(problems=True))[0]) is ailing


def test_a_refused_join_has_one_unless_the_host_is_served():
    rows = [{"reason": "deny"}, {"reason": "max_hosts"}]
    assert select("refusals", rows, Page(problems=True))[0] == rows[:1]
