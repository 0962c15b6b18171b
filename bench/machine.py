"""What the machine did meanwhile: its CPU time, all cores together, and what it is."""

import os
import platform
import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CpuClock:
    """Busy CPU seconds of the whole machine at a moment; kernel forwarding is charged to nobody in particular."""

    at: float
    busy: float

    @classmethod
    def read(cls) -> "CpuClock":
        """Now, from /proc/stat."""
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        idle = ticks[3] + ticks[4]
        return cls(time.monotonic(), (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"))

    def cores_since(self, earlier: "CpuClock") -> float:
        """Mean number of busy cores between two readings."""
        return (self.busy - earlier.busy) / (self.at - earlier.at)


def describe() -> dict[str, object]:
    """Kernel, cores and versions, for the record."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
