"""The log of a process: lines to standard error, which nobody has to read.

A pipe that is full, a terminal that was stopped with Ctrl-S, a journal that is slow: none of them may stop a process.
So lines go through a bounded queue to a thread that writes them. What does not fit is counted, and the count is the
next line that does. At the end what is queued has FLUSH seconds to be written.
"""

import logging
import os
import queue
import threading
import time

MOST = 1000     # lines that wait: some seconds of a process that complains about everything
FLUSH = 1.0     # seconds
STDERR = 2


def configure(level: str, name: str) -> None:
    """Lines as they are written at once; ValueError for a level that is none."""
    logging.basicConfig(level=level.upper(), format=f"%(asctime)s {name} %(levelname)s %(message)s", force=True)


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

    The thread writes by itself, with no lock of logging's or of sys.stderr's: who holds one of these while nobody reads
    holds up the end of the process too.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter | None, most: int = MOST) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._queue: queue.Queue[str] = queue.Queue(most)
        self._descriptor, self.dropped, self._said = descriptor, 0, 0

    def start(self) -> bool:
        """Begin to write; False where there is no thread to be had: lines are better written at once then."""
        try:
            threading.Thread(target=self._write_all, name="log", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits; formatted here, where what it speaks of is as it was."""
        try:
            self._queue.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until all was written, for FLUSH seconds at most; logging does so at the end of the process."""
        until = time.monotonic() + FLUSH
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def _write_all(self) -> None:
        while True:
            line = self._queue.get()
            if (dropped := self.dropped) != self._said:
                words = f"{dropped - self._said} lines of the log were dropped: nobody read it in time"
                self._said = dropped
                self._write(self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None)))
            self._write(line)
            self._queue.task_done()

    def _write(self, line: str) -> None:
        left = f"{line}\n".encode(errors="backslashreplace")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:     # closed, or a pipe whose reader has ended: there is nobody to tell
            self.dropped += 1
