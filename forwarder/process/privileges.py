"""What the calling process may (capabilities(7), credentials(7), prctl(2)): asked for, lent to children, dropped."""

import ctypes
import os
import signal

CAP_SETGID, CAP_SETUID, CAP_NET_RAW = 6, 7, 13
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, _PR_CAP_AMBIENT_RAISE = 47, 4, 2
_PR_SET_SECUREBITS, _SECBIT_NOROOT, _SECBIT_NOROOT_LOCKED = 28, 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def has_capability(capability: int) -> bool:
    """Whether the effective set holds `capability`."""
    sets = (_Sets * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)), "capget")
    return bool(sets[capability // 32].effective >> capability % 32 & 1)


def lend(uid: int, gid: int) -> None:
    """Make this user and group our real ones, and drop our supplementary groups; OSError where that is refused.

    Whoever has real ids may become them for good without a capability, as our children do when they start (`launch`),
    and may send signals to processes of theirs without one, so children can be killed, also by PR_SET_PDEATHSIG. Our
    effective and saved ids stay: what we could read, bind and remove, we still can.
    """
    os.setgroups([])
    os.setresgid(gid, -1, -1)
    os.setresuid(uid, -1, -1)


def keep_only(capability: int | None) -> None:
    """Reduce every set of this process to `capability`, or to nothing; there is no way back.

    Where allowed (CAP_SETPCAP) a program that is started later gains nothing from uid 0 either (securebits).
    """
    _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT | _SECBIT_NOROOT_LOCKED, 0, 0, 0)
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    sets = (_Sets * 2)()
    if capability is not None:
        sets[capability // 32] = _Sets(1 << capability % 32, 1 << capability % 32, 0)
    _check(_libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def shed(parent: int) -> None:
    """What a child begins with: it has no capability, nobody of its user may look into it, it dies with `parent`.

    Without the second (ptrace(2), PTRACE_MODE_ATTACH) any other process of that user could take packet sockets out of
    it. The last comes last: a change of credentials undoes it.
    """
    keep_only(None)
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    _die_with(parent)


def _die_with(parent: int) -> None:
    """Get SIGKILL when the parent process `parent` ends; also when it ended before this call."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _check(result: int, call: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")
