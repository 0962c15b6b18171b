"""The text of a configuration file, whatever it means; and the error of one that cannot run."""

import errno
import json
import os
import select
import stat
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from forwarder.units import size

PATIENCE = 2.0          # seconds: less than a supervisor may be away before it is missed
MOST_OCTETS = 16 << 20  # several times what a snapshot holds
CHUNK = 1 << 20


class ConfigurationError(Exception):
    """A configuration that cannot run; its text has one line a problem."""


class DisabledError(ConfigurationError):
    """A configuration that says itself that nothing is to run, and where."""


def read(path: Path) -> bytes:
    """What a file holds; raises ConfigurationError."""
    try:
        return octets_of(path)
    except OSError as error:
        raise ConfigurationError(f"{plainly(path)}: {error.strerror}") from error


def plainly(name: str | Path) -> str:
    """A name as it is, or in quotes where it could be taken for several lines, for blanks or for nothing."""
    text = str(name)
    return text if text.isprintable() and text.strip() == text != "" else json.dumps(text)


def _read_out(file: FileIO, until: float, patience: float) -> bytes:
    poll, octets = select.poll(), b""
    poll.register(file, select.POLLIN)
    while poll.poll(max(0.0, until - time.monotonic()) * 1000):
        octets += (more := file.read(CHUNK) or b"")
        if not more:
            return octets
        if len(octets) > MOST_OCTETS:
            raise OSError(errno.EFBIG, f"is larger than {size(MOST_OCTETS)}")
    raise OSError(errno.ETIMEDOUT, f"whoever writes it did not finish within {patience:g} s")


def _written(descriptor: int) -> tuple[int, int] | None:
    """Size and time of the last change, None of what is no file; a pipe is read once."""
    status = os.fstat(descriptor)
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def octets_of(
    path: Path, patience: float = PATIENCE, read_out: Callable[[FileIO, float, float], bytes] = _read_out
) -> bytes:
    """What a file holds, or what comes by a pipe until its writer ends it; OSError where that has no end.

    A reload must not wait for somebody who writes nothing, nor read /dev/zero. A file that is written meanwhile is read
    again: half of it may be what nobody meant. `read_out` reads an open file once.
    """
    until = time.monotonic() + patience
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        while True:
            before = _written(file.fileno())
            octets = read_out(file, until, patience)
            if before == _written(file.fileno()):
                return octets
            if time.monotonic() > until:
                raise OSError(errno.EAGAIN, f"is being written all the time, for {patience:g} s")
            file.seek(0)
