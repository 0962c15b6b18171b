"""The HTTP server's manners, over real connections: whose time is up when, and what is said of what."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from aiohttp import web

from forwarder.api import supervisor
from forwarder.api.server import ENCODED_AT_ONCE, PATIENCE, RefusedError, Server, error_response, json_response

REQUEST = b"GET /v1/any HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A server whose clients are streams of the same loop."""

    def __init__(self, path: str, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self.path, self.server = path, Server(handler)

    async def __aenter__(self) -> "Served":
        self._listening = await asyncio.get_running_loop().create_unix_server(self.server, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self.server.shutdown(0.1)

    async def connect(self, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """So many clients, which the server knows of."""
        clients = [await asyncio.open_unix_connection(self.path) for _ in range(count)]
        while len(self.server.connections) < count:
            await asyncio.sleep(0)
        return clients


async def answer(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes = REQUEST) -> Any:
    """The status and the body of what a client is told."""
    reader, writer = client
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def fine(_: web.BaseRequest) -> web.Response:
    return await json_response({})


def test_patience_begins_with_the_connection_the_request_and_the_end_of_the_answer(tmp_path):
    seen: list[tuple[float, bool]] = []

    def left(connection: Any) -> float:
        return connection.deadline - asyncio.get_running_loop().time()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        connection: Any = request.protocol
        seen.append((left(connection), connection.answered))
        connection.deadline = 0.0
        return await fine(request)

    async def use() -> None:
        async with Served(f"{tmp_path}/s", handler) as served:
            [client] = await served.connect(1)
            [connection] = served.server.connections
            assert 0.0 < left(connection) <= PATIENCE
            for _ in range(2):
                connection.deadline = 0.0
                assert await answer(client) == (200, {})
                assert 0.0 < left(connection) <= PATIENCE
                assert not connection.answered

    uvloop.run(use())
    assert [answered for _, answered in seen] == [True, True]
    assert all(0.0 < each <= PATIENCE for each, _ in seen)


def test_a_reload_has_the_time_in_which_the_supervisor_may_answer(tmp_path):
    """One of a file that took six seconds was cut off without a word, and went on."""
    left: list[float] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        connection: Any = request.protocol
        left.append(connection.deadline - asyncio.get_running_loop().time())
        return await fine(request)

    async def use() -> None:
        async with Served(f"{tmp_path}/s", handler) as served:
            [client] = await served.connect(1)
            assert await answer(client, REQUEST.replace(b"/v1/any", b"/v1/reload")) == (200, {})
            assert await answer(client) == (200, {})

    uvloop.run(use())
    assert left[0] > supervisor.RELOAD_TIMEOUT
    assert left[1] <= PATIENCE


def test_all_whose_time_is_up_are_cut_off_and_nobody_else(tmp_path):
    async def use() -> None:
        async with Served(f"{tmp_path}/s", fine) as served:
            clients = await served.connect(5)
            now = asyncio.get_running_loop().time()
            late = sorted(served.server.connections, key=id)[:3]
            for connection in late:
                connection.deadline = now - 1.0
            served.server.sweep()
            assert all(connection.transport is None or connection.transport.is_closing() for connection in late)
            served.server.sweep()       # some may not know yet that they are gone
            answers = await asyncio.gather(*map(answer, clients), return_exceptions=True)
            assert [each for each in answers if not isinstance(each, Exception)] == [(200, {})] * 2

    uvloop.run(use())


@pytest.mark.parametrize(("raised", "status", "words"), [
    (RefusedError(418, "no coffee"), 418, "no coffee"),
    (web.HTTPRequestEntityTooLarge(1, 2), 413, "Request Entity Too Large"),
    (web.HTTPNotFound(), 404, "Not Found"),
])  # fmt: skip
def test_what_a_handler_raises_is_said_in_json_and_the_connection_stays(tmp_path, raised, status, words):
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v1/any":
            raise raised
        return await fine(request)

    async def use() -> None:
        async with Served(f"{tmp_path}/s", handler) as served:
            [client] = await served.connect(1)
            assert await answer(client) == (status, {"error": words})
            assert await answer(client, REQUEST.replace(b"any", b"other")) == (200, {})

    uvloop.run(use())


def test_what_goes_wrong_outside_of_a_handler_is_said_in_json_and_ends_the_connection(tmp_path):
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise LookupError("nobody expects it")

    async def use() -> None:
        async with Served(f"{tmp_path}/s", handler) as served:
            [client] = await served.connect(1)
            assert await answer(client) == (500, {"error": "Internal Server Error"})
            assert await client[0].read() == b""

    uvloop.run(use())


def test_requests_are_not_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def use() -> None:
        async with Served(f"{tmp_path}/s", fine) as served:
            [client] = await served.connect(1)
            assert await answer(client) == (200, {})

    uvloop.run(use())
    assert [record.name for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize("count", [0, 1, *(ENCODED_AT_ONCE + more for more in (-1, 0, 1)), 3 * ENCODED_AT_ONCE])
def test_a_list_of_any_length_is_json(count):
    rows = [{"number": number, "words": "[, ]"} for number in range(count)]
    response = uvloop.run(json_response(rows))
    assert json.loads(response.body) == rows
    assert (response.status, response.content_type) == (200, "application/json")


@pytest.mark.parametrize("value", [None, {}, {"a": [1, "é"]}])
def test_what_is_no_list_is_json_too(value):
    assert json.loads(uvloop.run(json_response(value)).body) == value


def test_others_get_their_turn_while_a_long_list_is_encoded():
    turns = 0

    async def use() -> None:
        nonlocal turns
        encoding = asyncio.ensure_future(json_response([0] * (10 * ENCODED_AT_ONCE)))
        while not encoding.done():
            await asyncio.sleep(0)
            turns += 1

    uvloop.run(use())
    assert turns >= 10


def test_an_error_is_an_object():
    response = error_response(404, "unknown")
    assert (response.status, response.content_type) == (404, "application/json")
    assert json.loads(response.body) == {"error": "unknown"}
