"""A foreign daemon in a namespace: started in the foreground with a directory of its own, stopped, started again.

Rules: every daemon here keeps its files (configuration, sockets, pid) in the directory it is given, so any number of
them run beside each other and beside one that the machine itself runs; what it says goes to a log that is added to
the note of a failure.
"""

import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from forwarder.lab.namespaces import Namespace

Self = TypeVar("Self", bound="Daemon")

SYSTEM_PATH = ":/usr/sbin:/sbin"  # where daemons are, though not on every user's PATH


def program(name: str) -> str | None:
    """The path of an installed program; None where it is missing."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + SYSTEM_PATH)


def missing(name: str, package: str) -> str:
    """Why a daemon cannot run here; empty when it can."""
    return "" if program(name) else f"{name} is not installed (Debian package {package})"


class Daemon(ABC):
    """One daemon, from the context's beginning to its end; `start` and `stop` may be called in between."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.namespace, self.name = namespace, name
        self._directory = tempfile.TemporaryDirectory(prefix=f"{name}-")
        self.directory = Path(self._directory.name)
        self._processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Starts it, ready when this returns; TimeoutError or RuntimeError with its log as a note."""

    def stop(self, timeout: float = 10.0) -> None:
        """Asks it to end (SIGTERM), so that it takes its leave on the wire; by force after `timeout`."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self: Self) -> Self:
        try:
            self.start()
        except BaseException as error:
            error.add_note(self.log())
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if value is not None:
            value.add_note(self.log())
        self.close()

    def close(self) -> None:
        """Stops it and removes its directory."""
        self.stop()
        self._directory.cleanup()

    def log(self) -> str:
        """The end of all that it has written."""
        texts = [path.read_text(errors="replace")[-4000:] for path in sorted(self.directory.glob("*.log"))]
        return "\n".join([f"log of {self.name} in {self.namespace.name}:", *texts])

    def _launch(self, argv: Sequence[str]) -> None:
        """Starts a program of it in the foreground; its output goes to PROGRAM.log."""
        path = program(argv[0]) or argv[0]
        with (self.directory / f"{Path(path).name}.log").open("ab") as log:
            process = self.namespace.popen([path, *argv[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)

    def _running(self) -> bool:
        """True while all of it runs; RuntimeError when a part has ended by itself."""
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {process.returncode}")
        return True
