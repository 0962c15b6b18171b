"""Questions to the agent over a SOCK_SEQPACKET socket.

An agent that says nothing for TIMEOUT costs the asker that time and nothing else: the answer is None. A long answer
may take longer, as long as it goes on. Any number of clients that ask the same at once are one question.
"""

import asyncio
import json
import socket
import time
from itertools import count
from typing import Any

TIMEOUT = 2.0
LARGEST_MESSAGE = 1 << 18       # above the default net.core.wmem_max, which bounds what the agent can send at once

Rows = list[dict[str, Any]]


class _Answer:
    """What has come of an answer, in so many messages."""

    def __init__(self, future: asyncio.Future[Rows]) -> None:
        self.future, self.messages = future, 0
        self._rows: Rows = []
        self._piece = ""        # of a row that no message holds

    def take(self, message: dict[str, Any]) -> None:
        """One more message; KeyError, TypeError, ValueError where it is none."""
        self._rows += message["rows"]
        self._piece += message.get("piece", "")
        if message.get("whole"):
            self._rows.append(json.loads(self._piece))
            self._piece = ""
        self.messages += 1
        if not message["more"] and not self.future.done():
            self.future.set_result(self._rows)


class AgentClient:
    """The asking side; `attach` before the first question."""

    def __init__(self, connected: socket.socket, timeout: float = TIMEOUT) -> None:
        connected.setblocking(False)
        self._socket, self._timeout = connected, timeout
        self._numbers = count(time.monotonic_ns())      # what a predecessor asked for may still come
        self._waiting: dict[int, _Answer] = {}
        self._asked: dict[str, asyncio.Task[Rows | None]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen for answers."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._receive)

    def close(self) -> None:
        """Stop listening and close the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    async def rows(self, noun: str, said: dict[str, Any] | None = None) -> Rows | None:
        """The rows of a noun of the agent's, such as "groups", or None where the agent did not answer in time.

        `said`: which of them, as `agent.rpc.chosen` has it; all.
        """
        asked = noun + json.dumps(said)
        task = self._asked.get(asked)
        if task is None:
            task = self._asked[asked] = self._loop.create_task(self._ask(noun, said))
            task.add_done_callback(lambda _: self._asked.pop(asked))
        return await asyncio.shield(task)       # one client that goes away does not take the answer from the others

    async def order(self, noun: str, said: dict[str, Any]) -> Rows | None:
        """Have "query" or "clear" carried out, or ask "why"; rows, or None where the agent did not answer in time."""
        return await self._ask(noun, said)

    async def _ask(self, noun: str, said: dict[str, Any] | None = None) -> Rows | None:
        number = next(self._numbers)
        answer = self._waiting[number] = _Answer(self._loop.create_future())
        future = answer.future
        try:
            self._socket.send(json.dumps({**(said or {}), "id": number, "noun": noun}).encode())
            arrived = -1
            while not future.done() and arrived < answer.messages:
                arrived = answer.messages
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
            decoded = json.loads(message)
            self._waiting[decoded["id"]].take(decoded)
        except (ValueError, KeyError, TypeError):
            return
