"""The configuration of a supervisor that reads it again, validated by a process that ends with that.

What validates (`config`, pydantic) takes 10 MiB of a process and is needed for the moment of a reload.
The supervisor reads the file, since it alone may be allowed to, and has a child without privileges make settings of it,
while it goes on. Both ways are files in memory: nobody waits for a reader, and nothing is too long for a message.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from forwarder.config.files import ConfigurationError, read
from forwarder.process import launch
from forwarder.serve import Said
from forwarder.state.settings import Settings

COMMAND = ("-m", "forwarder.process", "0", "forwarder.config.reading", "0")


class Reading:
    """One, from the text of the file on; readable when the child has ended. `close` ends it whatever it does."""

    def __init__(self, said: Said) -> None:
        """Raises ConfigurationError, and OSError where there is no process to be had."""
        request = json.dumps(said).encode() + b"\n" + (b"" if said.file is None else read(Path(said.file)))
        with _memory("question") as question:
            question.write(request)
            question.seek(0)
            self._answer = _memory("answer")
            try:
                self._child, self._ended = _start(question, self._answer)
            except OSError:
                self._answer.close()
                raise

    def fileno(self) -> int:
        """The end of a pipe that the child alone holds open: kernels before 5.3 have no descriptor of a process."""
        return self._ended

    def settings(self) -> Settings:
        """As `loading.load`; waits for the child. Raises ConfigurationError."""
        if status := self._child.wait():
            raise ConfigurationError(f"the process that was to understand it ended ({launch.describe(status)})")
        self._answer.seek(0)
        said: dict[str, Any] = json.load(self._answer)
        if "settings" not in said:
            raise ConfigurationError(said["problems"])
        return Settings.from_json(said["settings"])

    def kill(self) -> None:
        """End the child."""
        self._child.kill()

    def close(self) -> None:
        """End the child, and let everything go."""
        self._child.kill()
        self._child.wait()
        os.close(self._ended)
        self._answer.close()


def _start(question: BinaryIO, answer: BinaryIO) -> tuple["subprocess.Popen[bytes]", int]:
    """The child, and a descriptor that is readable when it has ended."""
    ended, held = os.pipe()
    try:
        child = launch.start([*COMMAND, str(os.getpid())], stdin=question, stdout=answer, stderr=subprocess.DEVNULL,
                             pass_fds=(held,))  # fmt: skip
    except OSError:
        os.close(ended)
        raise
    finally:
        os.close(held)
    return child, ended


def _memory(name: str) -> BinaryIO:
    return open(os.memfd_create(f"mcfwd-{name}", os.MFD_CLOEXEC), "w+b", buffering=0)


def main() -> None:
    """The child: settings of what it is asked, or what is wrong with it."""
    from forwarder.config import loading

    said = Said(*json.loads(sys.stdin.buffer.readline()))
    answer: dict[str, Any]
    try:
        settings = loading.load(None if said.file is None else Path(said.file), said.upstream, said.downstream,
                               said.socket, said.profile, said.workers, sys.stdin.buffer.read())  # fmt: skip
        answer = {"settings": settings.to_json()}
    except ConfigurationError as error:
        answer = {"problems": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
