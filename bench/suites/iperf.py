"""What iperf says: a stream of 100 and of 200 Mbit/s to two receivers that have joined it, with iperf at both ends.

`iperf -u -b` sends datagrams of 1,470 octets at a steady pace; `iperf -s -u -B GROUP` joins, receives with the socket
buffer that it gets by default, and counts what is missing. Version 2: iperf3 knows no multicast.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.arena import FIRST_GROUP, Arena
from bench.contestants.base import missing
from bench.harness import Bench, Plan, Scenario
from bench.peers import daemon
from forwarder.lab import links
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for

MEGABITS = (100, 200)
SECONDS = 5
PORTS = 2
OTHER_PORT = 5000  # of datagrams that only show that the way is open: iperf listens at 5001
LOST = re.compile(r" (-?\d+)/ *(\d+) +\(\S+%\)")
"""Of a server's report: `[  1] 0.0000-5.9995 sec  71.5 MBytes  100 Mbits/sec   0.014 ms 0/51021 (0%)`."""


def scenarios(plan: Plan) -> list[Scenario]:
    """One."""
    return [Scenario("receivers", "iperf", _iperf, table=True)]


def lost_of(report: str) -> tuple[int, int]:
    """Datagrams lost and sent, by the last line of a server's report that says so; RuntimeError when there is none.

    A datagram that comes out of order may make the loss negative: it is none then.
    """
    found = LOST.findall(report)
    if not found:
        raise RuntimeError(f"no report in what iperf said: {report!r}")
    lost, total = map(int, found[-1])
    return max(lost, 0), total


class Bare(Arena):
    """Receivers have joined nothing: iperf does."""

    def _prepare(self) -> None:
        pass


def _iperf(bench: Bench) -> None:
    terms = bench.terms("iperf", ports=PORTS, size=1470, buffers="default")
    if reason := missing("iperf", "iperf"):
        bench.skip("iperf", "all", reason)
        return
    able = bench.able("iperf", [*bench.opponents(), "mcfwd"], terms)
    bench.interleave("iperf", able, terms, lambda arena: _measure(bench, arena), kind=Bare)


def _measure(bench: Bench, arena: Arena) -> None:
    seconds = bench.plan.by_level(2, SECONDS, 10 * SECONDS)
    for megabits in MEGABITS:
        counts = transmit(arena, megabits, seconds)
        share = max(lost / max(total, 1) for lost, total in counts)
        bench.add("iperf", arena.contestant.name, f"lost at {megabits} Mbit/s", "%", 100 * share, counts)


def transmit(arena: Arena, megabits: int, seconds: int) -> list[tuple[int, int]]:
    """Datagrams lost and sent, by receiver; TimeoutError when the stream does not come through."""
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(receiver)) for receiver in arena.lab.receivers]
        for receiver in arena.lab.receivers:
            wait_for(lambda receiver=receiver: _open(arena, receiver), 10.0, "a way to iperf")  # type: ignore[misc]
        client = ["-u", "-c", FIRST_GROUP, "-b", f"{megabits}M", "-t", str(seconds), "-T", "16"]
        arena.lab.source.command(_program(), *client, timeout=seconds + 30.0)
        return [lost_of(_report(server)) for server in servers]


@contextmanager
def _server(receiver: Namespace) -> Iterator["subprocess.Popen[bytes]"]:
    """It ends with the first client (-P 1), at the latest with the context."""
    argv = [_program(), "-s", "-u", "-P", "1", "-B", f"{FIRST_GROUP}%{LINK}"]
    with receiver.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            yield server
        finally:
            server.kill()


def _open(arena: Arena, receiver: Namespace) -> bool:
    """Whether datagrams come through to a receiver's link."""
    before = _received(receiver)
    arena.source.send(FIRST_GROUP, rate=1000, count=20, size=128, port=OTHER_PORT, stream=arena.streams(1))
    return _received(receiver) >= before + 20


def _received(receiver: Namespace) -> int:
    return int(links.attribute(receiver, LINK, "IFLA_STATS64")["rx_packets"])


def _report(server: "subprocess.Popen[bytes]") -> str:
    """What it said in the end; it is told to end when it missed the client's last word."""
    try:
        return server.communicate(timeout=3.0)[0].decode()
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGINT)
        return server.communicate(timeout=10.0)[0].decode()


def _program() -> str:
    return daemon.program("iperf") or "iperf"
