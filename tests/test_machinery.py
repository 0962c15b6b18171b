"""What holds for every test (conftest.py) is tried on tests of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lacks import excuse

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SKIPS = """
import pytest

def test_kernel():
    pytest.skip("no VLANs here: (95, 'Operation not supported')")

def test_program():
    pytest.skip("tcpdump is not there")

def test_module():
    pytest.importorskip("no_such_module")

@pytest.mark.skipif(True, reason="not built yet")
def test_mark():
    pass

@pytest.mark.xfail(reason="known")
def test_known():
    assert False
"""
SIGNALS = """
import signal, subprocess, sys

def test_a_child_ends_with_ctrl_c():
    code = "import signal, sys; signal.pause() if input() else None"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        child.stdin.write(b"go\\n")
        child.stdin.flush()
        child.send_signal(signal.SIGINT)
        assert child.wait(20) != 0
"""
HANGS = """
import threading, pytest
from hypothesis import given, strategies

pytestmark = pytest.mark.timeout(1.0)     # as long as a busy machine may take to get there
wait = threading.Event().wait

@pytest.fixture
def dirty():
    yield
    try:
        wait(60)
    finally:
        wait(60)

def test_alone():
    wait(60)

@given(strategies.integers())
def test_by_hypothesis(number):
    wait(60)

def test_clearing_up_after_a_failure(dirty):
    assert False
"""


@pytest.fixture
def run(tmp_path):
    """Runs pytest with our conftest over a module: `run(text, *arguments, **of_subprocess)`; what it printed."""

    def run(text: str, *arguments: str, **options: object) -> str:
        for name in ("conftest.py", "examples.py", "lacks.py", "segments.py"):
            shutil.copy(TESTS / name, tmp_path)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        (tmp_path / "test_it.py").write_text(text)
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *arguments, "test_it.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                              **{"env": environment} | options).stdout

    return run


@pytest.mark.parametrize(("arguments", "environment"), [(("--strict-skips",), {}), ((), {"CI": "true"})])
def test_a_skip_is_a_failure_but_for_what_the_kernel_lacks(run, arguments, environment):
    out = run(SKIPS, *arguments, env=os.environ | environment)
    failed = re.findall(r"^(?:FAILED|ERROR) test_it.py::(\w+)", out, re.MULTILINE)
    assert sorted(failed) == ["test_mark", "test_module", "test_program"]
    assert "1 skipped" in out
    assert "1 xfailed" in out


def test_a_module_that_skips_itself_is_an_error(run):
    assert "1 error" in run('import pytest\npytest.importorskip("no_such_module")\n', "--strict-skips")


def test_elsewhere_a_skip_is_a_skip(run):
    assert "4 skipped" in run(SKIPS)


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_as_a_shell_sets_them(run, ignored):
    def start() -> None:
        signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [ignored])

    assert "1 passed" in run(SIGNALS.replace("SIGINT", ignored.name), preexec_fn=start)


def test_a_test_that_hangs_fails_wherever_it_does(run):
    out = run(HANGS)
    assert "3 failed, 1 error" in out
    assert out.count("Overdue: Timeout") > 3


def test_every_test_has_a_time_limit(request):
    for item in request.session.items:
        mark = item.get_closest_marker("timeout")
        assert 0 < (mark.args[0] if mark else float(request.config.getini("timeout"))) <= 1800


def test_no_test_has_a_time_limit_of_its_own():
    """What needs longer has a mark, and conftest.py the reason."""
    others = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    assert [path.name for path in others if "mark.timeout" in path.read_text()] == []


def test_who_is_not_root_may_lack_programs():
    reason = "Skipped: igmpproxy is not installed (Debian package igmpproxy)"
    assert excuse(reason, root=True) is None
    assert excuse(reason, root=False)


def sources() -> str:
    """All that runs programs in tests, but for this file."""
    others = (ROOT / "bench" / "peers", ROOT / "forwarder" / "lab")
    places = [*TESTS.rglob("*.py"), *(path for folder in others for path in folder.glob("*.py"))]
    but = (Path(__file__), TESTS / "lacks.py", TESTS / "test_bench.py")
    return "\n".join(path.read_text() for path in places if path not in but)


def test_what_the_tests_run_is_installed_by_the_script():
    """Every program that a test says is missing is among those ./scripts/test installs, from the same package."""
    installed = dict(re.findall(r"^    (\S+) (\S+)$", (ROOT / "scripts" / "prepare").read_text(), re.MULTILINE))
    asked = re.findall(r'missing\("([\w-]+)", "([\w-]+)"\)', sources())
    assert len(asked) > 4
    assert {*asked, ("setpriv", "util-linux"), ("unshare", "util-linux")} <= {*installed.items()}
    assert {*re.findall(r"Debian package ([\w-]+)", sources())} <= {*installed.values()}
