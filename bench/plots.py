"""Plots of a run, PNG and SVG: what the tables say, for people. Needs matplotlib (extra `bench`)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from bench.record import Record, Row, figure

COLOURS = {
    "mcfwd": "#0b6e4f",
    "mcfwd-throughput": "#6bbf59",
    "mcfwd-latency": "#08415c",
    "mcfwd-busy": "#3d8bb8",
    "limit": "#c9b037",
    "kernel": "#b23a48",
    "igmpproxy": "#e09f3e",
    "direct": "#8d99ae",
    "nothing": "#8d99ae",
}
OTHER = "#5e548e"
JOINS = {
    "join-delay": "no member yet",
    "join-delay-other-port": "other port is member",
    "join-delay-burdened": "10,000 pps beside",
}
SIZE = (6.4, 4.0)  # inches


def draw(record: Record, directory: Path) -> list[Path]:
    """Writes the plots that the record has rows for; which files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "b"}):
        for name, plot in PLOTS.items():
            plotted, axes = plt.subplots(figsize=SIZE, layout="constrained")
            if plot(record, axes):
                plotted.text(0.995, 0.005, _footnote(record), ha="right", va="bottom", fontsize=6, color="#777777")
                engine: Any = plotted.get_layout_engine()
                engine.set(rect=(0, 0.03, 1, 0.97))
                for suffix in ("png", "svg"):
                    written.append(directory / f"{name}.{suffix}")
                    plotted.savefig(written[-1], dpi=150, metadata={"Date": None} if suffix == "svg" else None)
            plt.close(plotted)
    return written


def _footnote(record: Record) -> str:
    machine = record.about.get("machine", {})
    words = [f"{machine.get('cores')} cores {machine.get('processor', '')}", f"Linux {machine.get('kernel')}"]
    return ", ".join([*words, str(record.about.get("date", ""))[:10], f"`{record.about.get('command', '')}`"])


def _colour(contestant: str) -> str:
    return COLOURS.get(contestant, OTHER)


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: figure(value)))


def _range(row: Row, factor: float = 1.0) -> tuple[float, float]:
    """Distances from the median to the lowest and highest value: error bars."""
    middle = row.median
    return (middle - min(row.values)) * factor, (max(row.values) - middle) * factor


def _lines(axes: Any, found: dict[str, list[tuple[float, Row]]], factor: float = 1.0) -> None:
    for contestant, points in found.items():
        rows = [row for _, row in points]
        errors = list(zip(*(_range(row, factor) for row in rows), strict=True))
        axes.errorbar(
            [x for x, _ in points],
            [row.median * factor for row in rows],
            yerr=errors,
            marker="o",
            markersize=5,
            linewidth=1.8,
            capsize=3,
            color=_colour(contestant),
            label=contestant,
        )


def _series(record: Record, prefix: str, metric: str) -> dict[str, list[tuple[float, Row]]]:
    """Points by contestant from scenarios called PREFIX-NUMBER."""
    found: dict[str, list[tuple[float, Row]]] = {}
    for row in record.rows.values():
        stem, _, number = row.scenario.rpartition("-")
        if (stem, row.metric) == (prefix, metric) and number.isdigit() and " at " not in row.contestant:
            found.setdefault(row.contestant, []).append((float(number), row))
    return {contestant: sorted(points, key=lambda point: point[0]) for contestant, points in found.items()}


def _ports(record: Record, axes: Any) -> bool:
    found = _series(record, "throughput", "rate")
    if not found:
        return False
    _lines(axes, found)
    kernel = dict(found.get("kernel", []))
    for ports, row in found.get("mcfwd", []):
        if ports in kernel and kernel[ports].median:
            ratio = row.median / kernel[ports].median
            axes.annotate(f"{ratio:.1f} x", (ports, row.median), (0, 9), textcoords="offset points", ha="center")
    axes.set(xscale="log", yscale="log", xlabel="output ports", ylabel="datagrams a second offered, none lost")
    ticks = sorted({ports for points in found.values() for ports, _ in points})
    axes.set_xticks(ticks, [f"{ports:g}" for ports in ticks])
    axes.minorticks_off()
    axes.set_yticks([5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000])
    _thousands(axes.yaxis)
    axes.margins(y=0.15)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.set_title("Highest rate without loss, one group, 1316 octets", loc="left")
    return True


def _bars(axes: Any, rows: Sequence[Row], names: Sequence[str], factor: float = 1.0) -> None:
    positions = range(len(rows))
    values = [row.median * factor for row in rows]
    errors = list(zip(*(_range(row, factor) for row in rows), strict=True))
    axes.bar(positions, values, yerr=errors, capsize=3, color=[_colour(row.contestant) for row in rows], width=0.7)
    for x, row in zip(positions, rows, strict=True):
        _label(axes, x, row, factor)
    axes.set_xticks(list(positions), names)
    axes.margins(y=0.15)


def _label(axes: Any, x: float, row: Row, factor: float = 1.0) -> None:
    """The median above its bar and error bar."""
    value = row.median * factor
    words = f"{value / 1000:.0f}k" if value >= 10_000 else f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
    top = max(row.values) * factor
    axes.annotate(words, (x, top), (0, 4), textcoords="offset points", ha="center", fontsize=9)


