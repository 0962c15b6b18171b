"""What a client may ask to be changed: the objects of POST and DELETE, made into requests to the supervisor.

The objects are those that GET answers, so that what was shown can be sent back; only their shape is looked at here.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from forwarder.api.server import RefusedError

LARGEST_BODY = 32 * 1024        # bytes; a request must fit into one message to the supervisor
LARGEST_READ = 1024 * 1024      # bytes; what is longer is refused unread, and the client perhaps cut off

ROUTE_KEYS = frozenset(("group", "source", "upstream", "interfaces", "kind", "note"))
GROUP_KEYS = frozenset((
    "interface", "group", "source",
    # of the objects of GET /v1/groups; they say nothing that could be asked for
    "mode", "sources", "excluded_sources", "compatibility", "expires", "uptime", "last_reporter", "static", "note",
))  # fmt: skip


async def body_of(request: web.BaseRequest) -> dict[str, Any]:
    """The JSON object of a request; without one the query string's; raises RefusedError."""
    if (request.content_length or 0) > LARGEST_READ:
        raise RefusedError(413, f"the request is too long: at most {LARGEST_BODY} bytes")
    try:
        text = await request.read()
        if len(text) > LARGEST_BODY:
            raise RefusedError(413, f"the request is too long: at most {LARGEST_BODY} bytes")
        body = json.loads(text) if text else dict(request.query)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "the body should be a JSON object")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a character of two code units, which JSON can write and nobody can print
        raise RefusedError(400, "the request has text that is not Unicode") from None
    return body


def route_row(body: Mapping[str, Any]) -> dict[str, Any]:
    """The supervisor's form of `{"group", "source", "upstream", "interfaces", "kind"}`; raises RefusedError."""
    _refuse_unknown(body, ROUTE_KEYS)
    interfaces, kind = body.get("interfaces") or [], body.get("kind")
    if kind not in (None, "static", "block"):
        raise RefusedError(400, f'kind: should be "static" or "block", not {json.dumps(kind)}')
    if kind == "block" and interfaces:
        raise RefusedError(400, 'kind: a route of kind "block" has no interfaces')
    if kind == "static" and not interfaces:
        raise RefusedError(400, 'interfaces: is empty, as only kind "block" has it')
    names = [interfaces] if isinstance(interfaces, str) else interfaces
    row = {"group": body.get("group"), "source": body.get("source"), "upstream": body.get("upstream")}
    return {**row, "interfaces": names}


def group_row(body: Mapping[str, Any]) -> dict[str, Any]:
    """The supervisor's form of `{"interface", "group", "source"}`; raises RefusedError."""
    _refuse_unknown(body, GROUP_KEYS)
    source, sources = body.get("source"), body.get("sources") or []
    if source is None and sources:
        if not isinstance(sources, list) or len(sources) > 1:
            raise RefusedError(400, "sources: a request can name one source only")
        source = sources[0].get("address") if isinstance(sources[0], dict) else sources[0]
    return {"interface": body.get("interface"), "group": body.get("group"), "source": source}


def _refuse_unknown(body: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := sorted(body.keys() - known):
        raise RefusedError(400, f"{unknown[0]}: unknown key; known are {', '.join(sorted(known))}")
