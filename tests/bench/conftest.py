"""Prints how the hot functions changed since the stored figures; noise is no failure, so nothing fails.

`python -m pytest tests/bench --benchmark-enable` measures; with `--store` it stores what it measured. Figures are in
units of a reference that does what hot functions do, so that they mean something on another machine.
"""

import json
from pathlib import Path

import pytest

STORED = Path(__file__).with_name("stored.json")
REFERENCE = "test_reference"
NOTABLE = 0.2  # relative change that is pointed out


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", action="store_true", help="store what tests/bench measures, to compare with later")


def measured(config: pytest.Config) -> dict[str, float]:
    """Median of each benchmark in units of the reference; empty when benchmarks did not run."""
    session = getattr(config, "_benchmarksession", None)
    medians = {each.name: each.stats.median for each in session.benchmarks if each} if session else {}
    reference = medians.pop(REFERENCE, 0.0)
    return {name: round(median / reference, 4) for name, median in medians.items()} if reference else {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = measured(config)
    if not found:
        return
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    terminalreporter.section("hot functions, in units of the reference")
    terminalreporter.write_line(f"{'':48} {'stored':>8} {'now':>8} {'change':>8}")
    for name, cost in sorted(found.items()):
        before = stored.get(name)
        change = f"{100 * (cost / before - 1):+7.0f}%" if before else "    new"
        mark = "  <--" if before and abs(cost / before - 1) > NOTABLE else ""
        terminalreporter.write_line(f"{name:48} {before or 0:8.3f} {cost:8.3f} {change}{mark}")
    if config.getoption("--store"):
        STORED.write_text(json.dumps(stored | found, indent=1, sort_keys=True) + "\n")
