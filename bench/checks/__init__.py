"""The table "Speed and memory": each row a check with a floor that is owed and a goal. Pure.

Names are stable.
"""

from bench.checks.cost import COST
from bench.checks.latency import LATENCY
from bench.checks.model import Check, Outcome, outcome
from bench.checks.rates import RATES
from bench.checks.receivers import RECEIVERS
from bench.record import Record

__all__ = ["CHECKS", "Check", "Outcome", "outcome", "outcomes"]

CHECKS: tuple[Check, ...] = (*RATES, *RECEIVERS, *COST, *LATENCY)


def outcomes(record: Record) -> list[Outcome]:
    """All checks of which a part was to be run."""
    return [outcome(check, record) for check in CHECKS if check.a[0] in record.seconds]
