"""Answers to the API process: membership details, in chunks, without ever waiting for the reader.

One JSON request a message; an answer is one or more messages, the last with `more` false. One message is made and sent
in a turn of the loop, of each answer in its turn, so a table of any size delays nothing else; what the socket does not
take now is sent when it takes more. A reader that stays away loses its answer, not our time. A row that no message
would hold comes in pieces: text to be put together, the last with `whole` true.
"""

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

CHUNK = 32 * 1024                # bytes of rows after which a message ends
LONGEST = 3 * CHUNK              # bytes of a row that is one message: 65,535 sources take 20 times what a socket takes
MOST_ANSWERS = 256               # under way at once: of the API's 64 connections, and of some predecessors of it
LARGEST = 65536

LOOKED_AT = 1000                 # rows that are passed over in a turn

Rows = Iterable[dict[str, Any]]
Order = Callable[[dict[str, Any]], Rows]


class RpcServer:
    """Serves `nouns` (name -> rows) on a SOCK_SEQPACKET socket; rows are asked for as they are sent.

    `orders` (name -> request -> rows) are carried out when they come. An empty row is not sent; it ends a message.
    """

    def __init__(
        self, descriptor: int, nouns: Mapping[str, Callable[[], Rows]], orders: Mapping[str, Order] | None = None
    ) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._nouns, self._orders = nouns, orders or {}
        self._answers: deque[Iterator[bytes]] = deque()
        self._message = b""
        self._sending = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to serve."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            request = json.loads(self._socket.recv(LARGEST))
            if len(self._answers) >= MOST_ANSWERS:
                return
            noun = request["noun"]
            rows = self._orders[noun](request) if noun in self._orders else chosen(self._nouns[noun](), request)
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._answers.append(answers(request.get("id"), rows))
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send one message and come back for the next."""
        self._message = self._message or self._next()
        if not self._message:
            self._sending = False
            return
        try:
            self._socket.send(self._message)
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._resume)
            return
        except OSError:
            pass
        self._message = b""
        self._loop.call_soon(self._send)

    def _resume(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._send()

    def _next(self) -> bytes:
        """The next message of the answer whose turn it is; empty when there is none."""
        while self._answers:
            answer = self._answers.popleft()
            message = next(answer, b"")
            if message:
                self._answers.append(answer)
                return message
        return b""


def chosen(rows: Rows, request: Mapping[str, Any]) -> Rows:
    """Those of `rows` that a request means: of `groups`, [address, prefix length] each, and of `ports`, by index.

    A row is of its port and of those that it comes from (`origins`). Now and then an empty row stands for others.
    """
    groups = [(32 - int(prefix), int(address) >> 32 - int(prefix)) for address, prefix in request.get("groups") or ()]
    ports = None if request.get("ports") is None else frozenset(request["ports"])
    return _meant(rows, groups, ports) if groups or ports is not None else rows


def _meant(rows: Rows, groups: Sequence[tuple[int, int]], ports: frozenset[int] | None) -> Rows:
    for number, row in enumerate(rows):
        here = bool(row) and (
            (not groups or any(row["group"] >> shift == head for shift, head in groups))
            and (ports is None or not ports.isdisjoint((row["port"], *row.get("origins", ()))))
        )
        if here or number % LOOKED_AT == 0:
            yield row if here else {}


def answers(number: Any, rows: Rows) -> Iterator[bytes]:
    """The messages that carry `rows` in answer to request `number`; at least one, the last with `more` false.

    An empty row ends a message: whoever makes rows has looked at enough for a turn.
    """
    chunk: list[str] = []
    size = 0
    for row in rows:
        if not row:
            yield _message(number, chunk, more=True)
            chunk, size = [], 0
            continue
        encoded = json.dumps(row, separators=(",", ":"))
        if chunk and size + len(encoded) > CHUNK:
            yield _message(number, chunk, more=True)
            chunk, size = [], 0
        if len(encoded) > LONGEST:
            yield from _pieces(number, encoded)
            continue
        chunk.append(encoded)
        size += len(encoded)
    yield _message(number, chunk, more=False)


def _pieces(number: Any, row: str) -> Iterator[bytes]:
    for at in range(0, len(row), CHUNK):
        piece = {"id": number, "rows": [], "piece": row[at : at + CHUNK], "whole": at + CHUNK >= len(row), "more": True}
        yield json.dumps(piece).encode()


def _message(number: Any, rows: list[str], *, more: bool) -> bytes:
    return f'{{"id":{json.dumps(number)},"rows":[{",".join(rows)}],"more":{json.dumps(more)}}}'.encode()
