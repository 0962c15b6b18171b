"""Whatever answers at the socket, an instance of another version or no instance: a line says so, never a traceback."""

import socket
import threading
from contextlib import suppress

import pytest
from test_cli import instance, mcfwd

from forwarder.client import Client, NoAnswerError, RequestError
from forwarder.command import screen
from forwarder.command.question import Question
from forwarder.command.tables import COLUMNS

DEEP: list[object] = []
for _ in range(900):
    DEEP = [DEEP]
STRANGE = [5, "x", [1], [None], [{}], [[1]], {"a": [1]}, {"a": 1}, [float("nan")], DEEP]
NOUNS = sorted(COLUMNS.keys() - {"processes"} | {"stats"})     # in order: xdist wants the same tests in all processes


@pytest.mark.parametrize("noun", NOUNS)
def test_a_table_of_what_is_none_is_an_error_in_words(tmp_path, noun):
    for answer in STRANGE:
        with instance(tmp_path, {noun: answer}) as path, pytest.raises(NoAnswerError, match="does not understand"):
            screen.draw_once(Client(path), Question(noun))
        (tmp_path / "s").unlink()


def test_flows_of_an_agent_that_is_silent_are_said_to_be_missing(tmp_path):
    with instance(tmp_path, {"flows": None}) as path, pytest.raises(NoAnswerError, match="agent does not answer"):
        Client(path).get("flows")


def test_an_order_of_which_comes_what_it_cannot_is_an_error_in_words(tmp_path):
    for answer in (None, 5, [1]):
        with instance(tmp_path, {"ignored": answer}) as path, pytest.raises((NoAnswerError, RequestError)):
            Client(path).order("query", {})
        (tmp_path / "s").unlink()


def test_it_is_one_line_at_the_command_line(tmp_path):
    with instance(tmp_path, {"groups": [{"interface": "eth0"}], "ignored": 1}) as path:
        for command in (("show", "groups"), ("query",)):
            done = mcfwd(*command, "--socket", path)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert "does not understand" in done.stderr


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n["])
def test_an_answer_that_never_ends_is_given_up(tmp_path, head):
    """One that sends an octet now and then kept the command for ever."""

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(head)
            for _ in range(250):
                if done.wait(0.02):
                    break
                connection.sendall(b" ")

    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(NoAnswerError, match="timed out"):
            Client(f"{tmp_path}/s", timeout=0.2).get("groups")
        done.set()
        thread.join()
