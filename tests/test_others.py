"""Root finds the instances of other users, asks the only one, says whose it is, and obeys nothing of what it says."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest
from test_cli import ANSWERS, instance, mcfwd

from forwarder import others

USER = 65534
needs_user = pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")


@pytest.fixture
def place(tmp_path) -> Path:
    """A directory like /tmp, where anybody may put something."""
    directory = tmp_path / "t"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


def listener(path: Path, owner: int) -> socket.socket:
    path.parent.mkdir(exist_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    os.chown(path, owner, owner)
    return listening


@needs_user
def test_sockets_are_found_where_their_users_put_them(place, tmp_path):
    runtime = tmp_path / "user"
    runtime.mkdir()
    with listener(place / "mcfwd-7.sock", 7), listener(runtime / "8" / "mcfwd.sock", 8):
        found = others.sockets(str(place), str(runtime))
    assert found == [(7, f"{place}/mcfwd-7.sock"), (8, f"{runtime}/8/mcfwd.sock")]


@needs_user
def test_what_is_not_its_users_own_socket_is_none(place):
    (place / "mcfwd-5.sock").write_text("a file")
    os.chown(place / "mcfwd-5.sock", 5, 5)
    (place / "mcfwd-9.sock").symlink_to(place / "mcfwd-7.sock")
    with listener(place / "mcfwd-7.sock", 8), listener(place / "mcfwd-0.sock", 0), listener(place / "mcfwd-07.sock", 7):
        assert others.sockets(str(place), str(place / "nowhere")) == []


@needs_user
def test_no_more_than_so_many_are_looked_at(place):
    for uid in range(1, others.MOST + 10):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{place}/mcfwd-{uid}.sock")
        os.chown(f"{place}/mcfwd-{uid}.sock", uid, uid)
    found = others.sockets(str(place), str(place / "nowhere"))
    assert len(found) == others.MOST
    assert others.connected(found, 1.0) == []


def test_nothing_in_an_answer_reaches_a_terminal_as_an_order():
    answer = [{"hint\x1b": "\x1b[2Jgone\u202e", "n": 7, "none": None, "text": "ä, ö"}]
    assert others.printable(answer) == [{"hint\\x1b": "\\x1b[2Jgone\\u202e", "n": 7, "none": None, "text": "ä, ö"}]


@needs_user
def test_the_only_instance_is_asked_and_named(place):
    said = {**ANSWERS, "routes": [{**ANSWERS["routes"][0], "kind": "\x1b[31mred"}]}
    with instance(place, said) as path:
        os.rename(path, place / f"mcfwd-{USER}.sock")
        os.chown(place / f"mcfwd-{USER}.sock", USER, USER)
        done = mcfwd("show", "routes", "--json", TMPDIR=str(place), XDG_RUNTIME_DIR="", MCFWD_SOCKET="")
    assert done.returncode == 0
    assert done.stderr == f"mcfwd: this is the instance of user {USER} at {place}/mcfwd-{USER}.sock\n"
    assert json.loads(done.stdout)[0]["kind"] == "\\x1b[31mred"


@needs_user
@pytest.mark.parametrize("said", [b"\x1b[2J\r\n", b'HTTP/1.1 409 no\r\n\r\n{"error": "\\u001b[2J"}'])
def test_nothing_it_refuses_with_reaches_a_terminal_as_an_order(place, said):
    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(said)

    with listener(place / f"mcfwd-{USER}.sock", USER) as listening:
        answering = threading.Thread(target=answer)
        answering.start()
        done = mcfwd("show", "stats", TMPDIR=str(place), XDG_RUNTIME_DIR="", MCFWD_SOCKET="")
        answering.join()
    assert done.returncode == 1
    assert "\\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr


@needs_user
def test_of_several_one_has_to_be_named(place):
    with listener(place / "mcfwd-7.sock", 7), listener(place / "mcfwd-8.sock", 8):
        done = mcfwd("show", "stats", TMPDIR=str(place), XDG_RUNTIME_DIR="", MCFWD_SOCKET="")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"name one with --socket: {place}/mcfwd-7.sock, {place}/mcfwd-8.sock" in done.stderr
