"""How often may be asked, by a clock of the test's."""

from igmp.checking import Rate


def test_as_many_at_once_as_a_second_brings_then_one_by_one():
    rate = Rate(4.0)
    for left in range(4, 0, -1):
        assert rate.allows(100.0), left
        rate.spend(1, 100.0)
    assert not rate.allows(100.0)
    assert rate.next(100.0) == 100.25
    assert not rate.allows(100.125)
    assert rate.allows(100.25)


def test_what_was_done_without_being_allowed_is_waited_for_too():
    rate = Rate(2.0)
    rate.spend(6, 10.0)
    assert rate.next(10.0) == 12.5
    assert (rate.allows(12.0), rate.allows(12.5)) == (False, True)
