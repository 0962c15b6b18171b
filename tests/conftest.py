"""What holds for every test: a time limit, signals as a shell sets them, no skip without an excuse.

`--strict-skips` (./scripts/test gives it, CI=... does the same) makes a failure of every skip but those in `lacks`.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from lacks import excuse, is_root

LONGEST = {"slow": 1800, "netns": 300}
"""Seconds by mark, where a test has no mark `timeout` of its own; all others have those of pyproject.toml."""

# An example may take as long as a loaded machine needs; every test has a time limit anyway.
settings.register_profile("always", deadline=None)
# For ./scripts/mutants: the same examples for every mutant, and no more than notice most faults.
settings.register_profile("mutants", derandomize=True, database=None, deadline=None, max_examples=50)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="a skip is a failure but for what the kernel lacks")


settings.load_profile("always")  # --hypothesis-profile comes later and wins


def pytest_configure() -> None:
    """Whoever started us may have blocked signals, or ignore SIGINT (a shell does for `pytest &`): children inherit."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)      # when tests/netns/conftest.py has set its mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        limit = next((seconds for mark, seconds in LONGEST.items() if item.get_closest_marker(mark)), None)
        if limit and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _judge(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    _judge(report, collector.config)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Turns a skip without an excuse into a failure."""
    strict = config.getoption("strict_skips") or os.environ.get("CI")
    if not (strict and report.skipped and isinstance(report.longrepr, tuple)):
        return
    path, line, reason = report.longrepr
    if excuse(reason, is_root()) is None:
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason}\nNo reason to skip where every test counts (tests/lacks.py)"
