"""How long commands take that a person waits for, beside a full flow table: `python -m bench.commands [COMMAND]`.

The API process is the real one's code over real segments, filled by hand: 65,536 flows, 32 ports, and an agent that
knows 90,000 groups. Nothing is forwarded meanwhile, so neither root nor namespaces are needed. `waits` is how long
another client, who asks for the interfaces again and again, was kept waiting at most.
"""

import asyncio
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import uvloop

from bench import machine
from forwarder.agent.rpc import RpcServer
from forwarder.api.agent import AgentClient
from forwarder.api.application import Application
from forwarder.api.segments import Segments
from forwarder.api.server import Server
from forwarder.api.supervisor import SupervisorClient
from forwarder.client import Client, NoAnswerError
from forwarder.state import membership, routes, segment, snapshot, worker_segment
from forwarder.state.ports import Configuration, Port
from forwarder.state.reasons import Reason
from forwarder.state.settings import InterfaceSettings, Settings
from forwarder.state.worker_columns import WorkerSegment
from igmp.link import parse_address

FLOWS, PORTS, GROUPS, RUNS = 65_536, 32, 90_000, 5
FIRST_GROUP, FIRST_SOURCE = parse_address("239.1.0.0"), parse_address("10.0.0.7")
SOON = 60.0             # seconds in which a command must end, or be taken for hanging


@dataclass(frozen=True)
class Command:
    """What is typed, and within how many seconds it is promised to end; None: nothing was promised."""

    words: str
    promised: float | None = None


COMMANDS = (
    Command("--help", 0.4),
    Command("show interfaces", 0.5),
    Command("show flows", 3.0),
    Command("show flows --json"),
    Command("show flows 239.1.2.3"),
    Command("show flows --problems --limit 20"),
    Command("show flows --sort -bits_per_second --limit 20"),
    Command("show groups"),
    Command("show groups 239.1.2.3"),
)


@dataclass(frozen=True)
class Took:
    """Seconds: by the clock, of the command's processor, of the API's, and of another client's longest wait."""

    wall: float
    command: float
    api: float
    waits: float


def main() -> None:
    """Print a row a command."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        agent, api = _processes(path)
        try:
            _await_answer(path)
            print(f"{'seconds, median of ' + str(RUNS):48} {'wall':>6} {'cpu':>6} {'api':>6} {'waits':>6} promised")
            for command in COMMANDS:
                if sys.argv[1:] in ([], [command.words]):
                    print(_row(command, [_measure(command, path, api.pid or 0) for _ in range(RUNS)]), flush=True)
        finally:
            for process in (api, agent):
                process.kill()
                process.join()


def _row(command: Command, runs: list[Took]) -> str:
    took = [median(getattr(run, name) for run in runs) for name in ("wall", "command", "api", "waits")]
    promised = "-" if command.promised is None else f"{command.promised:g}"
    kept = "" if command.promised is None or took[0] < command.promised else "  NOT KEPT"
    return f"mcfwd {command.words:42} {' '.join(f'{each:6.2f}' for each in took)} {promised:>8}{kept}"


def _measure(command: Command, path: str, api: int) -> Took:
    environment = {**os.environ, "MCFWD_SOCKET": path, "COLUMNS": "100"}
    waits, done = [0.0], threading.Event()
    other = threading.Thread(target=_ask_on, args=(path, waits, done))
    other.start()
    before, spent, begun = machine.run_time([api]), _children(), time.monotonic()
    arguments = [sys.executable, "-m", "forwarder", *command.words.split()]
    subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=SOON)
    took = time.monotonic() - begun
    done.set()
    other.join()
    return Took(took, _children() - spent, machine.run_time([api]) - before, max(waits))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ask_on(path: str, waits: list[float], done: threading.Event) -> None:
    client = Client(path)
    while not done.wait(0.1):
        begun = time.monotonic()
        client.get("interfaces")
        waits.append(time.monotonic() - begun)


def _await_answer(path: str) -> None:
    for _ in range(int(SOON / 0.1)):
        try:
            Client(path).get("stats")
            return
        except NoAnswerError:
            time.sleep(0.1)
    raise SystemExit("the API does not answer")


# --- the instance ---


def _processes(path: str) -> tuple[BaseProcess, BaseProcess]:
    """Agent and API, started."""
    context = multiprocessing.get_context("fork")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent = context.Process(target=lambda: uvloop.run(_agent(theirs)))
    api = context.Process(target=lambda: uvloop.run(_serve(path, ours)))
    agent.start()
    api.start()
    ours.close()
    theirs.close()
    return agent, api


async def _agent(channel: socket.socket) -> None:
    RpcServer(channel.detach(), {"groups": _groups, "refusals": partial(list, [])}).attach(asyncio.get_running_loop())
    await asyncio.Event().wait()


def _groups() -> Iterator[dict[str, Any]]:
    for number in range(GROUPS):
        yield {
            "port": 1 + number % (PORTS - 1), "group": FIRST_GROUP + number // (PORTS - 1), "mode": "exclude",
            "sources": [], "excluded_sources": [], "compatibility": 3, "expires": 200.0 + number / 1e3, "uptime": 5.0,
            "last_reporter": FIRST_SOURCE, "static": False,
        }  # fmt: skip


async def _serve(path: str, channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    agent = AgentClient(channel)
    agent.attach(loop)
    segments = Segments(_descriptors())
    server = Server(Application(segments, agent, SupervisorClient(socket.socketpair()[0])).handle)
    listening = await loop.create_unix_server(server, Path(path))
    while listening.is_serving():
        segments.sample()
        server.sweep()
        await asyncio.sleep(1.0)


def _descriptors() -> dict[str, int]:
    own = {
        "configuration": snapshot.create("configuration"),
        "processes": snapshot.create("processes"),
        "routes": routes.create(64, PORTS),
        "membership": membership.create(PORTS),
        "worker-0": worker_segment.create(0, PORTS, FLOWS),
        "segment": segment.create("api", 8),
    }
    settings = Settings(interface=tuple(InterfaceSettings(name=_name(at), role=_role(at)) for at in range(PORTS)))
    ports = tuple(
        Port(index=at, assigned=1, name=_name(at), role=_role(at), settings=each, ifindex=at + 2, up=True)
        for at, each in enumerate(settings.interface)
    )
    snapshot.SnapshotWriter(own["configuration"]).publish(Configuration(1, settings, ports).to_json())
    _fill(WorkerSegment(own["worker-0"], writable=True))
    return own


def _name(at: int) -> str:
    return f"eth{at}"


def _role(at: int) -> Any:
    return "downstream" if at else "upstream"


def _fill(worker: WorkerSegment) -> None:
    """A full table, of which a twentieth is kept from somebody."""
    flows, rows, now = worker.flows, np.arange(FLOWS, dtype=np.uint64), time.monotonic_ns()
    worker.header[[worker_segment.HEARTBEAT, worker_segment.BATCHES]] = 0, 1
    flows.source[:], flows.group[:] = FIRST_SOURCE + rows % 100, FIRST_GROUP + rows // 2
    flows.packets[:], flows.bytes[:] = rows * 7, rows * 7 * 1356
    flows.last_seen[:], flows.first_seen[:] = now, now - 5_000_000_000
    flows.reason[:] = np.where(rows % 20, int(Reason.FORWARD), int(Reason.SOURCE_NOT_ALLOWED))
    flows.ports[:, 0] = np.uint64(2) + np.uint64(4) * (rows % 3)
    flows.version[:], flows.used[:] = 2, 1


if __name__ == "__main__":
    main()
