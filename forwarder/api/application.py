"""What every path answers: GET of `/v1/<noun>` for the nouns of `mcfwd show`, and what can be changed at run time.

POST adds and DELETE takes away one of `/v1/routes` or `/v1/groups`; POST of `/v1/batch` makes many such changes at once
(`batches`); POST of `/v1/reload` reads the configuration again; POST of `/v1/query` and `/v1/clear` are orders to the
agent (`orders`).
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from forwarder.api import orders, requests, views
from forwarder.api.agent import AgentClient
from forwarder.api.batches import Batches
from forwarder.api.pages import Page
from forwarder.api.refused_hints import RefusedHints
from forwarder.api.segments import Segments
from forwarder.api.server import RefusedError, copied, json_response
from forwarder.api.supervisor import SupervisorClient
from forwarder.api.why import Why
from igmp.link import Network

log = logging.getLogger(__name__)

PREFIX = "/v1/"
PAGE, LARGEST_PAGE = 1000, 10_000

VERBS = {"POST": "add", "PUT": "replace", "DELETE": "delete"}
DONE = {"POST": 201, "PUT": 200, "DELETE": 200}

Answer = Callable[[web.BaseRequest], Awaitable[Any]]


class Application:
    """Answers requests from the segments, from the agent what only it knows; has the supervisor make changes."""

    def __init__(self, segments: Segments, agent: AgentClient, supervisor: SupervisorClient) -> None:
        self._segments, self._agent, self._supervisor = segments, agent, supervisor
        self._hints, self._batches, self._reasons = RefusedHints(agent), Batches(), Why(segments, agent)
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
            "why": self._why,
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
        total = self._segments.flow_count(page_of(request.query).groups) if noun == "flows" else None
        return await json_response(await self._answers[noun](request), total)

    @property
    def nouns(self) -> list[str]:
        """What stands behind PREFIX in the paths that there are."""
        return [*self._answers, "batch", "reload", *orders.KEYS]

    def methods(self, noun: str) -> list[str]:
        """What may be done with a noun; nothing where there is none."""
        if noun in ("batch", "reload") or noun in orders.KEYS:
            return ["POST"]
        if noun in self._rows:
            return ["GET", "POST", *(["PUT"] if noun == "routes" else []), "DELETE"]
        return ["GET"] if noun in self._answers else []

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

    async def _interfaces(self, _: web.BaseRequest) -> Any:
        return self._segments.interfaces()

    async def _routes(self, _: web.BaseRequest) -> Any:
        return self._segments.routes()

    async def _stats(self, _: web.BaseRequest) -> Any:
        return self._segments.stats()

    async def _why(self, request: web.BaseRequest) -> Any:
        return await self._reasons.answer(request.query)

    async def _flows(self, request: web.BaseRequest) -> Any:
        rows = self._segments.flows(page_of(request.query))
        return await self._hints.amend(rows, self._segments.configuration.ports)

    async def _groups(self, _: web.BaseRequest) -> Any:
        rows = await self._agent.rows("groups")
        return None if rows is None else views.groups(rows, self._segments.configuration)

    async def _hosts(self, _: web.BaseRequest) -> Any:
        rows = await self._agent.rows("hosts")
        return None if rows is None else views.hosts(rows, self._segments.configuration.ports)

    async def _refusals(self, request: web.BaseRequest) -> Any:
        """All of them, or the page that is asked for."""
        page, rows = page_of(request.query), await self._agent.rows("refusals")
        if rows is None:
            return None
        rows = [row for row in rows if page.groups is None or page.groups.contains(row["group"])]
        shown = views.refusals(rows, self._segments.configuration.ports)
        return shown[page.offset :][: page.limit if "limit" in request.query else None]

    async def _upstream(self, _: web.BaseRequest) -> Any:
        rows = await self._agent.rows("upstream")
        return None if rows is None else views.upstream(rows, self._segments.configuration.ports)


def page_of(query: Any) -> Page:
    """The page that `?offset=&limit=&group=&order=` asks for; raises RefusedError."""
    offset, limit = _number(query, "offset", 0), _number(query, "limit", PAGE)
    group, order = query.get("group"), query.get("order")
    if order not in (None, "worst"):
        raise RefusedError(400, 'order: should be "worst", or left out')
    try:
        groups = None if group is None else Network.parse(group)
    except ValueError as error:
        raise RefusedError(400, 'group: should be a group or a network such as "239.0.0.0/8"') from error
    return Page(offset, min(limit, LARGEST_PAGE), groups, order is not None)


def _number(query: Any, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, f"{name}: should be a whole number, 0 or more")
    return int(text)