def _grouped(record: Record, axes: Any, prefix: str, metric: str, label: str) -> bool:
    """Bars side by side: one cluster for each scenario PREFIX-NUMBER, one bar for each contestant."""
    found = _series(record, prefix, metric)
    clusters = sorted({number for points in found.values() for number, _ in points})
    if not clusters:
        return False
    width = 0.8 / len(found)
    for place, (contestant, points) in enumerate(found.items()):
        xs = [clusters.index(number) + (place - (len(found) - 1) / 2) * width for number, _ in points]
        heights = [row.median for _, row in points]
        errors = list(zip(*(_range(row) for _, row in points), strict=True))
        axes.bar(xs, heights, width * 0.92, yerr=errors, capsize=2, color=_colour(contestant), label=contestant)
        for x, (_, row) in zip(xs, points, strict=True):
            _label(axes, x, row)
    axes.set_xticks(range(len(clusters)), [label.format(f"{number:,.0f}") for number in clusters])
    axes.margins(y=0.35)    # room for the legend above the bars
    axes.legend(frameon=False, loc="upper left", ncols=min(len(found), 3))
    return True


def _groups(record: Record, axes: Any) -> bool:
    if not _grouped(record, axes, "groups", "rate", "{} groups"):
        return False
    _thousands(axes.yaxis)
    axes.set(ylabel="datagrams a second offered, none lost")
    axes.set_title("Interleaved groups, 4 ports, 1316 octets", loc="left")
    return True


def _opponents(record: Record, axes: Any) -> bool:
    rows = [row for row in record.rows.values() if (row.scenario, row.metric) == ("opponents", "rate")]
    if not rows:
        return False
    _bars(axes, rows, [row.contestant for row in rows])
    axes.tick_params(axis="x", labelrotation=45)
    _thousands(axes.yaxis)
    axes.set(ylabel="datagrams a second offered, none lost")
    axes.set_title("What copies frames, 4 ports, 1316 octets (gro: receive offload)", loc="left", fontsize=10)
    return True


def _frames(record: Record, axes: Any) -> bool:
    if not _grouped(record, axes, "frames", "rate", "{} octets"):
        return False
    _thousands(axes.yaxis)
    axes.set(ylabel="datagrams a second offered, none lost", xlabel="Ethernet frame with FCS")
    axes.set_title("Frame sizes, 4 ports, one group", loc="left")
    return True


def _cpu(record: Record, axes: Any) -> bool:
    if not _grouped(record, axes, "cpu", "machine", "{} pps"):
        return False
    axes.set(ylabel="busy cores of the whole machine")
    axes.set_title("CPU at 4 ports, source and receivers included", loc="left")
    return True


def _overload(record: Record, axes: Any) -> bool:
    if not _grouped(record, axes, "overload", "of-peak", "{} ports"):
        return False
    axes.axhline(1.0, color="#777777", linewidth=0.8, linestyle=":")
    axes.set(ylabel="delivered, of the lossless rate")
    axes.set_title("Offered twice the lossless rate, or all the source can", loc="left")
    return True


def _latency(record: Record, axes: Any) -> bool:
    rows = _medians(record, "latency-1000")
    if not rows:
        return False
    _bars(axes, rows, [row.contestant for row in rows], 1e6)
    tails = [record.rows[row.scenario, row.contestant, "p99"].median * 1e6 for row in rows]
    axes.plot(range(len(rows)), tails, "_", markersize=16, color="#333333", label="99th percentile")
    axes.set(yscale="log", ylabel="microseconds")
    _thousands(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
    axes.set_title("Latency, 1,000 datagrams a second, 4 ports: median", loc="left")
    return True


def _join(record: Record, axes: Any) -> bool:
    found = {name: rows for name in JOINS if (rows := _medians(record, name))}
    if not found:
        return False
    contestants = list(dict.fromkeys(row.contestant for rows in found.values() for row in rows))
    for cluster, rows in enumerate(found.values()):
        for row in rows:
            place = cluster + (contestants.index(row.contestant) - (len(contestants) - 1) / 2) * 0.22
            samples = [delay * 1000 for each in row.detail for delay in each["all"]]
            label = row.contestant if not cluster else None
            axes.plot([place] * len(samples), samples, "o", ms=4, alpha=0.4, color=_colour(row.contestant), label=label)
            axes.plot(place, row.median * 1000, "_", markersize=22, color=_colour(row.contestant))
    axes.set_xticks(range(len(found)), [JOINS[name] for name in found])
    axes.set(yscale="log", ylabel="milliseconds", xlim=(-0.6, len(found) - 0.4))
    _thousands(axes.yaxis)
    axes.legend(frameon=False)
    axes.set_title("Join delay: report to first datagram", loc="left")
    return True


def _medians(record: Record, scenario: str) -> list[Row]:
    return [row for row in record.rows.values() if (row.scenario, row.metric) == (scenario, "median")]


PLOTS: dict[str, Callable[[Record, Any], bool]] = {
    "throughput": _ports,
    "groups": _groups,
    "opponents": _opponents,
    "frames": _frames,
    "cpu": _cpu,
    "latency": _latency,
    "overload": _overload,
    "join-delay": _join,
}
