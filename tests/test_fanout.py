import threading
from collections.abc import Iterator

import pytest

from forwarder.dataplane.fanout import MANY, Fanout


def shared_out(fanout: Fanout, count: int, lanes: int) -> dict[int, tuple[threading.Thread, list[int]]]:
    """Who took which ports, by lane; nobody takes a second one before `lanes` of them have a first."""
    meeting = threading.Barrier(lanes)
    taken: dict[int, tuple[threading.Thread, list[int]]] = {}

    def send(lane: int, rest: Iterator[int]) -> None:
        _, ports = taken[lane] = threading.current_thread(), []
        for port in rest:
            ports.append(port)
            if len(ports) == 1:
                meeting.wait(10.0)

    fanout.share(range(count), send)
    return taken


def test_many_ports_are_shared_by_two_threads_each_in_its_lane():
    taken = shared_out(Fanout(parallel=True), MANY, 2)
    (here, some), (there, others) = taken[0], taken[1]
    assert here is threading.current_thread() is not there
    assert sorted(some + others) == list(range(MANY))


@pytest.mark.parametrize(("fanout", "count"), [(Fanout(parallel=True), MANY - 1), (Fanout(parallel=False), 100)])
def test_few_ports_and_a_single_processor_keep_to_one_thread(fanout, count):
    assert shared_out(fanout, count, 1) == {0: (threading.current_thread(), list(range(count)))}


@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_in_either_thread_is_raised_when_the_other_has_sent_the_rest(failing):
    meeting, sent = threading.Barrier(2), []

    def send(lane: int, rest: Iterator[int]) -> None:
        for port in rest:
            if not sent:
                meeting.wait(10.0)
            if lane == failing:
                raise OSError(f"lane {lane}")
            sent.append(port)

    with pytest.raises(OSError, match=f"lane {failing}"):
        Fanout(parallel=True).share(range(MANY), send)
    assert len(sent) == MANY - 1
