import pytest

from forwarder.dataplane.pace import AIM, FEWEST, LONGEST, MOST, USUAL, WORTH_WAITING, Pace


def paced(gather: float, *breaths: tuple[float, int]) -> Pace:
    pace = Pace(gather)
    for began, frames in breaths:
        pace.took(frames, began)
    return pace


def test_few_frames_wait_for_nothing():
    assert paced(0.002, (1.0, 1), (1.001, 1)).wait(1.0011) == 0.0


def test_under_load_batches_are_held_apart():
    assert paced(0.002, (1.0, 1), (1.001, 20)).wait(1.0015) == pytest.approx(0.0015)


def test_a_batch_that_took_longer_sets_its_own_pace():
    assert paced(0.002, (1.0, 1), (1.001, 5000)).wait(1.04) == 0.0


def test_a_burst_after_silence_goes_at_once():
    assert paced(0.002, (1.0, 1), (2.0, 500)).wait(2.0001) == 0.0


def test_without_gathering_nothing_waits():
    assert paced(0.0, (1.0, 1), (1.001, 10 * WORTH_WAITING)).wait(1.0015) == 0.0


def test_batches_grow_while_there_are_few_frames_of_each_flow_and_shrink_when_there_are_many():
    pace = Pace(0.002)
    pace.fit(100, 100, 4, 0.001)
    assert pace.limit == USUAL
    for _ in range(10):
        pace.fit(pace.limit, pace.limit // 4, 4, 0.001)
    assert pace.limit == MOST
    pace.fit(pace.limit, pace.limit // 20, 4, 0.001)
    assert pace.limit == MOST
    for _ in range(10):
        pace.fit(pace.limit, pace.limit // 50, 4, 0.001)
    assert pace.limit == USUAL


def test_batches_of_one_flow_are_the_smaller_the_more_ports_there_are():
    pace = Pace(0.002)
    for _ in range(10):
        pace.fit(pace.limit, 1, 400, 0.001)
    assert pace.limit == FEWEST
    pace.fit(pace.limit, 1, 4, 0.001)
    assert pace.limit == USUAL
    pace.fit(pace.limit, 1, 0, 0.001)
    assert pace.limit == USUAL


def test_no_batch_grows_beyond_what_others_can_wait_for():
    pace = Pace(0.005)
    pace.fit(USUAL, 1000, 4, (AIM + LONGEST) / 2)
    assert pace.limit == USUAL
    pace.fit(USUAL, 1000, 4, AIM / 1.25)
    assert USUAL < pace.limit <= 1.25 * USUAL
    pace = Pace(0.005)
    pace.fit(USUAL, 1000, 4, AIM / 4)
    assert pace.limit == 2 * USUAL
    pace.fit(2 * USUAL, 1000, 4, LONGEST + 0.001)
    assert USUAL < pace.limit < 2 * USUAL * AIM / LONGEST
    for _ in range(10):
        pace.fit(pace.limit, 1, 4, 1.0)
    assert pace.limit == FEWEST
