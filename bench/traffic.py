"""Source and Receivers: the bench's two programs as seen by who starts them; every wait has a deadline."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.send import Sent
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Program
from forwarder.lab.topology import LINK


class Source(Program):
    """`bench.send` in a namespace; one transmission at a time, keywords are the fields of `send.Offer`."""

    def __init__(self, namespace: Namespace, *interfaces: str) -> None:
        """`interfaces`: by which each datagram leaves."""
        super().__init__(namespace, "bench.send", [])
        self._interfaces = interfaces or (LINK,)

    def start(self, *destinations: str, **offer: Any) -> None:
        """Begins to send; returns when it does."""
        self.tell(json.dumps({"interfaces": self._interfaces, "destinations": destinations} | offer))
        self.answer(15.0)

    def wait(self, timeout: float) -> Sent:
        """What was sent, when all of it was; TimeoutError."""
        answer = self.answer(timeout)
        del answer["event"]
        return Sent(**answer)

    def stop(self) -> Sent:
        """Ends an endless transmission; what was sent."""
        self.tell('{"stop": true}')
        return self.wait(10.0)

    def send(self, *destinations: str, **offer: Any) -> Sent:
        """One whole transmission."""
        self.start(*destinations, **offer)
        expected = offer.get("seconds") or offer["count"] / offer["rate"]
        return self.wait(8 * expected + 30)


@dataclass(frozen=True)
class Report:
    """What the receivers have counted since the last reset; lists are by receiver, times monotonic seconds."""

    time: float
    received: list[int]
    unheard: int  # pairs of receiver and stream without a datagram
    lost: list[int]
    reordered: list[int]
    duplicated: list[int]
    stray: int
    damaged: int
    first: list[float]
    last: list[float]
    socket_drops: list[int]
    cpu: float
    by_stream: list[list[int]] | None = None
    complete: bool = False


@dataclass(frozen=True)
class Latency:
    """Seconds: distributions (count, min, mean, median, p90, p99, p99.9, max) of all, by port, and of the spread."""

    all: dict[str, float]
    ports: list[dict[str, float]] = field(default_factory=list)
    spread: dict[str, float] = field(default_factory=dict)


class Receivers(Program):
    """`bench.receive` for a socket in each of some namespaces; `wait` and `buffers`: see there."""

    def __init__(
        self, namespaces: Sequence[Namespace], interface: str = LINK, wait: str = "polled", buffers: str = "large"
    ) -> None:
        arguments = ["--of", str(os.getpid()), "--interface", interface, "--wait", wait, "--buffers", buffers]
        arguments += [word for namespace in namespaces for word in ("--namespace", str(namespace.fd))]
        super().__init__(namespaces[0], "bench.receive", arguments)
        self.count = len(namespaces)

    def command(self, *words: Any, timeout: float = 30.0) -> dict[str, Any]:
        """A command and its answer; RuntimeError when it was refused."""
        self.tell(json.dumps(words))
        return self.answer(timeout)

    def join(self, first: str, count: int = 1, receivers: Sequence[int] | None = None) -> float:
        """Joins `count` groups from `first` on (everywhere, or at `receivers`); the monotonic time before it."""
        return float(self.command("join", first, count, self._all(receivers), timeout=120.0)["time"])

    def leave(self, first: str, count: int = 1, receivers: Sequence[int] | None = None) -> float:
        """Leaves them; the monotonic time before it."""
        return float(self.command("leave", first, count, self._all(receivers), timeout=120.0)["time"])

    def reset(self, stream: int, streams: int) -> None:
        """Counts these streams from zero."""
        self.command("reset", stream, streams)

    def stamp(self, by: str) -> None:
        """Keeps arrival times by the "kernel" or by the "application"; "": none."""
        self.command("stamp", by)

    def report(self) -> Report:
        """What was counted until now."""
        return Report(**self.command("report"))

    def wait(self, counts: Sequence[int], quiet: float = 0.25, timeout: float = 15.0) -> Report:
        """The report when every receiver has its count, or when nothing came for `quiet` seconds."""
        return Report(**self.command("await", list(counts), quiet, timeout, timeout=timeout + 15))

    def latency(self) -> Latency:
        """Of the stamped datagrams since the reset."""
        return Latency(**self.command("latency"))

    def firsts(self) -> list[list[float]]:
        """First arrival by receiver and stream since the reset; 0 where nothing came."""
        answer: list[list[float]] = self.command("firsts")["firsts"]
        return answer

    def _all(self, receivers: Sequence[int] | None) -> list[int]:
        return list(range(self.count)) if receivers is None else list(receivers)
