"""The C program of bench/limit: the ceiling for a forwarder that works as mcfwd does."""

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.contestants.base import missing
from bench.peers.daemon import program
from forwarder.lab.topology import Lab

SOURCES = Path(__file__).parent.parent / "limit"
GATHER = 2000  # microseconds between batches under load: mcfwd's profile balanced
THREADS = 4 if (os.cpu_count() or 1) > 1 else 1  # as many as send in a worker of mcfwd
DROPS = ("transmit_failed", "ring_full")


@cache
def _build() -> tuple["tempfile.TemporaryDirectory[str]", str]:
    """A directory with the program `limit`, kept as long as this process; or the compiler's complaint."""
    directory = tempfile.TemporaryDirectory(prefix="limit-")
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    argv = [program("cc") or "cc", "-O2", "-std=c11", "-pthread", "-o", str(Path(directory.name, "limit")), *sources]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    return directory, made.stderr.strip() if made.returncode else ""


class RunningLimit:
    """The program at work, answering on its standard output."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def counts(self) -> dict[str, int]:
        """What it has counted since its start, see bench/limit/limit.c; RuntimeError when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.write(self._process.stdin.fileno(), b"\n")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"limit ended with {self._process.wait(5.0)}")
        answer: dict[str, int] = json.loads(line)
        return answer

    def drops(self) -> Counter[str]:
        """What its ring had no room for, and what the kernel refused to send."""
        counts = self.counts()
        return Counter({reason: counts[reason] for reason in DROPS})

    def pids(self) -> dict[str, int]:
        """One process."""
        return {"limit": self._process.pid}


@dataclass(frozen=True)
class Limit:
    """It forwards all groups to all ports, asked for or not."""

    name: str = "limit"
    threads: int = THREADS
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """A C compiler builds it."""
        if reason := missing("cc", "gcc libc6-dev"):
            return reason
        complaint = _build()[1]
        return f"cc: {complaint.splitlines()[0]}" if complaint else ""

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[RunningLimit]:
        """Ready when it answers."""
        path = Path(_build()[0].name, "limit")
        argv = [str(path), "-g", str(GATHER), "-t", str(self.threads), lab.upstream, *lab.downstreams]
        with lab.router.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                running = RunningLimit(process)
                running.counts()
                yield running
            finally:
                process.terminate()
