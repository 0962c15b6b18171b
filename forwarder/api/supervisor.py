"""Requests to the supervisor, which alone changes the configuration, over the control channel.

Every request has a number and gets one answer; a supervisor that does not answer in time costs the asker that time.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from forwarder.api.batches import OperationError
from forwarder.api.server import RefusedError
from forwarder.process import control, long_messages

TIMEOUT = 4.0
RELOAD_TIMEOUT = 14.0   # seconds: the file may take 2 to be written, and 10 to be understood (`supervisor.reloads`)
AGAIN = 1.0     # seconds until we ask for what was cut off: by then there may be a descriptor for it
STATUSES = {"invalid": 400, "exists": 409, "unknown": 404, "configured": 409, "full": 507, "configuration": 422}


class SupervisorClient:
    """The asking side; `attach` before the first request."""

    def __init__(
        self, channel: socket.socket, timeout: float = TIMEOUT,
        workers: Callable[[Mapping[str, int]], None] = lambda segments: None,
    ) -> None:
        """`workers` is told of other segments of workers, descriptors by name."""
        self._channel, self._timeout, self._workers = channel, timeout, workers
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen for answers."""
        self._loop = loop
        self._channel.setblocking(False)
        loop.add_reader(self._channel.fileno(), self._receive)

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a request carried out: the supervisor's answer; raises RefusedError with its words."""
        number = next(self._numbers)
        future = self._waiting[number] = self._loop.create_future()
        try:
            send = long_messages.send if request["type"] == "batch" else control.send
            if not send(self._channel, {**request, "id": number}):
                raise RefusedError(503, "the supervisor is busy; try again")
            timeout = RELOAD_TIMEOUT if request["type"] == "reload" else self._timeout
            answer: dict[str, Any] = await asyncio.wait_for(future, timeout)
        except control.MessageError:
            raise RefusedError(413, "the request is too long for a message to the supervisor") from None
        except TimeoutError:
            raise RefusedError(504, "the supervisor does not answer; what was asked may still happen") from None
        finally:
            del self._waiting[number]
        if answer["refusal"] is not None:
            status, operation = STATUSES.get(answer["refusal"], 500), answer.get("operation")
            if operation is not None:
                raise OperationError(status, answer["words"], operation)
            raise RefusedError(status, answer["words"])
        return answer

    def _receive(self) -> None:
        try:
            received = control.receive(self._channel)
        except BlockingIOError:
            return
        except control.MessageError:
            self._ask_again()
            return
        if received is None:
            self._loop.remove_reader(self._channel.fileno())
            return
        if received[0].get("type") == "workers":
            self._take_workers(received[1])
        future = self._waiting.get(received[0].get("id", 0))
        if future is not None and not future.done():
            future.set_result(received[0])

    def _take_workers(self, segments: Mapping[str, int]) -> None:
        try:
            self._workers(segments)
        except OSError:     # no descriptor to be had for a map
            for descriptor in segments.values():
                os.close(descriptor)
            self._ask_again()

    def _ask_again(self) -> None:
        """What came was cut off where we had no descriptor left, and may have been the workers' segments."""
        self._loop.call_later(AGAIN, control.send, self._channel, {"type": "again"})
