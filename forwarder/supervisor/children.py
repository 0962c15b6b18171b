"""Child processes: how one is started, told what it is, watched and replaced.

A child that dies is started again at once; one that keeps dying waits longer each time and says so. A child that is
silent for longer than STALL (START until it is ready) is killed, and reaped before its successor starts.
"""

import logging
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from forwarder.process import control, launch
from forwarder.process.launch import describe

log = logging.getLogger(__name__)

STALL = 10.0
START = 30.0
ANSWER = 2.0    # seconds a process that has done its imports has to say that it is here: it only waits for this
SHORT_LIFE = 10.0
LONGEST_BACKOFF = 30.0
REAP = 1.0      # seconds


@dataclass(slots=True)
class Process:
    """A started interpreter and our end of its control socket."""

    popen: "subprocess.Popen[bytes]"
    channel: socket.socket

    @classmethod
    def start(cls, module: str, parent: int, nice: int = 0) -> "Process":
        """Run `python -m module` without privileges; it does its imports and waits for its start message.

        OSError where there is no process or descriptor to be had.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        try:
            with theirs:
                popen = launch.start(
                    ["-m", "forwarder.process", str(nice), module, str(number), str(parent)], pass_fds=[number]
                )
        except BaseException:
            ours.close()
            raise
        return cls(popen, ours)

    def kill(self) -> None:
        """Kill and reap, if the kernel lets go of it soon; init reaps what it does not."""
        self.popen.kill()
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(REAP)
        self.channel.close()


@dataclass(slots=True)
class Child:
    """One role that must always be filled, and the process that fills it now.

    `heard`: what it says is listened to; `begun`: it was told what it is; `owed` are the ports that it has still to be
    lent; `told`: it knows that it has got all there were at its start; `waited`: its process was a spare; `here`: that
    has heard what it is; `leaving`: why it was asked to end, for another to take its place.
    """

    name: str
    module: str
    arguments: dict[str, Any]
    descriptors: Callable[[], Mapping[str, int]]
    heartbeat: Callable[[], float]
    nice: int = 0
    process: Process | None = None
    heard: bool = False
    begun: bool = False
    told: bool = False
    waited: bool = False
    here: bool = False
    ready: bool = False
    killed: bool = False
    leaving: str | None = None
    owed: list[int] = field(default_factory=list)
    started: float = 0.0
    restarts: int = 0
    failures: int = field(default=0)
    not_before: float = 0.0

    def adopt(self, process: Process, now: float, waited: bool = False) -> None:
        """Let `process` fill this role."""
        self.process, self.started, self.waited, self.leaving = process, now, waited, None
        self.heard = self.begun = self.told = self.here = self.ready = self.killed = False
        self.owed = []

    def begin(self, log_level: str, log_format: str = "text") -> bool:
        """Tell the process what it is; False when it is gone, or there is no memory for messages now."""
        said = {"type": "start", "name": self.name, "log_level": log_level, "log_format": log_format}
        self.begun = self.send({**self.arguments, **said}, self.descriptors())
        return self.begun

    def send(self, message: Mapping[str, Any], descriptors: Mapping[str, int] | None = None) -> bool:
        """Send a message; False when there is nobody or its queue is full."""
        return self.process is not None and control.send(self.process.channel, message, descriptors)

    def reap(self, now: float) -> int | None:
        """The exit status when the process has ended (the role is vacant then), else None; leaves its channel open."""
        if self.process is None or (status := self.process.popen.poll()) is None:
            return None
        self.process, self.ready = None, False
        if self.leaving is not None:
            log.info("%s ended, for another to take its place: %s", self.name, self.leaving)
            return status
        self.restarts += 1
        delay = self._back_off(now, lived=now - self.started)
        log.warning("%s ended (%s); starting it again %s", self.name, describe(status), _when(delay))
        return status

    def leave(self, why: str) -> None:
        """Ask the process to end at the end of what it is doing, by the end of its channel."""
        self.leaving = why
        if self.process is not None:
            with suppress(OSError):     # it has ended already
                self.process.channel.shutdown(socket.SHUT_WR)

    def left(self) -> None:
        """It has ended as it was asked to, and its successor may begin: at once, since it gets something else."""
        self.leaving, self.failures, self.not_before = None, 0, 0.0

    def refused(self, now: float, error: Exception) -> None:
        """There was no process to be had for this role: the next try is put off."""
        delay = self._back_off(now, lived=0.0)
        log.error("%s cannot be started (%s); trying again %s", self.name, error, _when(delay))

    def _back_off(self, now: float, lived: float) -> float:
        """Seconds until the next try, after a process that `lived` so long."""
        self.failures = self.failures + 1 if lived < SHORT_LIFE else 1
        # from the 9th on it is LONGEST_BACKOFF; what is raised to a power stays a number however many there were
        delay = 0.0 if self.failures < 3 else min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(self.failures - 3, 16))
        self.not_before = now + delay
        return delay

    def silence(self, now: float, since: float) -> float:
        """Seconds without a sign of life, of those after `since`."""
        return now - max(self.heartbeat(), self.started, since)

    def stalled(self, now: float, since: float) -> bool:
        """Whether a child that was told to start, or to leave, has been silent for too long.

        Counted from `since` at the earliest.
        """
        limit = ANSWER if self.waited and not self.here else STALL if self.ready else START
        return (self.begun or self.leaving is not None) and self.silence(now, since) > limit


def _when(delay: float) -> str:
    return "now" if delay == 0.0 else f"in {delay:g} s"
