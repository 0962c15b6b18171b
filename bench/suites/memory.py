"""Memory with a full flow table, and what a lookup costs with many flows.

65,536 flows come from 1,024 sources to each of 64 groups, written by a raw socket; then the worker's private pages are
counted, the ring's aside. The lookup is timed in this process, batches of 1,024 frames of one flow and of 10,000 flows
in turn.
"""

import socket
import struct
import time
from statistics import median

import numpy as np
import numpy.typing as npt

from bench.arena import Arena
from bench.harness import Bench, Plan, Scenario
from bench.machine import private_memory, resident
from forwarder.dataplane.fib import Decision
from forwarder.dataplane.flows import FlowTable
from forwarder.lab.topology import LINK
from forwarder.lab.wait import wait_for
from forwarder.state.flow_columns import FlowColumns
from forwarder.state.reasons import Reason

SOURCES, GROUPS = 1024, 64
FLOWS, CAPACITY = 10_000, 65_536
BATCH = 1024
ROUNDS = 300


def scenarios(plan: Plan) -> list[Scenario]:
    """Lookup, then memory."""
    found = [Scenario("memory", "flows-lookup", _lookup, table=True)]
    return found if plan.level == "quick" else [*found, Scenario("memory", "memory-flows", _memory, table=True)]


def _memory(bench: Bench) -> None:
    terms = bench.terms("memory-flows", ports=1, groups=GROUPS, receivers="polled")
    for contestant in bench.able("memory-flows", ["mcfwd"], terms):
        with Arena(contestant, terms) as arena:
            worker = arena.running.pids()["mcfwd-worker-0"]
            before = private_memory(worker)
            reached = _spray(arena)
            after = private_memory(worker)
            detail = {"flows": reached, "before": before, "after": after}
            bench.add("memory-flows", contestant.name, "worker", "octets", after["other"], detail)
            for process, pid in arena.running.pids().items():
                bench.record.add("memory-flows", contestant.name, f"resident {process}", "octets", resident(pid))


def _spray(arena: Arena) -> int:
    """Makes SOURCES x GROUPS flows (those that stand already among them); how many there are."""
    show = getattr(arena.running, "mcfwd").show  # noqa: B009
    best = 0

    def full() -> bool:
        nonlocal best
        arena.lab.source.run(_send_raw, arena.groups)
        best = max(best, int(show("stats")["flows"]))
        return best >= SOURCES * GROUPS

    try:
        wait_for(full, 30.0, "flows")
    except TimeoutError:
        if best < 0.98 * SOURCES * GROUPS:
            raise
    return best


def _send_raw(groups: list[str]) -> None:
    """A datagram from each of SOURCES addresses to each group, in bursts that leave the worker its breath."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        request = struct.pack("4s4si", b"", b"", socket.if_nametoindex(LINK))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        payload = struct.pack("!HHHH", 4000, 4001, 16, 0) + bytes(8)
        for number in range(SOURCES * GROUPS):
            source = struct.pack("!I", (10 << 24) + (9 << 16) + 1 + number // GROUPS)
            group = groups[number % GROUPS]
            ipv4 = struct.pack("!BBHHHBBH", 0x45, 0, 36, 0, 0x4000, 16, 17, 0) + source + socket.inet_aton(group)
            sock.sendto(ipv4 + payload, (group, 0))
            if number % 128 == 127:
                time.sleep(0.004)


def _lookup(bench: Bench) -> None:
    bench.terms("flows-lookup", ports=1, groups=FLOWS)
    sources = np.uint32(0x0A090001) + np.arange(FLOWS, dtype=np.uint32) // np.uint32(100)
    groups = np.uint32(0xEF010001) + np.arange(FLOWS, dtype=np.uint32) % np.uint32(100)
    table = _table(sources, groups)
    generator = np.random.default_rng(3918)
    for _ in range(bench.plan.pairs):
        times: dict[str, list[float]] = {"1 flow": [], "10000 flows": []}
        for _ in range(ROUNDS):
            batches = {"1 flow": np.zeros(BATCH, np.int64), "10000 flows": generator.integers(0, FLOWS, BATCH)}
            for name, rows in batches.items():
                chosen = sources[rows], groups[rows]
                begun = time.perf_counter()
                table.lookup(0, *chosen)
                times[name].append(time.perf_counter() - begun)
        for name, each in times.items():
            bench.add("flows-lookup", "mcfwd", name, "s per frame", median(each) / BATCH)


def _table(sources: npt.NDArray[np.uint32], groups: npt.NDArray[np.uint32]) -> FlowTable:
    """A flow table of the default size that knows these flows."""
    words = np.zeros(FlowColumns.words_per_row(1) * CAPACITY, np.uint64)
    table = FlowTable(FlowColumns.over(words, CAPACITY, 1), (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F))
    for source, group in zip(sources.tolist(), groups.tolist(), strict=True):
        table.insert(0, source, group, Decision(Reason.FORWARD, 2), 0.0)
    return table
