"""What `--help` looks like, and what it costs."""

import subprocess
import sys
from typing import Any

import pytest
import typer
from test_cli import mcfwd

from forwarder.command.main import app

WIDTH = 80
HEAVY = ("pydantic", "numpy", "rich", "aiohttp", "scapy", "pyroute2", "rtoml", "uvloop")


def groups(command: Any, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The program and all commands of it, by their words."""
    found = {before: command}
    for name, inner in getattr(command, "commands", {}).items():
        found |= groups(inner, (*before, name))
    return found


COMMANDS = groups(typer.main.get_command(app))


def helped(*words: str) -> str:
    """As `mcfwd WORDS --help` prints it, without a process for each."""
    command = COMMANDS[words]
    context = command.make_context(" ".join(("mcfwd", *words)), [], resilient_parsing=True, terminal_width=WIDTH,
                                   max_content_width=WIDTH, help_option_names=["-h", "--help"])  # fmt: skip
    return str(command.get_help(context))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_80_columns(words):
    assert [line for line in helped(*words).splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("words", [key for key, each in COMMANDS.items() if hasattr(each, "commands")], ids=" ".join)
def test_no_summary_is_cut(words):
    assert "..." not in helped(*words).partition("Commands:")[2]
    for name, inner in COMMANDS[words].commands.items():
        first = (inner.help or "").partition("\n\n")[0]
        assert first.count("\n") == 0, f"{name}: a first sentence of one line"
        assert first.endswith("."), name


@pytest.mark.parametrize("words", [[], ["route"], ["route", "add"]], ids=" ".join)
def test_h_is_help(words):
    short, long = mcfwd(*words, "-h"), mcfwd(*words, "--help")
    assert (short.returncode, short.stderr) == (0, "")
    assert short.stdout == long.stdout
    assert "-h, --help" in short.stdout


def test_help_loads_nothing_heavy():
    """It takes 0.2 s of processor time; each of these alone would take a tenth of a second more, or much more."""
    code = f"""
import sys
sys.argv = ["mcfwd", "--help"]
from forwarder.command.main import main
try:
    main()
except SystemExit:
    pass
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
