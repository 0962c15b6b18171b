"""How often may be asked, by a clock of the test's."""

from igmp.checking import Rate


def test_a_burst_at_once_then_one_by_one():
    rate = Rate(4.0, 4)
    for left in range(4, 0, -1):
        assert rate.allows(100.0), left
        rate.spend(1, 100.0)
    assert not rate.allows(100.0)
    assert rate.next(100.0) == 100.25
    assert not rate.allows(100.125)
    assert rate.allows(100.25)


def test_what_was_done_without_being_allowed_is_waited_for_too():
    rate = Rate(2.0, 2)
    rate.spend(6, 10.0)
    assert rate.next(10.0) == 12.5
    assert (rate.allows(12.0), rate.allows(12.5)) == (False, True)


def test_a_burst_is_what_it_is_whatever_the_rate():
    few, many = Rate(100.0, 2), Rate(1.0, 50)
    few.spend(2, 0.0)
    assert few.next(0.0) == 0.01
    assert few.allows(10.0)
    few.spend(2, 10.0)
    assert not few.allows(10.0)
    many.spend(49, 0.0)
    assert many.allows(0.0)
    many.spend(1, 0.0)
    assert (many.allows(0.5), many.allows(1.0)) == (False, True)
