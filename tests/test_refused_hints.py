"""Flows that somebody asked for in vain: who and by which rule, whatever becomes of the agent meanwhile."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from forwarder.agent.rpc import RpcServer
from forwarder.api.agent import AgentClient
from forwarder.api.refused_hints import FRESH, PATIENCE, RefusedHints
from forwarder.diagnosis.refused import RECENT, REMEDIES, WORDS, hint, trouble
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings
from igmp.filter import EVERYTHING
from igmp.link import Link, parse_address
from igmp.objections import REFUSING, Judge
from igmp.parameters import LIMITS, PortOptions
from igmp.refused import LISTS

NAMES = {0: "up", 1: "lan1", 2: "lan2"}
PORTS = [
    Port(index=at, assigned=1, name=name, role="downstream", settings=InterfaceSettings(name=name))
    for at, name in NAMES.items()
]


def refusal(**others: Any) -> dict[str, Any]:
    """A row of the agent's."""
    row = {
        "port": 2, "group": parse_address("239.1.2.3"), "host": parse_address("192.168.2.10"), "mac": 0x020000000001,
        "mode": "exclude", "sources": [], "reason": "deny", "rule": "deny 239.1.0.0/16", "since": 60.0, "last": 2.0,
        "count": 3,
    }  # fmt: skip
    return {**row, **others}


def flow(**others: Any) -> dict[str, Any]:
    """What of a row of `show flows` matters here."""
    row = {"group": "239.1.2.3", "source": "10.0.0.7", "upstream": "up", "verdict": "no_members"}
    return {**row, "downstreams": [], "hint": "nobody has joined", **others}


SAID = "192.168.2.10 asked for it on lan2, refused by deny 239.1.0.0/16"
S, OTHER = parse_address("10.0.0.7"), parse_address("10.0.0.8")


@pytest.mark.parametrize(("rows", "words"), [
    ([refusal()], SAID),
    ([], None),
    ([refusal(host=0)], SAID.replace("192.168.2.10", "02:00:00:00:00:01")),
    ([refusal(host=0, mac=0)], SAID.replace("192.168.2.10", "a host without an address")),
    ([refusal(port=9)], None),                                          # of a port that is gone
    ([refusal(port=0)], None),                                          # where the sender is
    ([refusal(mode="include", sources=[OTHER, S])], SAID),
    ([refusal(mode="include", sources=[OTHER])], None),
    ([refusal(sources=[S])], None),                                     # it asked for everybody else
    ([refusal(sources=[OTHER])], SAID),
    ([refusal(), refusal(port=1, last=9.0)], f"{SAID}; and others (mcfwd show refusals)"),
    ([refusal(last=RECENT)], SAID),
    ([refusal(last=RECENT + 61)], SAID.replace("lan2,", "lan2 361 s ago,")),
])  # fmt: skip
def test_the_hint_names_who_asked_where_and_what_refused(rows, words):
    assert hint(flow(), rows, NAMES, 0.0) == words


@pytest.mark.parametrize(("rows", "downstreams", "words"), [
    ([refusal()], ["lan1"], SAID),
    ([refusal()], ["lan1", "lan2"], None),                              # another host there has it, so all have
    ([refusal(port=1)], ["lan1"], None),
    ([refusal(port=1, last=1.0), refusal()], ["lan1"], SAID),
    ([refusal(last=RECENT)], ["lan1"], SAID),
    ([refusal(last=RECENT + 1)], ["lan1"], None),                       # it asks no more
    ([refusal(sources=[S])], ["lan1"], None),
    ([], ["lan1"], None),
])  # fmt: skip
def test_a_flow_that_others_get_has_a_hint_at_whom_it_does_not_reach(rows, downstreams, words):
    assert hint(flow(verdict="forward", hint=None, downstreams=downstreams), rows, NAMES, 0.0) == words


@pytest.mark.parametrize(("reason", "rule", "words"), [
    ("boundary", "boundary 239.0.0.0/8", "refused by boundary 239.0.0.0/8"),
    ("max_groups", "max_groups 4", "refused by max_groups 4"),
    ("allow", "allow", "refused by allow, which does not name it"),
    ("ttl", "accept_any_ttl", "refused since its report had another TTL than 1 (accept_any_ttl)"),
    ("off_subnet", "altnets", "refused since it is in no subnet of the link (altnets)"),
    ("news", "{rule}", "refused by {rule}"),
])  # fmt: skip
def test_the_hint_says_what_the_rule_means(reason, rule, words):
    said = hint(flow(), [refusal(reason=reason, rule=rule)], NAMES, 0.0)
    assert said == f"192.168.2.10 asked for it on lan2, {words}"


def test_every_reason_that_is_no_list_or_limit_has_words():
    """As `Judge` gives them; what lists and limits refuse is said by their entries."""
    judge = Judge(Link(), PortOptions("downstream"))
    whole = [judge.packet(counter, S, S) for counter in REFUSING]
    ssm = [judge.record(EVERYTHING, parse_address("232.1.1.1"), version) for version in (2, 3)]
    reasons = {objection.reason for objection in whole if objection} | {found[1].reason for found in ssm if found}
    assert reasons | {"allow"} == set(WORDS)


@pytest.mark.parametrize("reason", sorted({*WORDS, *LISTS, *LIMITS}))
def test_every_reason_has_a_remedy(reason):
    said = trouble(refusal(reason=reason, rule=f"{reason} 7"), "lan2")
    assert said.remedy
    assert "{" not in said.words + said.remedy
    assert (reason in REMEDIES) != (reason in LIMITS)


