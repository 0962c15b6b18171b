"""Runs tests over planted faults, each in a fork that finds pytest, numpy and the other libraries already imported.

A fault is written into a copy of the tree that nobody else uses, so processes that tests start have it too.
"""

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from mutants.covering import ROOT, options
from mutants.operators import Mutant

LIBRARIES = ("aiohttp", "annotated_types", "hypothesis.extra.numpy", "hypothesis.stateful", "numpy", "pydantic",
             "pytest_timeout", "rich.table", "scapy.layers.inet", "scapy.layers.igmp", "typer.testing", "uvloop")
MEMORY = 4 << 30                # octets a run may take: an endless loop that collects ends so
PATIENCE, AT_LEAST = 10.0, 10.0     # a run may take so many times its time without a fault, and so many seconds more
OLD = 1_000_000_000             # stamp of the first fault's file: Python takes its cache for valid by time and length

KILLED, SURVIVED, TIMED_OUT, UNREACHED = "killed", "survived", "timed out", "survived: no test takes the line"


@dataclass
class Result:
    """What became of a fault."""

    mutant: Mutant
    outcome: str
    seconds: float = 0.0
    by: str = ""                # the test that failed


class Only:
    """A pytest plugin that runs these tests alone, in this order."""

    def __init__(self, tests: Iterable[str]) -> None:
        self._order = {test: at for at, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        mine = [item for item in items if item.nodeid.split("[")[0] in self._order]
        items[:] = sorted(mine, key=lambda item: self._order[item.nodeid.split("[")[0]])


@dataclass
class Copy:
    """A copy of the tree, and the run that goes on in it."""

    root: Path
    temporary: str = ""         # for what the run makes there, and may not come to remove
    pid: int = 0
    result: Result | None = None
    deadline: float = 0.0
    begun: float = 0.0

    def start(self, mutant: Mutant, tests: list[str], limit: float, number: int) -> None:
        """Plants the fault and runs its tests."""
        path = self.root / mutant.path
        path.write_bytes(mutant.apply(path.read_bytes()))
        os.utime(path, (OLD + number, OLD + number))
        self.result = Result(mutant, TIMED_OUT)
        self.begun = time.monotonic()
        self.deadline = self.begun + limit
        self.temporary = tempfile.mkdtemp(prefix="mcfwd-mutant-")
        os.chmod(self.temporary, 0o711)     # tests start processes of other users
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            tempfile.tempdir = os.environ["TMPDIR"] = self.temporary
            os._exit(run(self.root, tests, f"--basetemp={self.temporary}/t"))   # short: sockets have paths in it

    def finished(self) -> bool:
        """Whether the run has ended, by itself or because its time was over; then the copy is as it was."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() < self.deadline:
            return False
        end_all(self.pid)
        if pid:
            self._judge(os.waitstatus_to_exitcode(status))
        else:
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.result.seconds = time.monotonic() - self.begun
        path = self.result.mutant.path
        shutil.copy2(ROOT / path, self.root / path)
        return True

    def _judge(self, code: int) -> None:
        """1: a test failed; 2: what was to be tested could not even be imported; a signal: it crashed."""
        if code > 2:
            raise RuntimeError(f"pytest ended with {code}:\n{self.log.read_text(errors='replace')}")
        self.result.outcome = KILLED if code else SURVIVED
        self.result.by = failed(self.log) if code else ""

    @property
    def log(self) -> Path:
        """What pytest printed."""
        return self.root / "pytest.log"


def failed(log: Path) -> str:
    """The first test that failed."""
    lines = log.read_text(errors="replace").splitlines()
    named = (line.split(" - ")[0].split(maxsplit=1)[1] for line in lines if line.startswith(("FAILED ", "ERROR ")))
    return next(named, "")


def end_all(group: int) -> None:
    """The run and whatever it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(root: Path, tests: list[str], *further: str) -> int:
    """In the fork: the exit code of pytest, which is told `further` options."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    output = os.open(root / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root)
    ours = {str(ROOT), str(ROOT / "tests"), ""}
    sys.path[:] = [str(root), str(root / "tests"), *(place for place in sys.path if place not in ours)]
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    arguments = ["-x", "-q", "--tb=line", "-rfE", "-p", "no:warnings", *options(root), *further, *files]
    return int(pytest.main(arguments, plugins=[Only(tests)]))


def copy_tree(target: Path) -> Path:
    """The tree as it is, without what was built from it."""
    for name in ("forwarder", "igmp", "bench", "tests", "docs", "scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, target / name)
    return target


def try_all(
    mutants: list[Mutant], tests_of: Callable[[Mutant], list[str]], seconds: dict[str, float], copies: list[Path]
) -> Iterator[Result]:
    """Each fault's result, in the order in which they are known; RuntimeError if tests fail without any fault."""
    for name in LIBRARIES:
        import_module(name)
    free = [Copy(root) for root in copies]
    everything = list(dict.fromkeys(test for mutant in mutants for test in tests_of(mutant)))
    if everything:
        control(free[0], everything, seconds)
    waiting, busy = list(enumerate(mutants)), []
    while waiting or busy:
        while waiting and free:
            number, mutant = waiting.pop(0)
            if not (tests := tests_of(mutant)):
                yield Result(mutant, UNREACHED)
                continue
            copy = free.pop()
            copy.start(mutant, tests, limit_of(tests, seconds), number)
            busy.append(copy)
        time.sleep(0.02)
        for copy in [each for each in busy if each.finished()]:
            busy.remove(copy)
            free.append(copy)
            yield copy.result


def limit_of(tests: Iterable[str], seconds: dict[str, float]) -> float:
    """Seconds these tests may take."""
    return AT_LEAST + PATIENCE * sum(seconds[test] for test in tests)


def control(copy: Copy, tests: list[str], seconds: dict[str, float]) -> None:
    """All tests over a fault that is none: what fails now would make every fault look noticed."""
    copy.start(Mutant("forwarder/__init__.py", 1, range(1), "none", 0, 0, ""), tests, limit_of(tests, seconds), -1)
    while not copy.finished():
        time.sleep(0.02)
    if copy.result.outcome != SURVIVED:
        raise RuntimeError(f"without any fault: {copy.result.outcome}\n{copy.log.read_text(errors='replace')}")
