"""`POST /v1/batch` and `mcfwd batch`, from a file to what the supervisor is asked, at an API as it runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from test_api import Instance, running
from test_cli import mcfwd

from forwarder.api.batches import LOOKED_AT_ONCE, requests_of
from forwarder.api.server import RefusedError
from forwarder.client import Client, RequestError
from forwarder.lab.wait import wait_for
from forwarder.state.batch import MOST_OCTETS, MOST_OPERATIONS

ROUTE = {"command": "route add", "group": "239.1.1.1", "upstream": "eth0", "interfaces": ["eth1"]}
GROUP = {"command": "group add", "interface": "eth1", "group": "239.1.1.1"}
FILE = """\
# what the studio wants
route add 239.1.1.1 --upstream eth0 --to eth1
route add 239.1.1.2 --to eth1 --to eth2
mcfwd group add eth2 239.1.1.3
route del 239.1.1.1 --upstream eth0
"""


def made(operations: Any) -> list[dict[str, Any]]:
    """Without a loop: what is awaited only lets others have their turn."""
    steps = requests_of(operations)
    while True:
        try:
            steps.send(None)
        except StopIteration as end:
            return list(end.value)


def run(instance: Instance, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = folder / "commands"
    file.write_bytes(text.encode())
    return mcfwd("batch", str(file), "--socket", instance.path)


def refused(instance: Instance, operations: Any) -> tuple[int, str, int | None]:
    with pytest.raises(RequestError) as caught:
        Client(instance.path).change("POST", "batch", operations)
    return caught.value.status, str(caught.value), caught.value.operation


def test_operations_become_requests():
    assert made([ROUTE, {**GROUP, "command": "group del"}]) == [
        {"type": "add", "noun": "routes",
         "row": {"group": "239.1.1.1", "source": None, "upstream": "eth0", "interfaces": ["eth1"]}},
        {"type": "delete", "noun": "groups", "row": {"interface": "eth1", "group": "239.1.1.1", "source": None}},
    ]  # fmt: skip
    assert len(made([ROUTE] * (LOOKED_AT_ONCE + 1))) == LOOKED_AT_ONCE + 1


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))  # fmt: skip


@examples(0.3)
@given(JSON | st.lists(st.fixed_dictionaries({"command": st.just("route add") | JSON}, optional={"group": JSON})))
def test_whatever_comes_is_made_requests_or_refused(operations):
    try:
        assert len(made(operations)) == len(operations)
    except RefusedError as refusal:
        status = refusal.status
        assert status in (400, 413)


def test_a_batch_is_one_change(tmp_path):
    with running(tmp_path) as instance:
        done = run(instance, tmp_path, FILE)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        [request] = instance.supervisor.asked
        assert [each["type"] for each in request["requests"]] == ["add", "add", "add", "delete"]
        assert [route.group for route in instance.supervisor.added.routes] == ["239.1.1.2"]
        assert instance.supervisor.added.groups == (("eth2", "239.1.1.3"),)
        assert Client(instance.path).change("POST", "batch", []) == {"operations": 0}


def test_what_is_refused_names_its_line_and_changes_nothing(tmp_path):
    with running(tmp_path) as instance:
        done = run(instance, tmp_path, FILE + "\r\n\r\nroute add 239.1.1.4 --to eth9\r\nroute add 239.1.1.5 --to eth8")
        place = f"mcfwd: {tmp_path}/commands:8: interfaces[0]: no [[interface]] covers \"eth9\""
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(place)
        assert done.stderr.endswith("; nothing was changed\n")
        assert instance.supervisor.added.routes == ()
        assert refused(instance, [ROUTE, ROUTE])[::2] == (409, 2)
        status, words, operation = refused(instance, [ROUTE, {**GROUP, "groop": 1}])
        assert (status, operation) == (400, 2)
        assert words.startswith("operation 2: groop: unknown key; known are ")


@pytest.mark.parametrize(("body", "status", "words"), [
    ({}, 400, "the body should be a JSON list of operations"),
    ([7], 400, "operation 1: should be a JSON object"),
    ([{"command": ["route add"]}], 400, 'operation 1: command: should be one of "route add", "route replace"'),
    ([{}] * (MOST_OPERATIONS + 1), 413, "a batch has at most 20000 operations in 4 MiB; send several"),
    ([{**ROUTE, "source": "\ud800"}], 400, "the request has text that is not Unicode"),
])  # fmt: skip
def test_a_body_that_is_no_batch_is_refused(tmp_path, body, status, words):
    with running(tmp_path) as instance:
        found = refused(instance, body)
        assert (found[0], found[1][: len(words)]) == (status, words)
        assert instance.supervisor.asked == []


def test_a_body_is_bounded_whether_its_length_is_said_or_not(tmp_path):
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    with running(tmp_path) as instance:
        assert instance.exchange(head + b"Content-Length: %d\r\n\r\n" % (MOST_OCTETS + 1))[0] == 413
        assert instance.exchange(head + b"Content-Length: 3\r\n\r\n[[[")[0] == 400
        with instance.connect() as connection:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            piece = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
            try:
                for _ in range(6):
                    connection.sendall(piece)
            except OSError:
                pass        # it hung up, as it may
            with connection.makefile("rb") as answer:
                try:
                    assert b" 413 " in answer.readline()
                except OSError:
                    pass
        assert instance.supervisor.asked == []


def test_one_batch_is_read_at_a_time(tmp_path):
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"

    def busy() -> bool:
        try:
            return not Client(instance.path).change("POST", "batch", [])
        except RequestError as refusal:
            return refusal.status == 503

    with running(tmp_path) as instance:
        with instance.connect() as slow:
            slow.sendall(head)
            wait_for(busy, 5.0, "another batch to be refused")
            slow.sendall(b"[]")
            assert b" 200 " in slow.recv(65536)
        assert Client(instance.path).change("POST", "batch", []) == {"operations": 0}


def test_lines_that_are_wrong_are_told_before_anybody_is_asked(tmp_path):
    file = tmp_path / "com\nmands"
    file.write_text("route add\nroute add 239.1.1.1\n" + "rm -rf $(id)\n" * 30)
    done = mcfwd("batch", str(file), "--socket", "/nowhere")
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[0] == f"mcfwd: {json.dumps(str(file))}:1: group is missing"
    assert lines[1].startswith(f"mcfwd: {json.dumps(str(file))}:3: unknown command \"rm -rf\"; known are route add, ")
    assert lines[-2:] == ["mcfwd: 11 more lines are wrong", "mcfwd: nothing was changed"]


@pytest.mark.parametrize(("octets", "words"), [
    (b"route add 239.1.1.1\n\xff", ":2: is not UTF-8 text; nothing was changed"),
    (b"#" * (MOST_OCTETS + 1), ": is longer than 4 MiB; nothing was changed"),
    (b"route add 1\n" * (MOST_OPERATIONS + 1), ":20001: a batch has at most 20,000 commands, and they end here"),
    (b"\n" * 100, "no instance answers"),
])  # fmt: skip
def test_files_that_are_no_batch(tmp_path, octets, words):
    file = tmp_path / "commands"
    file.write_bytes(octets)
    done = mcfwd("batch", str(file), "--socket", "/nowhere")
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there():
    assert mcfwd("batch", "/nowhere").stderr == "mcfwd: /nowhere: No such file or directory\n"
