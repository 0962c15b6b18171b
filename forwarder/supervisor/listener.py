"""The control socket: claimed when nobody alive holds its path, given up at the end."""

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from forwarder.process import group

BACKLOG = 64
WAIT = 2.0      # seconds


class SocketInUse(Exception):
    """Another instance answers at this path."""


def claim(path: str, mode: int = 0o660, owner: str | None = None) -> socket.socket:
    """A listening Unix socket at `path` for who `mode` and the group `owner` (None: ours) say; SocketInUse, OSError.

    It replaces one that a dead instance left.
    """
    directory = os.path.dirname(path) or "."
    os.makedirs(directory, exist_ok=True)
    with _alone(directory):
        if _answers(path):
            raise SocketInUse(path)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
            _give(path, owner)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(mask)
        return listener


def _give(path: str, name: str | None) -> None:
    """Give a socket that was just bound to a group, or remove it and say why not; of a link its name alone."""
    if name is None:
        return
    try:
        os.chown(path, -1, group.find(name), follow_symlinks=False)
    except (LookupError, OSError) as error:
        os.unlink(path)
        said, number = (str(error), errno.EINVAL) if isinstance(error, LookupError) else (error.strerror, error.errno)
        who = "; root may with CAP_CHOWN, others only where they are members" if number == errno.EPERM else ""
        raise OSError(number, f"cannot be given to group {name}: {said}{who}", path) from error


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """One at a time looks who answers and takes the path: two that start together would each remove the other's.

    Whoever may open the directory could hold the lock for ever, so it is waited for in vain only for WAIT seconds.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def release(listener: socket.socket, path: str) -> None:
    """Close the socket and remove its path."""
    listener.close()
    with suppress(OSError):
        os.unlink(path)


def _remove_stale(path: str) -> None:
    """Remove a socket nobody listens on; anything else that lies there is somebody's file: FileExistsError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket lies there", path)
        os.unlink(path)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except TimeoutError:
            return True
        return True
