"""The search for the highest rate without loss."""

from hypothesis import given
from hypothesis import strategies as st

from bench.search import Trial, highest_lossless


@given(limit=st.floats(200, 900000), start=st.floats(1000, 50000))
def test_the_search_finds_the_limit_of_a_forwarder(limit, start):
    best = highest_lossless(lambda rate: Trial(rate, rate, rate <= limit), start, 1e6)
    assert best.offered <= limit
    assert best.offered >= 0.96 * limit


def test_the_search_stops_where_the_sender_is_at_its_end():
    best = highest_lossless(lambda rate: Trial(rate, min(rate, 70000), True), 20000, 1e6)
    assert best.offered == 70000


def test_a_single_hiccup_does_not_end_the_search():
    trials = []

    def trial(rate):
        trials.append(rate)
        return Trial(rate, rate, rate < 30000 and len(trials) != 1)

    assert highest_lossless(trial, 20000, 1e6).offered > 29000


def test_a_forwarder_that_always_loses_has_no_rate():
    assert highest_lossless(lambda rate: Trial(rate, rate, False), 20000, 1e6) is None
