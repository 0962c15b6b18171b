"""Which tests could notice a fault: those that take its line, the quickest first.

A run of all unit tests under coverage tells, once; it is kept in build/mutants, and repeated for a file of tests that
changed, or for all when anything else did.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mutants.operators import Mutant
from mutants.recorder import IMPORTED

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "build" / "mutants"
SLOW_TO_NO_END = ("test_fuzz.py", "test_machinery.py", "test_mutants.py")     # about the tests themselves


def options(root: Path) -> list[str]:
    """What pytest is told in every run: nothing is kept, the examples of hypothesis are always the same."""
    return ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", f"--rootdir={root}",
            "-c", str(root / "pyproject.toml")]


@dataclass(frozen=True)
class Covering:
    """What one run of all tests told."""

    lines: dict[str, dict[int, set[str]]]       # path, line: tests
    seconds: dict[str, float]                   # of each test
    failed: list[str]                           # tests that fail without any fault

    def tests(self, mutant: Mutant) -> list[str]:
        """Those that reach a fault; for what happens when a module is imported, all that use what imports it."""
        lines = self.lines.get(mutant.path, {})
        found = {test for line in mutant.lines for test in lines.get(line, ())}
        if IMPORTED in found:
            users = {mutant.path, *importing(module_of(mutant.path))}
            found |= {test for path in users for tests in self.lines.get(path, {}).values() for test in tests}
            found |= {test for test in self.seconds if test.split("::")[0] in users}
        own = f"test_{Path(mutant.path).stem}.py"
        sound = found - {IMPORTED, *self.failed}
        return sorted(sound, key=lambda test: (f"/{own}::" not in test, self.seconds.get(test, 0.0)))


def module_of(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def importing(module: str) -> set[str]:
    """The files, of tests or not, that import a module."""
    files = [path for place in ("forwarder", "igmp", "tests") for path in (ROOT / place).rglob("*.py")]
    return {str(path.relative_to(ROOT)) for path in files if module in imported(path)}


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
    """From former runs as far as nothing has changed since, else from one in `copy`, a copy of the tree."""
    kept = KEPT / digest(sorted({*sources()} - {*tests()}))
    known = {path: kept / f"{path.stem}-{digest([path])}.json" for path in tests()}
    missing = [path for path, file in known.items() if not file.exists()]
    parts = [json.loads(file.read_text()) for path, file in known.items() if path not in missing]
    if missing:
        print(f"finding out which test takes which line: {len(missing)} files of tests", file=sys.stderr)
        for old in {*KEPT.glob("*")} - {kept}:
            shutil.rmtree(old)
        kept.mkdir(parents=True, exist_ok=True)
    for path, part in split(record(copy, missing)).items() if missing else ():
        parts.append(part)
        if not part["failed"]:      # perhaps only because the machine was busy
            known[path].write_text(json.dumps(part))
    return merged(parts)


def tests() -> list[Path]:
    """The files of unit tests, and the one of real sockets that is as quick as they are."""
    found = [*sorted((ROOT / "tests").glob("test_*.py")), ROOT / "tests" / "netns" / "test_packet_socket.py"]
    return [path for path in found if path.name not in SLOW_TO_NO_END]


def sources() -> list[Path]:
    """Everything that a run of the tests depends on."""
    found = [path for place in ("forwarder", "igmp", "bench", "tests") for path in (ROOT / place).rglob("*.py")]
    return [path for path in found if not {"netns", "mutants", "fuzz"} & {*path.parts}
            and path.name not in SLOW_TO_NO_END]


def digest(paths: list[Path]) -> str:
    """Of the contents of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def record(copy: Path, files: list[Path]) -> dict:
    """What tests/mutants/recorder.py notes while the tests of these files run."""
    with tempfile.TemporaryDirectory() as directory:
        target, children = Path(directory, "map"), Path(directory, "children")
        children.mkdir()
        places = (copy, copy / "tests", copy / "tests" / "mutants" / "site")
        environment = {**os.environ, "MUTANTS_MAP": str(target), "MUTANTS_CHILDREN": str(children),
                       "PYTHONPATH": ":".join(map(str, places))}
        named = [str(path.relative_to(ROOT)) for path in files]
        command = [sys.executable, "-m", "pytest", "-p", "mutants.recorder", *options(copy), "-m", "not slow", *named]
        done = subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True)
        if not target.exists():
            raise SystemExit(f"the tests did not run:\n{done.stdout}")
        return {**json.loads(target.read_text()), "files": named}


def split(content: dict) -> dict[Path, dict]:
    """The content by files of tests; lines taken when something is imported belong to each."""
    parts = {}
    for file in content["files"]:
        def of_file(tests: list[str], file: str = file) -> list[str]:
            return [test for test in tests if test == IMPORTED or test.startswith(f"{file}::")]

        lines = {path: {line: of_file(tests) for line, tests in known.items() if of_file(tests)}
                 for path, known in content["lines"].items()}
        seconds = {test: content["seconds"][test] for test in of_file(list(content["seconds"]))}
        parts[ROOT / file] = {"lines": lines, "seconds": seconds, "failed": of_file(content["failed"])}
    return parts


def merged(parts: Iterable[dict]) -> Covering:
    """What the files of tests told, together."""
    lines: dict[str, dict[int, set[str]]] = {}
    seconds: dict[str, float] = {}
    failed: list[str] = []
    for part in parts:
        for path, known in part["lines"].items():
            for line, found in known.items():
                lines.setdefault(path, {}).setdefault(int(line), set()).update(found)
        seconds |= part["seconds"]
        failed += part["failed"]
    return Covering(lines, seconds, failed)
