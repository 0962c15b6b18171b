"""The table "Speed and memory": each row a check with a floor that is owed and a goal. Pure.

A ratio is taken pair by pair and its median counts. Names are stable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.record import Record

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Check:
    """Value of row `a`, or its ratio to row `b`, against floor and goal; `more` says which side is good."""

    name: str
    words: str
    unit: str
    floor: float
    goal: float
    a: Key
    b: Key | None = None
    more: bool = True
    scale: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """A check and what was measured for it, pair by pair; `reason` why nothing was."""

    check: Check
    values: Sequence[float]
    reason: str = ""

    @property
    def measured(self) -> float | None:
        """Median."""
        return median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """goal, floor, missed, or not measured."""
        if self.measured is None:
            return "not measured"
        for limit, word in ((self.check.goal, "goal"), (self.check.floor, "floor")):
            if self.measured >= limit if self.check.more else self.measured <= limit:
                return word
        return "missed"


def _times(name: str, words: str, floor: float, goal: float, scenario: str, contestant: str = "mcfwd") -> Check:
    return Check(name, words, "x", floor, goal, (scenario, contestant, "rate"), (scenario, "kernel", "rate"))


CHECKS: tuple[Check, ...] = (
    _times("throughput-1", "1 port, one group, to the kernel", 1.9, 2.5, "throughput-1"),
    _times("throughput-4", "4 ports, one group, to the kernel", 3.3, 4.5, "throughput-4"),
    _times("throughput-16", "16 ports, one group, to the kernel", 4.3, 7.0, "throughput-16"),
    _times("throughput-30", "30 ports, one group, to the kernel", 5.0, 8.0, "throughput-30"),
    Check(
        "throughput-64",
        "64 ports, one group: datagrams out, to mcfwd's own at 4 ports",
        "x",
        1.35,
        2.0,
        ("throughput-64", "mcfwd", "out"),
        ("throughput-64", "mcfwd at 4 ports", "out"),
    ),
    _times("groups-100", "4 ports, 100 interleaved groups, to the kernel", 3.0, 4.0, "groups-100"),
    _times("groups-1000", "4 ports, 1,000 groups, balanced, to the kernel", 1.7, 2.5, "groups-1000"),
    _times(
        "groups-1000-throughput",
        "4 ports, 1,000 groups, profile throughput, to the kernel",
        4.0,
        5.0,
        "groups-1000",
        "mcfwd-throughput",
    ),
    Check(
        "cpu-20k",
        "whole-machine CPU at 20,000 pps x 4, balanced, to the kernel",
        "x",
        0.75,
        0.5,
        ("cpu-20000", "mcfwd", "machine"),
        ("cpu-20000", "kernel", "machine"),
        more=False,
    ),
    Check(
        "cpu-idle",
        "mcfwd's processes when nothing flows, 4 ports",
        "% of a core",
        0.5,
        0.2,
        ("cpu-idle", "mcfwd", "processes"),
        more=False,
        scale=100.0,
    ),
    Check(
        "latency-blocking",
        "median latency to the program, 1,000 pps x 4, profile latency, to the kernel",
        "x",
        4.0,
        3.0,
        ("latency-1000", "mcfwd-latency", "application"),
        ("latency-1000", "kernel", "application"),
        more=False,
    ),
    Check(
        "latency-busy",
        "the same with busy polling, to the kernel",
        "x",
        2.0,
        1.3,
        ("latency-1000", "mcfwd-busy", "application"),
        ("latency-1000", "kernel", "application"),
        more=False,
    ),
    Check(
        "latency-balanced",
        "median latency to the program, 1,000 pps x 4, balanced",
        "ms",
        1.5,
        1.0,
        ("latency-1000", "mcfwd", "application"),
        more=False,
        scale=1000.0,
    ),
    Check(
        "overload-4",
        "4 ports, offered twice the lossless rate: delivered, of peak",
        "%",
        85.0,
        95.0,
        ("overload-4", "mcfwd", "of-peak"),
        scale=100.0,
    ),
    Check(
        "overload-16",
        "16 ports, offered twice the lossless rate: delivered, of peak",
        "%",
        85.0,
        95.0,
        ("overload-16", "mcfwd", "of-peak"),
        scale=100.0,
    ),
    Check(
        "flows-lookup",
        "10,000 active flows: lookup cost per frame against one flow",
        "x",
        2.0,
        1.3,
        ("flows-lookup", "mcfwd", "10000 flows"),
        ("flows-lookup", "mcfwd", "1 flow"),
        more=False,
    ),
    Check(
        "memory-flows",
        "private memory of a worker beside the ring at 65,536 flows",
        "MB",
        140.0,
        100.0,
        ("memory-flows", "mcfwd", "worker"),
        more=False,
        scale=1e-6,
    ),
)


def outcome(check: Check, record: Record) -> Outcome:
    """What a run says about a check."""
    values, base = record.values(*check.a), record.values(*check.b) if check.b else []
    if not values or (check.b and not any(base)):
        return Outcome(check, [], _reason(check, record))
    if check.b:
        return Outcome(check, [one / other for one, other in zip(values, base, strict=False) if other])
    return Outcome(check, [value * check.scale for value in values])


def outcomes(record: Record) -> list[Outcome]:
    """All checks of which a part was to be run."""
    ran = set(record.seconds)
    return [outcome(check, record) for check in CHECKS if check.a[0] in ran]


def _reason(check: Check, record: Record) -> str:
    keys = [key for key in (check.a, check.b) if key]
    return "; ".join(record.skipped[key[:2]] for key in keys if key[:2] in record.skipped) or "not part of this run"
