"""What was decided of flows is told at DEBUG, as far as it fits, and costs nothing otherwise."""

import logging

import numpy as np
import pytest
from batches import address
from test_decisions import PORTS

from forwarder.dataplane.fib import Decided, Decision
from forwarder.dataplane.verdict_log import MOST, tell, wanted
from forwarder.state.reasons import Reason

NAME = "forwarder.dataplane.verdict_log"
G, S = address("239.1.1.1"), address("10.99.0.1")


@pytest.fixture
def told(caplog):
    """The lines of these decisions."""
    caplog.set_level(logging.DEBUG, NAME)

    def tell_of(pairs, choices, which) -> list[str]:
        caplog.clear()
        tell(PORTS, 0, np.array(pairs, np.uint64), Decided(choices, np.array(which)))
        return caplog.messages

    return tell_of


def test_a_flow_is_told_with_where_it_goes_or_why_not(told):
    pairs, choices = [S << 32 | G, S << 32 | G + 1], [Decision(Reason.FORWARD, 0b110), Decision(Reason.NO_MEMBERS)]
    assert told(pairs, choices, [0, 1]) == [
        "port0: 239.1.1.1 of 10.99.0.1: forward to port1, port2", "port0: 239.1.1.2 of 10.99.0.1: no_members",
    ]  # fmt: skip


def test_of_many_some_are_told_and_the_others_counted(told):
    lines = told([S << 32 | G] * 100, [Decision(Reason.FORWARD, (1 << 64) - 8)], [0] * 100)
    assert len(lines) == MOST + 1
    assert lines[0].endswith(f", {3 + MOST - 1}, {61 - MOST} more")
    assert lines[-1] == f"port0: {100 - MOST} more flows were decided"


def test_it_is_wanted_at_debug_only(caplog):
    caplog.set_level(logging.INFO, NAME)
    assert not wanted()
    caplog.set_level(logging.DEBUG, NAME)
    assert wanted()
