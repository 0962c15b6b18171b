"""Signals from the first instruction on: whenever one comes, `mcfwd run` does what it is to do, and nobody is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.lab.wait import wait_for
from forwarder.process import privileges, signals

needs_raw = pytest.mark.skipif(
    not privileges.has_capability(privileges.CAP_NET_RAW), reason="starting needs CAP_NET_RAW"
)
PATIENCE = 60.0
ROOT = Path(__file__).parent.parent


class Running:
    """`mcfwd run` for interfaces that do not exist, in a process group of its own, as a shell makes one."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.socket, self._log = folder / "s", folder / "log"
        command = [*prefix, sys.executable, "-m", "forwarder", "run", "-u", "nowhere0", "-d", "nowhere1"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, "--socket", str(self.socket)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, cwd=ROOT)  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def mask(self, name: str, pid: int | None = None) -> set[int]:
        """The signals of a line of proc(5)'s status: SigBlk, SigIgn, SigCgt."""
        lines = Path(f"/proc/{pid or self.pid}/status").read_text().splitlines()
        bits = int(next(line for line in lines if line.startswith(name)).split()[1], 16)
        return {number for number in range(1, 65) if bits >> number - 1 & 1}


@contextmanager
def running(folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[Running]:
    started = Running(folder, prefix)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


STAGES: dict[str, Callable[[Running], object]] = {
    "its first instruction": lambda mcfwd: signal.SIGTERM in mcfwd.mask("SigCgt"),
    "its control socket": lambda mcfwd: mcfwd.socket.exists(),
    "its first child": lambda mcfwd: mcfwd.socket.exists() and mcfwd.children(),
    "three children": lambda mcfwd: len(mcfwd.children()) >= 3,
    "that it is ready": lambda mcfwd: " ready: " in mcfwd.log,
    "its spare worker": lambda mcfwd: len(mcfwd.children()) >= 4,
}


@needs_raw
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_whenever_it_is_told_to_end_it_ends_well(tmp_path, stage, number):
    """SIGINT goes to all of its processes, as by Ctrl-C; SIGTERM to the first."""
    with running(tmp_path) as mcfwd:
        wait_for(lambda: STAGES[stage](mcfwd), PATIENCE, stage)
        if number == signal.SIGINT:
            os.killpg(mcfwd.pid, number)
        else:
            os.kill(mcfwd.pid, number)
        assert mcfwd.process.wait(PATIENCE) == 0, mcfwd.log
        assert "Traceback" not in mcfwd.log
        assert not mcfwd.socket.exists()
        wait_for(lambda: is_gone(mcfwd.pid), PATIENCE, "the end of all its processes")


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@needs_raw
@pytest.mark.parametrize("stage", ["its first instruction", "its control socket", "three children"])
def test_whenever_it_is_told_to_reload_it_does_not_end(tmp_path, stage):
    with running(tmp_path) as mcfwd:
        wait_for(lambda: STAGES[stage](mcfwd), PATIENCE, stage)
        os.killpg(mcfwd.pid, signal.SIGHUP)
        wait_for(lambda: " reloaded, " in mcfwd.log, PATIENCE, "a reload")
        wait_for(lambda: " ready: " in mcfwd.log, PATIENCE, "that it is ready")
        os.kill(mcfwd.pid, signal.SIGTERM)
        assert mcfwd.process.wait(PATIENCE) == 0


BLOCKED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_raw
def test_whatever_its_parent_blocked_is_blocked_neither_for_it_nor_for_its_children(tmp_path):
    with running(tmp_path, (sys.executable, "-c", BLOCKED)) as mcfwd:
        wait_for(lambda: STAGES["its spare worker"](mcfwd), PATIENCE, "all children")
        wait_for(lambda: all(ignoring(mcfwd, child) for child in mcfwd.children()), PATIENCE, "what children ignore")
        assert [mcfwd.mask("SigBlk", pid) for pid in (mcfwd.pid, *mcfwd.children())] == [set()] * 5
        os.kill(mcfwd.pid, signal.SIGTERM)
        assert mcfwd.process.wait(PATIENCE) == 0


def ignoring(mcfwd: Running, child: int) -> bool:
    return mcfwd.mask("SigIgn", child) >= set(signals.NOT_FOR_CHILDREN)


def test_another_command_ends_quietly_while_it_is_imported(tmp_path):
    program = "import os, signal; from forwarder.process import signals; signals.begin(False); os.kill(os.getpid(), 2)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (signals.EXIT_INTERRUPTED, "")


def test_what_is_ignored_stays_ignored_by_another_command():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signals.begin(False)
        signals.imported(False)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
