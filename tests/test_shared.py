import os
from contextlib import suppress
from dataclasses import replace

import pytest
import segments
from lacking import only

from forwarder.state.settings import DataplaneSettings
from forwarder.state.worker_columns import WorkerSegment
from forwarder.state.worker_segment import FRAMES
from forwarder.supervisor.shared import Shared

SIZES = DataplaneSettings(max_ports=4, max_flows=64, max_routes=64)


@pytest.mark.parametrize(("workers", "lent"), [(1, [set()]), (3, [{1, 2}, {0, 2}, {0, 1}])])
def test_a_worker_is_lent_the_segments_of_the_others(workers, lent):
    shared = Shared(DataplaneSettings(workers=workers, max_flows=64, max_routes=64))
    segments = [os.fstat(fd).st_ino for fd in shared.workers]
    for number, others in enumerate(lent):
        descriptors = shared.for_worker(number)
        named = {name: os.fstat(fd).st_ino for name, fd in descriptors.items() if name.startswith("worker-")}
        assert named == {f"worker-{other}": segments[other] for other in others}
        assert os.fstat(descriptors["segment"]).st_ino == segments[number]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("left", range(5))
def test_a_plan_that_is_refused_changes_nothing_and_keeps_nothing(left):
    shared = segments.shared(SIZES)
    before, bells, workers = descriptors(), dict(shared.wake), list(shared.workers)
    with only(left), pytest.raises(OSError, match="Too many open files"):
        shared.plan(replace(SIZES, workers=3))
    assert (descriptors(), shared.wake, shared.workers) == (before, bells, workers)


def test_plans_that_are_given_up_in_the_middle_leave_nothing():
    shared = segments.shared(SIZES)
    before = descriptors()
    for workers in (3, 2, 3):
        shared.plan(replace(SIZES, workers=workers))
        for number in range(2):
            shared.hand_on(number)
    shared.plan(SIZES)
    shared.hand_on(0)
    shared.settle()
    assert (descriptors(), len(shared.workers)) == (before, 1)


@pytest.mark.parametrize("left", range(4))
def test_what_is_handed_on_is_whole_however_often_that_was_refused(left):
    shared = segments.shared(replace(SIZES, workers=3))
    for fd in shared.workers:
        WorkerSegment(fd, writable=True).header[FRAMES] = 100
    shared.plan(SIZES)
    before = list(shared.workers)
    with only(left), suppress(OSError):
        shared.hand_on(0)
    assert (shared.workers == before) or len(shared.workers) == 1
    shared.hand_on(0)
    shared.hand_on(0)
    assert [WorkerSegment(fd).header[FRAMES] for fd in shared.workers] == [300]
