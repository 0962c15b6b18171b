"""The configuration of a supervisor that reads it again, validated by a process that ends with that.

What validates (`config`, pydantic) takes 10 MiB of a process and is needed for the moment of a reload.
The supervisor reads the file, since it alone may be allowed to, and has a child without privileges make settings of it,
while it goes on. Question and answer are files in memory: nobody waits for a reader, and nothing is too long for a
message. What the file includes is known when it is understood: the child asks for it over a socket, and is given it as
a file in memory.
"""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from forwarder.config.files import ConfigurationError, read
from forwarder.config.included import Include, Inclusion
from forwarder.process import launch
from forwarder.serve import Said
from forwarder.state.settings import Settings

COMMAND = ("-m", "forwarder.process", "0", "forwarder.config.reading", "0")
LONGEST_REQUEST = 16384     # octets: a name has 4,096 at most, a path too
log = logging.getLogger(__name__)


class Reading:
    """One, from the text of the file on; readable when `step` has something to do. `close` ends it whatever it does."""

    def __init__(self, said: Said) -> None:
        """Raises ConfigurationError, and OSError where there is no process to be had."""
        path = None if said.file is None else Path(said.file)
        octets = b"" if path is None else read(path)
        self._include: Include = Inclusion(path or Path(), octets)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        with theirs, _memory("question") as question:
            question.write(json.dumps([said, theirs.fileno()]).encode() + b"\n" + octets)
            question.seek(0)
            self._answer = _memory("answer")
            try:
                self._child = launch.start([*COMMAND, str(os.getpid())], stdin=question, stdout=self._answer,
                                           stderr=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))  # fmt: skip
            except OSError:
                self._answer.close()
                ours.close()
                raise

    def fileno(self) -> int:
        """A socket whose other end the child alone holds: kernels before 5.3 have no descriptor of a process."""
        return self._channel.fileno()

    def step(self) -> bool:
        """Give the child what it asks for; whether it has ended. Waits where this is not readable."""
        try:
            request = self._channel.recv(LONGEST_REQUEST)
            if request:
                self._give(request)
        except (OSError, ValueError, TypeError):    # it died meanwhile, there is no memory, or it asks for nothing
            self._child.kill()
            return False    # which is heard next
        return not request

    def settings(self) -> Settings:
        """As `loading.load`; waits for the child. Raises ConfigurationError."""
        while not self.step():
            pass
        if status := self._child.wait():
            raise ConfigurationError(f"the process that was to understand it ended ({launch.describe(status)})")
        self._answer.seek(0)
        said: dict[str, Any] = json.load(self._answer)
        if "settings" not in said:
            raise ConfigurationError(said["problems"])
        for words in said["notices"]:
            log.warning("%s", words)
        return Settings.from_json(said["settings"])

    def kill(self) -> None:
        """End the child."""
        self._child.kill()

    def close(self) -> None:
        """End the child, and let everything go."""
        self._child.kill()
        self._child.wait()
        self._channel.close()
        self._answer.close()

    def _give(self, request: bytes) -> None:
        pattern, beside = json.loads(request)
        with _memory("included") as memory:
            try:
                found = self._include(pattern, Path(beside))
                head: dict[str, Any] = {"files": [[str(path), len(octets)] for path, octets in found]}
            except ConfigurationError as error:
                found, head = [], {"problems": str(error)}
            memory.write(b"".join((json.dumps(head).encode(), b"\n", *(octets for _, octets in found))))
            socket.send_fds(self._channel, [b"here"], [memory.fileno()])


def _memory(name: str) -> BinaryIO:
    return open(os.memfd_create(f"mcfwd-{name}", os.MFD_CLOEXEC), "w+b", buffering=0)


# --- the child ---


class Asking:
    """What the file includes, as the supervisor has it; an `Include`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __call__(self, pattern: str, beside: Path) -> list[tuple[Path, bytes]]:
        """Raises ConfigurationError."""
        request = json.dumps([pattern, str(beside)]).encode()
        if len(request) > LONGEST_REQUEST:
            raise ConfigurationError(f"{pattern[:40]!r}...: is too long for the name of a file")
        self._channel.send(request)
        _, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        with open(descriptors[0], "rb") as memory:
            memory.seek(0)
            head = json.loads(memory.readline())
            if "problems" in head:
                raise ConfigurationError(head["problems"])
            return [(Path(path), memory.read(length)) for path, length in head["files"]]


def main() -> None:
    """The child: settings of what it is asked, or what is wrong with it."""
    from forwarder.config import loading

    words, descriptor = json.loads(sys.stdin.buffer.readline())
    said = Said(*words)
    answer: dict[str, Any]
    channel = socket.socket(fileno=descriptor)
    try:
        loaded = loading.understand(
            None if said.file is None else Path(said.file), said.upstream, said.downstream, said.socket,
            said.profile, said.workers, said.format, said.maps, sys.stdin.buffer.read(), Asking(channel),
        )  # fmt: skip
        answer = {"settings": loaded.settings.to_json(), "notices": loaded.notices}
    except ConfigurationError as error:
        answer = {"problems": str(error)}
    finally:
        channel.detach()    # its end says that we have ended
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
