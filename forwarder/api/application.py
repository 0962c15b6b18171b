"""What every path answers: GET of `/v1/<noun>` for the nouns of `mcfwd show`, and what can be changed at run time.

POST adds and DELETE takes away one of `/v1/routes` or `/v1/groups`; POST of `/v1/batch` makes many such changes at once
(`batches`); POST of `/v1/reload` reads the configuration again; POST of `/v1/query` and `/v1/clear` are orders to the
agent (`orders`).
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from forwarder.api import orders, requests, views
from forwarder.api.agent import AgentClient
from forwarder.api.asked import LARGEST_PAGE, followed, page_of
from forwarder.api.batches import Batches
from forwarder.api.pages import Page
from forwarder.api.refused_hints import RefusedHints
from forwarder.api.segments import Segments
from forwarder.api.selection import select
from forwarder.api.server import RefusedError, copied, json_response
from forwarder.api.supervisor import SupervisorClient
from forwarder.api.told import Told
from forwarder.api.views import Row
from forwarder.api.why import Why
from forwarder.ordering import ordered
from igmp.link import Network, parse_address

log = logging.getLogger(__name__)

PREFIX = "/v1/"

VERBS = {"POST": "add", "PUT": "replace", "DELETE": "delete"}
DONE = {"POST": 201, "PUT": 200, "DELETE": 200}

Answered = tuple[Any, int | None]   # what is said, and of how many rows it has some
Answer = Callable[[Page], Awaitable[Answered]]


class Application:
    """Answers requests from the segments, from the agent what only it knows; has the supervisor make changes."""

    def __init__(self, segments: Segments, agent: AgentClient, supervisor: SupervisorClient) -> None:
        self._segments, self._agent, self._supervisor = segments, agent, supervisor
        self._hints, self._told, self._reasons = RefusedHints(agent), Told(agent), Why(segments, agent)
        self._batches = Batches()
        self._answering: dict[str, asyncio.Task[web.Response]] = {}     # by what is asked
        self._answers: dict[str, Answer] = {
            "interfaces": self._interfaces,
            "groups": self._groups,
            "hosts": self._hosts,
            "routes": self._routes,
            "flows": self._flows,
            "refusals": self._refusals,
            "upstream": self._upstream,
            "stats": self._stats,
        }
        self._rows: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "routes": requests.route_row,
            "groups": requests.group_row,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to a request; raises RefusedError."""
        noun = request.path.removeprefix(PREFIX) if request.path.startswith(PREFIX) else ""
        methods = self.methods(noun)
        if not methods:
            known = ", ".join(PREFIX + name for name in self.nouns)
            raise RefusedError(404, f"unknown path {request.path[:80]}; there are {known}")
        if request.method not in methods:
            raise RefusedError(405, f"{request.path} takes {' and '.join(methods)} only")
        try:
            if noun in orders.KEYS:
                body, ports = await requests.body_of(request), self._segments.configuration.ports
                return await json_response(await orders.carry_out(noun, body, ports, self._agent))
            if noun == "batch":
                return await json_response(await self._batch(request))
            if request.method == "GET":
                return copied(await self._together(noun, request))
            said = json.dumps(await self._change(noun, request)).encode()
            return web.Response(status=DONE[request.method], body=said, content_type="application/json")
        except RefusedError:
            raise
        except ConnectionError as error:    # nobody hears this; it is no fault of ours that would have to be logged
            raise RefusedError(400, "the connection ended before the request") from error
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            raise RefusedError(500, f"internal error: {type(error).__name__}") from error

    async def _together(self, noun: str, request: web.BaseRequest) -> web.Response:
        """Clients that ask the same at once get one answer: sixty of a long table would have held up all others."""
        asked = request.path_qs
        answering = self._answering.get(asked)
        if answering is None:
            answering = self._answering[asked] = asyncio.get_running_loop().create_task(self._answer(noun, request))
            answering.add_done_callback(lambda _: self._answering.pop(asked))
        return await asyncio.shield(answering)

    async def _answer(self, noun: str, request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0)      # who asks in the same turn is one of them
        if noun == "why":           # no rows: what it takes is the matter of the question
            return await json_response(await self._reasons.answer(request.query))
        said, total = await self._answers[noun](page_of(noun, request.query))
        return await json_response(said, total, followed(request.query))

    @property
    def nouns(self) -> list[str]:
        """What stands behind PREFIX in the paths that there are."""
        return [*self._answers, "why", "batch", "reload", *orders.KEYS]

    def methods(self, noun: str) -> list[str]:
        """What may be done with a noun; nothing where there is none."""
        if noun in ("batch", "reload") or noun in orders.KEYS:
            return ["POST"]
        if noun in self._rows:
            return ["GET", "POST", *(["PUT"] if noun == "routes" else []), "DELETE"]
        return ["GET"] if noun == "why" or noun in self._answers else []

    async def _change(self, noun: str, request: web.BaseRequest) -> dict[str, Any]:
        """What is said of a change that was made: of a reload the keys that need a restart, if any."""
        body = await requests.body_of(request)  # of a reload too: unread, it would cut the answer off
        if noun == "reload":
            ignored = (await self._supervisor.ask({"type": "reload"})).get("ignored")
            return {"ignored": ignored} if ignored else {}
        row = self._rows[noun](body)
        await self._supervisor.ask({"type": VERBS[request.method], "noun": noun, "row": row})
        return {}

    async def _batch(self, request: web.BaseRequest) -> dict[str, Any]:
        """How many operations were carried out: all."""
        made = await self._batches.read(request)
        await self._supervisor.ask({"type": "batch", "requests": made})
        return {"operations": len(made)}

    async def _interfaces(self, page: Page) -> Answered:
        return select("interfaces", self._segments.interfaces(), page)

    async def _routes(self, page: Page) -> Answered:
        return select("routes", self._segments.routes(), page)

    async def _stats(self, _: Page) -> Answered:
        return self._segments.stats(), None

    async def _flows(self, page: Page) -> Answered:
        """A portion between two turns of the loop, so that a long page keeps nobody waiting."""
        if page.key == "hint":
            return await self._by_hint(page)
        total, portions = self._segments.flow_portions(page, await self._vain(page) if page.problems else ())
        rows: list[Row] = []
        for portion in portions:
            rows += await self._hints.amend(portion, self._segments.configuration.ports)
            await asyncio.sleep(0)
        return rows, total

    async def _by_hint(self, page: Page) -> Answered:
        """A hint is known of rows alone, so all of them are made, and no more kept than are asked for."""
        if page.offset + page.limit > LARGEST_PAGE:
            raise RefusedError(400, f"order: by hint only the first {LARGEST_PAGE} can be asked for")
        every = replace(page, key=None, offset=0, limit=sys.maxsize)
        total, portions = self._segments.flow_portions(every, await self._vain(page) if page.problems else ())
        rows: list[Row] = []
        for portion in portions:
            rows += await self._hints.amend(portion, self._segments.configuration.ports)
            rows = ordered(rows, "hint", descending=page.descending)[: page.offset + page.limit]
            await asyncio.sleep(0)
        return rows[page.offset :], total

    async def _vain(self, page: Page) -> set[int]:
        """Flows that somebody asked for and was refused, source << 32 | group; of LARGEST_PAGE that are looked through.

        Only the words of their hints say so, and only of groups for which anybody was refused.
        """
        groups = tuple(Network(group, 32) for group in await self._hints.groups())
        if not groups:
            return set()
        asked = Page(0, LARGEST_PAGE, groups, interfaces=page.interfaces, sources=page.sources)
        found: set[int] = set()
        for portion in self._segments.flow_portions(asked)[1]:
            before = [row["hint"] for row in portion]
            rows = await self._hints.amend(portion, self._segments.configuration.ports)
            vain = [row for row, hint in zip(rows, before, strict=True) if row["hint"] != hint]
            found |= {parse_address(row["source"]) << 32 | parse_address(row["group"]) for row in vain}
            await asyncio.sleep(0)
        return found

    async def _groups(self, page: Page) -> Answered:
        configuration = self._segments.configuration
        view = views.group_view(configuration)
        return await self._told.page("groups", page, configuration.ports, view)

    async def _hosts(self, page: Page) -> Answered:
        ports = self._segments.configuration.ports
        return await self._told.page("hosts", page, ports, lambda rows: views.hosts(rows, ports))

    async def _refusals(self, page: Page) -> Answered:
        ports = self._segments.configuration.ports
        return await self._told.page("refusals", page, ports, lambda rows: views.refusals(rows, ports))

    async def _upstream(self, page: Page) -> Answered:
        ports = self._segments.configuration.ports
        return await self._told.page("upstream", page, ports, lambda rows: views.upstream(rows, ports))
