"""What a test and refuse.c share: which calls of which process are refused, how often, with what, and who dies of it.

A preloaded library, and not a filter of system calls (seccomp): a filter is inherited by every child and cannot be
taken off again, and one that asks the test each time stops the workers' calls too while it thinks. The library acts in
one process, at full speed, and leaves the allocator alone, whose mmap is not the rings'. It sees calls by their names
in the C library, which is how Python makes all of them.
"""

import mmap
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.peers.daemon import program

SOURCE = Path(__file__).with_name("refuse.c")
CALLS = re.findall(r"X\((\w+)\)", SOURCE.read_text().partition("#define CALLS(X)")[2].partition("#define NUMBER")[0])
"""The calls that can be refused, in the library's order."""
PID, ERROR, VICTIM, LEFT = range(4)     # words of struct page
MASK, REFUSED, MADE, WORDS = 4, 6, 6 + 64, 6 + 128
ALWAYS = -1


@cache
def library() -> tuple["tempfile.TemporaryDirectory[str]", Path]:
    """The built library, in a directory that lasts as long as this process; RuntimeError with the compiler's words."""
    directory = tempfile.TemporaryDirectory(prefix="refusals-")
    built = Path(directory.name, "refuse.so")
    compiler = program("cc")
    if compiler is None:
        raise RuntimeError("cc is not installed")
    argv = [compiler, "-O2", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(built), str(SOURCE)]
    made = subprocess.run([*argv, "-ldl"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(made.stderr)
    return directory, built


class Page:
    """Refuses calls of the process `pid` once it is set; `environment` is for the program and all it starts."""

    def __init__(self, directory: Path) -> None:
        file = directory / "refusals"
        file.write_bytes(bytes(4 * WORDS))
        with file.open("r+b") as opened:
            self._words = memoryview(mmap.mmap(opened.fileno(), 4 * WORDS)).cast("i")
        self.environment = {"LD_PRELOAD": str(library()[1]), "MCFWD_REFUSALS": str(file)}

    def watch(self, pid: int) -> None:
        """From now on the calls of this process are counted, and refused when they are to be."""
        self._words[PID] = pid

    def refuse(self, calls: Sequence[str], error: int, times: int = ALWAYS, victim: int = 0) -> None:
        """Refuse `calls` together `times` times; `victim` is killed at the first refusal."""
        self.allow()
        mask = sum(1 << CALLS.index(call) for call in calls)
        self._words[MASK] = mask if mask < 1 << 31 else mask - (1 << 32)
        self._words[ERROR], self._words[VICTIM] = error, victim
        for call in calls:
            self._words[REFUSED + CALLS.index(call)] = 0
        self._words[LEFT] = times

    def allow(self) -> None:
        """Refuse nothing more."""
        self._words[LEFT] = self._words[VICTIM] = 0

    def refused(self, *calls: str) -> int:
        """How often these were refused since `refuse`."""
        return sum(self._words[REFUSED + CALLS.index(call)] for call in calls)

    def made(self) -> dict[str, int]:
        """How often each call was made since `watch`, refused or not."""
        return {call: self._words[MADE + at] for at, call in enumerate(CALLS) if self._words[MADE + at]}
