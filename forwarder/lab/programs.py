"""Sender and Receiver: the lab's programs in a namespace, and what they say; every wait has a deadline."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from forwarder.lab import send
from forwarder.lab.namespaces import Namespace
from forwarder.lab.receive import Join
from forwarder.lab.tally import StreamTally
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

Self = TypeVar("Self", bound="Program")


class Program:
    """A child process that answers in JSON lines."""

    def __init__(self, namespace: Namespace, module: str, arguments: list[str]) -> None:
        argv = [sys.executable, "-m", module, *arguments]
        self._name = f"{module} in {namespace.name}"
        self._process = namespace.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._rest = b""
        self.started = float(self.answer(15.0)["time"])

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, by force if it must be."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def tell(self, line: str) -> None:
        """Writes a command line."""
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), line.encode() + b"\n")

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next JSON line; TimeoutError, or RuntimeError when the program says no or has ended."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            self._rest += self._read(deadline - time.monotonic())
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("error") or answer.get("errors"):
            raise RuntimeError(f"{self._name}: {answer}")
        return answer

    def _read(self, timeout: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(max(0.0, timeout * 1000)):
            raise TimeoutError(f"no answer from {self._name}")
        octets = os.read(fd, 1 << 20)
        if not octets:
            raise RuntimeError(f"{self._name} ended with {self._process.wait(5.0)}")
        return octets


@dataclass(frozen=True)
class Report:
    """What a receiver has counted since its last reset."""

    time: float
    streams: list[StreamTally]
    joins: list[Join]
    stray: int
    socket_drops: int
    cpu: float

    def total(self, field: str) -> int:
        """Sum over all streams of `received`, `lost`, `duplicated`, `reordered`, `altered` or `bytes`."""
        return sum(int(getattr(stream, field)) for stream in self.streams)

    def stream(self, number: int) -> StreamTally | None:
        """The tally of one stream; None where nothing of it came."""
        return next((stream for stream in self.streams if stream.stream == number), None)


class Receiver(Program):
    """`forwarder.lab.receive` on the link of a receiver's namespace; arrival times are the kernel's."""

    def __init__(
        self,
        namespace: Namespace,
        *groups: str,
        interface: str = LINK,
        port: int = 5000,
        verify: bool = False,
        timestamps: bool = True,
        options: tuple[str, ...] = (),
    ) -> None:
        arguments = ["--interface", interface, "--port", str(port), *options]
        arguments += [word for group in groups for word in ("--group", group)]
        arguments += ["--verify"] * verify + ["--timestamps"] * timestamps
        super().__init__(namespace, "forwarder.lab.receive", arguments)

    def command(self, *words: str, timeout: float = 10.0) -> dict[str, Any]:
        """Tells the receiver something and waits for the answer; RuntimeError when it could not."""
        self.tell(" ".join(words))
        return self.answer(timeout)

    def join(self, group: str, source: str = "") -> float:
        """Joins a group or a channel; the monotonic time at which."""
        return float(self.command("join", group, source)["time"])

    def leave(self, group: str, source: str = "") -> float:
        """Leaves it; the monotonic time at which."""
        return float(self.command("leave", group, source)["time"])

    def reset(self) -> None:
        """Forgets what was counted."""
        self.command("reset")

    def report(self) -> Report:
        """What was counted until now."""
        answer = self.command("report")
        return Report(
            time=answer["time"],
            streams=[StreamTally(**stream) for stream in answer["streams"]],
            joins=[Join(**join) for join in answer["joins"]],
            stray=answer["stray"],
            socket_drops=answer["socket_drops"],
            cpu=answer["cpu"],
        )

    def wait_received(self, count: int, timeout: float = 5.0) -> Report:
        """The first report with at least `count` datagrams; TimeoutError."""
        return wait_for(lambda: self._enough(count), timeout, f"{count} datagrams received")

    def _enough(self, count: int) -> Report | None:
        report = self.report()
        return report if report.total("received") >= count else None

    def settle(self, quiet: float = 0.1, timeout: float = 5.0) -> Report:
        """The report when nothing has come for `quiet` seconds; TimeoutError while it keeps flowing."""
        reports = [self.report()]

        def settled() -> Report | None:
            report = self.report()
            if report.total("received") != reports[0].total("received"):
                reports[0] = report
            return report if report.time - reports[0].time >= quiet else None

        return wait_for(settled, timeout, "traffic settled")


class Sender(Program):
    """`forwarder.lab.send` in a namespace; keywords are the fields of `send.Options`."""

    def __init__(self, namespace: Namespace, *groups: str, **options: Any) -> None:
        self.options = send.Options(**{"interface": LINK, "groups": list(groups), **options})
        super().__init__(namespace, "forwarder.lab.send", _arguments(self.options))

    def wait(self, timeout: float) -> send.Result:
        """What was sent, when all of it was; TimeoutError."""
        return _result(self.answer(timeout))

    def stop(self, timeout: float = 5.0) -> send.Result:
        """Ends an endless sender; what was sent."""
        self._process.terminate()
        return _result(self.answer(timeout))


def _result(answer: dict[str, Any]) -> send.Result:
    answer.pop("event")
    answer["streams"] = {int(stream): count for stream, count in answer["streams"].items()}
    return send.Result(**answer)


def _arguments(options: send.Options) -> list[str]:
    words: list[str] = []
    for name, value in vars(options).items():
        option = "--" + name.replace("_", "-")
        if name == "groups":
            words += [word for group in value for word in ("--group", group)]
        elif isinstance(value, bool):
            words += [option] * value
        elif value != "":
            words += [option, str(value)]
    return words
