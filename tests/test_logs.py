"""Lines of the log never stop a process, whoever reads them or not."""

import fcntl
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from forwarder.lab.wait import wait_for
from forwarder.process.logs import FLUSH, QueuedHandler, configure
from forwarder.process.repeats import Repeats

PROGRAM = """
import logging, sys, time
from forwarder.process import logs
logs.configure("info", "mcfwd-test")
logs.detach()
log = logging.getLogger("forwarder.test")
began = time.monotonic()
for number in range(int(sys.argv[1])):
    log.info("line %s %s", str(number), "x" * 200)
sys.stdout.write(f"{time.monotonic() - began}\\n")
sys.stdout.flush()
sys.stdin.readline()
log.info("again")
"""


def program(lines: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(lines)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_what_is_logged_is_written_before_the_end():
    with program(500) as running:
        _, said = running.communicate("\n", 30)
    lines = said.splitlines()
    assert len(lines) == 501
    assert " mcfwd-test INFO line 499 x" in lines[499]
    assert lines[500].endswith("mcfwd-test INFO again")


def test_a_reader_that_stops_reading_stops_nobody_and_hears_what_it_missed():
    with program(5000) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert running.stderr is not None
        assert float(running.stdout.readline()) < 20.0
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(running.stderr))
        reader.start()
        wait_for(lambda: len(lines) > 1000, 30.0, "what was queued")
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.wait(30) == 0
        reader.join()
    missed = [int(line.split(" WARNING ")[1].split()[0]) for line in lines if "lines of the log were dropped" in line]
    assert missed
    assert sum(missed) + len([line for line in lines if " INFO line " in line]) == 5000
    assert lines[-1].endswith("INFO again\n")


def test_a_process_ends_although_nobody_reads():
    with program(5000) as running:
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.wait(30) == 0


def test_a_log_that_cannot_be_written_is_counted():
    reading, writing = os.pipe()
    os.close(reading)
    handler = QueuedHandler(writing, None)
    assert handler.start()
    for _ in range(3):
        handler.handle(logging.LogRecord("a", logging.INFO, "", 0, "words", None, None))
    handler.flush()
    assert handler.dropped >= 3
    os.close(writing)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Of the least size that there is: 4,096 octets."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def record(words: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("a.b", level, "/somewhere/module.py", 7, words, None, None)


@contextmanager
def read_beside(descriptor: int, end: bytes) -> Iterator[list[bytes]]:
    """What somebody reads who begins now, up to `end`."""
    heard = [b""]

    def read() -> None:
        while end not in heard[0]:
            heard[0] += os.read(descriptor, 65536)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield heard
    reader.join(30.0)
    assert not reader.is_alive()


def test_what_was_logged_has_been_written_once_it_is_flushed(pipe):
    """A hundred times what the pipe holds, of which nothing is read before."""
    handler = QueuedHandler(pipe[1], None)
    assert handler.start() is True
    for number in range(100):
        handler.handle(record(f"{number:04}" * 1023 + "end"))
    with read_beside(pipe[0], b"over") as heard:
        handler.flush()
        os.write(pipe[1], b"over")
    assert heard == [b"".join(b"%04d" % number * 1023 + b"end\n" for number in range(100)) + b"over"]
    assert handler.dropped == 0


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe):
    """Whoever shares it may have set it so."""
    os.set_blocking(pipe[1], False)
    handler = QueuedHandler(pipe[1], None)
    assert handler.start()
    with read_beside(pipe[0], b"over") as heard:
        for number in range(100):
            handler.handle(record(f"{number:04}" * 1024))
        handler.handle(record("over"))
    assert heard == [b"".join(b"%04d" % number * 1024 + b"\n" for number in range(100)) + b"over\n"]
    assert handler.dropped == 0


