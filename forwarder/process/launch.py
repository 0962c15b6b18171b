"""How an interpreter of ours is started: from everywhere, with our packages, as our real user."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from forwarder.process import signals

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""Numpy is used without linear algebra: no threads, no buffers for them."""


@cache
def environment() -> dict[str, str]:
    """That of a child: it finds our packages where we did, also in a checkout that is not installed.

    As of the first child: the directory that relative places are relative to may be gone by the time of the next.
    """
    ours, path = Path(__file__).parents[2], os.environ.get("PYTHONPATH", "")
    places = [place and os.path.abspath(place) for place in path.split(os.pathsep)] if path else []
    if ours.name not in ("site-packages", "dist-packages"):     # found anyhow, and behind the standard library
        places.insert(0, str(ours))
    found = {"PYTHONPATH": os.pathsep.join(places)} if places else {}
    return {**os.environ, **ENVIRONMENT, **found}


def open_standard_descriptors() -> None:
    """Where we were started without some of them, the next that is opened would be taken for one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free


def start(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start `python ARGUMENTS`; `options` are those of Popen. OSError where there is no process to be had.

    Its user and group are our real ones (`privileges.lend`), taken before it is executed: a program that is executed
    with two users at once is treated as one of a setuid file (ld.so(8), secure-execution mode).
    """
    command = [sys.executable, "-P", *arguments]    # -P: no modules of the directory that we were started in
    options = {"stdin": subprocess.DEVNULL, **_real_user(), **options}
    with signals.held_back():
        return subprocess.Popen(command, cwd="/", env=environment(), **options)


def _real_user() -> dict[str, int]:
    """Nothing where there is one user: who may change none at all (seccomp(2)) is not to try."""
    if (os.getuid(), os.getgid()) == (os.geteuid(), os.getegid()):
        return {}
    return {"user": os.getuid(), "group": os.getgid()}


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:      # a real-time signal: only the first and the last have names
        return f"killed by signal {-status}"
