"""The system calls that Python 3.11 has no name for; each raises OSError with the call's name."""

import ctypes
import os
from typing import Any, Protocol

CLONE_NEWNET = 0x40000000  # sched.h
PR_SET_PDEATHSIG = 1  # prctl.h
PR_SET_TIMERSLACK = 29
MSG_DONTWAIT = 0x40  # socket.h
MSG_TRUNC = 0x20
MSG_WAITFORONE = 0x10000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


class HasFileno(Protocol):
    """A socket, a file, anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def _checked(name: str, *arguments: Any) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare_network() -> None:
    """Puts the calling thread into a new network namespace (CAP_SYS_ADMIN)."""
    _checked("unshare", CLONE_NEWNET)


def enter_network(fd: int) -> None:
    """Puts the calling thread into the network namespace behind `fd` (setns(2))."""
    _checked("setns", fd, CLONE_NEWNET)


def die_with_parent(signal: int) -> None:
    """Asks for `signal` when the thread that started this process ends (PR_SET_PDEATHSIG)."""
    _checked("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def precise_sleep() -> None:
    """Lets sleeps of this thread end within about a microsecond instead of 50 (PR_SET_TIMERSLACK)."""
    _checked("prctl", PR_SET_TIMERSLACK, 1, 0, 0, 0)


def sendmmsg(fd: int, messages: int, count: int, flags: int = 0) -> int:
    """Sends up to `count` mmsghdr at address `messages`; how many were taken (OSError when none)."""
    return _checked("sendmmsg", fd, messages, count, flags)


def recvmmsg(fd: int, messages: int, count: int, flags: int) -> int:
    """Receives up to `count` datagrams into the mmsghdr at address `messages`; 0 when none waits."""
    received: int = _libc.recvmmsg(fd, messages, count, flags, None)
    if received >= 0:
        return received
    number = ctypes.get_errno()
    if number in (11, 4):  # EAGAIN, EINTR
        return 0
    raise OSError(number, f"recvmmsg: {os.strerror(number)}")
