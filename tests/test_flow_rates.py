import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.api.flow_rates import YOUNG, of_flows
from forwarder.api.samples import Sample

SECOND = 1_000_000_000
NOW = 100 * SECOND


def sample(*rows: tuple[int, int], at: int = NOW - 2 * SECOND) -> Sample:
    """Rows of (first seen, packets)."""
    first_seen, packets = (np.array([row[each] for row in rows], np.uint64).tobytes() for each in (0, 1))
    return Sample(at, 1, (), (), first_seen, packets, packets, packets)


def rate(before: Sample | None, first_seen: int, packets: int, row: int = 0) -> float | None:
    cells = np.array([packets], np.uint64)
    [found] = of_flows(before, NOW, np.array([row]), np.array([first_seen], np.uint64), [("packets", cells)])
    return None if np.isnan(found[0]) else float(found[0])


@pytest.mark.parametrize(("before", "first_seen", "packets", "expected"), [
    (sample((5, 100)), 5, 300, 100.0),                                  # 200 in 2 s
    (sample((5, 100)), 5, 100, 0.0),
    (sample((5, 100)), 5, 99, None),                                    # counted less: it is not what it was
    (sample((5, 100)), NOW - SECOND // 2, 30, 30.0),                    # another flow has the row: at most its own
    (sample((5, 100)), NOW - 4 * SECOND, 30, 7.5),
    (sample((5, 100)), NOW, 1, 1.0),                                    # one packet is no rate of a thousand
    (sample((5, 100)), NOW + SECOND, 1, 1.0),                           # younger than the question
    (sample((5, 100)), NOW - YOUNG, 30, None),                          # old, and nothing is known of it
    (None, 5, 300, None),
    (None, NOW - 2 * SECOND, 300, 150.0),
    (sample(), 5, 300, None),
    (sample((0, 0)), 0, 300, None),                                     # a row that nobody filled
])  # fmt: skip
def test_a_rate_is_of_this_flow_and_of_the_last_seconds(before, first_seen, packets, expected):
    assert rate(before, first_seen, packets) == expected


def test_a_row_behind_the_sampled_ones_is_measured_by_its_own_life():
    assert rate(sample((5, 100)), NOW - 2 * SECOND, 30, row=9) == 15.0
    assert rate(sample((5, 100)), 5, 30, row=9) is None


WORD = st.integers(0, 1 << 63)


@given(st.lists(st.tuples(WORD, WORD), max_size=4), st.lists(st.tuples(WORD, WORD), min_size=1, max_size=6))
def test_no_rate_is_negative_or_more_than_was_counted(before, now):
    rows = np.arange(len(now))
    first_seen, packets = (np.array([row[each] for row in now], np.uint64) for each in (0, 1))
    [found] = of_flows(sample(*before), NOW, rows, first_seen, [("packets", packets)])
    told = ~np.isnan(found)
    assert (found[told] >= 0).all()
    assert (found[told] <= packets[told].astype(np.float64) * 1.001).all()
