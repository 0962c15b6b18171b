"""`python -m bench.receive`: ordinary UDP sockets in many namespaces, emptied and counted by one process.

Sixty-four receivers that wake for themselves would take the CPU that is to be measured. Here one process empties all
sockets every `--gather` milliseconds while datagrams flow and counts them together (`bench.tally`); it blocks when
none come. Each receiver is one socket bound to the port, in a namespace of its own; memberships are held by further
sockets there, since the kernel walks a socket's own list of groups for every datagram.

Commands come on standard input, one JSON array a line, each answered by one JSON line:

    ["join", FIRST, COUNT, [RECEIVER...]]   ["leave", FIRST, COUNT, [RECEIVER...]]   groups from FIRST on
    ["reset", STREAM, COUNT]      forget; count these streams from now on
    ["stamp", "kernel"|"application"|""]   keep the latency of every datagram: to the kernel's receive stamp, or to the
                                  moment this program has it, which then blocks until a datagram comes; "" ends it
    ["report"]                    counts by receiver
    ["await", [COUNT...], QUIET, TIMEOUT]   report when every receiver has its count, or nothing came for QUIET seconds
    ["latency"]                   latency of what was stamped, by receiver, and the spread over receivers
    ["firsts"]                    time of the first datagram of each receiver and stream since the reset
"""

import argparse
import array
import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench import numbered
from bench.spread import Latencies
from bench.tally import Counts, Tally
from forwarder.lab import syscalls
from forwarder.lab.membership import MEMINFO_DROPS, SO_MEMINFO, SO_RCVBUFFORCE, SO_TIMESTAMPNS
from forwarder.lab.mmsg import CONTROL, IOVEC, MMSGHDR

CAPACITY = 8192  # datagrams counted together
MOST = 1024  # datagrams per system call, the kernel's maximum
MEMBERSHIPS = 1000  # groups held by one socket
QUIET = 0.05  # seconds without a datagram after which sockets are waited for instead of looked at
BUFFERS = 1 << 30  # octets of all sockets' buffers together
BUFFER = 256 << 20  # and of one at most


