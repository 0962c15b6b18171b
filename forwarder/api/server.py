"""The HTTP server's manners: bounded connections, bounded patience, and every error as JSON.

A connection must finish a request, its answer included, within PATIENCE seconds; so must an idle one begin the next.
A reload may take longer, since a file may (`PATIENT`).
What is late is cut off without a word, so that clients that are slow on purpose hold nothing for long. There are
MAX_CONNECTIONS at most; a new one beyond them takes the place of the one that has asked for nothing for longest, and
only where all are being answered it is told so and closed.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

MAX_CONNECTIONS = 64
MAX_LINE = 4096
MAX_HEADERS = 32
PATIENCE = 5.0          # seconds
PATIENT = {"/v1/reload": 16.0}      # seconds by path: more than the supervisor is waited for, which answers with words
TURNED_AWAY = 1.0       # the same for who is told that there are too many
TOTAL, FOLLOWED = "X-Total-Count", "X-Followed"
ENCODED_AT_ONCE = 500   # rows between two turns of the loop

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class RefusedError(Exception):
    """A request that gets an error: its HTTP status, the words for the client, and what else the answer says."""

    def __init__(self, status: int, words: str, **more: int) -> None:
        super().__init__(words)
        self.status, self.more = status, more


def error_response(status: int, words: str, **more: int) -> web.Response:
    """`{"error": words}`, and what there is more to say."""
    body = json.dumps({"error": words, **more}).encode()
    return web.Response(status=status, body=body, content_type="application/json")


async def json_response(answer: Any, total: int | None = None, followed: str = "") -> web.Response:
    """`answer` as JSON; a long list is encoded in pieces, so that others get their turn between them.

    `total`: how many rows there are, of which the answer is a page; `followed`: parameters that made it what it is.
    """
    headers = {**({} if total is None else {TOTAL: str(total)}), **({FOLLOWED: followed} if followed else {})}
    if not isinstance(answer, list):
        return web.Response(body=json.dumps(answer).encode(), content_type="application/json", headers=headers)
    pieces = []
    for start in range(0, len(answer), ENCODED_AT_ONCE):
        pieces.append(json.dumps(answer[start : start + ENCODED_AT_ONCE], separators=(",", ":"))[1:-1])
        await asyncio.sleep(0)
    return web.Response(body=f"[{','.join(pieces)}]".encode(), content_type="application/json", headers=headers)


def copied(response: web.Response) -> web.Response:
    """The same answer for another client; what it says is not copied."""
    headers = {name: response.headers[name] for name in (TOTAL, FOLLOWED) if name in response.headers}
    return web.Response(body=response.body, content_type="application/json", headers=headers)


class Connection(web.RequestHandler):
    """One client's connection; `deadline` is the loop time at which it is cut off, `answered` whether it is now."""

    __slots__ = ("answered", "deadline")
    deadline: float
    answered: bool

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or went wrong outside our own handler, in JSON too."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        words = message or HTTPStatus(status).phrase
        response = error_response(status, words.splitlines()[0] if words else "")
        response.force_close()
        return response


class TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and hang up when what was asked has come: who is still writing would not read the answer."""
        self._transport = cast(asyncio.Transport, transport)    # uvloop's are none by their class
        body = json.dumps({"error": f"more than {MAX_CONNECTIONS} connections"})
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._transport.write(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
        self._transport.write_eof()
        self._late = asyncio.get_running_loop().call_later(TURNED_AWAY, self._transport.abort)

    def data_received(self, _: bytes) -> None:
        """What it asks for."""
        self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone."""
        self._late.cancel()


class Server(web.Server):
    """Serves `handler` within the limits above; call `sweep` about every second."""

    def __init__(self, handler: Handler, patience: float = PATIENCE) -> None:
        limits: dict[str, Any] = {"max_line_size": MAX_LINE, "max_field_size": MAX_LINE, "max_headers": MAX_HEADERS}
        self._patience, self._handler = patience, handler
        super().__init__(self._serve, lingering_time=0.0, tcp_keepalive=False, access_log=None, **limits)

    def __call__(self) -> Any:
        """A protocol for a new connection."""
        if not self._make_room():
            return TurnedAway()
        connection = Connection(self, loop=self._loop, **self._kwargs)
        connection.answered = False
        self._extend(connection)
        return connection

    def _make_room(self) -> bool:
        """Whether there is a place, made if need be by cutting off the connection that is idle for longest."""
        there = [(connection, connection.transport) for connection in self.connections
                 if connection.transport is not None and not connection.transport.is_closing()]  # fmt: skip
        if len(there) < MAX_CONNECTIONS:
            return True
        # the loop's time is of milliseconds: of equal deadlines the one that came first
        idle = [(connection.deadline, order, transport) for order, (connection, transport) in enumerate(there)
                if isinstance(connection, Connection) and not connection.answered]  # fmt: skip
        if idle:
            min(idle)[2].abort()
        return bool(idle)

    def _extend(self, connection: Any, path: str = "") -> None:
        connection.deadline = self._loop.time() + PATIENT.get(path, self._patience)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, errors of whatever kind as JSON; the patience for sending it begins afterwards."""
        connection: Any = request.protocol
        self._extend(connection, request.path)
        connection.answered = True
        try:
            return await self._handler(request)
        except RefusedError as refusal:
            return error_response(refusal.status, str(refusal), **refusal.more)
        except web.HTTPException as error:
            return error_response(error.status, error.reason)
        finally:
            connection.answered = False
            self._extend(connection)

    def sweep(self) -> None:
        """Cut off the connections whose time is up."""
        now = self._loop.time()
        for connection in self.connections:
            transport = connection.transport
            if isinstance(connection, Connection) and connection.deadline < now and transport is not None:
                transport.abort()
