"""What waits to be taken back, and what is settled afterwards."""

from igmp.inheritance import Inheritance


def inherited(*groups: int) -> Inheritance:
    made = Inheritance()
    for group in groups:
        made.add(group)
    made.begin(0b110, 0b001)
    return made


def test_of_what_waits_nothing_is_told_until_all_is_taken_back():
    inheritance = inherited(1, 2, 3)
    assert inheritance.hold([2, 4, 5]) == [4, 5]
    assert (inheritance.next(), inheritance.next(), inheritance.next(), inheritance.next()) == (1, 2, 3, None)
    assert (inheritance.is_waiting, bool(inheritance)) == (False, True)
    assert inheritance.settle(10) == [2]
    assert not inheritance


def test_without_a_predecessor_nothing_is_held():
    groups = [1, 2]
    assert Inheritance().hold(groups) is groups


def test_a_port_that_is_not_what_it_was_gets_nothing_back():
    inheritance = inherited(1)
    inheritance.drop(1)
    assert (inheritance.heirs, inheritance.told) == (0b100, 0b001)
    inheritance.drop(0)
    assert (inheritance.heirs, inheritance.told) == (0b100, 0)