class Socket:
    """One receiver: the socket that receives, and those that hold its memberships."""

    def __init__(self, namespace: int, interface: str, port: int, buffer: int) -> None:
        """`namespace`: a descriptor of it, kept; `buffer`: octets."""
        self._namespace = namespace
        self._members: list[tuple[socket.socket, set[str]]] = []
        self.sock = self._inside(_receiving, port, buffer)
        self.index = int(self._inside(socket.if_nametoindex, interface))

    def join(self, group: str) -> None:
        """Joins; OSError as the kernel says."""
        if not self._members or len(self._members[-1][1]) >= MEMBERSHIPS:
            self._members.append((self._inside(socket.socket, socket.AF_INET, socket.SOCK_DGRAM), set()))
        sock, groups = self._members[-1]
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, self._request(group))
        groups.add(group)

    def leave(self, group: str) -> None:
        """Leaves; LookupError when it was not joined."""
        for sock, groups in self._members:
            if group in groups:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, self._request(group))
                groups.remove(group)
                return
        raise LookupError(f"not a member of {group}")

    def drops(self) -> int:
        """Datagrams lost because the buffer was full."""
        return int(array.array("I", self.sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64))[MEMINFO_DROPS])

    def _request(self, group: str) -> bytes:
        return struct.pack("=4s4si", socket.inet_aton(group), b"", self.index)

    def _inside(self, function: Any, *arguments: Any) -> Any:
        """What a function returns in the namespace; a namespace belongs to a thread."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(syscalls.enter_network, self._namespace).result()
            return thread.submit(function, *arguments).result()


def _receiving(port: int, buffer: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
    sock.bind(("", port))
    return sock


class Sweep:
    """Arrays that datagrams of all sockets are received into, one after the other."""

    def __init__(self) -> None:
        self.words = np.zeros((CAPACITY, numbered.SIZE // 8), np.uint64)
        self.owners = np.zeros(CAPACITY, np.int64)
        self.used = 0
        self._control = np.zeros((CAPACITY, CONTROL), np.uint8)
        self._iov, self.messages = np.zeros(CAPACITY, IOVEC), np.zeros(CAPACITY, MMSGHDR)
        self._iov["base"] = self.words.ctypes.data + numbered.SIZE * np.arange(CAPACITY)
        self._iov["len"] = numbered.SIZE
        self.messages["iov"] = self._iov.ctypes.data + IOVEC.itemsize * np.arange(CAPACITY)
        self.messages["iovlen"] = 1
        self._address = self.messages.ctypes.data
        self.stamped(False)

    def stamped(self, on: bool) -> None:
        """Whether the kernel's times are asked for."""
        control = self._control.ctypes.data + CONTROL * np.arange(CAPACITY)
        self.messages["control"] = control if on else 0
        self._controllen = CONTROL if on else 0
        self.messages["controllen"] = self._controllen

    def receive(self, fd: int, owner: int) -> bool:
        """Takes from one socket; whether there may be more."""
        room = min(MOST, CAPACITY - self.used)
        count = syscalls.recvmmsg(
            fd, self._address + MMSGHDR.itemsize * self.used, room, syscalls.MSG_DONTWAIT | syscalls.MSG_TRUNC
        )
        self.owners[self.used : self.used + count] = owner
        self.used += count
        return count == room

    def times(self) -> Counts:
        """Arrival of each, monotonic nanoseconds; the moment of the look where the kernel says nothing."""
        if not self._controllen:
            return np.full(self.used, time.monotonic_ns())
        return self.stamps() + _since_the_epoch()

    def stamps(self) -> Counts:
        """Receive times, CLOCK_REALTIME nanoseconds: the kernel's where they were asked for, else now."""
        if not self._controllen:
            return np.full(self.used, time.time_ns())
        words: Counts = self._control[: self.used].view(np.int64)
        return np.asarray(words[:, 2] * 1_000_000_000 + words[:, 3])

    def release(self) -> None:
        """Makes room again."""
        if self._controllen:
            self.messages["controllen"][: self.used] = self._controllen  # the kernel wrote what it used
        self.used = 0


