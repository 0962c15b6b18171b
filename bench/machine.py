"""What the machine did meanwhile, what single processes did, and what the machine is."""

import os
import platform
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SYSCTLS = ("net/core/netdev_max_backlog", "net/core/netdev_budget", "net/core/rmem_max", "net/core/wmem_max")


@dataclass(frozen=True)
class CpuClock:
    """Idle CPU seconds of the whole machine at a moment.

    Busy is what was not idle: the kernel measures idle time by the clock but the rest by looking once a tick, and a
    forwarder that wakes with the tick would hide from that. Kernel forwarding is charged to nobody in particular.
    """

    at: float
    idle: float

    @classmethod
    def read(cls) -> "CpuClock":
        """Now, from /proc/stat; time stolen by the hypervisor counts as idle."""
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        idle = ticks[3] + ticks[4] + ticks[7]
        return cls(time.monotonic(), idle / os.sysconf("SC_CLK_TCK"))

    def cores_since(self, earlier: "CpuClock") -> float:
        """Mean number of busy cores between two readings."""
        elapsed = self.at - earlier.at
        return max(0.0, (os.cpu_count() or 1) - (self.idle - earlier.idle) / elapsed)


def run_time(pids: Iterable[int]) -> float:
    """CPU seconds that processes (all their threads) have had, to the nanosecond: /proc/PID/task/*/schedstat."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def private_memory(pid: int) -> dict[str, int]:
    """Private octets of a process: `ring` (packet sockets' rings) and `other`; from /proc/PID/smaps."""
    sizes = {"ring": 0, "other": 0}
    place = "other"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        word = line.split(maxsplit=1)[0]
        if not word.endswith(":"):
            place = "ring" if "socket:[" in line else "other"
        elif word in ("Private_Clean:", "Private_Dirty:"):
            sizes[place] += int(line.split()[1]) * 1024
    return sizes


def resident(pid: int) -> int:
    """Resident octets of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def backlog_drops() -> Counter[str]:
    """Frames that the kernel dropped between two links because a CPU's backlog was full (softnet_stat, column 2)."""
    with open("/proc/net/softnet_stat") as file:
        return Counter({"kernel backlog": sum(int(line.split()[1], 16) for line in file)})


def describe() -> dict[str, object]:
    """Kernel, processor, memory and versions, for the record."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "hypervisor": "hypervisor" in _field("/proc/cpuinfo", "flags").split(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "sysctl": {name.replace("/", "."): Path("/proc/sys", name).read_text().strip() for name in _readable()},
    }


def _readable() -> list[str]:
    return [name for name in SYSCTLS if Path("/proc/sys", name).exists()]


def _field(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
