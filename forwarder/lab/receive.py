"""`python -m forwarder.lab.receive`: a kernel UDP receiver that counts numbered datagrams, cheaply.

Commands come on standard input, one a line, each answered by one JSON line with the monotonic time of it:

    join GROUP [SOURCE]     leave GROUP [SOURCE]     block GROUP SOURCE     unblock GROUP SOURCE
    report                  reset                    quit (or end of file)

While datagrams flow the sockets are emptied every `--gather` milliseconds instead of one wake a datagram; times
are the kernel's with `--timestamps`, otherwise as coarse as the gathering. Contents behind the header are read
only with `--verify`.
"""

import argparse
import json
import os
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from forwarder.lab import datagram, syscalls
from forwarder.lab.membership import Members
from forwarder.lab.mmsg import ReceiveBatch
from forwarder.lab.numbering import expand
from forwarder.lab.tally import Tally

BATCH = 1024  # datagrams per system call, the kernel's maximum
VERIFY_BATCH = 256  # with whole datagrams: 16 MiB


@dataclass
class Join:
    """One membership, from join to leave; times are monotonic seconds."""

    group: str
    source: str | None
    joined: float
    first: float | None = None
    left: float | None = None


class Reception:
    """The sockets, what came through them, and the commands that change them."""

    def __init__(self, members: Members, verify: bool) -> None:
        self._members, self._verify = members, verify
        self._tally, self._joins = Tally(), list[Join]()
        self._stray = 0  # not our datagrams, or damaged beyond knowing whose
        size = datagram.LARGEST if verify else datagram.SIZE
        self._batch = ReceiveBatch(VERIFY_BATCH if verify else BATCH, size)

    def drain(self) -> int:
        """Takes all that waits; how many datagrams."""
        total = 0
        for sock in self._members.sockets:
            while count := self._batch.receive(sock.fileno()):
                self._count(count)
                total += count
                if count < self._batch.capacity:
                    break
        return total

    def _count(self, count: int) -> None:
        headers, lengths = self._batch.headers(count), self._batch.lengths(count)
        intact = datagram.intact(headers, lengths) & (headers["stream"] < 65536)
        arrivals = self._arrivals(count)
        altered = self._altered(headers, intact) if self._verify else np.zeros(count, np.bool_)
        if not intact.all():
            self._stray += count - int(intact.sum())
            headers, arrivals, altered = headers[intact], arrivals[intact], altered[intact]
        self._first(headers, arrivals)
        self._tally.add(headers, altered, arrivals)

    def _arrivals(self, count: int) -> npt.NDArray[np.int64]:
        stamps = self._batch.stamps(count)
        if stamps is None:
            return np.full(count, time.monotonic_ns(), np.int64)
        return stamps + (time.monotonic_ns() - time.time_ns())

    def _altered(self, headers: datagram.Headers, intact: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        altered = np.zeros(len(headers), np.bool_)
        for row in np.flatnonzero(intact):
            length = int(headers["length"][row])
            rest = self._batch.octets[row, datagram.SIZE : length].tobytes()
            altered[row] = rest != datagram.rest(int(headers["sequence"][row]), length)
        return altered

    def _first(self, headers: datagram.Headers, arrivals: npt.NDArray[np.int64]) -> None:
        for join in self._joins:
            if join.first is None and join.left is None:
                found = np.flatnonzero(headers["group"] == int.from_bytes(socket.inet_aton(join.group), "big"))
                if len(found):
                    join.first = arrivals[found[0]] / 1e9

    def command(self, line: str) -> dict[str, object]:
        """Does what a line says and returns the answer; an error is an answer with key `error`."""
        verb, *arguments = line.split()
        now = time.monotonic()
        try:
            answer = self._obey(verb, arguments, now)
        except (OSError, LookupError, ValueError, TypeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        return {"event": verb, "time": now, **answer}

    def _obey(self, verb: str, arguments: list[str], now: float) -> dict[str, object]:
        match verb:
            case "join":
                self._members.join(*arguments)
                self._joins.append(Join(arguments[0], arguments[1] if len(arguments) > 1 else None, now))
            case "leave":
                self.drain()
                self._members.leave(*arguments)
                self._left(arguments[0], arguments[1] if len(arguments) > 1 else None, now)
            case "block" | "unblock":
                group, source = arguments
                self._members.block(group, source, verb == "block")
            case "report":
                self.drain()
                return self._report()
            case "reset":
                self.drain()
                self._tally, self._stray = Tally(), 0
            case _:
                raise ValueError(f"no command {verb}")
        return {}

    def _left(self, group: str, source: str | None, now: float) -> None:
        for join in self._joins:
            if (join.group, join.source, join.left) == (group, source, None):
                join.left = now

    def _report(self) -> dict[str, object]:
        return {
            "streams": [asdict(stream) for stream in self._tally.streams()],
            "stray": self._stray,
            "joins": [asdict(join) for join in self._joins],
            "socket_drops": self._members.drops(),
            "cpu": time.process_time(),
        }


class Commands:
    """Lines of standard input, read without blocking."""

    def __init__(self, fd: int) -> None:
        self.fd, self._rest = fd, b""
        self.ended = False

    def read(self) -> list[str]:
        """The whole lines that have come; sets `ended` at end of file."""
        octets = os.read(self.fd, 65536)
        self.ended = not octets
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return [line.decode() for line in lines if line.strip()]


def serve(reception: Reception, members: Members, commands: Commands, gather: float) -> None:
    """The loop: wait, obey, drain, and let datagrams gather while they flow."""
    while not commands.ended:
        poll = select.poll()
        poll.register(commands.fd, select.POLLIN)
        for sock in members.sockets:
            poll.register(sock, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if commands.fd in ready:
            for line in commands.read():
                if line == "quit":
                    return
                print(json.dumps(reception.command(line)), flush=True)
        if ready - {commands.fd}:
            reception.drain()
            time.sleep(gather)


def parse(argv: list[str]) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m forwarder.lab.receive", description=__doc__)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--group", action="append", default=[], help="join at once; may be repeated")
    parser.add_argument("--groups", type=int, default=1, help="that many from the first group on")
    parser.add_argument("--source", action="append", default=[], help="join only these sources")
    parser.add_argument("--exclude", action="append", default=[], help="block these sources")
    parser.add_argument("--verify", action="store_true", help="compare every octet")
    parser.add_argument("--timestamps", action="store_true", help="arrival times from the kernel")
    parser.add_argument("--gather", type=float, default=3.0, help="milliseconds between two looks under load")
    parser.add_argument("--buffer", type=int, default=64 << 20, help="socket buffer, octets")
    return parser.parse_args(argv)


def initial_commands(options: argparse.Namespace, groups: list[str]) -> list[str]:
    """The joins that the command line asks for."""
    joins = [f"join {group} {source}" for group in groups for source in options.source or [""]]
    return joins + [f"block {group} {source}" for group in groups for source in options.exclude]


def main(argv: list[str]) -> int:
    """Receives as the command line and standard input say."""
    options = parse(argv)
    members = Members(options.interface, options.port, options.buffer, options.timestamps)
    reception = Reception(members, options.verify)
    answers = [reception.command(line) for line in initial_commands(options, expand(options.group, options.groups))]
    errors = [answer["error"] for answer in answers if "error" in answer]
    print(json.dumps({"event": "started", "time": time.monotonic(), "errors": errors}), flush=True)
    syscalls.precise_sleep()
    serve(reception, members, Commands(sys.stdin.fileno()), options.gather / 1000)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
