"""What every path answers. GET only; `/v1/<noun>` for the nouns of `mcfwd show`."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from forwarder.api import views
from forwarder.api.agent import Agent
from forwarder.api.flows import Page
from forwarder.api.segments import Segments
from forwarder.api.server import RefusedError, json_response
from igmp.link import Network

log = logging.getLogger(__name__)

PREFIX = "/v1/"
PAGE, LARGEST_PAGE = 1000, 10_000

Answer = Callable[[web.BaseRequest], Awaitable[Any]]


class Application:
    """Answers requests from the segments, and from the agent what only it knows."""

    def __init__(self, segments: Segments, agent: Agent) -> None:
        self._segments, self._agent = segments, agent
        self._answers: dict[str, Answer] = {
            "interfaces": self._interfaces,
            "groups": self._groups,
            "routes": self._routes,
            "flows": self._flows,
            "upstream": self._upstream,
            "stats": self._stats,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to a request; raises RefusedError."""
        noun = request.path.removeprefix(PREFIX)
        answer = self._answers.get(noun) if request.path.startswith(PREFIX) else None
        if answer is None:
            known = ", ".join(PREFIX + name for name in self._answers)
            raise RefusedError(404, f"unknown path {request.path[:80]}; there are {known}")
        if request.method != "GET":
            raise RefusedError(405, f"{request.path} takes GET only")
        try:
            return await json_response(await answer(request))
        except RefusedError:
            raise
        except Exception as error:
            log.exception("GET %s failed", request.path)
            raise RefusedError(500, f"internal error: {type(error).__name__}") from error

    async def _interfaces(self, _: web.BaseRequest) -> Any:
        return self._segments.interfaces()

    async def _routes(self, _: web.BaseRequest) -> Any:
        return self._segments.routes()

    async def _stats(self, _: web.BaseRequest) -> Any:
        return self._segments.stats()

    async def _flows(self, request: web.BaseRequest) -> Any:
        return self._segments.flows(page_of(request.query))

    async def _groups(self, _: web.BaseRequest) -> Any:
        rows = await self._agent.rows("groups")
        return None if rows is None else views.groups(rows, self._segments.configuration.ports)

    async def _upstream(self, _: web.BaseRequest) -> Any:
        rows = await self._agent.rows("upstream")
        return None if rows is None else views.upstream(rows, self._segments.configuration.ports)


def page_of(query: Any) -> Page:
    """The page that `?offset=&limit=&group=` asks for; raises RefusedError."""
    offset, limit = _number(query, "offset", 0), _number(query, "limit", PAGE)
    group = query.get("group")
    try:
        groups = None if group is None else Network.parse(group)
    except ValueError as error:
        raise RefusedError(400, "group should be an address or a network such as 239.0.0.0/8") from error
    return Page(offset, min(limit, LARGEST_PAGE), groups)


def _number(query: Any, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, f"{name} should be a whole number that is not negative")
    return int(text)
