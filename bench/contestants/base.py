"""What a contestant is, and what most of them need: a program in the router's namespace, and whether there is one."""

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.peers.daemon import program
from forwarder.lab.topology import Lab


class Running(Protocol):
    """A contestant at work."""

    def drops(self) -> Counter[str]:
        """What it says it has dropped so far, by reason."""

    def pids(self) -> dict[str, int]:
        """Its processes by name; none when the kernel does the work."""


class Contestant(Protocol):
    """A forwarder that can be started."""

    @property
    def name(self) -> str:
        """As in `--against` and in results."""

    @property
    def exclusive(self) -> bool:
        """Whether it costs CPU even when nothing flows, so that no other may be measured beside it."""

    @property
    def speaks_igmp(self) -> bool:
        """Whether joins and leaves change what it forwards."""

    def obstacle(self, ports: int, groups: int) -> str:
        """Why it cannot take part; empty when it can."""

    def start(self, lab: Lab, groups: Sequence[str]) -> AbstractContextManager[Running]:
        """It runs while the context lasts, ready to forward `groups` to every downstream link that wants them."""


@dataclass(frozen=True)
class Program:
    """A process that says nothing about drops."""

    processes: Mapping[str, int] = field(default_factory=dict)

    def drops(self) -> Counter[str]:
        """None known."""
        return Counter()

    def pids(self) -> dict[str, int]:
        """As it was started."""
        return dict(self.processes)


@dataclass(frozen=True)
class Nothing:
    """No forwarder at all."""

    name: str = "nothing"
    exclusive: bool = False
    speaks_igmp: bool = False

    def obstacle(self, ports: int, groups: int) -> str:
        """Never."""
        return ""

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """Does nothing."""
        yield Program()


def missing(name: str, package: str) -> str:
    """Why a program cannot be used here; empty when it can."""
    return "" if program(name) else f"{name} is not installed (apt-get install {package})"


@contextmanager
def process(lab: Lab, argv: Sequence[str], log: Path) -> Iterator[int]:
    """A program in the router's namespace while the context lasts, its output in `log`; its process id."""
    with log.open("wb") as output:
        running = lab.router.popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield running.pid
    except BaseException as error:
        error.add_note(f"{argv[0]}'s log:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        running.terminate()
        try:
            running.wait(10.0)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
