"""Completion at real shells, and what they are told."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal
from test_cli import ANSWERS, instance, mcfwd

from forwarder.command.completing import FILES, candidates, place_of
from forwarder.command.completion import SCRIPTS, Shell, _unquoted
from forwarder.command.main import app
from forwarder.config.formats.registry import FORMATS

ATTEMPTS = 5
ROOT = typer.main.get_command(app)
EVIL = ["e$(id>pwned)", "f`id>pwned`;a&", "h'i\"j\\k*$HOME!!", "q\x1b[31m"]
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='% '; source <(mcfwd completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "PS1='%% '; autoload -U compinit; compinit -u -D; source <(mcfwd completion zsh)"),
}


def found(*words: str, names: Any = lambda place: ["eth0", "eth1"]) -> list[str]:
    return [each.value for each in candidates(ROOT, words, names)]


@pytest.mark.parametrize(("words", "expected"), [
    (["rel"], ["reload"]),
    (["route", ""], ["add", "replace", "del"]),
    (["show", "re"], ["refusals"]),
    (["run", "--prof"], ["--profile"]),
    (["run", "--profile", ""], ["latency", "balanced", "throughput"]),
    (["run", "--profile", "latency", "--prof"], []),
    (["run", "-d", "eth0", "--down"], ["--downstream"]),
    (["run", "-c", ""], [FILES]),
    (["check", "--format", "v"], ["vyos"]),
    (["doctor", "-c", "x", "--format", ""], ["toml", *FORMATS]),
    (["run", "-u", "eth"], ["eth0", "eth1"]),
    (["check", "x"], [FILES]),
    (["batch", "x"], [FILES]),
    (["query", "eth"], ["eth0", "eth1"]),
    (["query", "eth0", ""], []),
    (["query", "--socket", "/s", "e"], ["eth0", "eth1"]),
    (["query", "--socket=/s", "e"], ["eth0", "eth1"]),
    (["query", "--", "--h"], []),
    (["query", "--h"], ["--help"]),
    (["group", "add", ""], ["eth0", "eth1"]),
    (["route", "add", "239.1.2.3", "--to", ""], ["eth0", "eth1"]),
    (["completion", ""], ["bash", "zsh", "fish"]),
    (["manual", ""], ["1", "5"]),
    (["nonsense", ""], []),
    (["reload", "x", "y", ""], []),
])  # fmt: skip
def test_what_may_stand_at_a_place(words, expected):
    assert found(*words) == expected


def test_every_command_is_offered():
    assert found("") == list(ROOT.commands) == found()


def test_an_argument_that_may_repeat_is_offered_again():
    one = typer.Typer()

    @one.command()
    def show(noun: Shell, filters: Annotated[list[str] | None, typer.Argument(metavar="FILTER")] = None): ...

    @one.command()
    def other(): ...

    def offered(*words: str) -> list[str]:
        return [each.value for each in candidates(typer.main.get_command(one), words, lambda place: ["eth0"])]

    assert [offered("show", "fish", *["x"] * at, "") for at in range(3)] == [["eth0"]] * 3
    assert offered("show", "") == ["bash", "zsh", "fish"]


def test_what_cannot_be_shown_is_not_offered():
    assert found("query", "", names=lambda place: ["e\x1bx", "e y", "e\ud800", "", "eth0"]) == ["eth0"]


@examples(0.3)
@given(st.lists(st.text() | st.sampled_from(["run", "-u", "--to", "--", "-", "route", "add", "--socket=x", "="])))
def test_any_line_has_an_answer(words):
    assert isinstance(found(*words), list)
    place_of(ROOT, list(_unquoted(words)))


@pytest.mark.parametrize(("raw", "plain"), [
    (["query", "'et"], ["query", "et"]),
    (["query", '"et'], ["query", "et"]),
    (["query", "et\\$h"], ["query", "et$h"]),
    (["query", "et\\"], ["query", "et"]),
    (["query", "--socket", "=", "/s", ""], ["query", "--socket", "/s", ""]),
    (["query", "$(id)"], ["query", "$(id)"]),
])  # fmt: skip
def test_words_of_bash_and_zsh_come_with_their_quotes(raw, plain):
    assert list(_unquoted(raw)) == plain


def test_who_asks_without_an_instance_waits_for_nothing():
    done = mcfwd("completion", "bash", "--", "query", "", MCFWD_SOCKET="/nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_who_names_what_is_to_run_is_offered_what_the_machine_has(command):
    done = mcfwd("completion", "bash", "--", command, "-u", "", MCFWD_SOCKET="/nowhere")
    assert "lo" in done.stdout.split("\n")


def test_who_asks_an_instance_that_is_silent_does_not_wait_for_long(tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/s")
        silent.listen()
        started = time.monotonic()
        done = mcfwd("completion", "bash", "--", "query", "", MCFWD_SOCKET=f"{tmp_path}/s")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("rows", [None, [{}], [{"name": ["x y"], "role": "downstream"}]])
def test_an_instance_that_answers_strangely_names_nothing(tmp_path, rows):
    with instance(tmp_path, {"interfaces": rows}) as path:
        done = mcfwd("completion", "zsh", "--", "query", "", MCFWD_SOCKET=path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_script_evaluates_nothing():
    for shell, script in SCRIPTS.items():
        assert "eval" not in script
        assert script.count(FILES) == 1, f"{shell} knows what stands for files"
    assert mcfwd("completion", "zsh").stdout == SCRIPTS[Shell.ZSH].lstrip("\n")


# --- at shells ---


def interface(name: str, role: str = "downstream") -> dict[str, Any]:
    return {**ANSWERS["interfaces"][0], "name": name, "role": role}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A directory to be in, and an environment in which `mcfwd` says what it was called with."""
    folder = tmp_path_factory.mktemp("shells")
    program = folder / "bin" / "mcfwd"
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
[ "$1" = completion ] && exec {sys.executable} -m forwarder "$@"
printf 'RAN<%s>' "$@"; echo ' END'
""")
    program.chmod(0o755)
    (folder / "here").mkdir()
    (folder / "here" / "some.toml").write_text("")
    rows = [interface("lan7"), interface("wan0", "upstream"), *map(interface, EVIL)]
    with instance(folder, {"interfaces": rows}) as path:
        own = str(Path(__file__).parent.parent)
        yield folder / "here", {
            "PATH": f"{program.parent}:{os.environ['PATH']}", "MCFWD_SOCKET": path, "PYTHONPATH": own, "TERM": "xterm",
            "HOME": str(folder), "LC_ALL": "C.UTF-8", "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
        }  # fmt: skip


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def tried(attempt: Callable[[], Any], wanted: Any) -> list[Any]:
    """What came of a few attempts, up to the one that is wanted: an instance has 0.3 s, and the machine may be busy."""
    came: list[Any] = []
    while len(came) < ATTEMPTS and wanted not in came:
        came.append(attempt())
    return came


def ran(shell: Terminal, typed: str) -> str:
    shell.press(typed)
    return shell.wait_for(r"(?:RAN<.*>) END")[0]


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_what_is_typed(site, name):
    need(name)
    folder, environment = site
    argv, begin = SHELLS[name]
    with Terminal(argv, str(folder), environment) as shell:
        shell.press(f"{begin}; echo READ''Y\n")
        shell.wait_for(r"READY\n")
        for typed, expected in (
            ("mcfwd route ad\t239.1.2.3 --upst\twan\t\n", ["route", "add", "239.1.2.3", "--upstream", "wan0"]),
            ("mcfwd query la\t\n", ["query", "lan7"]),
            ("mcfwd show --json interf\t\n", ["show", "--json", "interfaces"]),
            ("mcfwd check so\t\n", ["check", "some.toml"]),
            *((f"mcfwd query {each[0]}\t\n", ["query", each]) for each in EVIL[:-1]),
        ):
            wanted = "".join(f"RAN<{word}>" for word in expected) + " END"
            assert wanted in tried(lambda typed=typed: ran(shell, typed), wanted)
    assert not (folder / "pwned").exists()


def test_fish_completes_what_is_typed(site):
    need("fish")
    folder, environment = site

    def complete(*lines: str) -> list[list[str]]:
        asked = "; ".join(f"complete --escape -C (printf '%s' $argv[{at + 1}]); echo END" for at in range(len(lines)))
        done = subprocess.run(["fish", "--no-config", "-c", f"mcfwd completion fish | source; {asked}", *lines],
                              cwd=folder, env=environment, capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.stderr == ""
        return [[line.partition("\t")[0] for line in each.splitlines()] for each in done.stdout.split("END\n")[:-1]]

    said = "mcfwd relo", "mcfwd query l", "mcfwd query e", "mcfwd check so", "mcfwd "
    wanted = [["reload"], ["lan7"], ["e\\$\\(id\\>pwned\\)"], ["some.toml"], sorted(ROOT.commands)]
    assert wanted in tried(lambda: complete(*said), wanted)
    assert not (folder / "pwned").exists()


def test_every_shell_has_a_test():
    assert {*SHELLS, "fish"} == set(Shell)
