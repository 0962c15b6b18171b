"""What holds for every test: a time limit, signals as a shell sets them, no skip without an excuse.

The limit is pytest-timeout's alarm, made to hold where it would not: in tests of hypothesis and in clearing up.

`--strict-skips` (./scripts/test gives it, CI=... does the same) makes a failure of every skip but those in `lacks`.
"""

import os
import signal
from collections.abc import Iterator

import pytest
import segments
from examples import is_thorough
from lacks import excuse, is_root

LONGEST = {
    "slow": 1800,           # minutes are what the mark means
    "netns": 300,           # processes start, protocols have their intervals, and all tests share few cores
}
"""Seconds by mark that a test may take; those without any of these marks have what pyproject.toml says."""
THOROUGHLY = 1200           # a test of hypothesis that tries ten times as much as usual

LIMIT = pytest.StashKey()


class Overdue(BaseException):
    """A test takes too long. Neither an Exception nor pytest's failure: hypothesis would try what hangs again."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="a skip is a failure but for what the kernel lacks")


def pytest_configure() -> None:
    """Whoever started us may have blocked signals, or ignore SIGINT (a shell does for `pytest &`): children inherit."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)      # when tests/netns/conftest.py has set its mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest = LONGEST | ({"hypothesis": THOROUGHLY} if is_thorough() else {})
    for item in items:
        limit = max((seconds for mark, seconds in longest.items() if item.get_closest_marker(mark)), default=None)
        if limit and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: object) -> Iterator[None]:
    """The alarm rings again and again until the test has ended, and as what hypothesis lets pass."""
    done = yield
    item.stash[LIMIT] = settings
    ring = signal.getsignal(signal.SIGALRM)

    def overdue(number: int, frame: object) -> None:
        try:
            ring(number, frame)
        except pytest.fail.Exception as failure:
            raise Overdue(failure.msg) from None

    signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, settings.timeout)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Sets the alarm again where a failure has ended it (for debuggers): what clears up may hang as well."""
    if LIMIT in item.stash and not any(signal.getitimer(signal.ITIMER_REAL)):
        item.ihook.pytest_timeout_set_timer(item=item, settings=item.stash[LIMIT])
    return (yield)


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


@pytest.fixture(autouse=True)
def no_segments_left() -> Iterator[None]:
    """What a supervisor would hold as long as it lives is closed with the test that made it."""
    yield
    segments.close_all()
