"""The tables of README and docs/performance.md, made of a run's record. Pure.

Columns are medians over the pairs; a ratio is taken pair by pair, and its median is not the quotient of the medians.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.checks.model import Key
from bench.record import Record

END = "<!-- end -->\n"
NOTHING = "-"                       # not measured
CANNOT = "loses some"               # offered more than it carries
BUSY = "`latency`, `busy_poll`"
PROFILES = {"mcfwd": "default", "mcfwd-latency": "`latency`", "mcfwd-busy": BUSY}
LATENCIES = {"latency-1000": "1,000", "latency-20000": "20,000", "latency-80000": "80,000"}
OUT_AT_4 = "throughput-64", "mcfwd at 4 ports", "out"
PORTS = 4                           # of the scenarios of LATENCIES


def rate(value: float) -> str:
    """Datagrams a second, with three digits that mean something."""
    return f"{float(f'{value:.3g}'):,.0f}"


def duration(value: float) -> str:
    """Seconds, in a unit that has digits before the point."""
    unit, scale = ("ms", 1e3) if value >= 1e-3 else ("µs", 1e6) if value >= 1e-6 else ("ns", 1e9)
    return f"{value * scale:.3g} {unit}"


def cores(value: float) -> str:
    """Processors in use."""
    return f"{value:.2f} core"


@dataclass(frozen=True)
class Line:
    """A row of docs/performance.md: a metric of a contestant beside the kernel's and the C program's."""

    words: str
    scenario: str
    metric: str = "rate"
    form: Callable[[float], str] = rate
    contestant: str = "mcfwd"
    base: Key | None = None         # of the ratio, where it is not the kernel's


def _delay(scenario: str, metric: str, contestant: str) -> Line:
    place = "program" if metric == "application" else "receiver's link"
    words = f"latency to the {place}, {LATENCIES[scenario]} pps, {PROFILES[contestant]}"
    return Line(words, scenario, metric, duration, contestant)


LINES = (
    Line("lossless pps, 1 port", "throughput-1"),
    Line("4 ports", "throughput-4"),
    Line("16 ports", "throughput-16"),
    Line("30 ports", "throughput-30"),
    Line("64 ports (the kernel has 31); ratio: to its own datagrams out at 4", "throughput-64", base=OUT_AT_4),
    Line("4 ports, 100 interleaved groups, `throughput`", "groups-100", contestant="mcfwd-throughput"),
    Line("4 ports, 1,000 interleaved groups, `throughput`", "groups-1000", contestant="mcfwd-throughput"),
    Line("4 ports, receivers with default buffers", "default-buffers"),
    Line("CPU of the whole machine at 20,000 pps to 4 ports", "cpu-20000", "machine", cores),
    Line("its own user time for each datagram delivered, 20,000 pps", "cpu-own-20k", "user", duration),
    Line("the same at 80,000 pps", "cpu-own-80k", "user", duration),
    *(_delay("latency-1000", metric, each) for metric in ("median", "application") for each in PROFILES),
    *(_delay(scenario, "median", "mcfwd") for scenario in ("latency-20000", "latency-80000")),
)


def beside_the_kernel(record: Record) -> list[str]:
    """The table of docs/performance.md."""
    head = ["| | mcfwd | kernel | median of ratios (lowest to highest) | C program |", "|---|---|---|---|---|"]
    return head + [_line(record, each) for each in LINES]


def _line(record: Record, line: Line) -> str:
    own, kernel, limit = ((line.scenario, who, line.metric) for who in (line.contestant, "kernel", "limit"))
    below = line.base or kernel
    above = (line.scenario, line.contestant, below[2])
    cells = (*(_median(record, key, line.form) for key in (own, kernel)), _ratio(record, above, below))
    return f"| {' | '.join((line.words, *cells, _median(record, limit, line.form)))} |"


def _median(record: Record, key: Key, form: Callable[[float], str]) -> str:
    values = record.values(*key)
    if values:
        return form(median(values))
    scenario, who, _ = key
    return CANNOT if who == "kernel" and _is_too_much(record, scenario) else NOTHING


def _is_too_much(record: Record, scenario: str) -> bool:
    """Whether the kernel carried less in every pair than was offered."""
    offered = int(LATENCIES.get(scenario, "0").replace(",", ""))
    return offered > max(record.values(f"throughput-{PORTS}", "kernel", "rate"), default=offered)


def _ratio(record: Record, above: Key, below: Key) -> str:
    ratios = [one / other for one, other in zip(record.values(*above), record.values(*below), strict=False) if other]
    if not ratios:
        return ""
    middle, least, most = (f"{each:#.3g}" for each in (median(ratios), min(ratios), max(ratios)))
    return f"{middle} × ({least} to {most})"


def latencies(record: Record) -> list[str]:
    """The table of README: median and 99th percentile at every rate that was measured, the default profile first."""
    who = {**PROFILES, "kernel": "kernel"}
    head = [f"| datagrams a second | {' | '.join(who.values())} |", "|---|" + "---|" * len(who)]
    rows = ([name, *(_tailed(record, scenario, each) for each in who)] for scenario, name in LATENCIES.items())
    return head + [f"| {' | '.join(row)} |" for row in rows]


def _tailed(record: Record, scenario: str, contestant: str) -> str:
    middle, tail = (_median(record, (scenario, contestant, metric), duration) for metric in ("median", "p99"))
    return f"{middle} ({tail})" if record.values(scenario, contestant, "p99") else middle


TABLES = {"README.md": ("latency", latencies), "docs/performance.md": ("beside the kernel", beside_the_kernel)}


def updated(page: str, name: str, record: Record) -> str:
    """The text of a page of TABLES with its table made anew between its marks; ValueError without marks."""
    title, table = TABLES[name]
    head, mark, rest = page.partition(f"<!-- {title} -->\n")
    _, end, tail = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{name} lacks <!-- {title} --> or {END.strip()} after it")
    return f"{head}{mark}" + "".join(f"{line}\n" for line in table(record)) + f"{end}{tail}"
