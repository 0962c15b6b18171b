import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest
from rich.console import Console

from forwarder import check, units
from forwarder.client import Client, NoAnswerError, default_socket_path, socket_candidates
from forwarder.command.tables import COLUMNS, Clip, fit, render, worst_first
from forwarder.config import loading
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.supervisor.doubts import Surroundings
from forwarder.supervisor.links import KernelLink, Master

ROLES = '[[interface]]\nname = "absent-up"\nrole = "upstream"\n[[interface]]\nname = "absent-down"\n'
ANSWERS: dict[str, Any] = {
    "interfaces": [{
        "name": name, "index": index, "role": role, "state": "up", "address": f"10.0.{index}.1",
        "mac": "02:00:00:00:00:01", "mtu": 1500, "link_type": "ether",
        "querier": None if role == "upstream" else True, "querier_address": None,
        "igmp_version": 3, "groups": 2, "rx_packets": 1234567, "rx_bytes": 123456789, "tx_packets": 0, "tx_bytes": 0,
        "segmentation": None, "drops": {"malformed": 0, "ttl_expired": 7}, "igmp": {},
    } for index, (name, role) in enumerate([("eth1", "downstream"), ("eth0", "upstream")])],
    "groups": [{
        "interface": "eth1", "group": group, "mode": "exclude", "sources": [], "excluded_sources": [],
        "compatibility": 3, "expires": 254.321, "uptime": 3700.0, "last_reporter": "10.0.1.9", "static": False,
    } for group in ("239.1.2.30", "239.1.2.4")],
    "hosts": [{
        "interface": "eth1", "group": "239.1.2.4", "host": host, "mac": "02:00:00:00:00:09", "mode": "exclude",
        "sources": [], "expires": 254.321,
    } for host in ("10.0.1.9", None)],
    "refusals": [{
        "interface": "[red]lan2", "group": "239.1.2.4", "host": host, "mac": "02:00:00:00:00:09", "mode": "exclude",
        "sources": [], "reason": "deny", "rule": "deny 239.1.0.0/16", "since": 125.0, "last": 4.0, "count": 3,
    } for host in ("10.0.1.9", None)],
    "routes": [{"group": "239.1.2.3", "source": None, "upstream": None, "interfaces": [], "kind": "block"}],
    "flows": [{
        "group": "239.1.2.3", "source": "10.0.0.7", "upstream": "eth0", "downstreams": ["eth1"], "packets": 5,
        "bytes": 6578, "wrong_packets": 0, "idle": 0.01, "verdict": "ttl_expired", "hint": "[bold]raise it",
    }],
    "upstream": [{"interface": "eth0", "group": "232.1.1.1", "mode": "include", "sources": ["10.0.0.7"], "version": 3}],
    "stats": {
        "version": "0.1.0", "uptime": 61.0, "flows": 1, "max_flows": 65536, "ring_memory": 160 << 20, "batches": 3,
        "frames_per_batch": 1.7, "faults": 0, "user_kept": "CAP_SETUID is missing",
        "processes": [{"name": "mcfwd", "pid": 7, "user": "root", "uptime": 61.0, "restarts": 0, "heartbeat": None}],
    },
}  # fmt: skip


