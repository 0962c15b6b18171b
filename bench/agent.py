"""`python -m bench.agent`: what one core of mcfwd-agent carries, from IGMP socket to shared route.

The real agent runs in this process; another keeps its sockets full, so that it never waits for packets. Rates are per
second of the agent's own processor time, which is what one core to itself would do; wall time is shown beside it and
suffers from whatever else the machine does. A turn is what the agent does between two looks at its sockets; the longest
is given in processor time for the same reason, garbage collection included.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import machine
from bench.contestants import Igmpproxy, McfwdContestant
from bench.delay import join_delays
from bench.feeder import Feed, Feeder
from forwarder.agent import rest
from forwarder.agent.agent import Agent
from forwarder.process import control
from forwarder.process.child import Start
from forwarder.state import membership, routes, snapshot
from forwarder.state.membership import MembershipReader
from forwarder.state.ports import Configuration, Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.settings import InterfaceSettings, Settings
from igmp.link import parse_address
from igmp.messages import RecordType

TURNS = ("_breathe", "_expire", "_publish", "_beat")
OTHER_GROUPS = (1, 15, 1000, 20_000)
DOWNSTREAMS = (1, 2, 3, 4)
FEW = 1000
REFRESH, JOIN, LEAVE = RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE, RecordType.CHANGE_TO_INCLUDE


class TimedAgent(Agent):
    """The agent, and how much processor time its longest turns took since they were last forgotten."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.longest: dict[str, float] = {}
        for name in TURNS:
            setattr(self, name, self._timed(name, getattr(self, name)))

    def _timed(self, name: str, turn: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begun = time.thread_time()
            try:
                return turn(*arguments)
            finally:
                self.longest[name] = max(self.longest.get(name, 0.0), time.thread_time() - begun)

        return timed


@dataclass(frozen=True)
class Cost:
    """What `count` things cost: wall and processor seconds, and the longest turns by name, in processor seconds."""

    what: str
    count: int
    wall: float
    busy: float
    longest: dict[str, float]

    def print(self) -> "Cost":
        """One line for people."""
        name, longest = max(self.longest.items(), key=lambda item: item[1])
        rates = f"{self.count / self.busy:>9,.0f}/s of one core {self.count / self.wall:>9,.0f}/s of wall time"
        print(f"{self.what:<34}{rates}   longest turn {1000 * longest:.1f} ms ({name[1:]})", flush=True)
        return self


class Rig:
    """An agent with one upstream and four other ports, who feeds it, and what it shares."""

    def __init__(self) -> None:
        self._feeder = Feeder(len(DOWNSTREAMS) + 1)
        segments = {
            "configuration": snapshot.create("configuration"),
            "routes": routes.create(1 << 18, 64),
            "membership": membership.create(64),
        }
        snapshot.SnapshotWriter(segments["configuration"]).publish(_configuration().to_json())
        self._membership, self._routes = MembershipReader(segments["membership"]), RouteReader(segments["routes"])
        bells = {name: os.eventfd(0, os.EFD_NONBLOCK) for name in ("wake", "wake-worker-0")}
        self._control, control_end = _pair()
        _, rpc = self._rpc = _pair()
        self.agent = TimedAgent(Start(control_end, {}, {**segments, **bells, "rpc": rpc.fileno()}))

    async def start(self) -> None:
        """Run the agent and hand it its sockets, as the supervisor does."""
        self._task = asyncio.get_running_loop().create_task(self.agent.run())
        for index, wire in enumerate(self._feeder.wires):
            message = {"type": "port", "port": index, "assigned": 1, "ifindex": index + 2}
            control.send(self._control, message, {"igmp": wire.fileno()})
        control.send(self._control, {"type": "ports_sent"})
        await asyncio.sleep(0.5)

    async def measure(self, what: str, feed: Feed) -> Cost:
        """What it costs to hear all that `feed` says."""
        self.agent.longest.clear()
        target = self._heard() + feed.messages
        begun, busy = time.monotonic(), time.thread_time()
        self._feeder.begin(feed)
        while self._heard() < target:
            await asyncio.sleep(0.05)
        return Cost(what, feed.records, time.monotonic() - begun, time.thread_time() - busy, dict(self.agent.longest))

    def routes(self) -> int:
        """How many rows the shared routes have."""
        return len(self._routes.rows())

    def _heard(self) -> int:
        return sum(self._membership.port(port).counters["report_v3"] for port in DOWNSTREAMS)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _configuration() -> Configuration:
    interfaces = [InterfaceSettings(name=f"down{port}", max_groups=65536) for port in DOWNSTREAMS]
    settings = Settings(interface=(InterfaceSettings(name="up0", role="upstream"), *interfaces))
    ports = tuple(
        Port(
            index=index, assigned=1, name=each.name, role=each.role, settings=each, ifindex=index + 2, up=True,
            mac="02:00:00:00:01:00", addresses=((parse_address(f"10.0.{index}.1"), 24),),
        )
        for index, each in enumerate(settings.interface)
    )  # fmt: skip
    return Configuration(1, settings, ports)


async def run(options: argparse.Namespace, rig: Rig) -> dict[str, Any]:
    """All measurements, one after the other on one agent."""
    await rig.start()
    many = options.groups
    costs = [await rig.measure("warming up", Feed(1, JOIN, 0, FEW))]
    single = await joins_and_leaves(rig, many, 10)
    costs.append((await rig.measure("refresh, 1 record", Feed(1, REFRESH, 0, FEW, 1, options.reports // FEW))).print())
    before = resident()
    costs.append((await rig.measure("join of a new group", Feed(1, JOIN, FEW, many))).print())
    for port in DOWNSTREAMS[1:]:
        costs.append((await rig.measure(f"join on port {port} too", Feed(port, JOIN, 0, many))).print())
    memory = (resident() - before) / (len(DOWNSTREAMS) * many - FEW)
    assert rig.routes() == many
    print(f"memory: {memory:.0f} bytes for each of {many:,} groups on each of {len(DOWNSTREAMS)} ports")
    costs.append((await rig.measure("refresh, 60 records", Feed(1, REFRESH, 0, many, 60, 4))).print())
    full = await joins_and_leaves(rig, many, 10)
    print(f"a join and leave among {many:,} groups takes {full / single:.2f} times as long as among {FEW:,}")
    return {"costs": [asdict(each) for each in costs], "memory": memory, "join_leave_ratio": full / single}


async def joins_and_leaves(rig: Rig, first: int, rounds: int) -> float:
    """Processor seconds of a join and a leave of groups that only one port has; the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        cost = await rig.measure("join", Feed(1, JOIN, first, first + 200))
        other = await rig.measure("leave", Feed(1, LEAVE, first, first + 200))
        seconds.append((cost.busy + other.busy) / 200)
        await asyncio.sleep(2.5)
    return median(seconds)


def resident() -> int:
    """Octets of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(argv: list[str]) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.agent", description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000, help="of one record each, refreshing")
    parser.add_argument("--groups", type=int, default=50_000, help="on each of four ports")
    parser.add_argument("--delay", type=int, default=0, help="that many joins instead; igmpproxy too")
    parser.add_argument("--profile", action="store_true", help="where the time goes (with it all is slower)")
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args(argv)
    if options.delay:
        return delay(options)
    rig = Rig()
    rest.begin()
    if options.profile:
        return profile(options, rig)
    result = {"benchmark": "agent", "machine": machine.describe(), **uvloop.run(run(options, rig))}
    return tell(result, options.json)


def delay(options: argparse.Namespace) -> int:
    """Report to first datagram, with few groups and with very many; igmpproxy beside, as far as it goes."""
    delays: dict[str, dict[int, list[float]]] = {"mcfwd": {}, "igmpproxy": {}}
    for contestant in (McfwdContestant(), Igmpproxy()):
        for groups in OTHER_GROUPS:
            words = f"{contestant.name}: report to first datagram beside {groups:,} groups:"
            try:
                seconds = join_delays(contestant, groups, options.delay)
            except (OSError, TimeoutError) as error:
                print(f"{words} none, {error}")
                break
            delays[contestant.name][groups] = seconds
            print(f"{words} median {1000 * median(seconds):.2f} ms")
    result = {"benchmark": "agent_delay", "machine": machine.describe(), "unit": "s", "delays": delays}
    return tell(result, options.json)


def tell(result: dict[str, Any], file: Path | None) -> int:
    """Print a result for programs, and write it where it is wanted."""
    print(json.dumps(result))
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def profile(options: argparse.Namespace, rig: Rig) -> int:
    """The same under the profiler."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(uvloop.run, run(options, rig))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
