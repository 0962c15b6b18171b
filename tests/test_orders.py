"""What is done at once on a port: it is asked what is wanted there, or what is known is forgotten before."""

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest
import uvloop
from link import D1, D2, UP, Bench, address

from forwarder.agent.orders import Orders
from forwarder.agent.rpc import RpcServer
from forwarder.api.agent import AgentClient
from forwarder.api.orders import carry_out
from forwarder.api.server import RefusedError
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings
from igmp.link import Link, Network, parse_address
from igmp.messages import Query

PORTS = tuple(Port(index, 1, name, role, InterfaceSettings(name=name, role=role), 5, True) for index, name, role in (
    (UP, "eth0", "upstream"), (D1, "lan1", "downstream"), (D2, "lan2", "downstream")))


class World(Bench):
    """A bench in which orders are carried out."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.run(0.0)
        self.orders = Orders(self.proxy, self.take, lambda: self.now)

    def members(self, port: int) -> list[int]:
        return [each.group for each in self.proxy.groups(self.now) if each.port == port]


def test_ports_are_asked_at_once():
    world = World()
    rows = world.orders.query({"ports": [UP, D1, D2, 77]})
    ours = [parse_address("192.168.10.1"), parse_address("192.168.20.1")]
    assert rows == [{"port": port, "asked": True, "querier": own, "forgotten": 0}
                    for port, own in zip((D1, D2), ours, strict=True)]
    assert [world.sends(port, general=True) for port in (UP, D1, D2)] == [[], [(0, "Q()")], [(0, "Q()")]]


@pytest.mark.parametrize("what", ["query", "clear"])
def test_another_querier_is_named(what):
    world = World(ports=(UP,))
    world.add(D1, Link((Network.parse("192.168.10.9/24"),)))
    world.run(0.0)
    world.hear(0.0, D1, "TO_EX(G,{})")
    world.ask(0.0, D1, Query(), "192.168.10.2")
    world.log.clear()
    [row] = getattr(world.orders, what)({"ports": [D1], "group": None})
    forgotten = int(what == "clear")
    assert row == {"port": D1, "asked": False, "querier": parse_address("192.168.10.2"), "forgotten": forgotten}
    assert world.sends(D1, general=True) == []
    assert len(world.members(D1)) == 1 - forgotten


def test_all_that_a_port_knows_is_forgotten_and_comes_back_with_the_answers():
    world = World()
    for text in ("TO_EX(G,{})", "ALLOW(S,{a})"):
        world.hear(0.0, D1, text)
    world.hear(0.0, D2, "TO_EX(G,{})")
    world.log.clear()
    assert world.orders.clear({"ports": [D1], "group": None})[0]["forgotten"] == 2
    assert (world.members(D1), world.members(D2)) == ([], [address("G")])
    assert world.routes == {(address("G"), None): 1 << D2}
    assert world.sends(D1, general=True) == [(0, "Q()")]
    assert world.sends(UP) == [(0, "BLOCK(S,{a})")]
    world.hear(0.1, D1, "IS_EX(G,{})")
    assert world.routes[address("G"), None] == 1 << D1 | 1 << D2


def test_one_group_is_forgotten_and_asked_for():
    world = World()
    for text in ("TO_EX(G,{})", "TO_EX(G2,{})"):
        world.hear(0.0, D1, text)
    world.log.clear()
    for forgotten in (1, 0):
        assert world.orders.clear({"ports": [D1], "group": address("G")})[0]["forgotten"] == forgotten
    assert world.sends(D1, general=True) == [(0, "Q(G) S=0")] * 2
    assert world.members(D1) == [address("G2")]
    assert world.run(1000.0).members(D1) == []      # no timer of what was forgotten is left


def test_a_port_that_speaks_version_1_can_only_ask_for_everything():
    world = World(igmp_version=1)
    world.hear(0.0, D1, "v1 Report(G)")
    world.log.clear()
    world.orders.clear({"ports": [D1], "group": address("G")})
    assert (world.sends(D1, general=True), world.members(D1)) == ([(0, "v1 Q()")], [])


def test_a_leave_that_is_being_asked_about_is_forgotten_with_its_group():
    world = World()
    world.hear(0.0, D1, "TO_EX(G,{})")
    world.hear(0.0, D1, "TO_IN(G,{})")
    world.orders.clear({"ports": [D1], "group": None})
    world.log.clear()
    assert world.run(5.0).sends(D1) == []


def test_many_groups_are_forgotten_in_portions():
    world = World()
    for number in range(1200):
        world.hear(0.0, D1, f"TO_EX(239.3.{number >> 8}.{number & 255},{{}})")
    assert world.orders.clear({"ports": [D1], "group": None})[0]["forgotten"] == 1200
    assert 0 < len(world.routes) < 1200
    assert world.run(0.0).routes == {}


# --- over the API ---


async def answered(noun: str, body: dict, silent: bool = False) -> object:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent, world = AgentClient(ours, 0.05 if silent else 5.0), World()
    world.hear(0.0, D1, "TO_EX(G,{})")
    agent.attach(asyncio.get_running_loop())
    if not silent:
        orders = {"query": world.orders.query, "clear": world.orders.clear}
        RpcServer(theirs.dup().detach(), {}, orders).attach(asyncio.get_running_loop())
    try:
        return await carry_out(noun, body, PORTS, agent)
    except RefusedError as refused:
        return SimpleNamespace(status=refused.status, words=str(refused))
    finally:
        agent.close()
        theirs.close()


@pytest.mark.parametrize(("noun", "body", "told"), [
    ("query", {}, [("lan1", 0), ("lan2", 0)]), ("query", {"interface": "lan2"}, [("lan2", 0)]),
    ("query", {"interface": "*"}, [("lan1", 0), ("lan2", 0)]),
    ("clear", {"interface": "lan*"}, [("lan1", 1), ("lan2", 0)]),
    ("clear", {"interface": "lan1", "group": "239.1.1.1"}, [("lan1", 1)]),
    ("clear", {"interface": "lan1", "group": "239.1.1.2"}, [("lan1", 0)]),
])
def test_an_order_is_answered_for_each_interface(noun, body, told):
    rows = uvloop.run(answered(noun, body))
    assert [(row["interface"], row["forgotten"]) for row in rows] == told
    assert {(row["asked"], row["querier"].rsplit(".", 1)[1]) for row in rows} == {(True, "1")}
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize(("noun", "body", "status", "words"), [
    ("query", {"interface": "eth0"}, 400, "eth0 is upstream"),
    ("query", {"interface": "eth9"}, 404, 'there is no "eth9"; there are '),
    ("query", {"interface": 3}, 400, "should be text"), ("query", {"group": "239.1.1.1"}, 400, "unknown key"),
    ("clear", {}, 400, "interface: is missing"),
    ("clear", {"interface": "lan1", "group": "10.0.0.1"}, 400, "should be a group"),
    ("clear", {"interface": "lan1", "group": "x"}, 400, "should be a group"),
    ("clear", {"interface": "lan1", "group": [1]}, 400, "should be a group"),
])
def test_an_order_that_means_nothing_is_refused(noun, body, status, words):
    refused = uvloop.run(answered(noun, body))
    assert (refused.status, words in refused.words) == (status, True)


def test_a_silent_agent_is_said():
    assert uvloop.run(answered("query", {}, silent=True)).status == 504
