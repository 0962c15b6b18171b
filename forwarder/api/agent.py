"""Questions to the agent over a SOCK_SEQPACKET socket.

An agent that says nothing for TIMEOUT costs the asker that time and nothing else: the answer is None. A long answer
may take longer, as long as it goes on. Any number of clients that ask the same at once are one question.
"""

import asyncio
import json
import socket
from itertools import count
from typing import Any

TIMEOUT = 2.0
LARGEST_MESSAGE = 1 << 18       # above the default net.core.wmem_max, which bounds what the agent can send at once

Rows = list[dict[str, Any]]


class AgentClient:
    """The asking side; `attach` before the first question."""

    def __init__(self, connected: socket.socket, timeout: float = TIMEOUT) -> None:
        connected.setblocking(False)
        self._socket, self._timeout = connected, timeout
        self._numbers = count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Rows], Rows]] = {}
        self._asked: dict[str, asyncio.Task[Rows | None]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen for answers."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._receive)

    def close(self) -> None:
        """Stop listening and close the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    async def rows(self, noun: str) -> Rows | None:
        """All rows of a noun of the agent's, such as "groups", or None where the agent did not answer in time."""
        task = self._asked.get(noun)
        if task is None:
            task = self._asked[noun] = self._loop.create_task(self._ask(noun))
            task.add_done_callback(lambda _: self._asked.pop(noun))
        return await asyncio.shield(task)       # one client that goes away does not take the answer from the others

    async def _ask(self, noun: str) -> Rows | None:
        number = next(self._numbers)
        future: asyncio.Future[Rows] = self._loop.create_future()
        rows: Rows = []
        self._waiting[number] = (future, rows)
        try:
            self._socket.send(json.dumps({"id": number, "noun": noun}).encode())
            arrived = -1
            while not future.done() and arrived < len(rows):
                arrived = len(rows)
                await asyncio.wait([future], timeout=self._timeout)
            return future.result() if future.done() else None
        except OSError:
            return None
        finally:
            del self._waiting[number]

    def _receive(self) -> None:
        try:
            message = self._socket.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._loop.remove_reader(self._socket.fileno())
            return
        self._collect(message)

    def _collect(self, message: bytes) -> None:
        """Add a part of an answer; what cannot be read, or comes too late, is dropped."""
        try:
            answer = json.loads(message)
            future, rows = self._waiting[answer["id"]]
            rows += answer["rows"]
            more = answer["more"]
        except (ValueError, KeyError, TypeError):
            return
        if not more and not future.done():
            future.set_result(rows)
