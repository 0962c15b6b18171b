"""Plants faults one at a time and reports which of them no test notices: see scripts/mutants."""

import argparse
import os
import random
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("dataplane", "packet", "state", "supervisor", "agent", "process", "api", "igmp")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

os.environ["OPENBLAS_NUM_THREADS"] = "1"        # no threads of numpy before forks

from mutants.covering import ROOT, covering  # noqa: E402
from mutants.operators import OPERATORS, Mutant, faults  # noqa: E402
from mutants.running import KILLED, TIMED_OUT, Result, copy_tree, try_all  # noqa: E402


def main() -> None:
    """See scripts/mutants."""
    options = arguments()
    drawn = [mutant for package in options.package or PACKAGES
             for mutant in draw(package, options.module, options.count, options.seed)]
    known = equivalent(drawn)
    rest = [mutant for mutant in drawn if mutant not in known]
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copies = [copy_tree(Path(directory, str(number))) for number in range(options.jobs)]
        tests = covering(copies[0])
        if tests.failed:
            print("these fail without any fault and do not count:", *tests.failed, sep="\n  ", file=sys.stderr)
        results = []
        for result in try_all(rest, tests.tests, tests.seconds, copies):
            results.append(result)
            show(result, options.verbose)
    sys.exit(report(results, known, options.floor))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("--package", action="append", choices=PACKAGES, help="where; may be repeated (default: all)")
    parser.add_argument("--module", default="", help="only in files of this name, as in fib")
    parser.add_argument("--count", type=int, default=100, help="faults a package")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--floor", type=float, default=95.0, help="share in %% below which the exit code is 1")
    parser.add_argument("--verbose", action="store_true", help="also show what was noticed, and by which test")
    return parser.parse_args()


def draw(package: str, module: str, count: int, seed: int) -> list[Mutant]:
    """`count` faults of a package, every operator as often as any other as long as it has some left."""
    place = ROOT / (package if package == "igmp" else f"forwarder/{package}")
    paths = sorted(place.rglob(f"{module or '*'}.py"))
    found = [mutant for path in paths for mutant in faults(str(path.relative_to(ROOT)), path.read_bytes())]
    shuffled = random.Random(f"{package} {seed}").sample(found, len(found))
    by_operator = {name: iter([mutant for mutant in shuffled if mutant.operator == name]) for name in OPERATORS}
    return list(turns(by_operator))[:count]


def turns(sources: dict[str, Iterator[Mutant]]) -> Iterator[Mutant]:
    """One of each, again and again, until all are empty."""
    while sources:
        for name in list(sources):
            mutant = next(sources[name], None)
            if mutant is None:
                del sources[name]
            else:
                yield mutant


def equivalent(drawn: list[Mutant]) -> set[Mutant]:
    """Those that are no faults, as equivalent.toml says."""
    entries = tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    known = {(entry["file"], entry["was"], entry["becomes"]) for entry in entries}
    return {mutant for mutant in drawn if (mutant.path, *diff(mutant)) in known}


def diff(mutant: Mutant) -> tuple[str, str]:
    """The lines as they were and as they are."""
    return mutant.diff((ROOT / mutant.path).read_bytes())


def show(result: Result, verbose: bool) -> None:
    """A line for a result, and the diff."""
    if result.outcome == KILLED and not verbose:
        return
    mutant, (was, now) = result.mutant, diff(result.mutant)
    print(f"{mutant.path}:{mutant.line}: {mutant.operator}: {result.outcome} ({result.seconds:.1f} s) {result.by}")
    print(f"    - {was}\n    + {now}", flush=True)


def report(results: list[Result], known: set[Mutant], floor: float) -> int:
    """The sum, and the exit code."""
    outcomes = Counter(result.outcome for result in results)
    noticed = outcomes[KILLED] + outcomes[TIMED_OUT]
    share = 100.0 * noticed / max(1, len(results))
    survived = len(results) - noticed
    print(f"{len(results)} faults and {len(known)} equivalent: {outcomes[KILLED]} killed, "
          f"{outcomes[TIMED_OUT]} timed out, {survived} survived: {share:.1f} % noticed")
    return int(share < floor)


if __name__ == "__main__":
    main()
