"""Signals from the first instruction on, before there is a loop that follows them, and in processes that we start.

A shell sends SIGINT to everybody who is in the foreground, a service manager may send SIGHUP or SIGTERM at any moment:
until its own handlers stand, `mcfwd run` ends at once and well, and keeps a SIGHUP for its loop. Others end quietly.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)
NOT_FOR_CHILDREN = (signal.SIGINT, signal.SIGHUP)
EXIT_INTERRUPTED = 130


def begin(running: bool) -> None:
    """The first instruction of `mcfwd run` (`running`) or of another command: during imports nothing is to be undone.

    The mask of whoever started us says nothing of what we want to hear, and would be our children's too.
    """
    if running:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # first: it has no handler, and would end us
        for number in ENDING:
            signal.signal(number, lambda *_: os._exit(0))   # an exception might be caught by what is being imported
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGHUP,) if running else ())     # last: some may have waited


def imported(running: bool) -> None:
    """The imports of a command are done: it handles an interrupt itself."""
    if not running and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_by_exit() -> None:
    """From now on there is something to be undone at the end: it comes as SystemExit."""
    for number in ENDING:
        signal.signal(number, _exit)


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def keep() -> None:
    """This process executes another program now: what comes meanwhile waits until that has its handlers (`begin`)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


@contextmanager
def held_back() -> Iterator[None]:
    """What is started meanwhile begins with the signals blocked that are not for it, until it can `ignore` them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_CHILDREN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """The first instruction of a child: what came until now is forgotten, and nothing is blocked."""
    for number in NOT_FOR_CHILDREN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