class Answerer(BaseHTTPRequestHandler):
    """Serves ANSWERS; the first of a table's rows is enough of flows. It says that it follows what it is asked for."""

    def do_GET(self) -> None:
        noun, _, query = self.path.removeprefix("/v1/").partition("?")
        answers = self.server.answers  # type: ignore[attr-defined]
        body = json.dumps(answers[noun]).encode()
        self.send_response(200)
        if not answers.get("older"):
            self.send_header("X-Followed", ", ".join(each.partition("=")[0] for each in query.split("&")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        """Refuses everything but one route; the refusal is what was asked."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = 201 if '"239.1.1.1"' in body else 422 if self.path == "/v1/reload" else 409
        if ignored := self.server.answers.get("ignored"):  # type: ignore[attr-defined]
            self.send_response(201)
            self.end_headers()
            self.wfile.write(json.dumps({"ignored": ignored}).encode())
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"error": f"{self.command} {self.path} {body}"}).encode())

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def instance(folder: Path, answers: dict[str, Any] = ANSWERS) -> Iterator[str]:
    """A stand-in for an instance at the yielded path."""
    path = f"{folder}/s"
    with ThreadingUnixStreamServer(path, Answerer) as server:
        server.answers = answers  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "forwarder", *arguments]


def mcfwd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real program to its end."""
    surroundings = {**os.environ, "COLUMNS": "80", **environment}
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=surroundings, timeout=60)


def shown(noun: str, width: int, answer: Any = None) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(render(noun, ANSWERS[noun] if answer is None else answer, width))
    return captured.get()


# --- the program ---


def test_version():
    done = mcfwd("--version")
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "mcfwd", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "none is named"),
        (["run", "-u", "eth0", "-d", "eth0"], '"eth0" has two roles'),
        (["run", "-u", "eth0"], 'none has role = "downstream"'),
        (["run", "-c", "/nonexistent.toml"], "/nonexistent.toml: No such file or directory"),
        (["run", "-u", "a", "-d", "b", "--socket", "/" * 200], "a socket path has 1 to 107 bytes"),
        (["check", "/nonexistent.toml"], "/nonexistent.toml: No such file or directory"),
    ],
)
def test_a_configuration_that_cannot_run_is_78_and_one_line(arguments, words):
    done = mcfwd(*arguments)
    assert (done.returncode, done.stdout) == (78, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_check_names_the_socket_that_run_would_take(tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text(ROLES + '[control]\nsocket = "/run/a"\n')
    for variable, path in (("", "/run/a"), ("/run/b", "/run/b")):
        assert f"control socket:\n  {path}\n" in mcfwd("check", str(file), MCFWD_SOCKET=variable).stdout


def test_a_socket_variable_that_is_empty_is_none():
    done = mcfwd("run", MCFWD_SOCKET="")
    assert done.stderr.count("\n") == 1
    assert "none is named" in done.stderr


@pytest.mark.parametrize("arguments", ["show nouns", "show", "nothing", "run --log-level x", "run -x"])
def test_wrong_usage_is_said_without_a_traceback(arguments):
    done = mcfwd(*arguments.split())
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_explains(tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text(ROLES)
    done = mcfwd("check", str(file))
    assert done.returncode == 0
    for words in ("would run", "absent-down", "general query every 125 s", "receive rings", "will be waited for",
                  "processes:\n  children "):  # fmt: skip
        assert words in done.stdout


def test_check_and_convert_say_names_that_do_nothing_to_a_terminal(tmp_path):
    """Those of files, and of interfaces in them, which the kernel allows to hold anything but blanks."""
    file, toml = tmp_path / "odd\x1b[31m\nmcfwd: name", tmp_path / "odd\x1b[31m\nname.toml"
    file.write_text("phyint \x1b[31mup upstream\nphyint \x1b[31m* downstream\n")
    toml.write_text(ROLES)
    for arguments in (("check", file), ("check", toml), ("convert", file), ("convert", toml)):
        done = mcfwd(*map(str, arguments))
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
        assert done.stderr.count("\nmcfwd: name") == 0


@pytest.mark.parametrize(("arguments", "status"), [("check", 78), ("convert", 78), ("run -c", 78), ("batch", 1)])
def test_a_file_that_may_not_be_read_is_told_as_any_other_that_is_wrong(tmp_path, arguments, status):
    """It was told as wrong usage, in the words of whoever understands the command line."""
    file = tmp_path / "mcfwd.toml"
    file.write_text(ROLES)
    file.chmod(0)
    bound = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run([*bound, *command(*arguments.split(), str(file))], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"mcfwd: {file}: Permission denied\n")


def test_usage_has_each_argument_once_in_brackets():
    assert "why [OPTIONS] {GROUP} [RECEIVER]\n" in mcfwd("why", "--help").stdout
    assert "'PAGE'" in mcfwd("manual", "7").stderr


def test_files_of_other_programs_are_checked_and_converted(tmp_path):
    file = tmp_path / "igmpproxy.conf"
    file.write_text("user nobody\nphyint absent-up upstream altnet 10.0.0.0/8\nphyint absent-down downstream\n")
    notice = f"{file}:1: user has no counterpart in this file: see [process] user"
    for options in ((), ("--format", "igmpproxy", "--map", "wan=eth0")):
        done = mcfwd("check", str(file), *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"\n  {notice}\n" in done.stdout.partition("\nwarnings:\n")[2]
        converted = mcfwd("convert", str(file), *options)
        assert (converted.returncode, converted.stderr) == (0, f"mcfwd: {notice}\n")
    toml = tmp_path / "mcfwd.toml"
    toml.write_text(converted.stdout)
    assert loading.load(toml, [], [], None) == loading.load(file, [], [], None)
    done = mcfwd("convert", str(toml))
    assert (done.returncode, done.stderr) == (1, f"mcfwd: {toml}: is TOML already\n")


def test_what_is_wrong_with_a_file_of_another_program_is_told_at_its_lines(tmp_path):
    file = tmp_path / "odd\x1b[2J.conf"
    file.write_text("phyint eth0 upstream\nphyint \x1b downstream altnet\x1b\n")
    for command in (["check"], ["convert"], ["run", "-c"]):
        done = mcfwd(*command, str(file), *(["--format", "igmpproxy"]))
        assert (done.returncode, done.stdout) == (78, "")
        assert "\x1b" not in done.stderr
        assert ':2: altnet\\x1b: is unknown' in done.stderr
    done = mcfwd("check", str(file), "--format", "word")
    assert (done.returncode, done.stderr[:35]) == (78, "mcfwd: command line: --format word:")


def test_a_file_that_is_to_run_nothing_is_said_and_no_failure(capfd):
    from forwarder.command.options import configured
    from forwarder.config.files import DisabledError

    def load() -> Any:
        raise DisabledError("x:3: nothing is to run")

    with pytest.raises(SystemExit) as ended:
        configured(load)
    assert (ended.value.code, capfd.readouterr().err) == (0, "mcfwd: x:3: nothing is to run\n")


@pytest.mark.parametrize(
    ("arguments", "asked", "status"),
    [
        ("route add 239.1.1.1 --to eth1", "", 0),
        *(
            (
                f"route add 239.1.1.0/24 --source 10.0.0.7 {options}",
                'POST /v1/routes {"group": "239.1.1.0/24", "source": "10.0.0.7", "upstream": "eth0",'
                ' "interfaces": ["eth1", "tap*"]}',
                1,
            )
            for options in (
                "--upstream eth0 --interfaces eth1 --interfaces tap*",
                "--from eth0 --to eth1 --to tap*",          # the former names
                "--upstream eth0 --to eth1 --interfaces tap*",
            )
        ),
        (
            "route del 239.1.1.2",
            'DELETE /v1/routes {"group": "239.1.1.2", "source": null, "upstream": null, "interfaces": []}',
            1,
        ),
        (
            "group add eth1 232.1.1.1 --source 10.0.0.7",
            'POST /v1/groups {"interface": "eth1", "group": "232.1.1.1", "source": "10.0.0.7"}',
            1,
        ),
        ("group del eth1 239.1.1.1", "", 0),
        ("reload", "POST /v1/reload {}", 78),
    ],
)
def test_changes_are_asked_for_and_a_refusal_is_one_line(tmp_path, arguments, asked, status):
    with instance(tmp_path) as path:
        done = mcfwd(*arguments.split(), "--socket", path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == (f"mcfwd: {asked}\n" if asked else "")


def test_a_reload_says_what_needs_a_restart_and_is_no_success(tmp_path):
    with instance(tmp_path, {"ignored": ["dataplane.workers", "process.user"]}) as path:
        done = mcfwd("reload", "--socket", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mcfwd: reloaded, but not dataplane.workers, process.user: fixed at start; needs a restart\n"


def test_no_instance_is_said_with_all_sockets_tried(tmp_path):
    environment = {"XDG_RUNTIME_DIR": f"{tmp_path}/x", "TMPDIR": f"{tmp_path}/t", "MCFWD_SOCKET": ""}
    done = mcfwd("show", "stats", **environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    for path in ("/run/mcfwd/mcfwd.sock", f"{tmp_path}/x/mcfwd.sock", f"{tmp_path}/t/mcfwd-"):
        assert path in done.stderr


def test_a_listener_that_never_answers_is_said_too(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()
        with pytest.raises(NoAnswerError, match=f"no answer from the instance at {tmp_path}/s: timed out"):
            Client(f"{tmp_path}/s", timeout=0.05).get("stats")
        with pytest.raises(NoAnswerError, match="timed out; what was asked may still happen"):
            Client(f"{tmp_path}/s", timeout=0.05).order("query", {})


@pytest.mark.parametrize("noun", ANSWERS)
def test_json_is_what_the_instance_said(tmp_path, noun):
    with instance(tmp_path) as path:
        done = mcfwd("show", noun, "--json", MCFWD_SOCKET=path)
    answer = ANSWERS[noun]
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, answer, "")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_silent_agent_is_said(tmp_path, options):
    with instance(tmp_path, {"groups": None}) as path:
        done = mcfwd("show", "groups", "--socket", path, *options)
    assert (done.returncode, done.stdout) == (1, "null\n" if options else "")
    assert "the agent does not answer" in done.stderr


def test_a_reader_that_goes_away_causes_no_noise(tmp_path):
    many = {"routes": ANSWERS["routes"] * 3000}
    for options in ([], ["--json"]):
        with instance(tmp_path, many) as path:
            arguments = command("show", "routes", "--socket", path, *options)
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdout.read(10)
                process.stdout.close()
                assert process.stderr.read() == b""
            os.unlink(path)


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    with instance(tmp_path) as path, open("/dev/full", "w") as full:
        arguments = command("show", "routes", "--json", "--socket", path)
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "mcfwd: No space left on device\n")


@pytest.mark.parametrize("arguments", [
    "--help", "--version", "show --help", "show routes", "show routes --watch", "config --defaults",
])  # fmt: skip
def test_no_output_that_cannot_be_written_is_a_traceback(tmp_path, arguments):
    """Of no command, and neither at its end, when what was kept back is written."""
    with instance(tmp_path) as path, open("/dev/full", "w") as full:
        surroundings = {**os.environ, "MCFWD_SOCKET": path}
        done = subprocess.run(command(*arguments.split()), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
                              env=surroundings)  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "mcfwd: No space left on device\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_gone_is_a_status_of_its_own(tmp_path, options):
    reading, writing = os.pipe()
    os.close(reading)
    with instance(tmp_path) as path:
        arguments = command("show", "routes", *options, "--socket", path)
        done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("redirection", [">&- 2>&-", ">&- 2>/dev/full", "2>&-"])
@pytest.mark.parametrize(("arguments", "status"), [("show groups", 0), ("show groups --limit x", 2), ("check /no", 78)])
def test_nobody_to_write_to_is_no_traceback(tmp_path, arguments, status, redirection):
    """The status is all there is to say, and errors do not become output."""
    with instance(tmp_path) as path:
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(*arguments.split())]
        done = subprocess.run(shell, timeout=60, capture_output=True, env={**os.environ, "MCFWD_SOCKET": path})
    assert done.returncode == status or (redirection.endswith("full") and done.returncode == 1)
    assert (done.stdout != b"") == (status == 0 and redirection == "2>&-")
    assert done.stderr == b""


def test_a_terminal_of_another_character_set_gets_what_it_can_show(tmp_path):
    routes = [{**ANSWERS["routes"][0], "interfaces": ["été"]}]
    for encoding in ("ascii", "latin-1"):
        with instance(tmp_path, {"routes": routes}) as path:
            done = subprocess.run(command("show", "routes", "--socket", path), capture_output=True, timeout=60,
                                  env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})  # fmt: skip
        os.unlink(path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "été".encode(encoding, "backslashreplace") in done.stdout
        assert b"-----" in done.stdout


@pytest.mark.parametrize("arguments", [
    ["check", "{}"], ["run", "-c", "{}"], ["run", "-u", "{}"], ["reload", "--socket", "{}"],
])  # fmt: skip
@pytest.mark.parametrize("odd", ["", "\x1b[2J\n", "x" * 300, "é€😀", "\udce9", "\u2028"])
def test_odd_arguments_are_refused_in_words_that_do_nothing_to_a_terminal(tmp_path, arguments, odd):
    done = subprocess.run(command(*(odd if each == "{}" else each for each in arguments)), capture_output=True,
                          timeout=60, env={**os.environ, "MCFWD_SOCKET": f"{tmp_path}/absent/s"})  # fmt: skip
    lines = done.stderr.decode().split("\n")
    assert done.returncode in (1, 78)
    assert (done.stdout, lines.pop()) == (b"", "")
    assert all(line.startswith("mcfwd: ") and line.isprintable() for line in lines)


def test_watch_goes_on_until_interrupted(tmp_path):
    with instance(tmp_path) as path:
        arguments = command("show", "stats", "--json", "--watch", "--socket", path)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert (lines, process.stderr.read()) == ([ANSWERS["stats"]] * 2, b"")
    assert process.returncode == 0


def test_watch_redraws_a_terminal_and_leaves_it_as_it_was(tmp_path):
    ours, theirs = pty.openpty()
    with instance(tmp_path) as path:
        arguments = command("show", "upstream", "--watch", "--socket", path)
        environment = {**os.environ, "TERM": "xterm"}
        with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            output = read_until(ours, b"232.1.1.1")
            process.send_signal(signal.SIGINT)
            output += read_until(ours, b"\x1b[?1049l")
    os.close(ours)
    assert process.returncode == 0
    assert b"Traceback" not in output


def read_until(descriptor: int, mark: bytes) -> bytes:
    output = b""
    while mark not in output:
        output += os.read(descriptor, 4096)
    return output


def test_asking_imports_nothing_heavy():
    """What makes `show --json` slow to start stays out of it."""
    heavy = "{'numpy', 'pydantic_core', 'aiohttp', 'uvloop', 'scapy', 'pyroute2', 'rich'}"
    program = f"import sys, forwarder.client, forwarder.command.printing; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- where the socket is ---


def test_the_socket_search():
    environment = {"XDG_RUNTIME_DIR": "/run/user/5", "TMPDIR": "/var/tmp"}
    system = "/run/mcfwd/mcfwd.sock"
    assert socket_candidates(environment, 5) == [system, "/run/user/5/mcfwd.sock", "/var/tmp/mcfwd-5.sock"]
    assert socket_candidates({}, 5) == [system, "/tmp/mcfwd-5.sock"]
    assert socket_candidates({**environment, "MCFWD_SOCKET": "/a"}, 5) == ["/a"]


def test_an_instance_listens_where_it_may(tmp_path):
    system = f"{tmp_path}/run/mcfwd/mcfwd.sock"
    environment = {"XDG_RUNTIME_DIR": f"{tmp_path}/user"}
    assert default_socket_path({"MCFWD_SOCKET": "/a"}, 5, system) == "/a"
    assert default_socket_path({}, 5, system) == "/tmp/mcfwd-5.sock"
    (tmp_path / "user").mkdir()
    assert default_socket_path(environment, 5, system) == f"{tmp_path}/user/mcfwd.sock"
    (tmp_path / "run").mkdir()
    assert default_socket_path(environment, 5, system) == system


# --- tables ---


@pytest.mark.parametrize("noun", ANSWERS)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_fit_the_terminal(noun, width):
    assert all(len(line) <= width for line in shown(noun, width).splitlines())


def test_narrow_terminals_lose_columns_and_wide_ones_show_all():
    assert "tx bytes" not in shown("interfaces", 60)
    assert all(column.title in shown("interfaces", 200) for column in COLUMNS["interfaces"])


def test_rank_0_columns_always_stay():
    cells = {column: ["x" * 40] for column in COLUMNS["flows"]}
    assert [column.title for column in fit(cells, 10)] == ["group", "source", "verdict"]


def test_rows_are_ordered_by_number_and_upstreams_come_first():
    assert shown("groups", 200).index("239.1.2.4") < shown("groups", 200).index("239.1.2.30")
    assert shown("interfaces", 200).index("eth0") < shown("interfaces", 200).index("eth1")


def test_cells_are_not_read_as_markup():
    assert "[bold]raise it" in shown("flows", 200)
    assert shown("refusals", 200).count("[red]lan2") == 2


FLOW = ANSWERS["flows"][0]
MANY = [{**FLOW, "group": f"239.1.{at >> 8}.{at & 255}", "verdict": "forward", "packets": at} for at in range(20_000)]
FEW = [FLOW, *MANY[:199]]


def test_thousands_of_flows_are_a_table_soon_with_their_number(tmp_path):
    """In the table alone it was 20 s."""
    with instance(tmp_path, {"flows": MANY}) as path:
        begun = os.times()
        done = mcfwd("show", "flows", "--socket", path)
        took = os.times()
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "20,000 flows"
    assert len(done.stdout.splitlines()) == 2 + 20_000 + 1
    assert took.children_user - begun.children_user < 5.0


def test_a_limit_is_said(tmp_path):
    with instance(tmp_path, {"groups": ANSWERS["groups"], "flows": []}) as path:
        done = mcfwd("show", "groups", "--limit", "1", "--socket", path)
        assert done.stdout.splitlines()[-1] == "1 of 2 groups; --limit 2 shows all"
        assert len(json.loads(mcfwd("show", "groups", "--limit", "1", "--json", "--socket", path).stdout)) == 1
        assert mcfwd("show", "flows", "--socket", path).stdout == "no flows\n"
        assert mcfwd("show", "flows", "--limit", "0", "--socket", path).returncode == 2


def test_an_instance_that_chooses_no_rows_is_not_believed(tmp_path):
    """It would show all flows as those of one group."""
    with instance(tmp_path, {**ANSWERS, "older": True}) as path:
        for arguments in (["flows", "239.1.2.3"], ["groups", "eth1", "--json"], ["routes", "--problems"],
                          ["flows", "--sort", "group", "--limit", "3"]):  # fmt: skip
            done = mcfwd("show", *arguments, "--socket", path)
            assert (done.returncode, done.stdout) == (1, "")
            assert "it is of another version: restart it" in done.stderr
        assert mcfwd("show", "flows", "--sort", "group", "--socket", path).returncode == 0


def test_filters_that_match_nothing_are_a_line_and_no_error(tmp_path):
    with instance(tmp_path, {"flows": [], "routes": []}) as path:
        done = mcfwd("show", "flows", "239.9.9.9", "eth\x1b[31m", "--socket", path)
        assert (done.returncode, done.stdout) == (0, "no flows for 239.9.9.9 eth\\x1b[31m\n")
        assert mcfwd("show", "routes", "--problems", "--socket", path).stdout == "no routes with a problem\n"
        assert mcfwd("show", "routes", "10.0.0.7", "--json", "--socket", path).stdout == "[]\n"


@pytest.mark.parametrize("arguments", [
    "show flows 239.1.2.300", "show interfaces 239.1.2.3", "show stats eth0", "show hosts --problems",
    "show flows --sort speed", "show flows --reverse", "show flows --interval 1", "show flows --watch --interval 0",
    "show flows --watch --interval -1", "show flows --watch --interval 1e9", "show flows --watch --interval nan",
    "show flows a\x1b[31m:b", "show flows --sort \x1b[31m",
])  # fmt: skip
def test_a_question_that_means_nothing_is_one_line(arguments):
    done = mcfwd(*arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("mcfwd: ")
    assert line.isprintable()


def test_too_many_filters_are_refused_before_they_are_asked(tmp_path):
    with instance(tmp_path) as path:
        done = mcfwd("show", "flows", *(f"239.1.{at >> 8}.{at & 255}" for at in range(300)), "--socket", path)
    assert (done.returncode, done.stderr) == (
        1, "mcfwd: so much cannot be asked for at once: use networks and wildcards\n"
    )  # fmt: skip


def test_a_table_is_in_the_order_that_was_asked_for(tmp_path):
    rows = [{**FLOW, "group": group, "packets": packets} for group, packets in [("239.1.2.3", 1), ("239.1.2.4", 9)]]
    with instance(tmp_path, {"flows": rows}) as path:
        for options, first in (([], "239.1.2.3"), (["--sort", "-packets"], "239.1.2.4")):
            table = mcfwd("show", "flows", *options, "--socket", path).stdout
            assert table.splitlines()[2].startswith(first)


def test_rates_are_columns_in_words():
    row = {**FLOW, "packets_per_second": 1234.5, "bits_per_second": 12_345_678, "since": 61.0}
    table = shown("flows", 200, [row, {**FLOW, "packets_per_second": None, "bits_per_second": None, "since": None}])
    assert "12.3 Mbit/s" in table
    assert "1,234" in table
    assert "1m01s" in table
    port = {**ANSWERS["interfaces"][0], "rx_bits_per_second": 64_000, "tx_bits_per_second": 0,
            "rx_packets_per_second": 0.5, "tx_packets_per_second": 0.0}  # fmt: skip
    assert "64 kbit/s" in shown("interfaces", 80, [port])
    assert "0.5" in shown("interfaces", 200, [port])


def test_an_empty_table_says_which_interfaces_keep_it_empty(tmp_path):
    [down, up] = ANSWERS["interfaces"]
    with instance(tmp_path, {"flows": [], "interfaces": [down, {**up, "state": "missing"}]}) as path:
        assert mcfwd("show", "flows", "--socket", path).stdout.startswith("no flows\neth0 is missing: ")


def test_what_keeps_a_flow_is_said_on_a_terminal_of_80_columns():
    row = {**FLOW, "group": "239.255.100.250", "source": "192.168.100.100", "verdict": "source_not_allowed",
           "hint": "source is in no subnet of eth0; add its network to altnets there"}  # fmt: skip
    table = shown("flows", 80, [row])
    assert "source_not_allowed  source is in no subnet of" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_a_screen_shows_the_worst_flows_and_how_many_more_there_are():
    shuffled = sorted(FEW, key=lambda row: row["group"])
    rows = sorted(shuffled, key=worst_first)[:12]
    console = Console(width=100, height=12, highlight=False)
    with console.capture() as captured:
        console.print(render("flows", rows, 100, Clip(12, len(FEW) - len(rows), ordered=True)))
    lines = captured.get().splitlines()
    assert "ttl_expired" in lines[2]
    assert lines[3].split()[0] == "239.1.0.198"
    assert (lines[-1], len(lines)) == ("+191 more", 12)


def test_notes_leave_most_of_a_small_screen_to_the_table():
    rows = [{**ANSWERS["interfaces"][0], "name": f"tap{number}", "degraded": f"no {number}"} for number in range(50)]
    console = Console(width=100, height=12, highlight=False)
    with console.capture() as captured:
        console.print(render("interfaces", rows, 100, Clip(12)))
    lines = captured.get().splitlines()
    assert len(lines) == 12
    assert lines[-4].startswith("+")


def test_an_empty_table_is_a_sentence():
    assert shown("groups", 80, []) == "no groups\n"


def test_units():
    assert [units.count(each) for each in (0, 99_999, 100_000, 12_345_678)] == ["0", "99,999", "100 k", "12.3 M"]
    assert [units.size(each) for each in (1023, 1024, 160 << 20)] == ["1023 B", "1 KiB", "160 MiB"]
    durations = (None, 0.25, 59.4, 59.6, 3600, 90000)
    assert [units.duration(each) for each in durations] == ["-", "0.2s", "59s", "1m00s", "1h00m", "1d01h"]
    assert units.listed([str(at) for at in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 +2"


def test_tables_say_what_is_degraded_and_why():
    [down, up] = ANSWERS["interfaces"]
    rows = [{**down, "degraded": "receive ring: [no]"}, {**up, "degraded": None}]
    shown = drawn("interfaces", rows)
    assert "eth1 is degraded: receive ring: [no]" in shown
    assert len(re.findall(r"eth1 +downstream +degraded", shown)) == 1
    assert "degraded" not in drawn("interfaces", ANSWERS["interfaces"])
    said = {"degraded": [{"interface": "eth1", "reason": "no"}], "ring_memory_used": 68 << 20}
    shown = drawn("stats", {**ANSWERS["stats"], **said})
    assert "68 MiB of 160 MiB ring memory" in shown
    assert "eth1 is degraded: no" in shown


def drawn(noun: str, answer: Any) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(noun, answer, 200))
    return captured.get()


def test_upstream_says_whence_it_comes():
    row = {**ANSWERS["upstream"][0], "interfaces": ["eth1", "eth2"], "static": True}
    assert "eth1, eth2, static" in drawn("upstream", [row])


# --- check ---


def link(name: str, **facts: Any) -> KernelLink:
    plain = {"ifindex": 2, "up": True, "mac": "02:00:00:00:00:01", "mtu": 1500, "link_type": 1, "loopback": False}
    return KernelLink(**{"name": name, "kind": None, "addresses": ((0x0A000001, 24),), "peers": (), **plain, **facts})


def explained(settings: Settings, *links: KernelLink, privileged: bool = True) -> str:
    return "\n".join(check.explain(settings, {each.name: each for each in links}, privileged))


def configured(*downstream: str) -> Settings:
    return loading.load(None, ["eth0"], list(downstream), "/s")


def test_check_has_no_warnings_where_all_is_well():
    assert "warnings" not in explained(configured("eth1"), link("eth0"), link("eth1"))


@pytest.mark.parametrize(
    ("present", "words"),
    [
        ([], "eth1 does not exist yet"),
        ([link("eth1", up=False)], "eth1 is down"),
        ([link("eth1", addresses=())], "eth1 has no IPv4 address"),
        ([link("eth1", master=Master("br0", "bridge"))], "eth1 is a port of the bridge br0, which takes what comes in"),
    ],
)
def test_check_warns_of_interfaces(present, words):
    assert words in explained(configured("eth1"), link("eth0"), *present)


def test_check_tells_which_sources_a_downstream_interface_takes():
    subnets, rest = "sources: own subnets", "sources: any that is in no other interface's subnet"
    for present, words in (([link("eth1")], subnets), ([link("eth1", addresses=())], rest), ([], subnets)):
        line = next(each for each in explained(configured("eth1"), *present).splitlines() if "downstream" in each)
        assert line.endswith(words)


def test_check_warns_of_missing_capability():
    assert "CAP_NET_RAW" in explained(configured("eth1"), link("eth0"), link("eth1"), privileged=False)


def test_check_tells_timers_once_or_of_each_kind_of_port():
    once = explained(configured("eth1", "eth2"))
    assert once.count("a general query every 125 s") == 1
    settings = configured("eth1", "eth2", "eth3")
    said = {"query_interval": 60.0, "forward_when_not_querier": True}
    own = [replace(each, **said) if each.name == "eth2" else each for each in settings.interface]
    each = explained(replace(settings, interface=tuple(own)))
    assert "eth1, eth3: a general query every 125 s" in each
    assert "eth2: a general query every 60 s" in each
    assert each.count("forwards whoever the querier is") == 1


def test_check_wonders_about_a_default_route_downstream():
    links = {each.name: each for each in (link("eth0"), link("eth1"))}

    def wonders(default: str) -> bool:
        lines = check.explain(configured("eth1"), links, True, around=Surroundings(default))
        return any("default route" in line for line in lines)

    assert wonders("eth1")
    assert not wonders("eth0")


def test_check_explains_lists_limits_and_what_is_static(tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text(
        '[[interface]]\nname = "eth0"\nrole = "upstream"\n'
        '[[interface]]\nname = "eth1"\nquick_leave = true\nallow = ["239.0.0.0/8"]\n'
        'deny = ["10.0.0.0/8,239.1.0.0/16"]\n'
        'boundary = ["239.255.0.0/16"]\nrate_limit = "1500kbit"\nflow_rate_limit = "64kbit"\n'
        'static_groups = ["10.0.0.7,232.1.1.1", "239.1.1.0/26"]\naccess = ["deny 239.1.1.1", "allow 239.0.0.0/8"]\n'
        'contribute = ["239.7.0.0/16"]\n'
        '[[route]]\ngroup = "239.9.0.0/16"\nsource = "10.0.0.7"\nupstream = "eth0"\ninterfaces = ["eth1"]\n'
        '[[route]]\ngroup = "239.8.8.8"\n'
    )
    told = explained(loading.load(file, [], [], "/s"), link("eth0"), link("eth1"))
    for words in (
        "quick leave", "only 239.0.0.0/8", "not 10.0.0.0/8,239.1.0.0/16", "boundary of 239.255.0.0/16",
        "at most 1.5 Mbit/s", "at most 64 kbit/s a flow", "static groups: 10.0.0.7,232.1.1.1, 239.1.1.0/26 (65)",
        "in this order: deny 239.1.1.1, allow 239.0.0.0/8", "contributes upstream: 239.7.0.0/16",
        "239.9.0.0/16 from source 10.0.0.7 by eth0 goes to eth1", "239.8.8.8 is blocked",
    ):  # fmt: skip
        assert words in told


def test_check_says_what_memory_rings_get_and_who_gets_less(tmp_path):
    told = explained(configured("eth1"), link("eth0"), link("eth1"))
    assert "68 MiB of at most 160 MiB for receive rings, which need 1 MiB at least" in told
    file = tmp_path / "mcfwd.toml"
    file.write_text('[dataplane]\nring_memory = "2MiB"\nmax_ports = 8\n')
    settings = loading.load(file, ["eth0"], ["tap*"], None)
    told = explained(settings, link("eth0"), *(link(f"tap{number}") for number in range(5)))
    for words in (
        "2 MiB of at most 2 MiB for receive rings, which need 3 MiB at least",
        "receive rings will be smaller than they should: 84 MiB of ring_memory wanted",
        "tap3, tap4 will be degraded: nothing of ring_memory is left for a receive ring there",
        "max_ports interfaces would need 4 MiB of ring_memory; the last to come will be degraded",
    ):
        assert words in told


def test_check_refuses_less_memory_than_rings_need(tmp_path):
    file = tmp_path / "mcfwd.toml"
    file.write_text(ROLES + '[dataplane]\nring_memory = "1MiB"\nworkers = 2\n')
    done = mcfwd("check", str(file))
    words = "1 MiB is less than the 2 MiB that receive rings of 2 interfaces for 2 workers need"
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"mcfwd: {file}:7: dataplane.ring_memory: {words}\n"


def test_check_says_what_a_wildcard_matches():
    settings = configured("tap*")
    assert "matches tap0, tap1" in explained(settings, link("eth0"), link("tap0"), link("tap1"))
    assert "matches nothing now" in explained(settings, link("eth0"))


def test_check_warns_when_a_wildcard_finds_no_ports():
    two = loading.load(None, ["eth0"], ["tap*"], None)
    few = Settings(interface=two.interface, dataplane=type(two.dataplane)(max_ports=2))
    assert "tap1 of tap* finds no port" in explained(few, link("eth0"), link("tap0"), link("tap1"))


def test_an_interface_that_can_never_work_is_an_obstacle():
    settings = Settings(interface=(InterfaceSettings(name="lo", role="upstream"), InterfaceSettings(name="ib0")))
    links = {"lo": link("lo", loopback=True), "ib0": link("ib0", link_type=32)}
    assert check.obstacles(settings, links) == [
        "ib0 has link type 32, which is neither Ethernet nor plain IP",
        "lo is a loopback interface, which carries no multicast between networks",
    ]
