"""A check and its outcome. Pure.

A value is taken pair by pair, also where it is a ratio or a difference; the median counts, or the worst where a check
says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.record import Record

Key = tuple[str, str, str]  # scenario, contestant, metric of a row


@dataclass(frozen=True)
class Check:
    """Value of row `a`, its ratio to row `b` or what it is more than `b` (`minus`), times `scale`.

    Against floor and goal; `more` says which side is good, `worst` that the worst pair counts.
    """

    name: str
    words: str
    unit: str
    floor: float
    goal: float
    a: Key
    b: Key | None = None
    more: bool = True
    scale: float = 1.0
    minus: bool = False
    worst: bool = False


@dataclass(frozen=True)
class Outcome:
    """A check and what was measured for it, pair by pair; `reason` why nothing was."""

    check: Check
    values: Sequence[float]
    reason: str = ""

    @property
    def measured(self) -> float | None:
        """Median, or the worst."""
        if not self.values:
            return None
        if self.check.worst:
            return min(self.values) if self.check.more else max(self.values)
        return median(self.values)

    @property
    def verdict(self) -> str:
        """goal, floor, missed, or not measured."""
        if self.measured is None:
            return "not measured"
        for limit, word in ((self.check.goal, "goal"), (self.check.floor, "floor")):
            if self.measured >= limit if self.check.more else self.measured <= limit:
                return word
        return "missed"


def outcome(check: Check, record: Record) -> Outcome:
    """What a run says about a check."""
    values, base = record.values(*check.a), record.values(*check.b) if check.b else []
    if not values or (check.b and not (base if check.minus else any(base))):
        return Outcome(check, [], _reason(check, record))
    if not check.b:
        return Outcome(check, [value * check.scale for value in values])
    pairs = list(zip(values, base, strict=False))
    if check.minus:
        return Outcome(check, [(one - other) * check.scale for one, other in pairs])
    return Outcome(check, [one / other * check.scale for one, other in pairs if other])


def _reason(check: Check, record: Record) -> str:
    """Of its rows, or of the scenario as a whole."""
    keys = [key for key in (check.a, check.b) if key]
    named = [(scenario, who) for scenario, contestant, _ in keys for who in (contestant, "all")]
    found = [record.skipped[each] for each in dict.fromkeys(named) if each in record.skipped]
    return "; ".join(found) or "not part of this run"
