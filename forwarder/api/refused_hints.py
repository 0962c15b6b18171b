"""Hints of flows that somebody asked for and does not get: who, where, and which rule refused it.

That is told of flows that go nowhere, and of those that go to other interfaces and lose nothing that would be told.
Only the agent knows. It is asked every FRESH seconds at most, and a client waits for its answer for PATIENCE at most;
until there is one, what was said last is what is known.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from math import inf
from operator import itemgetter

from forwarder.api.agent import AgentClient
from forwarder.api.views import Row
from forwarder.state.ports import Port
from igmp.link import format_address, parse_address

FRESH = 1.0             # seconds: the pages of an answer and the pictures of --watch are one question
PATIENCE = 0.3          # seconds: an agent that is well answers in a few milliseconds
RECENT = 300.0          # seconds: hosts repeat what they want about every two minutes
MOST = 64               # refused joins of a group that are looked through for each of its flows
AGE = itemgetter("last")
UNWANTED = frozenset(("no_members", "boundary"))
WORDS = {               # by reason; of lists and limits the rule says it
    "allow": "by allow, which does not name it",
    "destination": "since its report went elsewhere ({rule})",
    "off_subnet": "since it is in no subnet of the link ({rule})",
    "own_address": "since it speaks with an address of ours ({rule})",
    "router_alert": "since its report had no Router Alert ({rule})",
    "ssm": "since it asked for any source ({rule})",
    "ttl": "since its report had another TTL than 1 ({rule})",
    "version": "since it asked in IGMPv1 or v2, which name no source ({rule})",
}
SERVED = frozenset(("max_hosts",))      # such a host is not tracked, and gets what it asks for


class RefusedHints:
    """Amends flows; `clock` is monotonic seconds."""

    def __init__(self, agent: AgentClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._agent, self._clock = agent, clock
        self._question: asyncio.Task[None] | None = None
        self._asked = self._answered = 0.0
        self._rows: dict[str, list[Row]] = {}       # by group, the last first

    async def amend(self, flows: list[Row], ports: Iterable[Port]) -> list[Row]:
        """`flows`, the hints of those that somebody asked for in vain in its words."""
        perhaps = [flow for flow in flows if flow["verdict"] in UNWANTED or _flows_well(flow)]
        if perhaps:
            await self._ask()
            names = {port.index: port.name for port in ports}
            for flow in perhaps:
                if rows := self._rows.get(flow["group"]):
                    flow["hint"] = hint(flow, rows, names, self._clock() - self._answered) or flow["hint"]
        return flows

    async def _ask(self) -> None:
        now, question = self._clock(), self._question
        if question is None or (question.done() and now - self._asked >= FRESH):
            self._asked = now
            question = self._question = asyncio.get_running_loop().create_task(self._learn())
        left = self._asked + PATIENCE - now
        if left > 0 and not question.done():
            await asyncio.wait([question], timeout=left)

    async def _learn(self) -> None:
        rows = await self._agent.rows("refusals")
        if rows is None:
            return
        groups: dict[int, list[Row]] = {}
        for row in rows:
            if row["reason"] not in SERVED:
                groups.setdefault(row["group"], []).append(row)
        self._answered = self._clock()
        self._rows = {format_address(group): nsmallest(MOST, of_it, AGE) for group, of_it in groups.items()}


def hint(flow: Row, rows: Iterable[Row], names: Mapping[int, str], age: float) -> str | None:
    """Who asked last for a flow and was refused, by `rows` of its group, the last first, of `age` seconds ago.

    None: nobody did. Of a flow that others get, who stopped asking is not told: it was right for them.
    """
    served = {flow["upstream"], *flow["downstreams"]}       # its own link has it anyway
    elsewhere = {port: name for port, name in names.items() if name not in served}
    source, longest = parse_address(flow["source"]), RECENT if _flows_well(flow) else inf
    asked = (
        row for row in rows
        if row["port"] in elsewhere and _lets_in(row, source) and row["last"] + age <= longest
    )  # fmt: skip
    last, another = next(asked, None), next(asked, None)
    if last is None:
        return None
    since = last["last"] + age
    when = f" {since:.0f} s ago" if since > RECENT else ""
    more = "; and others (mcfwd show refusals)" if another else ""
    why = WORDS.get(last["reason"], "by {rule}").format(rule=last["rule"])
    return f"{_who(last)} asked for it on {elsewhere[last['port']]}{when}, refused {why}{more}"


def _flows_well(flow: Row) -> bool:
    return flow["verdict"] == "forward" and flow["hint"] is None


def _who(row: Row) -> str:
    if row["host"]:
        return format_address(row["host"])
    return str(row["mac"].to_bytes(6).hex(":")) if row["mac"] else "a host without an address"


def _lets_in(row: Row, source: int) -> bool:
    """Whether a refused join was for this source too."""
    listed = source in row["sources"]
    return listed if row["mode"] == "include" else not listed
