"""`python -m bench.receive`: ordinary UDP sockets, each in a namespace of its own, that count what comes.

How they wait while datagrams flow (--wait):

    blocking    every receiver is a process that sleeps in recvmmsg until datagrams come, as programs do: each pays its
                wakes, and so does the forwarder that sends datagrams one by one
    polled      one process looks at all sockets every few milliseconds and counts them together (`bench.tally`): what
                is left when receiving costs next to nothing

Memberships are held by further sockets, since the kernel walks a socket's own list of groups for every datagram.

Commands come on standard input, one JSON array a line, each answered by one JSON line:

    ["join", FIRST, COUNT, [RECEIVER...]]   ["leave", FIRST, COUNT, [RECEIVER...]]   groups from FIRST on
    ["reset", STREAM, COUNT]      forget; count these streams from now on
    ["report"]                    counts by receiver
    ["await", [COUNT...], QUIET, TIMEOUT]   report when every receiver has its count, or nothing came for QUIET seconds

and of receivers that are polled:

    ["stamp", "kernel"|"application"|""]   keep the latency of every datagram: to the kernel's receive stamp, or to the
                                  moment this program has it, which then blocks until a datagram comes; "" ends it
    ["latency"]                   latency of what was stamped, by receiver, and the spread over receivers
    ["firsts"]                    time of the first datagram of each receiver and stream since the reset
"""

import argparse
import json
import os
import select
import socket
import sys
import time
from typing import Any

from bench.bank import Bank, Socket
from bench.fleet import Fleet
from forwarder.lab import syscalls

QUIET = 0.05  # seconds without a datagram after which sockets are waited for together with commands
SLEEP = 0.02  # seconds that a blocking receiver sleeps for datagrams at most
UNDISTURBED = 0.1  # seconds in which it does not look at commands, and counts only when it has no more room
BUFFERS = 1 << 30  # octets of all sockets' buffers together
BUFFER = 256 << 20  # and of one at most


class Service:
    """The loop: obey commands, receive in the way that is wanted while datagrams flow, wait for both when none do."""

    def __init__(self, bank: Bank, gather: float, blocking: bool = False) -> None:
        """`gather`: milliseconds between two looks of receivers that do not block."""
        self._bank, self._gather, self._blocking = bank, gather, blocking
        self._rest = b""
        self._last_arrival = 0.0
        self._await: tuple[list[int], float, float] | None = None  # counts, quiet, deadline

    def run(self) -> None:
        """Until end of file."""
        every, stdin_only = select.poll(), select.poll()
        for fd in (0, *(each.sock.fileno() for each in self._bank.sockets)):
            every.register(fd, select.POLLIN)
        stdin_only.register(0, select.POLLIN)
        while True:
            busy = time.monotonic() - self._last_arrival < QUIET and self._bank.stamps != "application"
            if busy and self._blocking:
                came, ready = self._bank.block(UNDISTURBED), stdin_only.poll(0)
            else:
                ready = stdin_only.poll(self._gather) if busy else every.poll(self._patience())
                came = self._bank.drain() > 0
            if came:
                self._last_arrival = time.monotonic()
            if any(fd == 0 for fd, _ in ready) and not self._obey():
                return
            self._settle()

    def _patience(self) -> float | None:
        """Milliseconds to block: until something comes, or while somebody waits for quiet, not long."""
        return self._gather if self._await else None

    def _obey(self) -> bool:
        octets = os.read(0, 1 << 20)
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            verb, *arguments = json.loads(line)
            try:
                answer = self._command(verb, arguments)
            except (OSError, LookupError, ValueError, TypeError) as error:
                answer = {"error": f"{verb}: {type(error).__name__}: {error}"}
            if answer is not None:
                _say(answer)
        return bool(octets)

    def _command(self, verb: str, arguments: list[Any]) -> dict[str, object] | None:
        match verb:
            case "join" | "leave":
                return self._membership(verb, *arguments)
            case "reset":
                self._bank.reset(*arguments)
            case "stamp":
                self._bank.stamp(*arguments)
            case "report":
                return self._bank.report()
            case "await":
                counts, quiet, timeout = arguments
                self._last_arrival = time.monotonic()
                self._await = (counts, quiet, time.monotonic() + timeout)
                return None
            case "latency":
                return self._bank.latency()
            case "firsts":
                return self._bank.firsts()
            case _:
                raise ValueError("no such command")
        return {"time": time.monotonic()}

    def _membership(self, verb: str, first: str, count: int, receivers: list[int]) -> dict[str, object]:
        now = time.monotonic()
        start = int.from_bytes(socket.inet_aton(first), "big")
        for number in range(count):
            group = socket.inet_ntoa((start + number).to_bytes(4, "big"))
            for receiver in receivers:
                getattr(self._bank.sockets[receiver], verb)(group)
        return {"time": now}

    def _settle(self) -> None:
        if self._await is None:
            return
        counts, quiet, deadline = self._await
        now = time.monotonic()
        complete = all(have >= want for have, want in zip(self._bank.received(), counts, strict=True))
        if complete or now - self._last_arrival >= quiet or now >= deadline:
            self._await = None
            _say(self._bank.report() | {"complete": complete})


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


def main(argv: list[str]) -> int:
    """Receives as standard input says."""
    parser = argparse.ArgumentParser(prog="python -m bench.receive", description=__doc__)
    parser.add_argument("--namespace", type=int, action="append", default=[], help="descriptor of process --of")
    parser.add_argument("--of", type=int, default=os.getppid(), help="process that holds the descriptors")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--wait", choices=("blocking", "polled"), default="polled", help="see above")
    parser.add_argument("--buffers", choices=("large", "default"), default="large", help="of the sockets")
    parser.add_argument("--gather", type=float, default=5.0, help="milliseconds between two looks under load")
    options = parser.parse_args(argv)
    sockets = []
    buffer = min(BUFFER, BUFFERS // len(options.namespace)) if options.buffers == "large" else None
    for number in options.namespace:
        fd = os.open(f"/proc/{options.of}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        sockets.append(Socket(fd, options.interface, options.port, buffer))
    syscalls.precise_sleep()
    if options.wait == "blocking":
        fleet = Fleet(len(sockets), lambda at: Service(Bank([sockets[at]], SLEEP), options.gather, blocking=True).run())
        _say({"event": "started", "time": time.monotonic()})
        fleet.run()
    else:
        _say({"event": "started", "time": time.monotonic()})
        Service(Bank(sockets), options.gather).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
