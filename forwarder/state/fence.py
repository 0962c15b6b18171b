"""The order in which memory is read and written that another process or the kernel writes too.

Whoever reads a status and then what it speaks of calls `acquire` between the two: what is read after the call is no
older than what was read before it. Whoever gives memory back, or says that it is whole, calls `release` before that
store: all reads and writes before the call are done by then. Once for many items, not once for each.

x86 and s390x keep all orders but that of a store before a later load, which neither function promises, and what
Python does is done by compiled code that no compiler can move across another call: nothing to do there.

Elsewhere (arm64, RISC-V, POWER) a load may be carried out before an earlier one, and a store before an earlier load.
These do not help: a lock, which is a door in one direction (what stands before it may move in, and so may what
stands behind it); a system call in itself (the kernel's own comment: "system call entry is not a mb");
MEMBARRIER_CMD_PRIVATE_EXPEDITED, which returns at once, without a barrier, where the process has one thread.
What is sure is MEMBARRIER_CMD_GLOBAL_EXPEDITED (Linux 4.16): a full barrier of the caller on entry and on exit wherever
more than one processor is online; with one there is nobody to be in disorder with. It interrupts only processors that
run processes which asked for it; we do not ask. It takes 1.4 µs.

Where that is refused (seccomp, a kernel without membarrier) a lock is taken and left twice. Leaving is a store behind
all that came before, taking is a load ahead of all that comes after, and Armv8 and RISC-V keep such a store before a
later load of that kind; on POWER the barrier of leaving (lwsync) is enough. This rests on how a lock is compiled, so
it comes second. Sources: membarrier(2), kernel/sched/membarrier.c; Arm ARM B2.3 (barrier-ordered-before).
"""

import ctypes
import os
import threading
from collections.abc import Callable

IN_ORDER = ("x86_64", "i686", "s390x")
MEMBARRIER_NUMBERS = {"x86_64": 324, "ppc64le": 365, "s390x": 356}
MEMBARRIER_NUMBER = 283  # of all newer machines (asm-generic/unistd.h): aarch64, riscv64, loongarch64
QUERY, GLOBAL_EXPEDITED = 0, 2  # linux/membarrier.h


def fence_for(machine: str) -> Callable[[], object]:
    """The full fence that machines of this kind (os.uname) need, as cheap as it is to be had."""
    if machine in IN_ORDER:
        return bool  # which does nothing, and costs half of what a function of ours would
    return membarrier(machine) or two_locks()


def membarrier(machine: str) -> Callable[[], None] | None:
    """A fence by membarrier(2), None where the kernel does not offer it."""
    call = ctypes.CDLL(None).syscall  # neither glibc nor musl has a name for it
    call.restype, call.argtypes = ctypes.c_long, (ctypes.c_long, ctypes.c_int, ctypes.c_uint, ctypes.c_int)
    number = MEMBARRIER_NUMBERS.get(machine, MEMBARRIER_NUMBER)
    offered = call(number, QUERY, 0, 0)
    if offered < 0 or not offered & GLOBAL_EXPEDITED:
        return None

    def fence() -> None:
        call(number, GLOBAL_EXPEDITED, 0, 0)

    return fence


def two_locks() -> Callable[[], None]:
    """A fence that asks nobody."""
    lock = threading.Lock()

    def fence() -> None:
        with lock:
            pass
        with lock:
            pass

    return fence


acquire = release = fence_for(os.uname().machine)
