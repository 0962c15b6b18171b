"""Lines of the log never stop a process, whoever reads them or not."""

import logging
import os
import subprocess
import sys
import threading

from forwarder.lab.wait import wait_for
from forwarder.process.logs import QueuedHandler

PROGRAM = """
import logging, sys, time
from forwarder.process import logs
logs.configure("info", "mcfwd-test")
logs.detach()
log = logging.getLogger("a.b")
began = time.monotonic()
for number in range(int(sys.argv[1])):
    log.info("line %d %s", number, "x" * 200)
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
