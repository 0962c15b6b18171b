"""Who is busy while datagrams flow at a fixed rate: the machine, the contestant, the source, the receivers."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from bench import machine
from bench.arena import Arena

SETTLE = 0.5  # seconds that the rate flows before the first look


@dataclass(frozen=True)
class Cpu:
    """Busy cores; `delivered`: datagrams a second, all ports together."""

    machine: float  # whoever is charged for it
    processes: float  # of the contestant
    source: float  # with what the kernel forwards, for that happens in the source's system calls
    receivers: float
    delivered: float

    @property
    def others(self) -> float:
        """Of nobody here: what the kernel does for itself, and all other work that disturbs."""
        return self.machine - self.processes - self.source - self.receivers


class _Look(NamedTuple):
    """CPU seconds until now."""

    clock: machine.CpuClock
    processes: float
    source: float
    receivers: float
    received: int


def measure(arena: Arena, rate: float, seconds: float) -> Cpu:
    """While `rate` datagrams a second flow (0: nothing) for so many seconds."""
    if rate:
        length = seconds + 2 * SETTLE
        arena.source.start(*arena.groups, **arena.offer(rate, length) | {"count": 0, "seconds": length})
    time.sleep(SETTLE)
    first = _look(arena)
    time.sleep(seconds)
    second = _look(arena)
    if rate:
        arena.source.wait(30.0)
    elapsed = second.clock.at - first.clock.at
    spent = [(after - before) / elapsed for before, after in zip(first[1:], second[1:], strict=True)]
    return Cpu(second.clock.cores_since(first.clock), *spent)


def _look(arena: Arena) -> _Look:
    pids = arena.running.pids().values()
    report = arena.receivers.report()
    ours, source = machine.run_time(pids), machine.run_time([arena.source.pid])
    return _Look(machine.CpuClock.read(), ours, source, report.cpu, sum(report.received))
