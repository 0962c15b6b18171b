"""Which lines of the log are one too many: the same event again and again, from a link that flaps or a neighbour.

Rules of this file: lines are the same event when they have the same words but for what is filled in, and are about the
same thing, which is what is filled in first (a port, a process). So many of an event are written in a span of time; the
others are counted, and the count is told with the last of them, which says how things stand.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

EVENTS = 1000       # told apart; what comes beside them is not limited, but by the queue that it must fit in


class Limit(NamedTuple):
    """So many lines in so many seconds."""

    lines: int
    span: float


LIMIT = Limit(10, 60.0)
DEBUG_LIMIT = Limit(1000, 10.0)     # whoever wants to see joins wants to see most of them

Key = tuple[object, ...]


@dataclass(slots=True)
class Repetition:
    """What became of an event since its first line."""

    until: float
    left: int
    missed: int = 0
    last: logging.LogRecord | None = None


class Repeats:
    """Safe to be asked by several threads; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._spans: dict[Key, Repetition] = {}
        self._missing: dict[Key, Repetition] = {}     # those of which something was not written

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be written; otherwise it is counted."""
        now, key = self._clock(), _event(record)
        with self._lock:
            span = self._spans.get(key)
            if span is None or (now >= span.until and not span.missed):
                return self._begin(key, record, now)
            if span.left:
                span.left -= 1
                return True
            span.missed, span.last = span.missed + 1, record
            self._missing[key] = span
            return False

    @property
    def wait(self) -> float | None:
        """Seconds until a count has to be told; None while there is none."""
        with self._lock:
            if not self._missing:
                return None
            return max(min(span.until for span in self._missing.values()) - self._clock(), 0.0)

    def counts(self, all_of_them: bool = False) -> list[logging.LogRecord]:
        """Lines with the counts that are due, or all; their events begin anew."""
        now = self._clock()
        with self._lock:
            due = [key for key, span in self._missing.items() if all_of_them or span.until <= now]
            spans = [(self._missing.pop(key), self._spans.pop(key)) for key in due]
        return [_count(span) for span, _ in spans]

    def _begin(self, key: Key, record: logging.LogRecord, now: float) -> bool:
        if len(self._spans) >= EVENTS:
            self._spans = {each: span for each, span in self._spans.items() if span.missed or span.until > now}
        if len(self._spans) < EVENTS or key in self._spans:
            lines, seconds = DEBUG_LIMIT if record.levelno <= logging.DEBUG else LIMIT
            self._spans[key] = Repetition(now + seconds, lines - 1)
        return True


def _event(record: logging.LogRecord) -> Key:
    about = record.args[0] if isinstance(record.args, tuple) and record.args else None
    event = getattr(record, "event", record.msg)        # given where many events have the same words
    return record.levelno, record.name, event, about if isinstance(about, str) else None


def _count(span: Repetition) -> logging.LogRecord:
    last = span.last
    assert last is not None
    words = f"{last.getMessage()} (and {span.missed} like it that are not shown)"
    return logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, words, None, None)
