"""How scenarios are run: contestants in turn, pair after pair, in labs that stand while the scenario lasts."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.arena import Arena, Terms
from bench.contestants import Contestant
from bench.record import Record, figure
from bench.search import Trial, highest_lossless

FAILURES = (OSError, RuntimeError, TimeoutError, LookupError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Plan:
    """How much is measured: the written default, a quick look, or the grid."""

    level: str = "default"  # quick | default | full
    pairs: int = 3
    side_pairs: int = 2  # of what has no row in the table
    seconds: float = 1.2  # of one trial
    resolution: float = 0.05
    sender: str = "udp"
    against: tuple[str, ...] = ("kernel",)
    verbose: bool = False

    def by_level(self, quick: Any, default: Any, full: Any) -> Any:
        """One of three."""
        return {"quick": quick, "default": default, "full": full}[self.level]


@dataclass
class Bench:
    """One run: its plan, who takes part, and what was found."""

    plan: Plan
    contestants: dict[str, Contestant]
    record: Record
    say: Callable[[str], None]
    best: dict[tuple[str, str], float] = field(default_factory=dict)  # scenario, contestant: rate of the last pair

    def terms(self, scenario: str, **changes: Any) -> Terms:
        """The plan's terms with changes, put on record."""
        terms = replace(Terms(seconds=self.plan.seconds, sender=self.plan.sender), **changes)
        self.record.terms[scenario] = asdict(terms)
        return terms

    def opponents(self) -> list[str]:
        """Those who take part everywhere, beside mcfwd."""
        return list(self.plan.against)

    def able(self, scenario: str, names: Sequence[str], terms: Terms, igmp: bool = False) -> list[Contestant]:
        """Those of `names` that can take part; the others are on record with the reason."""
        found = []
        for contestant in (self.contestants[name] for name in names if name in self.contestants):
            reason = contestant.obstacle(terms.ports, terms.groups)
            if igmp and not contestant.speaks_igmp:
                reason = "static routes: joins and leaves change nothing"
            if reason:
                self.skip(scenario, contestant.name, reason)
            else:
                found.append(contestant)
        return found

    def skip(self, scenario: str, contestant: str, reason: str) -> None:
        """Says and records why there will be no row."""
        self.record.skipped[scenario, contestant] = reason
        self.say(f"{scenario} {contestant}: left out: {reason}")

    def add(self, scenario: str, contestant: str, metric: str, unit: str, value: float, detail: object = None) -> None:
        """Records and shows a value."""
        self.record.add(scenario, contestant, metric, unit, value, detail)
        self.say(f"{scenario} {contestant}: {metric} {figure(value)} {unit}")

    def interleave(
        self,
        scenario: str,
        contestants: Sequence[Contestant],
        terms: Terms,
        measure: Callable[[Arena], None],
        pairs: int = 0,
        kind: type[Arena] = Arena,
    ) -> None:
        """Calls `measure` for A B A B ...; who fails is left out from then on, with the reason.

        Labs stand side by side, idle when it is not their turn; a contestant that costs CPU while idle (`exclusive`)
        gets a fresh one each time.
        """
        with ExitStack() as stack:
            standing: dict[str, Arena] = {}
            left = list(contestants)
            for _ in range(pairs or self.plan.pairs):
                for contestant in tuple(left):
                    try:
                        with self._arena(stack, standing, contestant, kind, terms) as arena:
                            measure(arena)
                    except FAILURES as error:
                        left.remove(contestant)
                        self.skip(scenario, contestant.name, reason(error))

    @contextmanager
    def _arena(
        self, stack: ExitStack, standing: dict[str, Arena], contestant: Contestant, kind: type[Arena], terms: Terms
    ) -> Iterator[Arena]:
        if contestant.exclusive:
            with kind(contestant, terms) as arena:
                yield arena
        else:
            if contestant.name not in standing:
                standing[contestant.name] = stack.enter_context(kind(contestant, terms))
            yield standing[contestant.name]

    def search(
        self, scenario: str, contestant: str, trial: Callable[[float], Trial], start: float, ceiling: float = 2e6
    ) -> Trial | None:
        """The highest lossless rate; later pairs begin where the last one ended."""

        def told(rate: float) -> Trial:
            result = trial(rate)
            if self.plan.verbose:
                verdict = "ok" if result.lossless else "no"
                words = f"asked {rate:.0f} offered {result.offered:.0f} cores {result.cores:.2f}"
                self.say(f"    {scenario} {contestant}: {verdict} {words} {result.note}")
            return result

        known = self.best.get((scenario, contestant))
        first, step = (known, 1.12) if known else (start, 1.6)
        found = highest_lossless(told, first, ceiling, self.plan.resolution, step)
        self.best[scenario, contestant] = found.offered if found else start
        return found


@dataclass(frozen=True)
class Scenario:
    """A named measurement; `table`: it has a row in the table of checks."""

    suite: str
    name: str
    run: Callable[[Bench], None]
    table: bool = False


def reason(error: BaseException) -> str:
    """Why something could not be measured; of a program that failed, what it said (a feature that the kernel lacks)."""
    if isinstance(error, subprocess.CalledProcessError) and str(error.output or "").strip():
        return f"{Path(error.cmd[0]).name}: {str(error.output).strip().splitlines()[0]}"
    return f"{type(error).__name__}: {error}"


def run(bench: Bench, scenarios: Sequence[Scenario], after: Callable[[], None]) -> None:
    """All scenarios in order; `after` each of them."""
    for number, scenario in enumerate(scenarios, 1):
        bench.say(f"-- {number}/{len(scenarios)} {scenario.name}")
        begun = time.monotonic()
        try:
            scenario.run(bench)
        except FAILURES as error:
            bench.skip(scenario.name, "all", reason(error))
        bench.record.seconds[scenario.name] = time.monotonic() - begun
        after()
