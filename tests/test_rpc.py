"""The agent's answers to the API: in messages a socket takes, without waiting for whoever reads them."""

import asyncio
import json
import socket

import uvloop

from forwarder.agent.rpc import CHUNK, RpcServer, answers


def row(number, sources=0):
    return {"group": number, "sources": [[address, 1.5] for address in range(sources)]}


def test_answers_are_cut_by_their_size():
    rows = [row(number, 100) for number in range(500)]
    messages = list(answers(7, rows))
    decoded = [json.loads(message) for message in messages]
    assert len(messages) > 1
    assert max(map(len, messages)) < 2 * CHUNK
    assert [each["more"] for each in decoded] == [True] * (len(messages) - 1) + [False]
    assert [each for message in decoded for each in message["rows"]] == rows
    assert {each["id"] for each in decoded} == {7}


def test_no_rows_are_an_answer_too():
    assert [json.loads(message) for message in answers(None, [])] == [{"id": None, "rows": [], "more": False}]


def test_a_reader_that_is_slow_gets_everything_and_a_strange_request_nothing():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rows = [row(number, 1000) for number in range(100)]

    async def exchange():
        RpcServer(ours.detach(), {"groups": lambda: rows}).attach(asyncio.get_running_loop())
        for request in (b"not json", b'{"noun": "nothing"}', b"[]", b'{"id": 1, "noun": "groups"}'):
            theirs.send(request)
        theirs.setblocking(False)
        received, more = [], True
        while more:
            answer = json.loads(await asyncio.get_running_loop().sock_recv(theirs, 1 << 20))
            received, more = received + answer["rows"], answer["more"]
        return received

    with theirs:
        assert uvloop.run(asyncio.wait_for(exchange(), 10)) == rows


def test_a_long_answer_holds_nothing_up():
    """Between two messages of an answer everything else gets its turn, and rows are made as they are sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made, turns = [], []

    def rows():
        for number in range(2000):
            made.append(number)
            yield row(number, 50)

    async def exchange():
        loop = asyncio.get_running_loop()
        RpcServer(ours.detach(), {"groups": rows}).attach(loop)
        theirs.setblocking(False)
        theirs.send(b'{"id": 1, "noun": "groups"}')
        received = 0
        while received < 2000:
            received += len(json.loads(await loop.sock_recv(theirs, 1 << 20))["rows"])
            turns.append(len(made))
        return received

    with theirs:
        assert uvloop.run(asyncio.wait_for(exchange(), 10)) == 2000
    assert turns[0] < 1000
