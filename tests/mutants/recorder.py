"""A pytest plugin that notes which test takes which line, also in Python processes that it starts.

`MUTANTS_MAP` names the file to write: {"lines": {path: {line: [tests]}}, "seconds": {test: seconds}, "failed":
[tests]}. A test is `file::function` whatever its parameters.
"""

import json
import os
import time
from pathlib import Path

import coverage
import pytest

PACKAGES = ["forwarder", "igmp"]
IMPORTED = ""               # instead of a test: outside of all tests, that is when modules are imported


class Recorder:
    """Coverage with the running test as context."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._children = Path(os.environ["MUTANTS_CHILDREN"])
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source_pkgs=PACKAGES)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        test = of(item)
        self._coverage.switch_context(test)
        os.environ["MUTANTS_TEST"] = test
        begun = time.monotonic()
        try:
            return (yield)
        finally:
            self._seconds[test] = self._seconds.get(test, 0.0) + time.monotonic() - begun
            self._coverage.switch_context(IMPORTED)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid.split("[")[0])

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        lines: dict[str, dict[int, set[str]]] = {}
        everything = [self._coverage.get_data(), *map(stored, self._children.iterdir())]
        for data in everything:
            for path in data.measured_files():
                known = lines.setdefault(within(Path(path)), {})
                for line, tests in data.contexts_by_lineno(path).items():
                    known.setdefault(line, set()).update(tests)
        listed = {path: {line: sorted(tests) for line, tests in known.items()} for path, known in lines.items()}
        content = {"lines": listed, "seconds": self._seconds, "failed": sorted(self._failed)}
        self._target.write_text(json.dumps(content))


def within(path: Path) -> str:
    """A file's path in the tree: what another user runs is a copy of the packages that lies elsewhere."""
    place = next(parent for parent in path.parents if parent.name in PACKAGES)
    return str(path.relative_to(place.parent))


def of(item: pytest.Item) -> str:
    """The test an item belongs to."""
    return item.nodeid.split("[")[0]


def stored(path: Path) -> coverage.CoverageData:
    """What a process left behind."""
    data = coverage.CoverageData(str(path))
    data.read()
    return data


def pytest_configure(config: pytest.Config) -> None:
    """Before anything of ours is imported but the conftest."""
    config.pluginmanager.register(Recorder(Path(os.environ["MUTANTS_MAP"])))
