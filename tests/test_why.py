"""`GET /v1/why` over a real socket, and `mcfwd why` of what it answers; questions that are none, and silent agents."""

import json
import os
import pty
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_api import Instance, running
from test_chain import DOWN, JOINED, REFUSED, WELL, port, with_agent
from test_cli import command, instance, mcfwd, read_until

from forwarder.api.why import agent_facts
from forwarder.client import Client, NoAnswerError, RequestError
from forwarder.command.chains import of, picture
from forwarder.command.drawing import drawn
from forwarder.diagnosis.why import MOST_CHAINS, cases, explain
from forwarder.state.settings import RouteSettings

DOCS = Path(__file__).parent.parent / "docs"
KEYS = {"group", "receiver", "source", "interface", "verdict", "steps", "chains", "more"}


def asked(made: Instance, query: str) -> tuple[int, Any]:
    status, _, body = made.get(f"/v1/why{query}")
    return status, json.loads(body)


# --- which ports an answer is about ---


def interfaces(facts: Any) -> list[str | None]:
    return [case.port and case.port.name for case in cases(facts)]


TWO = replace(WELL, receiver=None, ports=(*WELL.ports, port(2, "down1"), port(3, "up1", "upstream")))


@pytest.mark.parametrize(("facts", "expected"), [
    (TWO, ["down0"]),
    (with_agent(TWO, groups=[JOINED, {**JOINED, "port": 2}, {**JOINED, "port": 3}]), ["down0", "down1"]),
    (with_agent(TWO, groups=[], refusals=[{**REFUSED, "port": 2}]), ["down1"]),
    (with_agent(TWO, groups=[], refusals=[{**REFUSED, "reason": "max_hosts"}]), [None]),
    (with_agent(TWO, groups=[]), [None]),
    (with_agent(replace(WELL, receiver=None), groups=[]), ["down0"]),       # there is no other
    (with_agent(replace(TWO, enslaved={2: "down1 is a port of the bridge br0: name br0"}), groups=[]), ["down1"]),
    (replace(TWO, agent=None, members={None: 0b100}), ["down1"]),
    (replace(with_agent(TWO, groups=[]), situation=replace(
        WELL.situation, routes=(RouteSettings(group="239.1.2.3", interfaces=("down*",)),))), ["down0", "down1"]),
    (replace(TWO, receiver="down1"), ["down1"]),
    (replace(TWO, receiver="192.168.1.77"), ["down0"]),
    (replace(TWO, receiver="8.8.8.8"), [None]),
    (with_agent(replace(TWO, receiver="8.8.8.8"), hosts=[{"port": 2, "host": 0x08080808, "mac": 1}]), ["down1"]),
    (with_agent(replace(TWO, receiver="192.168.1.77"), refusals=[{**REFUSED, "port": 2, "host": 0xC0A8014D}]),
     ["down1"]),
    (replace(TWO, receiver="fe80::1"), [None]),
    (replace(TWO, receiver=""), [None]),
])  # fmt: skip
def test_the_ports_that_an_answer_is_about(facts, expected):
    assert interfaces(facts) == expected


def test_the_worst_chain_is_the_answer_and_of_many_some_are_given():
    ports = [WELL.ports[0], DOWN, *(port(number, f"tap{number}") for number in range(2, 90))]
    groups = [{**JOINED, "port": number} for number in range(1, 90)]
    answer = explain(with_agent(replace(WELL, receiver=None, ports=ports), groups=groups))
    assert set(answer) == KEYS
    assert (len(answer["chains"]), answer["more"]) == (MOST_CHAINS, 89 - MOST_CHAINS)
    assert (answer["verdict"], answer["interface"]) == ("querier", "tap2")
    assert answer["chains"][-1]["verdict"] == "flows"


def test_hundreds_of_interfaces_and_refusals_are_soon_explained():
    ports = [WELL.ports[0], *(port(number, f"tap{number}") for number in range(1, 1000))]
    groups = [{**JOINED, "port": number} for number in range(1, 500)]
    refused = [{**REFUSED, "port": number, "host": host} for number in range(500, 1000) for host in range(16)]
    begun = time.process_time()
    answer = explain(with_agent(replace(WELL, receiver=None, ports=ports), groups=groups, refusals=refused))
    assert (answer["verdict"], answer["more"]) == ("querier", 999 - MOST_CHAINS)
    assert time.process_time() - begun < 2.0


# --- over the socket ---


def test_the_answer_has_exactly_its_keys_and_steps_theirs(tmp_path):
    with running(tmp_path) as made:
        status, answer = asked(made, "?group=239.1.2.3&receiver=eth1&source=10.0.0.7")
    assert (status, set(answer)) == (200, KEYS)
    assert (answer["group"], answer["receiver"], answer["source"]) == ("239.1.2.3", "eth1", "10.0.0.7")
    assert all(set(step) == {"step", "ok", "words", "remedy"} for step in answer["steps"])
    assert all(isinstance(step["ok"], bool) for step in answer["steps"])


