"""A line of the log: one an event, with the time zone in its time, whatever words are in it."""

import logging
import os
import re
import sys

import pytest

from forwarder.process.lines import formatter_of, is_journal, moment


def record(words: str, *given: object) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, "", 0, words, given, None)


def test_the_time_has_its_zone():
    line = formatter_of("text", "mcfwd", False).format(record("words of %s", "tap1"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d mcfwd INFO words of tap1", line)


@pytest.mark.parametrize(("zone", "expected"), [("UTC", "1970-01-02T00:00:00.250+00:00"),
                                                ("XYZ-5:30", "1970-01-02T05:30:00.250+05:30")])  # fmt: skip
def test_it_is_local_time(zone, expected):
    done = f"import time; time.tzset(); from forwarder.process.lines import moment; print(moment({86400.25}))"
    with os.popen(f"TZ={zone} {sys.executable} -c '{done}'") as said:
        assert said.read().strip() == expected
    assert moment(0.0)[-6] in "+-"


def test_a_name_cannot_forge_a_line_or_do_something_to_a_terminal():
    line = formatter_of("text", "mcfwd", False).format(record("%s: up", "tap\n1970 mcfwd ERROR\x1b[2J\u202e"))
    assert line.endswith(r" mcfwd INFO tap | 1970 mcfwd ERROR\x1b[2J\u202e: up")


def test_a_traceback_is_one_line():
    said = record("failed")
    try:
        raise LookupError("odd")
    except LookupError:
        said.exc_info = sys.exc_info()
    line = formatter_of("text", "mcfwd", False).format(said)
    assert "failed | Traceback" in line
    assert line.endswith(" | LookupError: odd")
    assert "\n" not in line
    assert "LookupError: odd" in formatter_of("json", "mcfwd", False).format(said)


def test_a_descriptor_is_a_journal_if_the_variable_names_it(tmp_path):
    with open(tmp_path / "log", "w") as log:
        status = os.fstat(log.fileno())
        named = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(log.fileno(), {"JOURNAL_STREAM": named})
        assert not is_journal(log.fileno(), {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(log.fileno(), {})
    assert not is_journal(-1, {"JOURNAL_STREAM": named})
