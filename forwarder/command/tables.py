"""Tables for people, one for every noun of `mcfwd show`.

A column has a rank; where the terminal is narrow the highest ranks are left out first, and rank 0 always stays.
Cells are plain text: what came from the network is never read as markup.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from socket import inet_aton
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from forwarder.command.grid import GAP, Grid, Heading
from forwarder.diagnosis import notes
from forwarder.units import count, duration, listed, per_second, rate, size, visible

Row = dict[str, Any]
FOLDED = 26             # cells longer than this may be folded rather than cost a column: with the longest of the others
                        # a flow's hint just fits into 80 columns


@dataclass(frozen=True, slots=True)
class Column:
    """A title, how its cells are made, its rank (0 always stays), and how it looks."""

    title: str
    cell: Callable[[Row], str]
    rank: int = 0
    right: bool = False
    style: str = ""


WARNING = "yellow"
ALARM = Style.parse(WARNING)
ALARMING = frozenset(
    ("down", "missing", "degraded", "wrong_interface", "source_not_allowed", "ttl_expired", "ttl_threshold")
)


def _text(key: str, none: str = "-") -> Callable[[Row], str]:
    return lambda row: none if row[key] is None else str(row[key])


def _querier(row: Row) -> str:
    if row["querier"] is None:
        return "-"
    return "we are" if row["querier"] else row["querier_address"] or "nobody"


def _state(row: Row) -> str:
    """An interface that is there and not served is neither up nor down for people."""
    return "degraded" if row.get("degraded") else str(row["state"])


def _drops(row: Row) -> str:
    found = sorted(((number, reason) for reason, number in row["drops"].items() if number), reverse=True)
    return listed([f"{reason} {count(number)}" for number, reason in found])


def _rate(key: str) -> Callable[[Row], str]:
    """Bits a second; "-" where they are not known, as of an instance that has just begun."""
    return lambda row: "-" if row.get(key) is None else rate(round(row[key]))


def _members(row: Row) -> str:
    """The sources a filter lets in, in words."""
    if row["mode"] == "include":
        return listed([_address(each) for each in row["sources"]], empty="none")
    excluded = row.get("excluded_sources", row["sources"])
    return f"all but {listed([_address(each) for each in excluded])}" if excluded else "all"


def _address(source: Row | str) -> str:
    return source if isinstance(source, str) else str(source["address"])


def _note(row: Row) -> str:
    """Why something has no effect."""
    return row.get("note") or ""


def _origins(row: Row) -> str:
    """Whence a report comes: downstream interfaces, and the configuration of the upstream one."""
    return listed([*row.get("interfaces", ()), *(["static"] if row.get("static") else [])])


COLUMNS: dict[str, tuple[Column, ...]] = {
    "interfaces": (
        Column("interface", _text("name"), style="bold"),
        Column("role", _text("role")),
        Column("state", _state),
        Column("address", _text("address"), 2),
        Column("querier", _querier, 8),
        Column("igmp", lambda row: f"v{row['igmp_version']}" if row["igmp_version"] else "-", 9),
        Column("groups", lambda row: count(row["groups"]), 1, True),
        Column("rx packets", lambda row: count(row["rx_packets"]), 6, True),
        Column("rx rate", _rate("rx_bits_per_second"), 4, True),
        Column("rx/s", lambda row: per_second(row.get("rx_packets_per_second")), 10, True),
        Column("rx bytes", lambda row: size(row["rx_bytes"]), 11, True),
        Column("tx packets", lambda row: count(row["tx_packets"]), 7, True),
        Column("tx rate", _rate("tx_bits_per_second"), 5, True),
        Column("tx/s", lambda row: per_second(row.get("tx_packets_per_second")), 10, True),
        Column("tx bytes", lambda row: size(row["tx_bytes"]), 11, True),
        Column("mtu", _text("mtu"), 12, True),
        Column("segmentation", _text("segmentation"), 13),
        Column("drops", _drops, 3),
    ),
    "groups": (
        Column("interface", _text("interface"), style="bold"),
        Column("group", _text("group")),
        Column("sources", _members),
        Column("igmp", lambda row: f"v{row['compatibility']}", 4),
        Column("expires", lambda row: "static" if row["static"] else duration(row["expires"]), 1, True),
        Column("uptime", lambda row: duration(row["uptime"]), 3, True),
        Column("last reporter", _text("last_reporter"), 2),
        Column("note", _note, 1),
    ),
    "hosts": (
        Column("interface", _text("interface"), style="bold"),
        Column("group", _text("group")),
        Column("host", _text("host", "unknown")),
        Column("mac", _text("mac"), 2),
        Column("sources", _members),
        Column("expires", lambda row: duration(row["expires"]), 1, True),
    ),
    "refusals": (
        Column("interface", _text("interface"), style="bold"),
        Column("group", _text("group")),
        Column("host", _text("host", "unknown")),
        Column("mac", _text("mac"), 5),
        Column("sources", _members, 4),
        Column("reason", _text("reason"), 3),
        Column("refused by", _text("rule")),
        Column("since", lambda row: duration(row["since"]), 2, True),
        Column("last", lambda row: duration(row["last"]), 1, True),
        Column("times", lambda row: count(row["count"]), 6, True),
    ),
    "routes": (
        Column("group", _text("group"), style="bold"),
        Column("source", _text("source", "any")),
        Column("from", _text("upstream", "any"), 2),
        Column("to", lambda row: listed(row["interfaces"], empty="nobody")),
        Column("kind", _text("kind"), 1),
        Column("note", _note, 1),
    ),
    "flows": (
        Column("group", _text("group"), style="bold"),
        Column("source", _text("source")),
        Column("from", _text("upstream"), 2),
        Column("to", lambda row: listed(row["downstreams"]), 3),
        Column("rate", _rate("bits_per_second"), 4, True),
        Column("packets/s", lambda row: per_second(row.get("packets_per_second")), 8, True),
        Column("packets", lambda row: count(row["packets"]), 5, True),
        Column("bytes", lambda row: size(row["bytes"]), 7, True),
        Column("idle", lambda row: duration(row["idle"]), 6, True),
        Column("since", lambda row: duration(row.get("since")), 9, True),
        Column("verdict", _text("verdict")),
        Column("hint", _text("hint", ""), 1),
    ),
    "upstream": (
        Column("interface", _text("interface"), style="bold"),
        Column("group", _text("group")),
        Column("sources", _members),
        Column("igmp", lambda row: f"v{row['version']}", 1),
        Column("from", _origins, 2),
    ),
    "processes": (
        Column("process", _text("name"), style="bold"),
        Column("pid", _text("pid"), 0, True),
        Column("user", lambda row: row.get("user") or "-", 3),
        Column("uptime", lambda row: duration(row["uptime"]), 0, True),
        Column("restarts", _text("restarts"), 1, True),
        Column("last heartbeat", lambda row: duration(row["heartbeat"]), 2, True),
    ),
}


def _quad(address: str | None) -> bytes:
    """Sorts dotted addresses and networks by number; what is neither comes first."""
    number, _, prefix = (address or "").partition("/")
    try:
        return inet_aton(number) + bytes([int(prefix)] if prefix else ())
    except (OSError, ValueError):
        return b""


ROLES = {"upstream": 0, "both": 1, "downstream": 2}
ORDER: dict[str, Callable[[Row], Any]] = {
    "interfaces": lambda row: (ROLES.get(row["role"], len(ROLES)), row["index"]),
    "groups": lambda row: (row["interface"], _quad(row["group"])),
    "hosts": lambda row: (row["interface"], _quad(row["group"]), _quad(row["host"])),
    "refusals": lambda row: (row["interface"], _quad(row["group"]), _quad(row["host"])),
    "routes": lambda row: (_quad(row["group"]), _quad(row["source"])),
    "flows": lambda row: (_quad(row["group"]), _quad(row["source"])),
    "upstream": lambda row: (row["interface"], _quad(row["group"])),
}


def worst_first(flow: Row) -> tuple[int, int]:
    """Sorts flows as the API does by `order=worst`: what somebody does not get, what nobody wants, what flows."""
    return {"forward": 2, "no_members": 1, "standby_duplicate": 1}.get(flow["verdict"], 0), -flow["packets"]


@dataclass(frozen=True, slots=True)
class Clip:
    """What of a table is shown: `height` in lines, `beyond`: rows that were not asked for, `ordered`: as they are."""

    height: int | None = None
    beyond: int = 0
    ordered: bool = False


def render(noun: str, answer: Any, width: int, clip: Clip = Clip(), said: Sequence[str] = ()) -> RenderableType:
    """The table of a noun in at most `width` columns where that can be; `said` stands below where it is empty."""
    if noun == "stats":
        return _stats(answer, width)
    if not answer:
        return _with_notes(said, Text("nothing is reported upstream" if noun == "upstream" else f"no {noun}"))
    below = notes.of_interfaces(answer) if noun == "interfaces" else []
    if clip.height is not None:
        below = below[: clip.height // 4]     # most of a small screen is for the table
        clip = replace(clip, height=clip.height - len(below))
    rows = answer if clip.ordered else sorted(answer, key=ORDER[noun])
    return _with_notes(below, _table(COLUMNS[noun], rows, width, clip))


def _with_notes(below: Sequence[str], table: RenderableType) -> RenderableType:
    """A table under which stands which interfaces are not served, and why."""
    lines = [Text(visible(line), style=WARNING) for line in below]
    return Group(table, *lines) if lines else table


def _table(columns: Sequence[Column], rows: Sequence[Row], width: int, clip: Clip = Clip()) -> Grid:
    cells = {column: [column.cell(row) for row in rows] for column in columns}
    chosen = fit(cells, width)
    headings = [Heading(column.title, column.right, Style.parse(column.style)) for column in chosen]
    texts = [cells[column] for column in chosen]
    return Grid(headings, texts, dict.fromkeys(ALARMING, ALARM), clip.height, clip.beyond)


def fit(cells: dict[Column, list[str]], width: int) -> list[Column]:
    """The columns that fit into `width`, those of the highest rank left out first."""
    widths = _widths(cells)
    while sum(widths.values()) - GAP > width and any(column.rank for column in widths):
        del widths[max(widths, key=lambda column: column.rank)]
    return list(widths)


def _widths(cells: dict[Column, list[str]]) -> dict[Column, int]:
    longest = {column: max(map(len, [column.title, *texts])) for column, texts in cells.items()}
    return {column: min(length, FOLDED) + GAP for column, length in longest.items()}


def _stats(stats: Row, width: int) -> RenderableType:
    frames = stats["frames_per_batch"]
    faults, kept = stats.get("faults", 0), stats.get("user_kept")
    lines = (
        f"mcfwd {stats['version']}, up {duration(stats['uptime'])}",
        f"{count(stats['flows'])} of {count(stats['max_flows'])} flows, {_ring_memory(stats)} ring memory",
        f"{count(stats['batches'])} batches of {'-' if frames is None else f'{frames:.1f}'} frames",
        *([f"{count(faults)} faults of the supervisor; its log says which"] if faults else []),
        *([f"the children are no other user: {kept}"] if kept else []),
        *([f"no spare worker waits: {spare}"] if (spare := stats.get("spare_left_out")) else []),
    )
    degraded = [(row["interface"], row["reason"]) for row in stats.get("degraded", ())]
    texts, table = [Text(visible(line)) for line in lines], _table(COLUMNS["processes"], stats["processes"], width)
    return Group(*texts, _with_notes(notes.degraded(degraded), table))


def _ring_memory(stats: Row) -> str:
    used = stats.get("ring_memory_used")
    return size(stats["ring_memory"]) if used is None else f"{size(used)} of {size(stats['ring_memory'])}"
