import pytest

from forwarder.dataplane.pace import AIM, ENOUGH, FEWEST, LONGEST, MOST, USUAL, WORTH_WAITING, Pace


def paced(gather: float, *breaths: tuple[float, int]) -> Pace:
    pace = Pace(gather)
    for began, frames in breaths:
        pace.took(frames, began)
    return pace


def test_few_frames_wait_for_nothing():
    assert paced(0.002, (1.0, 1), (1.001, 1)).wait(1.0011) == 0.0


def test_under_load_batches_are_held_apart():
    assert paced(0.002, (1.0, 1), (1.001, 40)).wait(1.0015) == pytest.approx(0.0015)


@pytest.mark.parametrize(("frames", "seconds"), [(20, 0.0025), (22, 0.0020 * ENOUGH / 44), (25, 0.002)])
def test_for_a_few_more_frames_a_batch_waits_a_little_longer(frames, seconds):
    assert paced(0.002, (1.0, 1), (1.001, frames)).wait(1.001) == pytest.approx(seconds)


def test_a_batch_that_took_longer_sets_its_own_pace():
    assert paced(0.002, (1.0, 1), (1.001, 5000)).wait(1.04) == 0.0


def test_a_burst_after_silence_goes_at_once():
    assert paced(0.002, (1.0, 1), (2.0, 500)).wait(2.0001) == 0.0


def test_without_gathering_nothing_waits():
    assert paced(0.0, (1.0, 1), (1.001, 10 * WORTH_WAITING)).wait(1.0015) == 0.0


def test_more_is_taken_while_there_are_few_frames_of_each_flow_and_less_when_there_are_many():
    pace = Pace(0.002)
    pace.fit(100, 100, 0.001)
    assert pace.reach == USUAL      # little came
    for _ in range(10):
        pace.fit(USUAL, USUAL // 4, 0.001)
    assert (pace.limit, pace.reach) == (USUAL, MOST)
    pace.fit(USUAL, USUAL // 20, 0.001)
    assert pace.reach == MOST
    for _ in range(10):
        pace.fit(USUAL, USUAL // 50, 0.001)
    assert (pace.limit, pace.reach) == (USUAL, USUAL)


def test_how_much_is_taken_is_judged_once_a_loan():
    """Else a loan of eight portions would double or halve it eight times, past every size that is right."""
    pace = Pace(0.002)
    for done in (*[False] * 7, True):
        pace.fit(USUAL, USUAL // 4, 0.001, done)
    assert pace.reach == 2 * USUAL
    pace.limit = FEWEST
    pace.fit(FEWEST, 1, 0.001, done=False)
    assert (pace.limit, pace.reach) == (2 * FEWEST, 2 * USUAL)


def test_what_is_carried_at_once_is_the_smaller_the_more_ports_there_are():
    pace = Pace(0.002)
    pace.bound(64)
    assert pace.limit == 1024
    for _ in range(10):
        pace.fit(pace.limit, pace.limit, 0.001)
    assert (pace.limit, pace.reach) == (1024, MOST)
    pace.bound(400)
    assert pace.limit == FEWEST
    pace.bound(0)
    pace.fit(pace.limit, 1, 0.001)
    assert pace.limit == 2 * FEWEST
    for _ in range(10):
        pace.fit(pace.limit, 1, 0.001)
    assert (pace.limit, pace.reach) == (USUAL, USUAL)


def test_nothing_takes_longer_than_others_can_wait():
    pace = Pace(0.005)
    pace.fit(USUAL, 1, LONGEST + 0.001)
    assert USUAL * 0.8 < pace.limit < USUAL * AIM / LONGEST
    limit = pace.limit
    pace.fit(limit, 1, (AIM + LONGEST) / 2)
    assert pace.limit == limit
    pace.fit(limit, 1, AIM / 1.05)
    assert limit < pace.limit <= 1.05 * limit
    for _ in range(10):
        pace.fit(pace.limit, 1, 1.0)
    assert pace.limit == FEWEST
    pace.fit(FEWEST, 1, AIM / 4)
    assert pace.limit == 2 * FEWEST


def test_a_block_of_more_frames_than_there_is_time_for_makes_what_follows_smaller():
    pace = Pace(0.005)
    pace.fit(8 * USUAL, 1, 8 * LONGEST)
    assert pace.limit < USUAL // 4