@pytest.mark.parametrize(("query", "words"), [
    ("", "group: is missing"), ("?group=", "group: is missing"), ("?group=10.0.0.1", "10.0.0.1 is no group"),
    ("?group=240.0.0.1", "is no group"), ("?group=ff02::1", "IPv6"), ("?group=%1b[2J", "should be a group"),
    ("?group=239.1.2", "should be a group"), ("?group=239.1.2.0/24", "should be a group"),
    ("?group=239.1.2.3&source=239.1.1.1", "source: should be"), ("?group=239.1.2.3&source=x", "source: should be"),
    ("?group=239.1.2.3&source=", "source: should be"), ("?group=239.1.2.3&receiver=", "receiver: should be"),
    (f"?group=239.1.2.3&receiver={'x' * 65}", "receiver: should be"),
])  # fmt: skip
def test_questions_that_are_none_are_refused_in_words(tmp_path, query, words):
    with running(tmp_path) as made:
        status, answer = asked(made, query)
    assert (status, words in answer["error"]) == (400, True)
    assert answer["error"].isprintable()


def test_a_silent_agent_is_a_step_and_what_routes_say_is_known_all_the_same(tmp_path):
    with running(tmp_path, answering=False) as made:
        answer = Client(made.path).why("239.1.2.3", None, None)
    words = {step["step"]: step["words"] for step in answer["steps"]}
    assert "the agent does not answer" in words["agent"]
    assert answer["interface"] == "eth1"
    assert "somebody on eth1 has joined" in words.get("report", "somebody on eth1 has joined")


def test_rows_of_the_agent_that_are_about_something_else_are_passed_over():
    said = agent_facts([{"about": "news"}, {}, {"about": "query", "port": 0}, *(
        {"about": "refusal", "last": last} for last in (3.0, 1.0))])  # fmt: skip
    assert said is not None
    assert (len(said.queries), [row["last"] for row in said.refusals]) == (1, [1.0, 3.0])
    assert agent_facts(None) is None


# --- at the command line ---

BROKEN = explain(replace(WELL, flows=[]))
FLOWING = explain(WELL)


@pytest.mark.parametrize(("answer", "status", "words"), [
    (FLOWING, 0, "It flows to down0."), (BROKEN, 1, "It does not flow to down0: no frame to 239.1.2.3"),
])  # fmt: skip
def test_the_command_draws_the_chain_and_its_status_says_whether_it_flows(tmp_path, answer, status, words):
    with instance(tmp_path, {"why": answer}) as path:
        done = mcfwd("why", "239.1.2.3", "down0", "--socket", path, COLUMNS="200", PYTHONIOENCODING="utf-8")
        as_json = mcfwd("why", "239.1.2.3", "--json", "--socket", path)
    assert (done.returncode, as_json.returncode, done.stderr) == (status, status, "")
    assert words in done.stdout
    assert ("✗" in done.stdout) == (status == 1)
    assert json.loads(as_json.stdout) == answer


def test_what_to_do_is_said_at_the_first_cross_alone():
    crosses = [{"step": name, "ok": False, "words": name, "remedy": f"mend {name}"} for name in ("ttl", "ring")]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(picture({**FLOWING, "chains": [{"interface": "[red]e", "verdict": "ttl", "steps": crosses}]}, 80))
    assert "mend ttl" in captured.get()
    assert "mend ring" not in captured.get()
    assert "[red]e" in captured.get()


def test_a_terminal_of_another_character_set_gets_ascii(tmp_path):
    with instance(tmp_path, {"why": BROKEN}) as path:
        done = mcfwd("why", "239.1.2.3", "--socket", path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.isascii(), "NO frames" in done.stdout) == (1, True, True)


def test_an_answer_that_is_none_is_one_line(tmp_path):
    for answer in ([], {}, {"steps": None}, {"steps": [{"ok": 1}]}, None, 5, "x"):
        with instance(tmp_path, {"why": answer}) as path, pytest.raises(NoAnswerError, match="does not understand"):
            Client(path).why("239.1.2.3", None, None)
        (tmp_path / "s").unlink()
    with instance(tmp_path, {"why": {"steps": [{"ok": True}]}}) as path:
        done = mcfwd("why", "239.1.2.3", "--socket", path)
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (1, 1, False)


def test_no_instance_and_a_refusal_have_their_statuses(tmp_path):
    assert mcfwd("why", "239.1.2.3", "--socket", f"{tmp_path}/none").returncode == 1
    with running(tmp_path) as made:
        done = mcfwd("why", "10.0.0.1", "--socket", made.path)
        with pytest.raises(RequestError, match="is no group"):
            Client(made.path).why("1.2.3.4", None, None)
        with pytest.raises(RequestError, match="should be a group"):
            Client(made.path).why("e\udcffth&receiver=1", None, None)
    assert (done.returncode, "10.0.0.1 is no group" in done.stderr) == (2, True)


def test_watch_goes_on_through_an_instance_that_is_away(tmp_path):
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command("why", "239.1.2.3", "--watch", "--socket", f"{tmp_path}/s"), stdin=follower,
                          stdout=follower, stderr=subprocess.PIPE, env=environment) as watching:  # fmt: skip
        os.close(follower)
        read_until(leader, b"no instance answers")
        with instance(tmp_path, {"why": FLOWING}):
            read_until(leader, b"It flows")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
    os.close(leader)


def test_readme_s_picture_is_what_the_script_draws_of_the_recorded_answer():
    """`./scripts/pictures` was run after the last change."""
    assert drawn((DOCS / "why.json").read_text()) == (DOCS / "why.svg").read_text()


def test_a_picture_of_an_error_is_its_words():
    assert "instance" in str(of({"error": str(NoAnswerError("no instance answers"))}, 80))


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_lines_are_no_longer_than_the_terminal_is_wide(width):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(picture(BROKEN, width))
    lines = captured.get().splitlines()
    assert width < 40 or max(map(len, lines)) <= width
    assert width < 80 or all(line == line.rstrip() for line in lines)
