"""Tables for people: the checks, what was measured scenario by scenario, and the change since an earlier run."""

from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from bench.checks import Outcome, outcomes
from bench.record import Record, figure, spread

COLOURS = {"goal": "green", "floor": "yellow", "missed": "red", "not measured": "dim"}
QUIETER = ("cores", "out", "resident", "spread over", "min", "mean", "p99")  # only in the JSON


def show(record: Record, console: Console) -> None:
    """The whole report."""
    console.print(_measured(record))
    found = outcomes(record)
    if found:
        console.print(check_table(found))
    for (contestant, reason), scenarios in _left_out(record).items():
        console.print(f"left out: {contestant} in {', '.join(scenarios)}: {reason}", style="dim", highlight=False)


def _left_out(record: Record) -> dict[tuple[str, str], list[str]]:
    """Scenarios by contestant and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for (scenario, contestant), reason in record.skipped.items():
        found.setdefault((contestant, reason), []).append(scenario)
    return found


def check_table(found: list[Outcome]) -> Table:
    """Measured, spread, floor and goal of every check."""
    table = Table(title="Speed and memory", box=box.SIMPLE, title_justify="left")
    for heading in ("check", "what", "measured", "spread", "floor", "goal", "verdict"):
        table.add_column(heading, justify="right" if heading in ("measured", "spread", "floor", "goal") else "left")
    for each in found:
        check = each.check
        measured = f"{figure(each.measured)} {check.unit}" if each.measured is not None else "-"
        colour = COLOURS[each.verdict]
        table.add_row(
            check.name,
            check.words,
            measured,
            spread(each.values),
            figure(check.floor),
            figure(check.goal),
            f"[{colour}]{each.verdict}[/]",
        )
    return table


def _measured(record: Record) -> Table:
    table = Table(title="Measured (medians)", box=box.SIMPLE, title_justify="left")
    for heading in ("scenario", "contestant", "metric", "median", "spread", "unit", "note"):
        table.add_column(heading, justify="right" if heading in ("median", "spread") else "left")
    last = ""
    for row in record.rows.values():
        if row.metric.startswith(QUIETER):
            continue
        limited = any(isinstance(each, dict) and each.get("sender_limited") for each in row.detail)
        name = row.scenario if row.scenario != last else ""
        last = row.scenario
        note = "source at its end" if limited else ""
        unit, factor = _scaled(row.unit, row.median)
        values = [value * factor for value in row.values]
        table.add_row(name, row.contestant, row.metric, figure(median(values)), spread(values), unit, note)
    return table


def _scaled(unit: str, value: float) -> tuple[str, float]:
    """A unit in which the value is easily read, and the factor to it."""
    if unit.startswith("s") and value < 1:
        scale = next((each for each in (("ms", 1e3), ("us", 1e6), ("ns", 1e9)) if value * each[1] >= 1), ("ns", 1e9))
        return scale[0] + unit[1:], scale[1]
    return ("MB", 1e-6) if unit == "octets" else (unit, 1.0)


def compare(old: Record, new: Record) -> Table:
    """Change of every median that both runs have; in brackets where it lies within the spread of either."""
    table = Table(title="Change since the earlier run", box=box.SIMPLE, title_justify="left")
    for heading in ("scenario", "contestant", "metric", "earlier", "now", "change"):
        table.add_column(heading, justify="right" if heading in ("earlier", "now", "change") else "left")
    for key, row in new.rows.items():
        earlier = old.rows.get(key)
        if earlier is None or not earlier.median or key[2].startswith(QUIETER):
            continue
        change = f"{100 * (row.median / earlier.median - 1):+.1f} %"
        within = min(earlier.values) <= row.median <= max(earlier.values)
        within = within or min(row.values) <= earlier.median <= max(row.values)
        table.add_row(*key, figure(earlier.median), figure(row.median), f"({change})" if within else change)
    return table
