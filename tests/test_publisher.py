"""Static routes as rows, beside learned ones and across a restart; and the counter of what could not be sent."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.agent.publisher import Publisher
from forwarder.agent.static import StaticRow, memberships_of, static_rows
from forwarder.state import membership, routes
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey
from forwarder.state.settings import InterfaceSettings, RouteSettings
from igmp.heard import NOBODY, Heard
from igmp.link import Link, Network, parse_address
from igmp.messages import Query, encode_query
from igmp.outputs import Role, Route
from igmp.packet import encode
from igmp.parameters import PortOptions
from igmp.proxy import Proxy

G, S = parse_address("239.1.1.1"), parse_address("10.0.0.7")
UP, D1, D2 = 0, 1, 2


def port(index: int, name: str, role: str = "downstream", assigned: int = 1) -> Port:
    return Port(index=index, assigned=assigned, name=name, role=role, settings=InterfaceSettings(name=name))


PORTS = [port(UP, "eth0", "upstream"), port(D1, "tap1"), port(D2, "tap2")]


def route(group: str = "239.1.1.1", source: str | None = None, upstream: str | None = None, *to: str) -> RouteSettings:
    return RouteSettings(group=group, source=source, upstream=upstream, interfaces=to)


def key(group: int = G, plen: int = 32, ingress: int | None = None, **source: int) -> RouteKey:
    return RouteKey(group, plen, ingress=ingress, static=True, **source)


class Shared:
    """Segments that outlive the publishers of several agents."""

    def __init__(self) -> None:
        self.routes, self.membership, self.bell = routes.create(256, 8), membership.create(8), os.eventfd(0)
        self.reader = RouteReader(self.routes)

    def publisher(self, generation: int = 1, ports: list[Port] = PORTS) -> Publisher:
        publisher = Publisher(self.routes, self.membership, [self.bell])
        self.inherited = [row for row in publisher.inherited() if row is not None]
        publisher.generation = generation
        for each in ports:
            publisher.assign(each)
        return publisher

    def restore(self, publisher: Publisher, proxy: Proxy) -> None:
        """What a starting agent does."""
        for row in self.inherited:
            proxy.inherit(row.key.group, row.key.source, row.ports)
        proxy.restore(publisher.heirs(), 0.0)
        while proxy.is_restoring:
            for output in proxy.expire(0.0):
                if isinstance(output, Route):
                    publisher.route(output)

    def rows(self) -> dict[RouteKey, tuple[int, str]]:
        return {row.key: (row.ports, row.kind) for row in self.reader.rows()}

    def changed(self) -> int:
        """How many rows were written since the last call."""
        return len(list(self.reader.changes()))


# --- which rows a route has ---


def test_names_become_ports():
    assert static_rows([route("239.1.1.1", None, None, "tap1", "tap2")], PORTS) == {key(): StaticRow(0b110, "static")}


def test_networks_and_a_source():
    rows = static_rows([route("239.0.0.0/8", "10.0.0.0/24", "eth0", "tap2")], PORTS)
    wanted = key(Network.parse("239.0.0.0/8").address, 8, UP, source=parse_address("10.0.0.0"), slen=24)
    assert rows == {wanted: StaticRow(0b100, "static")}


def test_a_route_to_nobody_blocks():
    assert static_rows([route()], PORTS) == {key(): StaticRow(0, "block")}


def test_wildcards_are_all_ports_that_match_but_the_one_it_comes_by():
    rows = static_rows([route("239.1.1.1", None, "tap*", "*")], PORTS)
    assert rows == {key(ingress=D1): StaticRow(0b100, "static"), key(ingress=D2): StaticRow(0b010, "static")}


def test_another_upstream_gets_it_only_by_its_name():
    assert static_rows([route("239.1.1.1", None, None, "*", "eth0")], PORTS)[key()].ports == 0b111
    assert static_rows([route("239.1.1.1", None, None, "*")], PORTS)[key()].ports == 0b110


def test_what_waits_for_its_interfaces_blocks_until_they_come():
    waiting = route("239.1.1.1", None, None, "tap9")
    assert static_rows([waiting], PORTS) == {key(): StaticRow(0, "static")}
    assert static_rows([waiting], [*PORTS, port(3, "tap9")]) == {key(): StaticRow(0b1000, "static")}


def test_a_route_from_nowhere_has_no_row_yet():
    assert static_rows([route("239.1.1.1", None, "tap9", "tap1")], PORTS) == {}


@pytest.mark.parametrize("turned", [False, True])
def test_a_name_comes_before_a_wildcard(turned):
    said = [route("239.1.1.1", None, "tap1", "tap2"), route("239.1.1.1", None, "tap*")]
    rows = static_rows(said[::-1] if turned else said, PORTS)
    assert rows == {key(ingress=D1): StaticRow(0b100, "static"), key(ingress=D2): StaticRow(0, "block")}


@given(st.text(max_size=4), st.lists(st.sampled_from(["tap1", "tap*", "*", "eth0", "x"])))
def test_no_route_ever_leads_back(upstream, to):
    for where, row in static_rows([route("239.1.1.1", None, upstream, *to)], PORTS).items():
        assert where.ingress is None or not row.ports >> where.ingress & 1


def test_static_groups_are_memberships():
    assert memberships_of(["239.1.1.1", "10.0.0.7, 239.1.1.1"]) == {(None, G), (S, G)}


# --- and what becomes of them ---


def test_static_and_learned_rows_stand_beside_each_other():
    shared = Shared()
    publisher = shared.publisher()
    publisher.route(Route(G, None, 0b010))
    publisher.set_static({key(): StaticRow(0b100, "static")})
    publisher.route(Route(G, None, 0b110))
    assert shared.rows() == {RouteKey(G): (0b110, "learned"), key(): (0b100, "static")}
    publisher.set_static({})
    assert shared.rows() == {RouteKey(G): (0b110, "learned")}


def test_only_what_differs_is_written():
    shared = Shared()
    publisher = shared.publisher()
    other = key(G + 1)
    publisher.set_static({key(): StaticRow(0b100, "static"), other: StaticRow(0, "block")})
    assert shared.changed() == 2
    publisher.set_static({key(): StaticRow(0b100, "static"), other: StaticRow(0, "static")})
    assert shared.changed() == 1
    assert shared.rows()[other] == (0, "static")


def test_a_row_is_written_again_when_an_index_gets_another_owner():
    shared = Shared()
    publisher = shared.publisher()
    rows = {key(): StaticRow(0b100, "static"), key(G + 1): StaticRow(0b010, "static")}
    publisher.set_static(rows)
    publisher.generation = 7
    publisher.assign(port(D2, "tap7", assigned=7))
    publisher.set_static(rows)
    assert {row.key.group: row.stamp for row in shared.reader.rows()} == {G: 7, G + 1: 1}


def test_a_row_is_written_again_if_any_of_its_ports_has_another_owner_and_not_for_those_beside_it():
    shared = Shared()
    publisher = shared.publisher()
    rows = {key(): StaticRow(0b110, "static"), key(G + 1): StaticRow(0b100, "static")}
    publisher.set_static(rows)
    publisher.generation = 7
    publisher.assign(port(D1, "tap7", assigned=7))
    publisher.set_static(rows)
    assert {row.key.group: row.stamp for row in shared.reader.rows()} == {G: 7, G + 1: 1}


def test_all_that_is_no_longer_said_goes_and_may_be_said_again():
    shared = Shared()
    publisher = shared.publisher()
    rows = {key(G + at): StaticRow(0b100, "static") for at in range(3)}
    publisher.set_static(rows)
    publisher.set_static({})
    assert shared.rows() == {}
    publisher.set_static(rows)
    assert shared.rows() == dict.fromkeys(rows, (0b100, "static"))


def test_a_restarted_agent_keeps_the_static_rows_and_learns_only_the_others():
    shared = Shared()
    first = shared.publisher()
    first.route(Route(G, None, 0b010))
    first.set_static({key(): StaticRow(0b100, "static"), key(G + 1): StaticRow(0, "block")})
    shared.changed()

    second, proxy = shared.publisher(), listening()
    second.set_static({key(): StaticRow(0b100, "static")})
    shared.restore(second, proxy)
    assert shared.rows() == {RouteKey(G): (0b010, "learned"), key(): (0b100, "static")}
    assert shared.changed() == 1
    assert [(group.port, group.group) for group in proxy.groups(0.0)] == [(D1, G)]


def test_static_groups_are_not_taken_back_as_memberships():
    shared = Shared()
    first = shared.publisher()
    first.route(Route(G, None, 0b010))
    first.route(Route(G + 1, S, 0b010))
    first.route(Route(G + 1, S + 1, 0b010))
    proxy = listening()
    proxy.set_static(D1, {(None, G), (S, G + 1)}, 0.0)
    before = shared.rows()
    shared.restore(shared.publisher(), proxy)
    assert shared.rows() == before
    assert proxy.group_count(D1) == 2       # the static ones, with the member that one has beside
    proxy.expire(1000.0)
    assert {each.group: [source for source, _ in each.sources] for each in proxy.groups(1000.0)} == {G: [], G + 1: [S]}


def test_rows_of_a_former_owner_are_not_taken_back():
    shared = Shared()
    first = shared.publisher()
    for ports in (0b010, 0b110, 0b100):
        first.route(Route(G + ports, None, ports))
    second, proxy = shared.publisher(9, [*PORTS[:2], port(D2, "tap9", assigned=9)]), listening()
    proxy.add_port(D2, PortOptions("downstream"))
    proxy.port_up(D2, Link((Network(parse_address("10.0.2.1"), 24),)), 0.0)
    shared.restore(second, proxy)
    assert [(each.port, each.group) for each in proxy.groups(0.0)] == [(D1, G + 0b010), (D1, G + 0b110)]
    assert shared.rows() == {RouteKey(G + ports): (0b010, "learned") for ports in (0b010, 0b110)}


def test_what_could_not_be_sent_is_counted_and_counted_on():
    shared = Shared()
    for total in (2, 4):
        publisher, proxy = shared.publisher(), listening()
        publisher.port(proxy, D1)
        for _ in range(2):
            publisher.failed(D1)
        publisher.port(proxy, D1, lost=2)
        counters = MembershipReader(shared.membership).port(D1).counters
        assert (counters["tx_failed"], counters["rx_queue_full"]) == (total, total)


def test_counters_are_those_of_now_and_a_new_owner_has_its_own():
    shared = Shared()
    publisher, proxy, reader = shared.publisher(), listening(), MembershipReader(shared.membership)

    def said() -> tuple[int, int]:
        publisher.port(proxy, D1)
        return reader.port(D1).counters["rx_bad_checksum"], reader.port(D1).groups

    for count in (1, 2):
        proxy.receive(D1, b"\x46" + bytes(31), 0.0)
        assert said() == said() == (0, 0)
        assert sum(reader.port(D1).counters.values()) == sum(proxy.counters(D1).values()) >= count
    publisher.assign(port(D1, "another", assigned=2))
    assert sum(reader.port(D1).counters.values()) == 0
    said()
    publisher.failed(D1)
    said()
    assert reader.port(D1).counters["tx_failed"] == 1


def test_what_was_heard_of_queriers_outlives_the_agent_and_not_the_owner():
    shared = Shared()
    first, heard = shared.publisher(), Heard(S, 1234.5, robustness=3, interval=60.5)
    assert first.heard(D1) == NOBODY
    first.role(Role(D1, False, S), heard)
    assert shared.publisher().heard(D1) == heard
    assert shared.publisher(ports=[port(D1, "another", assigned=2)]).heard(D1) == NOBODY
    proxy = listening()
    query = Query(version=2, max_response_time=10.0)
    proxy.receive(UP, encode(parse_address("10.0.0.9"), parse_address("224.0.0.1"), encode_query(query)), 0.0)
    first.port(proxy, UP)
    assert shared.publisher().heard(UP) == Heard(v2_until=400.0)


def listening() -> Proxy:
    """A proxy with an upstream and the downstream port D1."""
    proxy = Proxy(lambda: 0.5)
    proxy.add_port(UP, PortOptions("upstream"))
    proxy.add_port(D1, PortOptions("downstream"))
    for index in (UP, D1):
        proxy.port_up(index, Link((Network(parse_address(f"10.0.{index}.1"), 24),)), 0.0)
    return proxy


def test_workers_are_woken_once_for_whatever_has_changed():
    shared = Shared()
    publisher = shared.publisher()

    def woken() -> int:
        os.eventfd_write(shared.bell, 1)    # or reading would wait
        return os.eventfd_read(shared.bell) - 1

    publisher.wake()
    woken()
    for change in (lambda: publisher.route(Route(G, None, 0b010)), lambda: publisher.role(Role(D1, True, S), NOBODY)):
        change()
        publisher.wake()
        publisher.wake()
        assert woken() == 1
