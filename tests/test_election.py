"""Which of several other queriers is the one, and whose values hold."""

from igmp.election import Election
from igmp.messages import Query
from igmp.parameters import Parameters

OURS, LOW, MIDDLE, HIGH = 40, 10, 20, 50
CONFIGURED = Parameters()
HELD = CONFIGURED.other_querier_present_interval


def heard(election: Election, source: int, now: float, **taught: float) -> bool:
    return election.hear(source, Query(0, **taught), OURS, now)


def test_the_lowest_address_wins_and_its_values_hold_until_it_is_gone():
    election = Election(CONFIGURED)
    assert not heard(election, HIGH, 0.0)
    assert not heard(election, 0, 0.0)
    assert heard(election, MIDDLE, 0.0, robustness=5)
    assert heard(election, LOW, 1.0, robustness=3)
    assert (election.winner, election.parameters.robustness) == (LOW, 3)
    assert heard(election, MIDDLE, 2.0, robustness=5)
    assert (election.winner, election.parameters.robustness) == (LOW, 3)
    election.forget()
    assert (election.winner, election.parameters) == (0, CONFIGURED)


def test_a_winner_that_goes_on_asking_stays_the_winner():
    """A higher address that asks too does not replace it, however long ago it won."""
    election = Election(CONFIGURED)
    for now in (0.0, 0.9 * HELD):
        heard(election, LOW, now)
    heard(election, MIDDLE, 1.8 * HELD)
    assert election.winner == LOW
    heard(election, MIDDLE, 2.0 * HELD)
    assert election.winner == MIDDLE
