"""A process that has only so many descriptors left: every call that needs another is refused by the kernel (EMFILE)."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only(left: int) -> Iterator[None]:
    """As long as it lasts `left` more descriptors can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        while not held or held[-1] < highest:       # no gap is left below
            held.append(os.open(os.devnull, os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1 + left, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)
