"""The agent's answers to the API: in messages a socket takes, without waiting for whoever reads them."""

import asyncio
import json
import socket

import pytest
import uvloop

from forwarder.agent.rpc import CHUNK, LOOKED_AT, RpcServer, answers, chosen


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


GROUP = 0xEF010200
MEMBERS = [{"port": at % 3, "group": GROUP + at, "origins": [7] if at == 5 else []} for at in range(9)]


@pytest.mark.parametrize(("request_", "found"), [
    ({}, list(range(9))), ({"groups": [], "ports": None}, list(range(9))),
    ({"groups": [[GROUP + 4, 32]]}, [4]), ({"groups": [[GROUP, 31], [GROUP + 8, 32]]}, [0, 1, 8]),
    ({"groups": [[0, 0]]}, list(range(9))), ({"ports": [2, 9]}, [2, 5, 8]), ({"ports": [7]}, [5]), ({"ports": []}, []),
    ({"groups": [[GROUP, 30]], "ports": [0]}, [0, 3]),
])  # fmt: skip
def test_rows_of_some_groups_and_ports_are_told_alone(request_, found):
    assert [each for each in chosen(MEMBERS, request_) if each] == [MEMBERS[at] for at in found]


def test_no_more_rows_are_passed_over_in_a_turn_than_it_should_take():
    many = [{"port": 0, "group": GROUP + at} for at in range(5 * LOOKED_AT)]
    messages = [json.loads(each) for each in answers(7, chosen(many, {"groups": [[GROUP + 3 * LOOKED_AT + 5, 32]]}))]
    assert len(messages) == 6
    assert [each["more"] for each in messages] == [True] * 5 + [False]
    assert [each for message in messages for each in message["rows"]] == [many[3 * LOOKED_AT + 5]]


def padded(octets: int) -> dict[str, str]:
    """A row that takes so many octets."""
    return {"a": "x" * (octets - len('{"a":""}'))}


@pytest.mark.parametrize(("sizes", "counts"), [
    ([CHUNK // 2, CHUNK // 2], [2]), ([CHUNK // 2, CHUNK // 2 + 1], [1, 1]), ([CHUNK // 4] * 5, [4, 1]),
    ([3 * CHUNK], [1]), ([10, 3 * CHUNK, 10], [1, 1, 1]), ([10, CHUNK - 10, CHUNK - 10, 10, 10], [2, 2, 1]),
])  # fmt: skip
def test_a_message_takes_as_many_rows_as_it_holds(sizes, counts):
    assert CHUNK == 32768
    rows = [padded(size) for size in sizes]
    assert [len(json.loads(message)["rows"]) for message in answers(1, rows)] == counts


def test_a_row_that_no_message_holds_comes_in_pieces():
    rows = [row(1), row(2, 65535), row(3)]
    messages = list(answers(7, rows))
    decoded = [json.loads(message) for message in messages]
    assert max(map(len, messages)) < 2 * CHUNK
    text = "".join(each.get("piece", "") for each in decoded)
    assert json.loads(text) == rows[1]
    assert [each["whole"] for each in decoded if "piece" in each][-2:] == [False, True]
    assert [each for message in decoded for each in message["rows"]] == [rows[0], rows[2]]


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


def test_every_question_has_its_answer_in_its_turn():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nouns = {"groups": lambda: [row(1)], "hosts": lambda: [row(2, 3000), row(3, 3000)]}

    async def exchange():
        loop = asyncio.get_running_loop()
        RpcServer(ours.detach(), nouns).attach(loop)
        theirs.setblocking(False)
        said = []
        for numbers in ((1,), (2, 3, 4), (5,)):     # the next ones when those before were answered
            for number in numbers:
                theirs.send(json.dumps({"id": number, "noun": "hosts" if number == 3 else "groups"}).encode())
            while len([number for number, _, more in said if not more]) < numbers[-1]:
                answer = json.loads(await loop.sock_recv(theirs, 1 << 20))
                said.append((answer["id"], [each["group"] for each in answer["rows"]], answer["more"]))
        return sorted(said)

    with theirs:
        assert uvloop.run(asyncio.wait_for(exchange(), 10)) == [
            (1, [1], False), (2, [1], False), (3, [2], True), (3, [3], False), (4, [1], False), (5, [1], False),
        ]  # fmt: skip


def test_however_many_ask_each_has_an_answer_and_waits_for_no_long_one():
    """A table that was under way was dropped by the sixteenth question, and each of these waited for it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nouns = {"groups": lambda: [row(1)], "hosts": lambda: (row(number, 100) for number in range(2000))}

    async def exchange():
        loop = asyncio.get_running_loop()
        RpcServer(ours.detach(), nouns).attach(loop)
        theirs.setblocking(False)
        await loop.sock_sendall(theirs, b'{"id": 0, "noun": "hosts"}')
        for number in range(1, 65):
            await loop.sock_sendall(theirs, json.dumps({"id": number, "noun": "groups"}).encode())
        ended, rows = [], 0
        while len(ended) < 65:
            answer = json.loads(await loop.sock_recv(theirs, 1 << 20))
            rows += len(answer["rows"])
            ended += [] if answer["more"] else [answer["id"]]
        return ended, rows

    with theirs:
        ended, rows = uvloop.run(asyncio.wait_for(exchange(), 10))
    assert (sorted(ended), ended[-1], rows) == ([*range(65)], 0, 2064)


def test_who_is_gone_has_no_answer():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = []

    async def exchange():
        server = RpcServer(ours.detach(), {"groups": lambda: made.append(1) or [row(1)]})
        server.attach(asyncio.get_running_loop())
        theirs.send(b'{"id": 1, "noun": "groups"}')
        theirs.close()
        for _ in range(100):
            await asyncio.sleep(0)
            if made:
                break
        for _ in range(10):
            await asyncio.sleep(0)
        return server

    assert uvloop.run(exchange())._sending is False
