"""A batch of changes: POST of `/v1/batch` with a list of operations, which the supervisor makes one change of, or none.

An operation is an object: `command` says what it is ("route add" and so on, as on the command line), and the keys
beside it are those of POST of `/v1/routes` or `/v1/groups`. What is wrong names the operation by its number, from 1.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

from forwarder.api import requests
from forwarder.api.server import RefusedError
from forwarder.state.batch import COMMANDS, MOST_OCTETS, MOST_OPERATIONS

LOOKED_AT_ONCE = 500    # operations between two turns of the loop: some 5 ms

ROWS = {"routes": requests.route_row, "groups": requests.group_row}
_TOO_LONG = f"a batch has at most {MOST_OPERATIONS} operations in {MOST_OCTETS >> 20} MiB; send several"


class OperationError(RefusedError):
    """An operation that is none; `number` from 0."""

    def __init__(self, status: int, words: str, number: int) -> None:
        super().__init__(status, f"operation {number + 1}: {words}; nothing was changed", operation=number + 1)


class Batches:
    """One is read at a time: 64 clients with one each would be 256 MiB."""

    def __init__(self) -> None:
        self._reading = asyncio.Lock()

    async def read(self, request: web.BaseRequest) -> list[dict[str, Any]]:
        """The supervisor's requests of what a client asks for; raises RefusedError."""
        if self._reading.locked():
            raise RefusedError(503, "another batch is being read; try again")
        async with self._reading:
            return await requests_of(_decoded(await _octets(request)))


async def requests_of(operations: Any) -> list[dict[str, Any]]:
    """The supervisor's requests of a list of operations; raises RefusedError."""
    if not isinstance(operations, list):
        raise RefusedError(400, "the body should be a JSON list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise RefusedError(413, _TOO_LONG)
    made = []
    for number, operation in enumerate(operations):
        if number % LOOKED_AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            made.append(_request(operation))
        except RefusedError as error:
            raise OperationError(error.status, str(error), number) from error
    return made


def _request(operation: Any) -> dict[str, Any]:
    if not isinstance(operation, dict):
        raise RefusedError(400, "should be a JSON object")
    said = dict(operation)
    command = said.pop("command", None)
    if not isinstance(command, str) or command not in COMMANDS:
        raise RefusedError(400, f"command: should be one of {', '.join(map(json.dumps, COMMANDS))}")
    verb, noun = COMMANDS[command]
    return {"type": verb, "noun": noun, "row": ROWS[noun](said)}


async def _octets(request: web.BaseRequest) -> bytes:
    """The body, which is longer than what aiohttp reads by itself; one that is too long is refused unread."""
    if (request.content_length or 0) > MOST_OCTETS:
        raise RefusedError(413, _TOO_LONG)
    octets = bytearray()
    async for piece in request.content.iter_any():
        octets += piece
        if len(octets) > MOST_OCTETS:
            raise RefusedError(413, _TOO_LONG)
    return bytes(octets)


def _decoded(octets: bytes) -> Any:
    try:
        decoded = json.loads(octets)
        if b"\\ud" in octets.lower():   # of half a character there may be one, which nobody can print
            json.dumps(decoded, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedError(400, "the request has text that is not Unicode") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    return decoded
