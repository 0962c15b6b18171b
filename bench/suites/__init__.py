"""The suites of RFC 3918 and what the issue of speed and memory needs besides, in the order in which they run."""

from bench.harness import Plan, Scenario
from bench.suites import (
    calibrate,
    capacity,
    cpu,
    groups,
    iperf,
    latency,
    membership,
    memory,
    mixed,
    opponents,
    overload,
    receivers,
    throughput,
)

SUITES = (
    calibrate,
    throughput,
    groups,
    opponents,
    receivers,
    iperf,
    mixed,
    overload,
    latency,
    membership,
    capacity,
    cpu,
    memory,
)


def scenarios(plan: Plan) -> list[Scenario]:
    """All of a plan."""
    return [scenario for suite in SUITES for scenario in suite.scenarios(plan)]


def select(plan: Plan, names: list[str]) -> list[Scenario]:
    """Those of the named suites or scenarios, or of the table (`table`); all when nothing is named; ValueError."""
    every = scenarios(plan)
    known = {"table", *(each.suite for each in every), *(each.name for each in every)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no suite {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [
        each
        for each in every
        if not names or each.suite in names or each.name in names or ("table" in names and each.table)
    ]
