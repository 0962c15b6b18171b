"""The log of a process: lines to standard error, which nobody has to read.

A pipe that is full, a terminal that was stopped with Ctrl-S, a journal that is slow: none of them may stop a process.
So lines go through a bounded queue to a thread that writes them. What does not fit is counted, and the count is the
next line that does. At the end what is queued has FLUSH seconds to be written. How a line looks is in `lines`, which
are too many of the same in `repeats`.
"""

import logging
import os
import queue
import select
import threading
import time

from forwarder.process.lines import formatter_of, is_journal
from forwarder.process.repeats import Repeats

OURS = ("forwarder", "igmp")
MOST = 1000     # lines that wait: some seconds of a process that complains about everything
FLUSH = 1.0     # seconds
STDERR = 2


def configure(level: str, name: str, style: str = "text") -> None:
    """Lines as they are written at once, `style` text or json; ValueError for a level or a style that is none.

    `level` is that of our own lines: of a library only what is wrong matters, DEBUG is not about how it works.
    """
    formatter, number = formatter_of(style, name, is_journal(STDERR, os.environ)), _level(level)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    for package in OURS:
        logging.getLogger(package).setLevel(number)


def _level(name: str) -> int:
    number = logging.getLevelNamesMapping().get(name.upper())
    if number is None:
        raise ValueError(f"unknown level of a log: {name.upper()}")
    return number


def detach() -> None:
    """From now on lines are queued; after privileges were dropped, since threads keep those that they began with."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        queued = QueuedHandler(STDERR, handler.formatter)
        if queued.start():
            root.removeHandler(handler)
            root.addHandler(queued)


class QueuedHandler(logging.Handler):
    """Hands lines to a thread that writes them to a descriptor; `dropped`: those that were lost.

    What `repeats` does not admit is counted there, and its counts are written when they are due.

    The thread writes by itself, with no lock of logging's or of sys.stderr's: who holds one of these while nobody reads
    holds up the end of the process too.
    """

    def __init__(
        self, descriptor: int, formatter: logging.Formatter | None, most: int = MOST, repeats: Repeats | None = None
    ) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._queue: queue.Queue[str | None] = queue.Queue(most)    # None: there are counts to wait for
        self._repeats, self._nudged = repeats or Repeats(), False
        self._descriptor, self.dropped, self._said = descriptor, 0, 0
        self._begun = ""            # what ends a line of which only a part was taken

    def start(self) -> bool:
        """Begin to write; False where there is no thread to be had: lines are better written at once then."""
        try:
            threading.Thread(target=self._write_all, name="log", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits; formatted here, where what it speaks of is as it was."""
        if self._repeats.admits(record):
            self._put(self.format(record))
        elif not self._nudged:      # one is enough: a flood of them would take the place of lines
            self._nudged = self._put(None)

    def flush(self) -> None:
        """Wait until all was written, for FLUSH seconds at most; logging does so at the end of the process."""
        for record in self._repeats.counts(all_of_them=True):
            self._put(self.format(record))
        until = time.monotonic() + FLUSH
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def _put(self, line: str | None) -> bool:
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += line is not None
            return False
        return True

    def _write_all(self) -> None:
        while True:
            try:
                line = self._queue.get(timeout=self._repeats.wait)
            except queue.Empty:
                self._write_counts()
                continue
            self._say_dropped()
            if line is None:
                self._nudged = False
            else:
                self._write(line)
            self._write_counts()
            self._queue.task_done()

    def _write_counts(self) -> None:
        for record in self._repeats.counts():
            self._write(self.format(record))

    def _say_dropped(self) -> None:
        if (dropped := self.dropped) != self._said:
            words = f"{dropped - self._said} lines of the log were dropped: they could not be written in time"
            record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None)
            if self._wrote(self.format(record)):    # or it is said, with what has come to it, before the next line
                self._said = dropped

    def _write(self, line: str) -> None:
        if not self._wrote(line):
            self.dropped += 1

    def _wrote(self, line: str) -> bool:
        """Whether a whole line was taken: not where it is closed, or the reader has ended, or a disk is full."""
        left = f"{self._begun}{line}\n".encode(errors="backslashreplace")
        try:
            while left:
                if written := self._write_some(left):
                    left, self._begun = left[written:], "\n"
        except OSError:
            return False
        self._begun = ""
        return True

    def _write_some(self, octets: bytes) -> int:
        """Who shares the descriptor may have it set so that writing does not wait; a thread of ours may."""
        try:
            return os.write(self._descriptor, octets)
        except BlockingIOError:
            room = select.poll()
            room.register(self._descriptor, select.POLLOUT)
            room.poll()
            return 0
