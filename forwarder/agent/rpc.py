"""Answers to the API process: membership details, in chunks, without ever waiting for the reader.

One JSON request a message; an answer is one or more messages, the last with `more` false. What the socket does not
take now is sent when it takes more; a reader that stays away loses its answer, not our time.
"""

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

CHUNK = 64 * 1024                # bytes of rows after which a message ends; a row of 4,096 sources takes twice that
LONGEST_QUEUE = 4096
LARGEST = 65536

Rows = Iterable[dict[str, Any]]


class RpcServer:
    """Serves `nouns` (name -> rows) on a SOCK_SEQPACKET socket."""

    def __init__(self, descriptor: int, nouns: Mapping[str, Callable[[], Rows]]) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._nouns = nouns
        self._queue: deque[bytes] = deque()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to serve."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            request = json.loads(self._socket.recv(LARGEST))
            rows = list(self._nouns[request["noun"]]())
        except (OSError, ValueError, KeyError, TypeError):
            return
        if len(self._queue) > LONGEST_QUEUE:
            self._queue.clear()
        self._queue.extend(answers(request.get("id"), rows))
        self._send()

    def _send(self) -> None:
        while self._queue:
            try:
                self._socket.send(self._queue[0])
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._send)
                return
            except OSError:
                pass
            self._queue.popleft()
        self._loop.remove_writer(self._socket.fileno())


def answers(number: Any, rows: Rows) -> Iterator[bytes]:
    """The messages that carry `rows` in answer to request `number`; at least one, the last with `more` false."""
    chunk: list[str] = []
    size = 0
    for row in rows:
        encoded = json.dumps(row, separators=(",", ":"))
        if chunk and size + len(encoded) > CHUNK:
            yield _message(number, chunk, more=True)
            chunk, size = [], 0
        chunk.append(encoded)
        size += len(encoded)
    yield _message(number, chunk, more=False)


def _message(number: Any, rows: list[str], *, more: bool) -> bytes:
    return f'{{"id":{json.dumps(number)},"rows":[{",".join(rows)}],"more":{json.dumps(more)}}}'.encode()