def _since_the_epoch() -> int:
    """CLOCK_MONOTONIC minus CLOCK_REALTIME, nanoseconds: the closest of three looks at both."""
    looks = []
    for _ in range(3):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        looks.append((after - before, (before + after) // 2 - real))
    return min(looks)[1]


class Bank:
    """All receivers and what came to them."""

    def __init__(self, sockets: list[Socket]) -> None:
        self.sockets = sockets
        self._fds = [each.sock.fileno() for each in sockets]
        self._sweep = Sweep()
        self.stamps = ""
        self.reset(0, 1)

    def reset(self, stream: int, count: int) -> None:
        """Forgets, and counts `count` streams from `stream` on."""
        self._tally = Tally(len(self.sockets), stream, count)
        self._latencies = Latencies(len(self.sockets))
        self._first_of = np.zeros((len(self.sockets), count), np.int64)
        self._stream = stream
        self._damaged = 0
        self._first, self._last = np.zeros((2, len(self.sockets)), np.int64)
        self._drops = [each.drops() for each in self.sockets]

    def stamp(self, by: str) -> None:
        """Whose arrival times are kept, "kernel" or "application"; "": none."""
        if by not in ("kernel", "application", ""):
            raise ValueError(f"no stamps by {by}")
        for each in self.sockets:
            each.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, int(by == "kernel"))
        self._sweep.stamped(by == "kernel")
        self.stamps = by

    def drain(self) -> int:
        """Takes and counts all that waits; how many datagrams."""
        total = 0
        for owner, fd in enumerate(self._fds):
            while self._sweep.receive(fd, owner):
                if self._sweep.used == CAPACITY:
                    total += self._count()
        return total + self._count()

    def _count(self) -> int:
        sweep = self._sweep
        count = sweep.used
        if count:
            stamps = sweep.stamps() if self.stamps else None
            words, lengths = sweep.words[:count], sweep.messages["len"][:count]
            self._counted(words, sweep.owners[:count], lengths, sweep.times(), stamps)
            sweep.release()
        return count

    def _counted(
        self, words: numbered.Words, owners: Counts, lengths: Any, times: Counts, stamps: Counts | None
    ) -> None:
        kept = numbered.intact(words, lengths)
        if not kept.all():
            self._damaged += len(words) - int(kept.sum())
            words, owners, times = words[kept], owners[kept], times[kept]
            stamps = stamps[kept] if stamps is not None else None
        streams, sequences = numbered.streams(words), words[:, 1].astype(np.int64)
        kept = self._tally.add(owners, streams, sequences)
        if not kept.any():
            return
        self._note_times(owners[kept], times[kept])
        if stamps is not None:
            self._note_firsts(owners[kept], streams[kept] - self._stream, times[kept])
            delays = stamps - words[:, 2].astype(np.int64)
            self._latencies.add(owners[kept], sequences[kept], delays[kept])

    def _note_times(self, owners: Counts, times: Counts) -> None:
        self._last[owners] = times  # of repeated owners the last one stays
        unheard = self._first[owners] == 0
        if unheard.any():
            owners, times = owners[unheard][::-1], times[unheard][::-1]
            self._first[owners] = times

    def _note_firsts(self, owners: Counts, streams: Counts, times: Counts) -> None:
        unheard = self._first_of[owners, streams] == 0
        if unheard.any():
            self._first_of[owners[unheard][::-1], streams[unheard][::-1]] = times[unheard][::-1]

    def received(self) -> list[int]:
        """Datagrams of each receiver."""
        return [int(count) for count in self._tally.received.sum(axis=1)]

    def report(self) -> dict[str, object]:
        """All counts, by receiver."""
        tally = self._tally
        drops = [each.drops() - before for each, before in zip(self.sockets, self._drops, strict=True)]
        return {
            "time": time.monotonic(),
            "received": self.received(),
            "by_stream": tally.received.tolist() if tally.received.size <= 4096 else None,
            "unheard": int((tally.received == 0).sum()),
            "lost": tally.lost.tolist(),
            "reordered": tally.reordered.tolist(),
            "duplicated": tally.duplicated.tolist(),
            "stray": int(tally.stray.sum()),
            "damaged": self._damaged,
            "first": (self._first / 1e9).tolist(),
            "last": (self._last / 1e9).tolist(),
            "socket_drops": drops,
            "cpu": time.process_time(),
        }

    def latency(self) -> dict[str, object]:
        """Latency by receiver and its spread over receivers, seconds."""
        return self._latencies.summary()

    def firsts(self) -> dict[str, object]:
        """First arrivals (receivers, streams), monotonic seconds; 0 where nothing came."""
        return {"firsts": (self._first_of / 1e9).tolist()}


class Service:
    """The loop: obey commands, look at the sockets while datagrams flow, block when none do."""

    def __init__(self, bank: Bank, gather: float) -> None:
        self._bank, self._gather = bank, gather
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
            ready = stdin_only.poll(self._gather) if busy else every.poll(self._patience())
            if self._bank.drain():
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
    parser.add_argument("--gather", type=float, default=5.0, help="milliseconds between two looks under load")
    options = parser.parse_args(argv)
    sockets = []
    for number in options.namespace:
        fd = os.open(f"/proc/{options.of}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        sockets.append(Socket(fd, options.interface, options.port, min(BUFFER, BUFFERS // len(options.namespace))))
    syscalls.precise_sleep()
    service = Service(Bank(sockets), options.gather)
    _say({"event": "started", "time": time.monotonic()})
    service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
