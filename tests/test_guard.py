"""Nothing that a turn raises ends the loop; what failed is counted, and said without filling the log."""

import logging

import pytest

from forwarder.supervisor.guard import AGAIN, REMEMBERED, Guard


def broken(words: str = "snapshot is full"):
    raise ValueError(words)


def test_a_turn_gives_what_it_gives_and_a_fault_nothing(caplog):
    guard = Guard(lambda: 5.0)
    assert guard.take("adding", lambda: 7) == 7
    assert (guard.faults, caplog.messages) == (0, [])
    assert guard.take("looking at the links", broken) is None
    assert guard.faults == 1
    assert caplog.messages == ["failed while looking at the links: ValueError: snapshot is full"]
    assert not caplog.records[0].exc_info


def test_the_end_of_the_process_is_no_fault():
    guard = Guard(lambda: 5.0)
    for end in (SystemExit, KeyboardInterrupt):
        with pytest.raises(end):
            guard.take("ending", lambda end=end: (_ for _ in ()).throw(end()))
    assert guard.faults == 0


def test_the_same_fault_is_said_once_in_a_while_and_always_counted(caplog):
    now = [0.0]
    guard = Guard(lambda: now[0])
    for now[0] in (0.0, 1.0, AGAIN - 0.1, AGAIN, AGAIN + 1):
        guard.take("hearing", broken)
    assert (guard.faults, len(caplog.messages)) == (5, 2)
    guard.take("hearing", lambda: broken("another"))
    guard.take("looking", broken)
    assert len(caplog.messages) == 4
    for number in range(3 * REMEMBERED):
        guard.take("hearing", lambda number=number: broken(str(number)))
    assert len(guard._said) <= REMEMBERED


def test_a_caught_fault_counts_too_and_who_debugs_sees_where(caplog):
    caplog.set_level(logging.DEBUG)
    guard = Guard(lambda: 5.0)
    try:
        broken()
    except ValueError as fault:
        guard.failed("answering a request", fault)
    assert guard.faults == 1
    assert caplog.records[0].exc_info
