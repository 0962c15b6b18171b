"""Instances that other users run, which root finds too: asked last, and never silently, since they say what they like.

`run` as an ordinary user, or by setpriv, listens where that user may create a socket; `sudo mcfwd show` looks there.
"""

import os
import re
import socket
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Any

RUNTIME = "/run/user"
MOST = 64               # sockets that are looked at
ENTRIES = 100_000       # of a directory that anybody may fill
OWN_NAME = re.compile(r"mcfwd-([1-9][0-9]{0,9})\.sock")


def sockets(temporary: str, runtime: str = RUNTIME) -> list[tuple[int, str]]:
    """User and path of the sockets that lie where a user's instance puts one, each owned by that user."""
    places = (*_temporary(temporary), *_runtime(runtime))
    return list(islice(((uid, path) for uid, path in places if _is_socket_of(uid, path)), MOST))


def _temporary(directory: str) -> Iterator[tuple[int, str]]:
    for name in _names(directory):
        if match := OWN_NAME.fullmatch(name):
            yield int(match[1]), os.path.join(directory, name)


def _runtime(directory: str) -> Iterator[tuple[int, str]]:
    return ((int(name), os.path.join(directory, name, "mcfwd.sock")) for name in _names(directory)
            if name.isascii() and name.isdigit() and name != "0")  # fmt: skip


def _names(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in islice(entries, ENTRIES))
    except OSError:
        return []


def _is_socket_of(uid: int, path: str) -> bool:
    """A link, or what another user has put there under this one's name, is nobody's instance."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == uid


def connected(found: list[tuple[int, str]], timeout: float) -> list[tuple[int, str, socket.socket]]:
    """User, path and connection of those that somebody listens at."""
    return [(uid, path, connection) for uid, path in found if (connection := _connect(path, timeout))]


def _connect(path: str, timeout: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def printable(answer: Any) -> Any:
    """An answer without anything that a terminal would obey."""
    if isinstance(answer, str):
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in answer)
    if isinstance(answer, list):
        return [printable(each) for each in answer]
    if isinstance(answer, dict):
        return {printable(key): printable(value) for key, value in answer.items()}
    return answer
