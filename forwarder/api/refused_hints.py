"""Hints of flows that somebody asked for and does not get: who, where, and which rule refused it.

That is told of flows that go nowhere, and of those that go to other interfaces and lose nothing that would be told.
Only the agent knows. It is asked every FRESH seconds at most, and a client waits for its answer for PATIENCE at most;
until there is one, what was said last is what is known.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from heapq import nsmallest
from operator import itemgetter

from forwarder.api.agent import AgentClient
from forwarder.api.views import Row
from forwarder.diagnosis.refused import SERVED, flows_well, hint
from forwarder.state.ports import Port
from igmp.link import format_address, parse_address

FRESH = 1.0             # seconds: the pages of an answer and the pictures of --watch are one question
PATIENCE = 0.3          # seconds: an agent that is well answers in a few milliseconds
MOST = 64               # refused joins of a group that are looked through for each of its flows
AGE = itemgetter("last")
UNWANTED = frozenset(("no_members", "boundary"))


class RefusedHints:
    """Amends flows; `clock` is monotonic seconds."""

    def __init__(self, agent: AgentClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._agent, self._clock = agent, clock
        self._question: asyncio.Task[None] | None = None
        self._asked = self._answered = 0.0
        self._rows: dict[str, list[Row]] = {}       # by group, the last first

    async def amend(self, flows: list[Row], ports: Iterable[Port]) -> list[Row]:
        """`flows`, the hints of those that somebody asked for in vain in its words."""
        perhaps = [flow for flow in flows if flow["verdict"] in UNWANTED or flows_well(flow)]
        if perhaps:
            await self._ask()
            names = {port.index: port.name for port in ports}
            for flow in perhaps:
                if rows := self._rows.get(flow["group"]):
                    flow["hint"] = hint(flow, rows, names, self._clock() - self._answered) or flow["hint"]
        return flows

    async def groups(self) -> list[int]:
        """The groups that somebody was refused."""
        await self._ask()
        return list(map(parse_address, self._rows))

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
