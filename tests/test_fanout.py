import threading
from collections.abc import Iterator

import pytest

from forwarder.dataplane.fanout import EACH, LANES, WORTH, Fanout


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


@pytest.mark.parametrize(("count", "lanes"), [(2 * EACH, 2), (3 * EACH + 1, 3), (64, LANES)])
def test_many_ports_are_shared_by_threads_each_in_its_lane(count, lanes):
    taken = shared_out(Fanout(parallel=True), count, lanes)
    assert sorted(taken) == list(range(lanes))
    assert taken[0][0] is threading.current_thread()
    assert len({thread for thread, _ in taken.values()}) == lanes
    assert sorted(port for _, ports in taken.values() for port in ports) == list(range(count))


@pytest.mark.parametrize(("fanout", "count"), [(Fanout(parallel=True), 2 * EACH - 1), (Fanout(parallel=False), 100)])
def test_few_ports_and_a_single_processor_keep_to_one_thread(fanout, count):
    assert shared_out(fanout, count, 1) == {0: (threading.current_thread(), list(range(count)))}


@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_in_a_thread_is_raised_when_the_others_have_sent_the_rest(failing):
    meeting, sent = threading.Barrier(2), []

    def send(lane: int, rest: Iterator[int]) -> None:
        for port in rest:
            if not sent:
                meeting.wait(10.0)
            if lane == failing:
                raise OSError(f"lane {lane}")
            sent.append(port)

    with pytest.raises(OSError, match=f"lane {failing}"):
        Fanout(parallel=True).share(range(2 * EACH), send)
    assert len(sent) == 2 * EACH - 1


@pytest.mark.parametrize(("crowded", "ports", "work", "lanes"), [
    (True, 2, 100_000, 1), (False, 2, 100_000, 2), (False, 2, WORTH, 1), (False, 2, 2 * WORTH, 2),
    (False, 1, 100_000, 1), (False, 3, 100_000, 3), (False, 40, 0, LANES), (True, 40, 0, LANES),
    (False, 40, 100_000, LANES),
])  # fmt: skip
def test_few_ports_are_shared_where_there_is_much_to_send_and_processors_are_free(crowded, ports, work, lanes):
    fanout, seen = Fanout(parallel=True), set()
    fanout.crowded = crowded
    together = threading.Barrier(lanes, timeout=20)

    def send(lane: int, rest: Iterator[int]) -> None:
        seen.add(lane)
        together.wait()  # every lane that there is to be has come
        list(rest)

    fanout.share(range(ports), send, work)
    assert seen == set(range(lanes))


def test_nobody_is_asked_where_there_is_one_processor():
    fanout, seen = Fanout(parallel=False), []
    fanout.crowded = False
    fanout.share(range(40), lambda lane, rest: seen.append((lane, len(list(rest)))), 100_000)
    assert seen == [(0, 40)]
