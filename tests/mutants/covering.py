"""Which tests could notice a fault: those that take its line, the quickest first.

One run of all unit tests under coverage tells; it is kept in build/mutants until a source or test changes.
"""

import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutants.operators import Mutant

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "build" / "mutants"
CHOSEN = ["tests", "--ignore=tests/netns", "--ignore=tests/bench", "--ignore=tests/test_fuzz.py",
          "--ignore=tests/test_machinery.py", "-m", "not slow"]


def options(root: Path) -> list[str]:
    """What pytest is told in every run: nothing is kept, the examples of hypothesis are always the same."""
    return ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", f"--rootdir={root}",
            "-c", str(root / "pyproject.toml")]


@dataclass(frozen=True)
class Covering:
    """What one run of all tests told."""

    lines: dict[str, dict[int, list[str]]]      # path, line: tests
    seconds: dict[str, float]                   # of each test
    failed: list[str]                           # tests that fail without any fault

    def tests(self, mutant: Mutant) -> list[str]:
        """Those that reach a fault; for what happens when a module is imported, all that import it."""
        lines = self.lines.get(mutant.path, {})
        reached = [lines[line] for line in mutant.lines if line in lines]
        found = {test for tests in reached for test in tests}
        if reached and not found:
            found = {test for tests in lines.values() for test in tests}
            files = importing(module_of(mutant.path))
            found |= {test for test in self.seconds if test.split("::")[0] in files}
        own = f"tests/test_{Path(mutant.path).stem}.py"
        sound = found - {*self.failed}
        return sorted(sound, key=lambda test: (test.split("::")[0] != own, self.seconds.get(test, 0.0)))


def module_of(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def importing(module: str) -> set[str]:
    """The files of tests that import a module, also by way of others."""
    files = [path for place in ("forwarder", "igmp", "tests") for path in (ROOT / place).rglob("*.py")]
    names = {str(path.relative_to(ROOT)): path for path in files}
    imports = {name: imported(path) for name, path in names.items()}
    known, fresh = set(), {module}
    while fresh:
        users = {name for name, wanted in imports.items() if wanted & fresh} - known
        known |= users
        fresh = {module_of(name).removeprefix("tests.") for name in users}
    return {name for name in known if Path(name).name.startswith("test_")}


def imported(path: Path) -> set[str]:
    """The names of modules that a file may mean by its imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def covering(copy: Path) -> Covering:
    """From the last run if nothing has changed since, else from one in `copy`, a copy of the tree (some minutes)."""
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{digest()}.json"
    if not path.exists():
        print("finding out which test takes which line", file=sys.stderr)
        for old in KEPT.glob("*.json"):
            old.unlink()
        record(copy, path)
    content = json.loads(path.read_text())
    lines = {name: {int(line): tests for line, tests in known.items()} for name, known in content["lines"].items()}
    return Covering(lines, content["seconds"], content["failed"])


def digest() -> str:
    """Of everything that a run of the tests depends on."""
    total = hashlib.sha256()
    for place in ("forwarder", "igmp", "bench", "tests"):
        for path in sorted((ROOT / place).rglob("*.py")):
            if "netns" not in path.parts and "mutants" not in path.parts:
                total.update(path.read_bytes())
    return total.hexdigest()[:16]


def record(copy: Path, target: Path) -> None:
    """Runs all tests and writes what they took."""
    with tempfile.TemporaryDirectory() as children:
        places = (copy, copy / "tests", copy / "tests" / "mutants" / "site")
        environment = {**os.environ, "MUTANTS_MAP": str(target), "MUTANTS_CHILDREN": children,
                       "PYTHONPATH": ":".join(map(str, places))}
        command = [sys.executable, "-m", "pytest", "-p", "mutants.recorder", *options(copy), *CHOSEN]
        done = subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True)
    print(done.stdout[-2000:], file=sys.stderr)
    if not target.exists():
        raise SystemExit("the tests did not run")
