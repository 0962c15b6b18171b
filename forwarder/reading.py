"""The configuration of a supervisor that reads it again, validated by a process that ends with that.

What validates (`config`, pydantic) takes 10 MiB of a process and is needed for the moment of a reload.
The supervisor reads the file, since it alone may be allowed to, and has a child without privileges make settings of it.
Both ways are files in memory: nobody waits for a reader, and nothing is too long for a message.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from forwarder.config_file import ConfigurationError, read
from forwarder.process import launch
from forwarder.serve import Said
from forwarder.state.settings import Settings

PATIENCE = 10.0     # seconds; 2,000 interfaces take 0.5
COMMAND = ("-m", "forwarder.process", "0", "forwarder.reading", "0")


def load(said: Said) -> Settings:
    """As `config.load`; raises ConfigurationError, and OSError where there is no process to be had."""
    answer = _ask(json.dumps(said).encode() + b"\n" + (b"" if said.file is None else read(Path(said.file))))
    if "settings" not in answer:
        raise ConfigurationError(answer["problems"])
    return Settings.from_json(answer["settings"])


def _ask(request: bytes) -> dict[str, Any]:
    """What a child makes of it."""
    with ExitStack() as stack:
        question, answer = (stack.enter_context(_memory(name)) for name in ("question", "answer"))
        question.write(request)
        question.seek(0)
        child = launch.start([*COMMAND, str(os.getpid())], stdin=question, stdout=answer, stderr=subprocess.DEVNULL)
        try:
            status = child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise ConfigurationError(f"what it says is not understood within {PATIENCE:g} s") from None
        finally:
            child.kill()
            child.wait()
        if status:
            raise ConfigurationError(f"the process that was to understand it ended ({launch.describe(status)})")
        answer.seek(0)
        said: dict[str, Any] = json.load(answer)
        return said


def _memory(name: str) -> BinaryIO:
    return open(os.memfd_create(f"mcfwd-{name}", os.MFD_CLOEXEC), "w+b", buffering=0)


def main() -> None:
    """The child: settings of what it is asked, or what is wrong with it."""
    from forwarder import config

    said = Said(*json.loads(sys.stdin.buffer.readline()))
    answer: dict[str, Any]
    try:
        settings = config.load(None if said.file is None else Path(said.file), said.upstream, said.downstream,
                               said.socket, said.profile, said.workers, sys.stdin.buffer.read())  # fmt: skip
        answer = {"settings": settings.to_json()}
    except ConfigurationError as error:
        answer = {"problems": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
