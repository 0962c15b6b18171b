"""`python -m forwarder.lab.send`: numbered UDP multicast datagrams at a given rate, as fast as Python can.

Prints a JSON line when it begins and one with what it really sent when it ends (count reached, time over,
SIGTERM or SIGINT). With several groups, stream `--stream` + i goes to group i, in turn.
"""

import argparse
import json
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from forwarder.lab import datagram, syscalls
from forwarder.lab.mmsg import SendBatch
from forwarder.lab.numbering import Numbering, expand
from forwarder.lab.pace import Pace

IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MTU_DISCOVER = 32, 33, 34, 10  # in.h
PMTUDISC_DONT, PMTUDISC_DO = 0, 2
SO_NO_CHECK, SO_SNDBUFFORCE, UDP_SEGMENT = 11, 32, 103  # socket.h, udp.h
LONGEST_SLEEP = 0.1  # seconds, so that a signal is noticed
SHORTEST_SLEEP = 0.0002  # seconds: datagrams due within go together; a system call each would cost more


@dataclass(frozen=True)
class Options:
    """What to send; sizes are UDP payload octets."""

    interface: str
    groups: list[str]
    port: int = 5000
    stream: int = 0
    rate: float = 1000.0
    count: int = 0
    seconds: float = 0.0
    size: int = 1316
    largest: int = 0
    ttl: int = 16
    tos: int = 0
    df: bool = False
    no_checksum: bool = False
    segments: int = 1
    burst: int = 256
    bind: str = ""
    loop: bool = False


@dataclass
class Result:
    """What was really sent; `errors` are refusals of the kernel, whose datagrams were tried again."""

    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    errors: int = 0
    started: float = 0.0
    streams: dict[int, int] = field(default_factory=dict)


def open_socket(options: Options) -> socket.socket:
    """A UDP socket that sends as `options` say; connected when there is one group."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = struct.pack("4s4si", b"", b"", socket.if_nametoindex(options.interface))
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, request)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_TTL, options.ttl)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_LOOP, int(options.loop))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.tos)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO if options.df else PMTUDISC_DONT)
    if options.no_checksum:
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    if options.segments > 1:
        sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, options.size)
    if options.bind:
        sock.bind((options.bind, 0))
    if len(options.groups) == 1:
        sock.connect((options.groups[0], options.port))
    return sock


def sockaddrs(groups: list[str], port: int) -> npt.NDArray[np.uint8]:
    """(groups, 16) octets: a sockaddr_in for each."""
    packed = b"".join(struct.pack("=H2s4s8x", 2, port.to_bytes(2, "big"), socket.inet_aton(g)) for g in groups)
    return np.frombuffer(packed, np.uint8).reshape(len(groups), 16)


class Transmission:
    """Sends datagrams until it is told to stop or has sent them all."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sock = open_socket(options)
        self._groups = np.array([int.from_bytes(socket.inet_aton(g), "big") for g in options.groups], np.uint32)
        self._numbering = Numbering(len(options.groups), options.segments, options.size, options.largest)
        burst = max(options.burst // options.segments, 1) * options.segments
        self._burst = burst
        self._batch = SendBatch(burst, options.segments, sockaddrs(options.groups, options.port))
        self._pace = Pace(options.rate)
        self._stopped = False
        self.result = Result()

    def stop(self) -> None:
        """Ends `run` after the burst under way."""
        self._stopped = True

    def run(self) -> Result:
        """Sends; returns what was sent."""
        options, result = self._options, self.result
        start = time.monotonic()
        result.started = start
        end = start + options.seconds if options.seconds else float("inf")
        self._pace.start(start)
        while not self._stopped and (now := time.monotonic()) < end and not self._complete():
            due = self._due(now)
            if due:
                self._send(due)
            else:
                time.sleep(min(max(self._pace.wait(now), SHORTEST_SLEEP), LONGEST_SLEEP))
        result.seconds = time.monotonic() - start
        result.rate = result.count / result.seconds if result.seconds else 0.0
        sent = self._numbering.sent(result.count)
        result.streams = {options.stream + row: count for row, count in enumerate(sent)}
        return result

    def _complete(self) -> bool:
        return bool(self._options.count) and self.result.count >= self._options.count

    def _due(self, now: float) -> int:
        left = self._options.count - self.result.count if self._options.count else self._burst
        segments = self._options.segments
        limit = min(self._burst, -(-left // segments) * segments)
        return self._pace.due(now, limit) // segments * segments

    def _send(self, count: int) -> None:
        first, segments = self.result.count, self._options.segments
        messages = count // segments
        streams = self._numbering.streams(first, messages)
        headers = self._batch.headers[:count]
        headers["stream"] = self._options.stream + np.repeat(streams, segments)
        headers["group"] = self._groups[np.repeat(streams, segments)]
        headers["sequence"] = self._numbering.sequences(first, count)
        headers["length"] = self._numbering.lengths(first, count)
        headers["time"] = time.monotonic_ns()
        self._batch.fill(count, streams)
        taken = self._hand_over(messages) * segments
        self._pace.sent(taken)
        self.result.count += taken
        self.result.bytes += int(headers["length"][:taken].sum())

    def _hand_over(self, messages: int) -> int:
        """All messages, again and again until the kernel has them or we are stopped; how many it has."""
        done = 0
        while done < messages and not self._stopped:
            try:
                done += self._batch.send(self._sock.fileno(), done, messages - done)
            except OSError:  # link down, buffer full: what is numbered must go out, or the count would lie
                self.result.errors += 1
                time.sleep(0.001)
        return done


def parse(argv: list[str]) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m forwarder.lab.send", description=__doc__)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--group", dest="groups", action="append", required=True, help="may be repeated")
    parser.add_argument("--groups", dest="more", type=int, default=1, help="that many from the first group on")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--stream", type=int, default=0, help="number of the first stream")
    parser.add_argument("--rate", type=float, default=1000.0, help="datagrams a second in all; 0: no limit")
    parser.add_argument("--count", type=int, default=0, help="0: until --seconds or SIGTERM")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--size", type=int, default=1316, help="payload octets, at least 32")
    parser.add_argument("--largest", type=int, default=0, help="sizes from --size to this")
    parser.add_argument("--ttl", type=int, default=16)
    parser.add_argument("--tos", type=int, default=0)
    parser.add_argument("--df", action="store_true", help="don't fragment")
    parser.add_argument("--no-checksum", action="store_true", help="UDP checksum 0")
    parser.add_argument("--segments", type=int, default=1, help="datagrams per UDP_SEGMENT message; 1: none")
    parser.add_argument("--burst", type=int, default=256, help="at most that many per system call")
    parser.add_argument("--bind", default="", help="source address")
    parser.add_argument("--loop", action="store_true", help="also to receivers in the sender's namespace")
    given = vars(parser.parse_args(argv))
    given["groups"] = expand(given["groups"], given.pop("more"))
    options = Options(**given)
    if not datagram.SIZE <= options.size <= max(options.size, options.largest) <= datagram.LARGEST:
        parser.error(f"sizes must lie between {datagram.SIZE} and {datagram.LARGEST}")
    if options.segments > 1 and options.largest > options.size:
        parser.error("--segments needs one size")
    return options


def main(argv: list[str]) -> int:
    """Sends as the command line says."""
    transmission = Transmission(parse(argv))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: transmission.stop())
    syscalls.precise_sleep()
    print(json.dumps({"event": "started", "time": time.monotonic()}), flush=True)
    print(json.dumps({"event": "sent", **asdict(transmission.run())}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
