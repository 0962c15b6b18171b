"""UDP sockets in many namespaces, emptied into arrays and counted together."""

import array
import contextlib
import socket
import struct
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


class Socket:
    """One receiver: the socket that receives, and those that hold its memberships."""

    def __init__(self, namespace: int, interface: str, port: int, buffer: int | None) -> None:
        """`namespace`: a descriptor of it, kept; `buffer`: octets, None for what a socket has by default."""
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

    def block(self, seconds: float) -> None:
        """Receiving system calls sleep from now on, for `seconds` at most."""
        self.sock.setblocking(True)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(seconds * 1e6)))

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


def _receiving(port: int, buffer: int | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if buffer is not None:
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
        self.taken = 0  # when the last system call brought something, monotonic nanoseconds
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
        before, room = self.used, min(MOST, CAPACITY - self.used)
        count = self._take(fd, room, syscalls.MSG_DONTWAIT)
        self.owners[before : self.used] = owner
        return count == room

    def block(self, fd: int, seconds: float) -> bool:
        """Sleeps in the system call until this socket has something, and takes it, again and again.

        Until room is missing (then True), the time is over, or nothing came for as long as the socket sleeps.
        """
        receive, clock, flags = syscalls.recvmmsg, time.monotonic_ns, syscalls.MSG_WAITFORONE | syscalls.MSG_TRUNC
        first, size, used = self._address, MMSGHDR.itemsize, self.used
        end = clock() + int(seconds * 1e9)
        while used <= CAPACITY - MOST:
            count = receive(fd, first + size * used, MOST, flags)
            if not count:
                break
            used += count
            self.taken = now = clock()
            if now > end:
                break
        self.used = used
        return used > CAPACITY - MOST

    def _take(self, fd: int, room: int, flags: int) -> int:
        count = syscalls.recvmmsg(fd, self._address + MMSGHDR.itemsize * self.used, room, flags | syscalls.MSG_TRUNC)
        if count:
            self.used += count
            self.taken = time.monotonic_ns()
        return count

    def times(self) -> Counts:
        """Arrival of each, monotonic nanoseconds; that of the last where the kernel says nothing."""
        if not self._controllen:
            return np.full(self.used, self.taken)
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

    def __init__(self, sockets: list[Socket], sleep: float = 0.0) -> None:
        """`sleep`: seconds that `block` sleeps at most while nothing comes."""
        self.sockets = sockets
        if sleep:
            sockets[0].block(sleep)
        self._fds = [each.sock.fileno() for each in sockets]
        self._sweep = Sweep()
        self.stamps = ""
        self.reset(0, 1)

    def reset(self, stream: int, count: int) -> None:
        """Forgets, and counts `count` streams from `stream` on."""
        self._sweep.release()
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

    def block(self, seconds: float) -> bool:
        """Receives for so long as a program with one socket does, asleep until datagrams come; whether some came.

        They are counted when there is no more room for others, or when somebody asks.
        """
        before = self._sweep.taken
        if self._sweep.block(self._fds[0], seconds):
            self._count()
        return self._sweep.taken != before

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
        self._count()
        return [int(count) for count in self._tally.received.sum(axis=1)]

    def report(self) -> dict[str, object]:
        """All counts, by receiver."""
        received, tally = self.received(), self._tally
        drops = [each.drops() - before for each, before in zip(self.sockets, self._drops, strict=True)]
        return {
            "time": time.monotonic(),
            "received": received,
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
