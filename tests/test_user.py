"""Who the children may be: what is tried, what is said where it cannot be, and what a configuration may name."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab.mcfwd import NOBODY
from forwarder.lab.public import public_python
from forwarder.process.user import MODULES, Children, Trial, User, find, name_of, problem
from forwarder.supervisor.staff import WORKER_MODULE

needs_user = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")
needs_python = pytest.mark.skipif(public_python() is None, reason="no Python of this version that any user may run")
IMPORTS = "from forwarder.process import privileges; from forwarder.process.user import Trial; "
TRIED = "print(Trial({}).result().words)"
STAYS = "children stay root (uid 0), without capabilities: "
CANNOT = "nobody cannot run what a child runs "


def said(code: str, *prefix: str, folder: str = "") -> str:
    """What an interpreter prints that any user may run, where there is one; it finds modules in `folder` too."""
    python, environment = public_python() or (sys.executable, {})
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), folder]))
    command, variables = [*prefix, python, "-c", IMPORTS + code], {**os.environ, **environment, "PYTHONPATH": path}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60.0, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def folder():
    """One that anybody can read, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@needs_user
@needs_python
@pytest.mark.parametrize("name", ["nobody", "daemon"])
def test_children_are_a_user_that_can_import_what_they_do(name):
    assert said(TRIED.format(repr(name))) == f"children run as {name} (uid {find(name).uid})"


@needs_user
@needs_python
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import no_such_module", f"{CANNOT}(ModuleNotFoundError: No module named 'no_such_module')"),
        ("import os; os.abort()", f"{CANNOT}(killed by SIGABRT)"),
        ("import os; os._exit(3)", f"{CANNOT}(exit status 3)"),
        ("import sys; sys.exit('x' * 10_000)", f"{CANNOT}({'x' * 200})"),
        ("import os, sys; sys.exit(f'{os.getresgid()} {os.getgroups()}')", f"{CANNOT}({(find('nobody').gid,) * 3} [])"),
        ("import signal; signal.pause()", "the imports of a child take nobody longer than 0.5 s"),
    ],
)
def test_children_stay_where_their_imports_fail(folder, module, reason):
    (folder / "tried.py").write_text(module)
    patience = 0.5 if "pause" in module else 30.0
    assert said(TRIED.format(f"None, {patience}, ('tried',)"), folder=str(folder)) == STAYS + reason


@needs_user
@needs_python
def test_what_only_root_can_read_is_tried_as_the_user(folder):
    (folder / "tried.py").touch(0o600)
    assert "PermissionError" in said(TRIED.format("None, 9.0, ('tried',)"), folder=str(folder))


@needs_user
def test_children_stay_where_there_is_no_such_user():
    assert said(TRIED.format("'no-such-user'")) == f"{STAYS}there is no user no-such-user"


@needs_user
def test_a_capability_that_is_missing_is_named():
    words = said(TRIED.format("None"), "setpriv", "--inh-caps=-setgid", "--bounding-set=-setgid")
    assert words == f"{STAYS}CAP_SETGID is missing"


def test_without_capabilities_nothing_is_tried():
    words = said("privileges.keep_only(None); " + TRIED.format("None"))
    assert words.endswith(", without capabilities: CAP_SETUID and CAP_SETGID are missing")


def test_an_empty_user_changes_nothing_and_is_no_reason_to_warn():
    with Trial("") as trial:
        assert trial.result() == Children(None, "[process] has an empty user", wanted=False)


@needs_user
@needs_python
def test_a_trial_that_nobody_waits_for_is_ended(folder):
    (folder / "tried.py").write_text("import signal; signal.pause()")
    code = "\nwith Trial(None, 50.0, ('tried',)) as trial: pass\nprint(trial.result().reason)"
    assert said(code, folder=str(folder)) == f"{CANNOT}(killed by SIGKILL)"


def test_every_role_is_tried():
    for role in (WORKER_MODULE, "forwarder.agent", "forwarder.api"):
        assert [each for each in MODULES if each == role or each.startswith(f"{role}.")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, None), ("", None), ("nobody", None), ("no-such-user", "is no user of this system"),
        ("a\0b", "is no user"), ("\ud800", "is no user"), ("root", "is uid 0, which children must not be"),
    ],
)  # fmt: skip
def test_what_a_configuration_may_name(name, words):
    found = problem(name)
    assert found is None if words is None else found.startswith(words)


def test_a_user_has_a_name_or_a_number():
    assert find("nobody") == User("nobody", NOBODY, find("nobody").gid)
    assert (name_of(0), name_of(4_000_000_000)) == ("root", "4000000000")
    with pytest.raises(LookupError, match="there is no user no-such-user"):
        find("no-such-user")
