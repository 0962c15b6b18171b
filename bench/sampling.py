"""How processes divide their run time between user space and kernel: samples of what runs, by perf_event_open(2).

The kernel's own division (utime and stime in /proc/PID/stat) rests on a look at each tick, and a forwarder that gathers
for 2 ms moves in step with a tick of 4: of a program of that rhythm which was known to spend 20 % in user space the
ticks once said 30. Here a task is looked at after each PERIOD of its own run time. It costs about 1 % of that.
"""

import ctypes
import mmap
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PERIOD = 97_003  # nanoseconds of run time; a prime, so that no loop keeps step with it
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")  # struct perf_event_attr as of PERF_ATTR_SIZE_VER0
SOFTWARE, CPU_CLOCK = 1, 0
CLOEXEC = 8
EXCLUDE_USER, EXCLUDE_KERNEL = 1 << 4, 1 << 5
DATA_HEAD = 1024  # in struct perf_event_mmap_page: octets of records written so far
RECORD = 8  # octets of a sample without any content: its header

_libc = ctypes.CDLL(None, use_errno=True)


class Sampler:
    """All threads that some processes had when it was made."""

    def __init__(self, user: list[mmap.mmap], system: list[mmap.mmap]) -> None:
        self._user, self._system = user, system

    def share(self) -> float:
        """Of user space in the run time since the beginning, 0 to 1; 0 while nothing ran."""
        user, system = _samples(self._user), _samples(self._system)
        return user / max(user + system, 1)


@contextmanager
def sampler(pids: Iterable[int]) -> Iterator[Sampler]:
    """Samples while the context lasts; OSError where the kernel refuses (perf_event_paranoid, CAP_PERFMON)."""
    threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    with ExitStack() as stack:
        user = [stack.enter_context(_opened(tid, EXCLUDE_KERNEL)) for tid in threads]
        system = [stack.enter_context(_opened(tid, EXCLUDE_USER)) for tid in threads]
        yield Sampler(user, system)


@contextmanager
def _opened(tid: int, exclude: int) -> Iterator[mmap.mmap]:
    number = PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(f"no number of perf_event_open is known for {platform.machine()}")
    attributes = ATTRIBUTES.pack(SOFTWARE, ATTRIBUTES.size, CPU_CLOCK, PERIOD, 0, 0, exclude, 0, 0, 0)
    fd = _libc.syscall(number, attributes, tid, -1, -1, CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open: " + os.strerror(ctypes.get_errno()))
    page = mmap.PAGESIZE
    try:
        with mmap.mmap(fd, 2 * page, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:  # read-only: the kernel overwrites
            yield mapped
    finally:
        os.close(fd)


def _samples(maps: list[mmap.mmap]) -> int:
    return sum(struct.unpack_from("=Q", each, DATA_HEAD)[0] // RECORD for each in maps)
