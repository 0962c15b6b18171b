"""How a line of the log looks: text for people, JSON for programs, a priority in front of it for a journal.

An event is one line, whatever is in it: names and words of others may hold anything.
"""

import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

Style = Literal["text", "json"]

# Of syslog(3), as sd-daemon(3) has them read from what a service writes.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
NOTICE = 5


def formatter_of(style: str, name: str, journal: bool) -> logging.Formatter:
    """What makes lines of the process `name`; ValueError for a style that is none."""
    if style not in ("text", "json"):
        raise ValueError(f"unknown style of a log: {style}")
    return (JsonLines if style == "json" else TextLines)(name, journal)


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether what is written to a descriptor is read by a journal: it is named by device and inode (systemd.exec(5)).

    The variable alone says nothing: children of a service inherit it, whatever their descriptors are.
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def moment(seconds: float) -> str:
    """A time of the clock (seconds since 1970) in local time, with its difference to UTC (ISO 8601)."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


class TextLines(logging.Formatter):
    """Time, process, level and words."""

    def __init__(self, name: str, journal: bool = False) -> None:
        super().__init__()
        self.name, self._journal = name, journal

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        line = self._line(record)
        return f"<{PRIORITIES.get(record.levelno, NOTICE)}>{line}" if self._journal else line

    def _line(self, record: logging.LogRecord) -> str:
        words = super().format(record)      # a traceback behind the message
        return f"{moment(record.created)} {self.name} {record.levelname} {_visible(words)}"


class JsonLines(TextLines):
    """An object with time, level, process, pid and message, and perhaps exception."""

    def _line(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "process": self.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def _visible(words: str) -> str:
    """Lines joined, and what cannot be printed escaped: it could forge a line, or do something to a terminal."""
    joined = " | ".join(words.splitlines())
    if joined.isprintable():
        return joined
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in joined)