def test_an_answer_that_has_aged_says_how_long_ago_that_was():
    assert hint(flow(), [refusal()], NAMES, RECENT) == SAID.replace("lan2,", "lan2 302 s ago,")


class Agent:
    """What the agent says, if it says anything; `asked`: how often it was asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.asked, self.silent = rows, 0, False

    def answer(self) -> list[dict[str, Any]]:
        """Its rows; an RpcServer says nothing where there are none to be had."""
        self.asked += 1
        if self.silent:
            raise KeyError
        return self.rows


def live(use: Callable[[Agent, RefusedHints, list[float]], Awaitable[None]], *rows: dict[str, Any]) -> None:
    """`use` an agent, what asks it, and its clock."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def together() -> None:
        now = [100.0]
        client = AgentClient(ours, timeout=5.0)
        client.attach(asyncio.get_running_loop())
        agent = Agent(list(rows))
        RpcServer(theirs.detach(), {"refusals": agent.answer}).attach(asyncio.get_running_loop())
        await use(agent, RefusedHints(client, lambda: now[0]), now)
        client.close()

    uvloop.run(together())


async def hints(asking: RefusedHints, *flows: dict[str, Any]) -> list[str]:
    return [row["hint"] for row in await asking.amend(list(flows), PORTS)]


def test_only_flows_that_somebody_may_miss_unexplained_are_asked_about():
    async def use(agent: Agent, asking: RefusedHints, _: list[float]) -> None:
        quiet = [flow(verdict=verdict, hint="as it is") for verdict in ("forward", "ttl_expired", "not_querier")]
        assert await hints(asking, *quiet) == ["as it is"] * 3
        assert agent.asked == 0
        assert await hints(asking, flow(), flow(verdict="boundary"), flow(group="239.9.9.9")) == [
            SAID, SAID, "nobody has joined"
        ]  # fmt: skip
        assert agent.asked == 1
        forwarded = flow(verdict="forward", hint=None, downstreams=["lan1"])
        assert await hints(asking, forwarded, {**forwarded, "group": "239.9.9.9"}) == [SAID, None]

    live(use, refusal())


def test_the_last_who_asked_is_named_and_many_cost_little():
    """A thousand flows of a group that was refused on all of 60,000 rows."""
    rows = [refusal(port=1, last=float(at + 3), mode="include", sources=[OTHER] * 16) for at in range(60_000)]

    said = [f"{SAID}; and others (mcfwd show refusals)"]

    async def use(_: Agent, asking: RefusedHints, __: list[float]) -> None:
        while await hints(asking, flow()) != said:      # its answer takes longer than a client waits for it
            pass
        spent = time.process_time()
        assert await hints(asking, *(flow() for _ in range(1000))) == said * 1000
        assert time.process_time() - spent < 2.0

    live(use, *rows, refusal(), refusal(port=1, last=9.0))


def test_who_is_served_though_not_tracked_is_no_reason():
    async def use(_: Agent, asking: RefusedHints, __: list[float]) -> None:
        assert await hints(asking, flow()) == ["nobody has joined"]

    live(use, refusal(reason="max_hosts", rule="max_hosts 512"))


def test_many_pages_are_one_question_and_an_old_answer_is_another():
    async def use(agent: Agent, asking: RefusedHints, now: list[float]) -> None:
        for _ in range(20):
            assert await hints(asking, flow()) == [SAID]
        assert agent.asked == 1
        agent.rows = []
        now[0] += FRESH
        assert await hints(asking, flow()) == ["nobody has joined"]
        assert agent.asked == 2

    live(use, refusal())


def test_a_silent_agent_costs_its_patience_once_and_what_was_known_stays_so():
    async def use(agent: Agent, asking: RefusedHints, now: list[float]) -> None:
        assert await hints(asking, flow()) == [SAID]
        agent.silent = True
        now[0] += FRESH
        begun = time.monotonic()
        assert await hints(asking, flow()) == [SAID]
        assert PATIENCE * 0.9 < time.monotonic() - begun < 4.0
        now[0] += PATIENCE
        for _ in range(50):
            assert await hints(asking, flow()) == [SAID]
        assert agent.asked == 2
        assert time.monotonic() - begun < 4.0       # the agent has 5 s to answer

    live(use, refusal())


def test_what_a_silent_agent_said_last_ages():
    async def use(agent: Agent, asking: RefusedHints, now: list[float]) -> None:
        assert await hints(asking, flow()) == [SAID]
        agent.silent = True
        now[0] += RECENT
        assert await hints(asking, flow()) == [SAID.replace("lan2,", "lan2 302 s ago,")]

    live(use, refusal())


def test_clients_that_come_while_it_is_asked_wait_for_the_same_answer():
    async def use(agent: Agent, asking: RefusedHints, _: list[float]) -> None:
        assert await asyncio.gather(*(hints(asking, flow()) for _ in range(5))) == [[SAID]] * 5
        assert agent.asked == 1

    live(use, refusal())


def test_an_agent_that_is_gone_hinders_nothing():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()

    async def use() -> None:
        client = AgentClient(ours, timeout=0.05)
        client.attach(asyncio.get_running_loop())
        assert await hints(RefusedHints(client), flow()) == ["nobody has joined"]
        client.close()

    uvloop.run(use())
