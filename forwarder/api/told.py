"""What only the agent knows, in pages.

The agent is asked for the groups and ports that are meant, and has nothing else to tell. Its answer is kept for a while
where it is longer than the page that was asked for: the next pages are of the same moment, and cost neither of us what
the first one did. 90,000 groups in one piece took 5 s, after which a connection is cut off.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from forwarder.api.agent import AgentClient, Rows
from forwarder.api.pages import Page
from forwarder.api.selection import select
from forwarder.state.ports import Port

KEPT = 5.0              # seconds after the last page that was asked for
MADE_AT_ONCE = 500      # rows between two turns of the loop

View = Callable[[Rows], Rows]


class Told:
    """The agent's rows of one noun after another."""

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._kept: tuple[Any, Rows] | None = None      # what was asked for, and the answer
        self._forgetting: asyncio.TimerHandle | None = None

    async def page(self, noun: str, page: Page, ports: Sequence[Port], view: View) -> tuple[Rows | None, int | None]:
        """The rows of a page as `view` makes them, and how many there are in all; None where the agent is silent."""
        rows = await self._rows(noun, page, ports)
        if rows is None:
            return None, None
        known = {port.index for port in ports}
        ours = [row for row in rows if row["port"] in known]
        if page.sources or page.hosts or page.problems or page.key:
            return select(noun, await _made(ours, view), page)
        return await _made(ours[page.offset :][: page.limit], view), len(ours)

    async def _rows(self, noun: str, page: Page, ports: Sequence[Port]) -> Rows | None:
        said = {
            "groups": [[network.network_address, network.prefix] for network in page.groups],
            "ports": [port.index for port in ports if page.means(port.name)] if page.interfaces else None,
        }
        if page.offset and self._kept is not None and self._kept[0] == (noun, said):
            self._keep(*self._kept)
            return self._kept[1]
        rows = await self._agent.rows(noun, said)
        if rows is not None and len(rows) > page.offset + page.limit:
            self._keep((noun, said), rows)
        return rows

    def _keep(self, asked: Any, rows: Rows) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._kept = asked, rows
        self._forgetting = asyncio.get_running_loop().call_later(KEPT, self._forget)

    def _forget(self) -> None:
        self._kept = self._forgetting = None


async def _made(rows: Rows, view: View) -> Rows:
    """The rows as people see them, some at a time, so that others get their turn between."""
    made: Rows = []
    for start in range(0, len(rows), MADE_AT_ONCE):
        made += view(rows[start : start + MADE_AT_ONCE])
        await asyncio.sleep(0)
    return made
