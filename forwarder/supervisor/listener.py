"""The control socket: claimed when nobody alive holds its path, given up at the end."""

import errno
import os
import socket
import stat
from contextlib import suppress

BACKLOG = 64


class SocketInUse(Exception):
    """Another instance answers at this path."""


def claim(path: str) -> socket.socket:
    """A listening Unix socket at `path`; replaces one that a dead instance left; SocketInUse, OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if _answers(path):
        raise SocketInUse(path)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener


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
