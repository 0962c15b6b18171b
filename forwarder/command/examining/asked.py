"""A program that is asked something: started at once, its answer taken later, both of them bounded."""

import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress

PATIENCE = 0.7          # seconds since it was started
LONGEST = 8 << 20       # octets of an answer
PLACES = "/usr/sbin:/sbin:/usr/local/sbin"     # where an ordinary user's PATH does not lead


def program(name: str) -> str | None:
    """Its path; None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=PLACES)


class Asked:
    """A child with its output in a pipe, in a process group of its own, killed if it goes on."""

    def __init__(self, *argv: str) -> None:
        """Start it; what cannot be started answers with why."""
        self._until = time.monotonic() + PATIENCE
        self._process: subprocess.Popen[bytes] | None = None
        self._refused = ""
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._refused = str(error.strerror)

    def answer(self) -> tuple[str, str]:
        """What it printed, and why that is nothing to go by: empty where it is."""
        if self._process is None:
            return "", self._refused
        with self._process as process:
            octets, late = self._read(process)
            if late:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)      # with what it has started itself
                return "", late
            status = process.wait()
        said = octets.decode(errors="replace")
        return said, f"{said.strip().splitlines()[0] if said.strip() else f'exit status {status}'}" if status else ""

    def _read(self, process: "subprocess.Popen[bytes]") -> tuple[bytes, str]:
        assert process.stdout is not None
        output, found, total = process.stdout.fileno(), [], 0
        poll = select.poll()
        poll.register(output, select.POLLIN)
        while (left := self._until - time.monotonic()) > 0 and poll.poll(left * 1000):
            chunk = os.read(output, 1 << 16)
            found.append(chunk)
            total += len(chunk)
            if not chunk:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(self._until - time.monotonic(), 0.01))
                    return b"".join(found), ""
                break
            if total > LONGEST:
                return b"", f"more than {LONGEST >> 20} MiB of rules"
        return b"", f"no answer in {PATIENCE:g} s"
