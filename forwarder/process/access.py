"""Whether a file that root reads at start can be read again once we have no capability but CAP_NET_RAW.

Root reads everything by CAP_DAC_OVERRIDE, which is given up, and by its groups, which are too where children have a
user of their own; a folder of another user that is closed to others (mode 0700) closes then.
"""

import errno
import os

from forwarder.process import privileges

LOST = 1    # exit status of a child that could not even give up its privileges


def refusal(path: str) -> str | None:
    """Why a file cannot be read by us as we are, in the system's words; None where it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))     # a pipe has nobody to wait for
    except OSError as error:
        return error.strerror or str(error)
    return None


def refusal_later(path: str, groups: bool = True) -> str | None:
    """As `refusal`, once the privileges are given up, `groups` kept; tried in a child, since there is no way back.

    OSError where there is no process to be had.
    """
    child = os.fork()
    if child == 0:      # of a process with one thread, and only system calls follow
        os._exit(_try(path, groups))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return os.strerror(status) if status > LOST else None


def warning(path: str, reason: str) -> str:
    """What to say of it."""
    return (f"{path} cannot be read any more once the privileges of the start are given up ({reason}): no reload will "
            "work; it and its folders should be root's, or open to others")  # fmt: skip


def _try(path: str, groups: bool) -> int:
    try:
        if not groups and privileges.has_capability(privileges.CAP_SETGID):
            os.setgroups([])
        privileges.keep_only(privileges.CAP_NET_RAW if privileges.has_capability(privileges.CAP_NET_RAW) else None)
    except OSError:
        return LOST
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0
