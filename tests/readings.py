"""Configurations that are read without a process, for what takes them over."""

import os
from collections.abc import Callable

from forwarder.state.settings import Settings


class Read:
    """Readable at once, or when `finish` is called; `load` gives the settings, or raises what was wrong."""

    def __init__(self, load: Callable[[], Settings], finished: bool = True) -> None:
        self._load, self._bell = load, os.eventfd(finished)
        self.killed = self.closed = False
        self.steps = 1      # until it was read

    def fileno(self) -> int:
        return self._bell

    def step(self) -> bool:
        self.steps -= 1
        return self.steps <= 0

    def finish(self) -> None:
        os.eventfd_write(self._bell, 1)

    def settings(self) -> Settings:
        return self._load()

    def kill(self) -> None:
        self.killed = True
        self.finish()

    def close(self) -> None:
        self.closed = True
        os.close(self._bell)
