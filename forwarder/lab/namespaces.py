"""Network namespaces without a name, held by a file descriptor.

A namespace lives as long as its descriptor, a process or a socket in it: nothing is left behind under
/run/netns, whatever kills the lab. Code runs inside by a short-lived thread that has entered it: namespaces
belong to threads, so the caller stays where it is.
"""

import functools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from forwarder.lab import syscalls

T = TypeVar("T")

SYSCTL = "/proc/sys/net/"


class _Errand(threading.Thread, Generic[T]):
    """A thread that enters a namespace, does one thing and ends."""

    def __init__(self, enter: Callable[[], None], errand: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._enter, self._errand = enter, errand
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._enter()
            self._result.append(self._errand())
        except BaseException as error:  # raised again where the errand was asked for
            self._error = error

    def result(self) -> T:
        self.start()
        self.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


def _own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A new network namespace with its loopback up and IPv6 off; `name` is only for people."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.fd = _Errand(syscalls.unshare_network, _own_namespace).result()
        self.sysctl("ipv6/conf/all/disable_ipv6", 1)
        self.sysctl("ipv6/conf/default/disable_ipv6", 1)

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def of(cls, pid: int, name: str = "") -> "Namespace":
        """The network namespace that a process is in, as it is."""
        namespace = cls.__new__(cls)
        namespace.name, namespace.fd = name, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return namespace

    def close(self) -> None:
        """Lets go of the namespace; it ends with its last process and socket."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns (or raises) when called inside, in a thread of its own."""
        return _Errand(
            functools.partial(syscalls.enter_network, self.fd), functools.partial(function, *arguments)
        ).result()

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Starts a program inside; it gets SIGTERM when the calling *thread* ends."""
        return subprocess.Popen(argv, preexec_fn=self._settle, **options)

    def _settle(self) -> None:
        syscalls.enter_network(self.fd)
        syscalls.die_with_parent(signal.SIGTERM)

    def command(self, *argv: str, timeout: float = 10.0) -> str:
        """Standard output of a program that ran inside; CalledProcessError when it fails."""
        with self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            output, _ = process.communicate(timeout=timeout)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, argv, output)
        return str(output)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in the namespace, whoever uses it."""
        return self.run(socket.socket, family, kind, protocol)

    def sysctl(self, key: str, value: int | str) -> None:
        """Writes /proc/sys/net/`key` of the namespace, as in `ipv4/conf/eth0/force_igmp_version`."""
        self.run(_write, SYSCTL + key, str(value))

    def read_sysctl(self, key: str) -> str:
        """Reads /proc/sys/net/`key` of the namespace."""
        return self.run(_read, SYSCTL + key).strip()

    def read_proc(self, path: str) -> str:
        """Reads /proc/net/`path` of the namespace."""
        return self.run(_read, "/proc/thread-self/net/" + path)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
