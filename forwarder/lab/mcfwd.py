"""mcfwd itself, started in a namespace, asked over its Unix socket, and stopped."""

import contextlib
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
from forwarder.lab.public import public_python
from forwarder.lab.wait import wait_for

NOBODY = 65534
# The set-up that mcfwd is made for: CAP_NET_RAW and nothing else, as an ordinary user.
CAPABILITIES = ("setpriv", "--inh-caps=-all,+net_raw", "--bounding-set=-all,+net_raw", "--pdeathsig=TERM")
ORDINARY_USER = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--ambient-caps=-all,+net_raw")


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
        prefix: Sequence[str] = (),
        socket_path: str | None = None,
        python: str = sys.executable,
    ) -> None:
        """`unprivileged`: CAP_NET_RAW alone, as an ordinary user; `prefix`: a program that starts it, with options."""
        self._directory = tempfile.TemporaryDirectory(prefix="mcfwd-")
        directory = Path(self._directory.name)
        self.socket, self.log = socket_path or str(directory / "s"), directory / "log"
        public = public_python() if unprivileged else None
        python, needed = public or (python, {})
        if public:
            os.chown(directory, NOBODY, NOBODY)
        if unprivileged:
            prefix = (*CAPABILITIES, *(ORDINARY_USER if public else ()), *prefix)
        argv = [python, "-m", "forwarder", "run", "--socket", self.socket, "--log-level", log_level]
        with self.log.open("wb") as log:
            self.process = namespace.popen(
                [*prefix, *argv, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | needed | (environment or {}),
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

    def process_row(self, name: str) -> dict[str, Any] | None:
        """The row of a process in `show stats`; None while the process, or the API itself, is being started again."""
        try:
            rows: list[dict[str, Any]] = self.show("stats")["processes"]
        except (OSError, http.client.HTTPException):
            return None
        return next((row for row in rows if row["name"] == name), None)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to one of mcfwd's processes, of the id that `show stats` tells, and returns the id."""
        pid = self.pids[name]
        os.kill(pid, number)
        return pid

    def wait_replaced(self, name: str, former: int, timeout: float = 20.0) -> dict[str, Any]:
        """The row of a process that has taken the place of `former` and has shown life since; TimeoutError."""

        def alive(_: "Mcfwd") -> dict[str, Any] | None:
            row = self.process_row(name)
            if row is None or row["pid"] == former or row["heartbeat"] is None:
                return None
            return row if row["heartbeat"] < row["uptime"] else None

        return dict(self.wait_for(alive, timeout, f"another {name} than {former}"))

    def children(self) -> dict[int, str]:
        """Names (comm) of all processes below the supervisor by process id, the spare worker included."""
        names: dict[int, str] = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):     # it has just ended
                    names[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
        return names

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

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"mcfwd ended with {self.process.returncode}")
        try:
            return bool(self.show("stats"))
        except (OSError, http.client.HTTPException, RuntimeError):
            return False


def exit_code(
    namespace: Namespace, arguments: Sequence[str], timeout: float = 20.0, prefix: Sequence[str] = ()
) -> tuple[int, str]:
    """Exit code and output of `PREFIX python -m forwarder ARGUMENTS` run to its end in a namespace."""
    with namespace.popen(
        [*prefix, sys.executable, "-m", "forwarder", *arguments],
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
