"""mcfwd itself, started in a namespace, asked over its Unix socket, and stopped."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for

NOBODY = 65534
# The set-up that mcfwd is made for: CAP_NET_RAW and nothing else, as an ordinary user.
CAPABILITIES = ("setpriv", "--inh-caps=-all,+net_raw", "--bounding-set=-all,+net_raw", "--pdeathsig=TERM")
ORDINARY_USER = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--ambient-caps=-all,+net_raw")


def reachable(path: str) -> bool:
    """Whether any user may execute `path`; an interpreter under root's home is out of an ordinary user's reach."""
    places = [place.resolve() for place in (Path(path), Path(path).parent)]
    return all(step.stat().st_mode & 1 for place in places for step in (place, *place.parents))


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Mcfwd:
    """`python -m forwarder run` with the given arguments; ready when its socket answers."""

    def __init__(
        self,
        namespace: Namespace,
        *arguments: str,
        unprivileged: bool = False,
        timeout: float = 20.0,
        log_level: str = "info",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="mcfwd-")
        directory = Path(self._directory.name)
        self.socket, self.log = str(directory / "s"), directory / "log"
        argv = [sys.executable, "-m", "forwarder", "run", "--socket", self.socket, "--log-level", log_level]
        prefix = self._drop_privileges(directory) if unprivileged else ()
        with self.log.open("wb") as log:
            self.process = namespace.popen(
                [*prefix, *argv, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | (environment or {}),
            )
        try:
            wait_for(self._ready, timeout, "mcfwd ready")
        except BaseException as error:
            error.add_note(self.read_log())
            self.close()
            raise

    def __enter__(self) -> "Mcfwd":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if value is not None:
            value.add_note(f"mcfwd's log:\n{self.read_log()}")
        self.close()

    def request(self, method: str, path: str, body: object = None, timeout: float = 5.0) -> tuple[int, Any]:
        """HTTP status and decoded JSON (None where there is none) of a request to the Unix socket."""
        connection = _Connection(self.socket, timeout)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    def show(self, noun: str) -> Any:
        """GET /v1/`noun`: a list of objects (of `stats` one object); RuntimeError when refused."""
        status, answer = self.request("GET", f"/v1/{noun}")
        if status != 200:
            raise RuntimeError(f"GET /v1/{noun}: {status} {answer}")
        return answer

    def interface(self, name: str) -> dict[str, Any]:
        """The row of one interface; LookupError."""
        row: dict[str, Any] | None = next((r for r in self.show("interfaces") if r["name"] == name), None)
        if row is None:
            raise LookupError(f"no interface {name}")
        return row

    def wait_for(self, predicate: Callable[["Mcfwd"], Any], timeout: float = 5.0, what: str = "condition") -> Any:
        """The first truthy answer of `predicate(self)`; TimeoutError."""
        return wait_for(lambda: predicate(self), timeout, what)

    def wait_member(self, interface: str, group: str, timeout: float = 5.0) -> dict[str, Any]:
        """The row of `show groups` for a group on an interface, as soon as there is one."""
        return dict(self.wait_for(lambda _: self.group(interface, group), timeout, f"{group} on {interface}"))

    def group(self, interface: str, group: str) -> dict[str, Any] | None:
        """The row of `show groups` for a group on an interface, if any."""
        rows: list[dict[str, Any]] = self.show("groups")
        return next((row for row in rows if (row["interface"], row["group"]) == (interface, group)), None)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by process name."""
        return {process["name"]: process["pid"] for process in self.show("stats")["processes"]}

    def read_log(self) -> str:
        """Everything written to standard error (and output)."""
        return self.log.read_text(errors="replace")

    def stop(self, timeout: float = 10.0, number: int = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit code; subprocess.TimeoutExpired when it does not end."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """Stops it if it still runs, by force if it must be, and removes its directory."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._directory.cleanup()

    @staticmethod
    def _drop_privileges(directory: Path) -> tuple[str, ...]:
        """CAP_NET_RAW alone, as an ordinary user where that one can run our Python, else still as root's uid."""
        if not reachable(sys.executable):
            return CAPABILITIES
        os.chown(directory, NOBODY, NOBODY)
        return CAPABILITIES + ORDINARY_USER

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"mcfwd ended with {self.process.returncode}")
        try:
            return bool(self.show("stats"))
        except (OSError, http.client.HTTPException, RuntimeError):
            return False


def exit_code(namespace: Namespace, arguments: Sequence[str], timeout: float = 20.0) -> tuple[int, str]:
    """Exit code and output of `python -m forwarder ARGUMENTS` run to its end in a namespace."""
    with namespace.popen(
        [sys.executable, "-m", "forwarder", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, output.decode(errors="replace")
