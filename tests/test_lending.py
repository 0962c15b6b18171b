"""What is lent, and how long a child keeps it."""

import os

import pytest

from forwarder.process.lending import Key, Loan, Loans, loan


@pytest.fixture
def descriptors():
    """Makes descriptors that lead to nothing; what a test leaves open is closed."""
    made: list[int] = []

    def make() -> int:
        made.append(os.open(os.devnull, os.O_RDONLY))
        return made[-1]

    yield make
    for descriptor in filter(is_open, made):
        os.close(descriptor)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
def loans():
    """Loans, and the keys whose loans ended."""
    ended: list[Key] = []
    return Loans(ended.append), ended


def test_a_loan_says_whose_it_is_and_what_more_there_is_to_say(descriptors):
    made = loan((3, 7, 21, 1), 9, {"ring": descriptors()}, block_nr=4)
    assert made.key == (3, 7, 21, 1)
    assert made.message == {"type": "port", "port": 3, "assigned": 7, "ifindex": 21, "link_type": 1,
                            "generation": 9, "block_nr": 4}
    assert Loan(dict(made.message), made.descriptors).key == made.key


def test_a_loan_is_kept_until_the_configuration_says_another_owner(loans, descriptors):
    kept, ended = loans
    one, other = descriptors(), descriptors()
    kept.take(loan((0, 1, 10, 1), 5, {"igmp": one}))
    kept.take(loan((1, 1, 11, 1), 5, {"igmp": other}))
    kept.keep({(0, 1, 10, 1), (1, 2, 11, 1)}, 6)
    assert ended == [(1, 1, 11, 1)]
    assert ((0, 1, 10, 1) in kept, (1, 1, 11, 1) in kept) == (True, False)
    assert (is_open(one), is_open(other)) == (True, False)
    assert [each.key for each in kept] == [(0, 1, 10, 1)]
    assert kept[0, 1, 10, 1].descriptors == {"igmp": one}


def test_a_loan_of_which_there_are_copies_goes_on_without_its_descriptors(loans, descriptors):
    kept, ended = loans
    one = descriptors()
    kept.take(loan((0, 1, 10, 1), 1, {"ring": one}))
    kept.used_up((0, 1, 10, 1))
    assert ((0, 1, 10, 1) in kept, is_open(one), ended) == (True, False, [])
    kept.keep(set(), 1)
    assert ended == [(0, 1, 10, 1)]


def test_what_is_lent_ahead_of_the_configuration_waits_for_it(loans, descriptors):
    kept, ended = loans
    kept.take(loan((0, 7, 10, 1), 7, {"igmp": descriptors()}))
    kept.keep(set(), 6)
    assert ((0, 7, 10, 1) in kept, ended) == (True, [])
    kept.keep(set(), 7)
    assert ((0, 7, 10, 1) in kept, ended) == (False, [(0, 7, 10, 1)])


@pytest.mark.parametrize("key", [(0, 1, 10, 1), (0, 2, 12, 1), (0, 1, 10, 65534)])
def test_a_port_that_is_lent_anew_has_the_new_sockets_only(loans, descriptors, key):
    kept, ended = loans
    ring, transmit, another = descriptors(), descriptors(), descriptors()
    kept.take(loan((0, 1, 10, 1), 1, {"ring": ring, "transmit": transmit}))
    kept.take(loan(key, 1, {"ring": another}))
    assert ended == [(0, 1, 10, 1)]
    assert [is_open(each) for each in (ring, transmit, another)] == [False, False, True]
    assert [each.key for each in kept] == [key]


def test_the_end_is_said_while_the_descriptors_are_still_open(descriptors):
    seen = []
    descriptor = descriptors()
    kept = Loans(lambda key: seen.append((key, is_open(descriptor))))
    kept.take(loan((0, 1, 10, 1), 1, {"igmp": descriptor}))
    kept.keep((), 1)
    assert seen == [((0, 1, 10, 1), True)]
    assert not is_open(descriptor)


def test_of_several_loans_and_descriptors_none_is_forgotten(loans, descriptors):
    kept, ended = loans
    lent = [(index, 1, 10 + index, 1) for index in range(3)]
    made = [{"ring": descriptors(), "transmit": descriptors()} for _ in lent]
    for key, each in zip(lent, made, strict=True):
        kept.take(loan(key, 1, each))
    kept.used_up(lent[0])
    assert [is_open(number) for each in made for number in each.values()] == [False, False, True, True, True, True]
    kept.keep(set(), 1)
    assert (ended, [*kept]) == (lent, [])
    assert not any(is_open(number) for each in made for number in each.values())
