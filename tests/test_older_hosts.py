"""Rows of groups with older hosts: what is set is what a successor finds, and there are never more than fit."""

import math

from hypothesis import given
from hypothesis import strategies as st

from forwarder.state.older_hosts import ROWS, WORDS, OlderHostRows

NONE = -math.inf


def words() -> memoryview:
    return memoryview(bytearray(8 * WORDS)).cast("Q")


def found(memory: memoryview) -> dict[tuple[int, int], tuple[float, float]]:
    """What a successor finds."""
    return {row[:2]: row[2:] for row in OlderHostRows(memory).adopt() if row is not None}


def test_deadlines_are_whole_seconds_and_never_too_early():
    memory = words()
    hosts = OlderHostRows(memory)
    hosts.set(4095, 0xEF010101, NONE, 260.25)
    hosts.set(0, 0xEF010101, 1e9 + 0.5, NONE)
    assert found(memory) == {(4095, 0xEF010101): (0.0, 261.0), (0, 0xEF010101): (1e9 + 1, 0.0)}


operations = st.lists(st.tuples(st.integers(0, 2), st.integers(0xE0000100, 0xE0000106), st.integers(-1, 2),
                                st.sampled_from(["set", "set", "set", "drop", "restart"])), max_size=60)


@given(operations)
def test_what_is_set_is_what_is_found(steps):
    memory, model = words(), dict[tuple[int, int], tuple[float, float]]()
    hosts = OlderHostRows(memory)
    for port, group, until, what in steps:
        if what == "set" and until < 0:
            hosts.set(port, group, NONE, NONE)
            model.pop((port, group), None)
        elif what == "set":
            hosts.set(port, group, 5.0, float(until))
            model[port, group] = 5.0, float(until)
        elif what == "drop":
            hosts.drop(port)
            model = {key: value for key, value in model.items() if key[0] != port}
        else:
            hosts = OlderHostRows(memory)
            list(hosts.adopt())
        assert found(memory) == model
        assert memory[0] <= 21                          # rows are used again


def test_what_finds_no_room_is_not_remembered_until_there_is_some():
    memory = words()
    hosts = OlderHostRows(memory)
    for number in range(ROWS + 1):
        hosts.set(number >> 12, 0xE0000000 | number & 0xFFF, 1.0, 1.0)
    assert len(found(memory)) == memory[0] == ROWS
    hosts.set(0, 0xE0000000, NONE, NONE)
    hosts.set(99, 0xEF000001, 1.0, 1.0)
    assert len(found(memory)) == ROWS
    assert (99, 0xEF000001) in found(memory)
