"""`python -m bench [SUITE...]`: multicast forwarders measured side by side, by the methods of RFC 3918.

Without a suite: the written default, within 45 minutes on two cores. `table` is all that the table "Speed and
memory" needs. docs/benchmarks.md says what is measured and how.
"""

import argparse
import json
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import machine, report
from bench.checks import outcomes
from bench.contestants import select as select_contestants
from bench.harness import Bench, Plan, Scenario, run
from bench.record import Record
from bench.suites import scenarios
from bench.suites import select as select_scenarios

OUT = Path("build/bench")
PLANS = {
    "quick": Plan("quick", pairs=1, side_pairs=1, seconds=0.8, resolution=0.08),
    "default": Plan(),
    "full": Plan("full", pairs=5, side_pairs=3, seconds=5.0, resolution=0.03),
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("suite", nargs="*", help="suites, scenarios, or table; --list shows them")
    parser.add_argument("--against", default="kernel", help="who takes part everywhere: kernel,igmpproxy,...; none")
    parser.add_argument(
        "--command",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another forwarder; {upstream} and {downstreams} are replaced",
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument("--quick", action="store_true", help="a few minutes, one pair: indicative only")
    level.add_argument("--full", action="store_true", help="the grid: hours")
    parser.add_argument("--pairs", type=int, help="how often each contestant has its turn")
    parser.add_argument("--seconds", type=float, help="of one trial (RFC 2544: 60)")
    parser.add_argument("--sender", choices=("udp", "packet"), default="udp", help="how datagrams leave the source")
    parser.add_argument("--out", type=Path, default=OUT, help=f"directory for JSON and plots ({OUT})")
    parser.add_argument("--no-plots", action="store_true", help="only the JSON")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="show the change since an earlier run")
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing: show (and plot) an earlier run")
    parser.add_argument("--list", action="store_true", help="name suites and scenarios")
    parser.add_argument("--verbose", action="store_true", help="a line for every trial")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """The level's plan with what was asked for."""
    plan = PLANS["quick" if options.quick else "full" if options.full else "default"]
    commands = (word.partition("=")[0] for word in options.command)
    against = (*(name for name in options.against.split(",") if name and name != "none"), *commands)
    fields = vars(plan) | {"against": against, "sender": options.sender, "verbose": options.verbose}
    for name in ("pairs", "seconds"):
        if getattr(options, name) is not None:
            fields[name] = getattr(options, name)
    if options.pairs is not None:
        fields["side_pairs"] = options.pairs
    return Plan(**fields)


def measure(options: argparse.Namespace, argv: list[str], console: Console) -> Record:
    """Runs what was asked for; the JSON is written after every scenario, so that an end by force loses little."""
    plan = plan_of(options)
    chosen = select_scenarios(plan, options.suite)
    begun = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - begun), 60)
        console.print(f"[{minutes:3}:{seconds:02}] {line}", markup=False, highlight=False, soft_wrap=True)

    bench = Bench(plan, select_contestants(plan.against, options.command), Record(about=_about(plan, argv)), say)
    try:
        run(bench, chosen, lambda: _write(bench.record, options.out / "result.json", begun))
    except KeyboardInterrupt:
        say("interrupted; what was measured until now follows")
    return bench.record


def _about(plan: Plan, argv: list[str]) -> dict[str, object]:
    return {
        "command": shlex.join(["python", "-m", "bench", *argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": vars(plan) | {"against": list(plan.against)},
        "machine": machine.describe(),
    }


def _write(record: Record, path: Path, begun: float) -> None:
    found = [
        {
            "name": each.check.name,
            "what": each.check.words,
            "unit": each.check.unit,
            "measured": each.measured,
            "values": list(each.values),
            "floor": each.check.floor,
            "goal": each.check.goal,
            "verdict": each.verdict,
        }
        for each in outcomes(record)
    ]
    record.about |= {"elapsed": time.monotonic() - begun, "checks": found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record.to_json(), indent=1) + "\n")


def _list(found: list[Scenario]) -> None:
    for each in found:
        print(f"{each.suite:12} {each.name:24} {'table' if each.table else ''}")


def _read(path: Path) -> Record:
    return Record.from_json(json.loads(path.read_text()))


def _plot(record: Record, directory: Path, console: Console) -> None:
    try:
        from bench import plots
    except ImportError as error:
        console.print(f"no plots: {error} (pip install '.[bench]')", style="red", markup=False)
        return
    for path in plots.draw(record, directory):
        console.print(f"plot: {path}", highlight=False)


def main(argv: list[str]) -> int:
    """Measures and reports; 2 for what cannot be asked for."""
    options = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        if options.list:
            _list(scenarios(plan_of(options)))
            return 0
        earlier = _read(options.compare) if options.compare else None
        record = _read(options.show) if options.show else measure(options, argv, console)
    except (ValueError, FileNotFoundError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    report.show(record, console)
    if earlier:
        console.print(report.compare(earlier, record))
    if not options.no_plots:
        _plot(record, options.out, console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