@contextmanager
def full_after(octets: int) -> Iterator[None]:
    """What this process writes to a file fails beyond so many octets, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, former[0][1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former[0])
    signal.signal(signal.SIGXFSZ, former[1])


def test_a_full_disk_is_told_of_once_it_has_room_with_all_that_was_lost(tmp_path):
    """The count was lost with each try to write it, and the next line went on where the last one broke off."""
    with (tmp_path / "log").open("wb") as file:
        handler = QueuedHandler(file.fileno(), logging.Formatter("%(levelname)s %(message)s"))
        assert handler.start()
        with full_after(20):
            for number in range(1, 6):
                handler.handle(record(f"line {number}"))
            handler.flush()
        handler.handle(record("again"))
        handler.flush()
    assert (tmp_path / "log").read_text().splitlines() == [
        "INFO line 1", "INFO lin", "WARNING 4 lines of the log were dropped: they could not be written in time",
        "INFO again",
    ]  # fmt: skip


def test_the_loss_is_a_line_like_any_other(pipe):
    handler = QueuedHandler(pipe[1], logging.Formatter("%(filename)s %(name)s %(levelname)s %(message)s"), most=2)
    for number in range(5):
        handler.handle(record(f"line {number}"))
    assert handler.dropped == 3
    assert handler.start()
    handler.flush()
    handler.handle(record("again"))
    handler.flush()
    assert os.read(pipe[0], 4096).decode().splitlines() == [
        "logs.py forwarder.process.logs WARNING 3 lines of the log were dropped: they could not be written in time",
        "module.py a.b INFO line 0", "module.py a.b INFO line 1", "module.py a.b INFO again",
    ]  # fmt: skip


def test_every_text_can_be_logged(pipe):
    handler = QueuedHandler(pipe[1], None)
    assert handler.start()
    for words in ("küche", "half a character: \ud800"):
        handler.handle(record(words))
    handler.flush()
    assert os.read(pipe[0], 4096) == "küche\nhalf a character: \\ud800\n".encode()


def test_lines_are_written_by_a_thread_with_a_name(pipe):
    before = {*threading.enumerate()}
    assert QueuedHandler(pipe[1], None).start()
    assert [(thread.name, thread.daemon) for thread in {*threading.enumerate()} - before] == [("log", True)]


def test_where_there_is_no_thread_to_be_had_it_is_said(pipe):
    former = threading.stack_size(1 << 47)      # more than there are addresses
    try:
        assert QueuedHandler(pipe[1], None).start() is False
    finally:
        threading.stack_size(former)


TWO = """
import logging, sys, threading
from forwarder.process import logs
logs.configure("warning", "mcfwd-test")
logging.getLogger().addHandler(logging.StreamHandler())
threading.stack_size(int(sys.argv[1]))
logs.detach()
print(*(type(handler).__name__ for handler in logging.getLogger().handlers))
logging.info("unsaid")
logging.getLogger("forwarder.test").info("unsaid")
logging.warning("said")
"""


@pytest.mark.parametrize(("stack", "kind"), [(0, "QueuedHandler"), (1 << 47, "StreamHandler")])
def test_every_handler_is_detached_where_there_are_threads(stack, kind):
    """And where there are none lines are written at once; each as it was to be written."""
    done = subprocess.run([sys.executable, "-c", TWO, str(stack)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{kind} {kind}\n"
    assert sorted(line.split("mcfwd-test ")[-1] for line in done.stderr.splitlines()) == ["WARNING said", "said"]


def test_a_level_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud", "mcfwd-test")


def test_a_flush_waits_no_longer_than_there_is_something_to_write(pipe):
    handler = QueuedHandler(pipe[1], None)
    assert handler.start()
    handler.handle(record("line"))
    began = time.monotonic()
    for _ in range(10):
        handler.flush()
    assert time.monotonic() - began < 5 * FLUSH     # if it waited for nothing, ten of them


LIBRARY = """
import asyncio, logging, sys
from forwarder.process import logs
logs.configure(sys.argv[1], "mcfwd-test", *sys.argv[2:])
logs.detach()
asyncio.run(asyncio.sleep(0))       # which says by which selector it waits
logging.getLogger("some.library").info("how it works")
logging.getLogger("some.library").warning("what is wrong")
logging.getLogger("forwarder.test").debug("how we work")
logging.getLogger("igmp.test").error("line\\nanother \\x1b[31m")
"""


def said(*arguments: str, journal: bool = False) -> list[str]:
    """What a process writes to its standard error."""
    with tempfile.TemporaryFile("w+") as log:
        status = os.fstat(log.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not journal)}"}
        subprocess.run([sys.executable, "-c", LIBRARY, *arguments], stderr=log, env=environment, check=True)
        log.seek(0)
        return log.read().splitlines()


def test_debug_is_about_us_and_not_about_libraries():
    words = [line.split(" ", 2)[2] for line in said("debug")]
    assert words == ["WARNING what is wrong", "DEBUG how we work", r"ERROR line | another \x1b[31m"]
    assert [line.split(" ", 2)[2] for line in said("error")] == [words[2]]


def test_a_line_can_be_an_object():
    first, _, last = map(json.loads, said("debug", "json"))
    assert set(first) == {"time", "level", "process", "pid", "message"}
    assert (first["level"], first["process"], first["message"]) == ("warning", "mcfwd-test", "what is wrong")
    assert last["message"] == "line\nanother \x1b[31m"


def test_a_journal_is_told_priorities_and_nobody_else_is():
    assert [line[:3] for line in said("debug", journal=True)] == ["<4>", "<7>", "<3>"]
    assert json.loads(said("debug", "json", journal=True)[0].removeprefix("<4>"))["level"] == "warning"
    assert not any(line.startswith("<") for line in said("debug"))


def test_what_is_said_again_and_again_is_counted_and_how_it_ended_is_told(pipe):
    now = [0.0]
    handler = QueuedHandler(pipe[1], None, repeats=Repeats(lambda: now[0]))
    assert handler.start()
    for number in range(25):
        handler.handle(logging.LogRecord("a", logging.INFO, "", 0, "%s: %s", ("tap1", number), None))
    handler.flush()
    lines = os.read(pipe[0], 4096).decode().splitlines()
    assert lines == [f"tap1: {number}" for number in range(10)] + ["tap1: 24 (and 15 like it that are not shown)"]


def test_a_style_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="xml"):
        configure("info", "mcfwd-test", "xml")
