"""Commands of README and docs/operating.md work as printed and in order, on interfaces called as there."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.lab.public import public_python

ROOT = Path(__file__).parents[2]
README, OPERATING = ((ROOT / page).read_text() for page in ("README.md", "docs/operating.md"))
BLOCKS = re.compile(r"^```(sh|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(sudo (?:mcfwd|curl|setpriv) (?:[^'\n]|'[^']*')*)$", re.MULTILINE)  # /run is the test's own
# Every `run` ends when the next begins; the other commands have to succeed.
SCRIPT = """\
set -eu
mount -t tmpfs tmpfs /run
cd "$1"
log=$1/log pid=

stop() {
    [ -n "$pid" ] || return 0
    kill "$pid"
    wait "$pid" && return 0
    echo "run ended with $?"; cat "$log"; exit 1
}

run() {
    stop
    "$@" >"$log" 2>&1 &
    pid=$!
    for try in $(seq 300); do
        mcfwd show stats --json 2>/dev/null | grep -q '"ready": true' && return 0
        kill -0 "$pid" || break
        sleep 0.1
    done
    echo "not ready: $*"; cat "$log"; exit 1
}

ask() {
    "$@" 2>&1 || { echo "failed: $*"; cat "$log"; exit 1; }
}
"""
needs_user = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")


def commands(page: str = README) -> list[str]:
    """What a page tells to type about a running instance, without what it installs or measures."""
    shell = "\n".join(text.replace("\\\n", " ") for language, text in BLOCKS.findall(page) if language == "sh")
    return COMMAND.findall(shell)


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(stat.S_IRWXU | 0o055)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter, with one like /tmp in it."""
    with tempfile.TemporaryDirectory(prefix="mcfwd-readme-") as name:
        path = Path(name)
        path.chmod(0o755)
        for directory, mode in (("bin", 0o755), ("t", 0o1777)):
            (path / directory).mkdir()
            (path / directory).chmod(mode)
        yield path


@pytest.fixture
def namespace(stack) -> Namespace:
    """With eth0, eth1 and eth2, as README has them."""
    here, there = stack.enter_context(Namespace("readme")), stack.enter_context(Namespace("others"))
    for number in range(3):
        links.veth(here, f"eth{number}", there, f"eth{number}")
        links.add_address(here, f"eth{number}", f"10.0.{number}.1/24")
        links.up(here, f"eth{number}")
        links.up(there, f"eth{number}")
    return here


@needs_user
def test_the_commands_of_the_readme_work_as_printed(namespace, place):
    public = public_python()
    python, needed = public or (sys.executable, {"PYTHONPATH": str(ROOT)})
    tried = [command for command in commands() if public or "setpriv" not in command]
    lines = [f"{'run' if ' run ' in command else 'ask'} {command}" for command in tried]
    lines[1:1] = [f"ask {command}" for command in commands(OPERATING) if " run " not in command]    # test_host_programs
    if public:
        lines.append("ask mcfwd show flows")     # of the setpriv run, as README says
    program(place / "bin" / "sudo", 'exec "$@"')
    program(place / "bin" / "mcfwd", f'exec {python} -m forwarder "$@"')
    (place / "mcfwd.toml").write_text(next(text for language, text in BLOCKS.findall(README) if language == "toml"))
    environment = os.environ | needed | {
        "PATH": f"{place}/bin:{os.environ['PATH']}", "TMPDIR": f"{place}/t", "MCFWD_SOCKET": "", "XDG_RUNTIME_DIR": "",
    }  # fmt: skip
    argv = ["unshare", "--mount", "bash", "-c", "\n".join([SCRIPT, *lines, "stop"]), "readme", str(place)]
    with namespace.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as done:
        said, _ = done.communicate(timeout=100)
    assert done.returncode == 0, said
    assert '"error"' not in said
    assert not public or "this is the instance of user 65534" in said


def test_all_of_them_are_tried():
    assert len(commands()) >= 8
    assert len([command for command in commands(OPERATING) if " run " not in command]) == 8
    assert sum(" run " in command for command in commands()) == 3
