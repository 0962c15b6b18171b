"""A shell at a terminal, as somebody sits before it."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

PATIENCE = 30.0     # seconds for anything to be shown
SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?>=]*[a-zA-Z]|\][^\x07]*\x07|[=>()][0AB]?)|\r")


class Terminal:
    """Runs `argv`; `press` is what somebody types, `wait_for` looks at what is shown since the last time."""

    def __init__(self, argv: Sequence[str], directory: str, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(argv, cwd=directory, env=dict(environment), stdin=slave, stdout=slave,
                                         stderr=slave, start_new_session=True)  # fmt: skip
        os.close(slave)
        self._shown = ""

    def press(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern`; AssertionError with what was shown instead."""
        until = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self._shown)) is None:
            left = until - time.monotonic()
            assert left > 0, f"{pattern} is not shown, but:\n{self._shown}"
            if select.select([self._master], [], [], left)[0]:
                self._shown = SEQUENCE.sub("", self._shown + os.read(self._master, 65536).decode(errors="replace"))
        self._shown = self._shown[match.end() :]
        return match

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
