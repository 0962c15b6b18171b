"""Lines that are one too many are counted, by event and by what they are about; no count is lost."""

import logging

import pytest

from forwarder.process.repeats import DEBUG_LIMIT, EVENTS, LIMIT, Repeats


class Log:
    """What would be written, on a clock of the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.repeats = Repeats(lambda: self.now)

    def says(self, words: str, *given: object, level: int = logging.INFO) -> bool:
        return self.repeats.admits(record(words, *given, level=level))

    def counts(self, all_of_them: bool = False) -> list[str]:
        return [each.getMessage() for each in self.repeats.counts(all_of_them)]


def record(words: str, *given: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("forwarder.test", level, "", 0, words, given, None)


@pytest.mark.parametrize(("level", "limit"), [(logging.WARNING, LIMIT), (logging.DEBUG, DEBUG_LIMIT)])
def test_so_many_of_an_event_are_written_and_the_others_told_at_the_end_of_its_span(level, limit):
    log = Log()
    admitted = [log.says("%s: %s", "tap1", number, level=level) for number in range(limit.lines + 5)]
    assert admitted == [True] * limit.lines + [False] * 5
    assert log.repeats.wait == pytest.approx(limit.span)
    assert log.counts() == []
    log.now += limit.span
    assert log.repeats.wait == 0.0
    assert log.counts() == [f"tap1: {limit.lines + 4} (and 5 like it that are not shown)"]
    assert log.repeats.wait is None
    assert log.says("%s: %s", "tap1", 0, level=level)


def test_what_is_about_another_thing_or_says_another_thing_is_another_event():
    log = Log()
    assert [log.says("%s: down", "tap1") for _ in range(11)][-1] is False
    assert log.says("%s: down", "tap2")
    assert log.says("%s: up", "tap1")
    assert log.says("%s: down", "tap1", level=logging.WARNING)


def test_an_event_begins_anew_after_its_span():
    log = Log()
    for _ in range(3):
        assert all(log.says("words") for _ in range(LIMIT.lines))
        log.now += LIMIT.span
    assert log.counts(all_of_them=True) == []


def test_at_the_end_all_counts_are_told():
    log = Log()
    for name in ("tap1", "tap2"):
        for _ in range(LIMIT.lines + 2):
            log.says("%s: down", name)
    assert log.counts(all_of_them=True) == [
        f"{name}: down (and 2 like it that are not shown)" for name in ("tap1", "tap2")
    ]


def test_no_more_events_are_remembered_than_there_is_room_for_and_none_is_lost():
    log = Log()
    for number in range(3 * EVENTS):
        assert log.says("%s: down", f"tap{number}")
    assert len(log.repeats._spans) == EVENTS
    log.now += LIMIT.span
    assert log.says("%s: down", "another")
    assert len(log.repeats._spans) == 1
