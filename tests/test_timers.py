"""Deadlines: exact, replaceable, and cheap to move later."""

import math

from hypothesis import given
from hypothesis import strategies as st

from igmp.timers import SLACK, TimerQueue


def test_an_empty_queue_is_never_due():
    queue = TimerQueue()
    assert queue.deadline == math.inf
    assert list(queue.expire(1e9)) == []


def test_the_head_is_the_deadline():
    queue = TimerQueue()
    queue.set(1, 5.0)
    queue.set(2, 3.0)
    assert queue.deadline == 3.0


def test_a_key_set_later_fires_later_only():
    queue = TimerQueue()
    queue.set(1, 5.0)
    queue.set(1, 9.0)
    assert queue.deadline == 9.0
    assert list(queue.expire(8.9)) == []
    assert list(queue.expire(9.0)) == [1]
    assert queue.deadline == math.inf


def test_a_key_set_earlier_fires_earlier_and_once():
    queue = TimerQueue()
    queue.set(1, 9.0)
    queue.set(1, 5.0)
    assert queue.deadline == 5.0
    assert list(queue.expire(20.0)) == [1]


def test_a_cancelled_key_does_not_fire():
    queue = TimerQueue()
    queue.set(1, 5.0)
    queue.cancel(1)
    queue.cancel(2)
    assert queue.deadline == math.inf
    assert queue.get(1) is None
    assert len(queue) == 0


def test_a_key_is_forgotten_before_it_is_given_and_may_be_set_again():
    queue = TimerQueue()
    queue.set(1, 1.0)
    fired = []
    for key in queue.expire(3.5):
        fired.append(key)
        queue.set(key, len(fired) + 1.0)
    assert fired == [1, 1, 1]
    assert queue.deadline == 4.0


def test_keys_of_one_instant_fire_in_ascending_order():
    queue = TimerQueue()
    for key in ((3, 7), (0, 9), (1, 2), (0, 1)):
        queue.set(key, 1.0)
    assert list(queue.expire(1.0)) == [(0, 1), (0, 9), (1, 2), (3, 7)]


def test_a_timer_cancelled_by_an_earlier_one_of_the_same_instant_does_not_fire():
    queue = TimerQueue()
    queue.set(1, 1.0)
    queue.set(2, 1.0)
    fired = []
    for key in queue.expire(1.0):
        fired.append(key)
        queue.cancel(2)
    assert fired == [1]


def test_a_million_refreshes_of_one_timer_cost_no_memory():
    queue = TimerQueue()
    for now in range(1_000_000):
        queue.set(1, now + 270.0)
    assert len(queue._heap) == 1
    assert queue.deadline == 999_999 + 270.0
    assert len(queue._heap) == 1


def test_setting_the_same_moment_again_costs_nothing():
    queue = TimerQueue()
    for _ in range(9):
        queue.set(1, 270.0)
    assert len(queue._heap) == 1


def test_lowering_and_raising_for_ever_keeps_the_heap_small():
    queue = TimerQueue()
    for now in range(100_000):
        queue.set(1, now / 1e6 + 270.0)
        queue.set(1, now / 1e6 + 2.0)
        queue.cancel(2)
        queue.set(2, 1.0)
    assert len(queue._heap) <= 2 * len(queue) + SLACK


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 50))), max_size=200),
       st.lists(st.integers(0, 3), max_size=200))
def test_it_behaves_like_a_dict_of_deadlines(operations, steps):
    """Sets, cancels (None) and the passing of time in any order fire what a plain dict says."""
    queue, model, now = TimerQueue(), {}, 0
    for (key, when), step in zip(operations, steps + [0] * len(operations), strict=False):
        if when is None:
            queue.cancel(key)
            model.pop(key, None)
        else:
            queue.set(key, now + when)
            model[key] = now + when
        now += step
        due = sorted((at, key) for key, at in model.items() if at <= now)
        assert list(queue.expire(now)) == [key for _, key in due]
        model = {key: at for key, at in model.items() if at > now}
        assert queue.deadline == min(model.values(), default=math.inf)


def test_keys_that_are_set_sooner_and_sooner_leave_little_behind():
    queue = TimerQueue()
    for when in range(100_000, 0, -1):
        for key in range(3):
            queue.set(key, float(when))
    assert len(queue._heap) <= 2 * 3 + SLACK
    for key in range(3 * SLACK):
        queue.set(key, 2.0)
    before = queue._heap
    queue.set(0, 1.5)
    assert queue._heap is before    # not made anew for each: twice as many entries as keys are no reason
