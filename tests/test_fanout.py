import threading

import pytest

from forwarder.dataplane.fanout import MANY, Fanout


def shared_out(fanout: Fanout, count: int) -> list[tuple[int, threading.Thread, list[int]]]:
    turns = []
    fanout.split(range(count), lambda lane, some: turns.append((lane, threading.current_thread(), list(some))))
    return sorted(turns, key=lambda turn: turn[0])


def test_many_ports_are_shared_by_two_threads_each_in_its_lane():
    (first, here, some), (second, there, others) = shared_out(Fanout(parallel=True), MANY + 1)
    assert (first, second) == (0, 1)
    assert here is threading.current_thread() is not there
    assert some + others == list(range(MANY + 1))


@pytest.mark.parametrize(("fanout", "count"), [(Fanout(parallel=True), MANY - 1), (Fanout(parallel=False), 100)])
def test_few_ports_and_a_single_processor_keep_to_one_thread(fanout, count):
    assert shared_out(fanout, count) == [(0, threading.current_thread(), list(range(count)))]


@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_in_either_thread_is_raised_when_both_have_ended(failing):
    ended = []

    def send(lane: int, _: object) -> None:
        if lane == failing:
            raise OSError(f"lane {lane}")
        ended.append(lane)

    with pytest.raises(OSError, match=f"lane {failing}"):
        Fanout(parallel=True, many=2).split(range(2), send)
    assert ended == [1 - failing]
