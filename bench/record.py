"""What was measured: rows with one value for each pair, and their JSON. Pure.

A row is known by scenario, contestant and metric; these names are kept stable, so that runs can be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FORMAT = 1


@dataclass
class Row:
    """Values of one metric, one for each pair; `detail` holds what else was seen, pair by pair."""

    scenario: str
    contestant: str
    metric: str
    unit: str
    values: list[float] = field(default_factory=list)
    detail: list[Any] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the values; 0 when there is none."""
        return median(self.values) if self.values else 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Its name."""
        return self.scenario, self.contestant, self.metric


@dataclass
class Record:
    """A whole run."""

    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)  # scenario, contestant: the reason
    terms: dict[str, dict[str, Any]] = field(default_factory=dict)  # scenario: ports, groups, size, ...
    seconds: dict[str, float] = field(default_factory=dict)  # scenario: how long it took
    about: dict[str, Any] = field(default_factory=dict)  # machine, command, settings, date

    def add(
        self, scenario: str, contestant: str, metric: str, unit: str, value: float, detail: object = None
    ) -> None:
        """One more value."""
        row = self.rows.setdefault((scenario, contestant, metric), Row(scenario, contestant, metric, unit))
        row.values.append(float(value))
        if detail is not None:
            row.detail.append(detail)

    def values(self, scenario: str, contestant: str, metric: str) -> list[float]:
        """Values of a row, none when there is no such row."""
        row = self.rows.get((scenario, contestant, metric))
        return row.values if row else []

    def of(self, scenarios: Iterable[str], metric: str) -> dict[str, dict[str, Row]]:
        """Rows of a metric by contestant and scenario, in the order of `scenarios`."""
        found: dict[str, dict[str, Row]] = {}
        for scenario in scenarios:
            for row in self.rows.values():
                if (row.scenario, row.metric) == (scenario, metric):
                    found.setdefault(row.contestant, {})[scenario] = row
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return {
            "format": FORMAT,
            **self.about,
            "seconds": self.seconds,
            "terms": self.terms,
            "rows": [asdict(row) | {"median": row.median} for row in self.rows.values()],
            "skipped": [{"scenario": s, "contestant": c, "reason": why} for (s, c), why in self.skipped.items()],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Record":
        """What `to_json` gave; ValueError for another format."""
        if plain.get("format") != FORMAT:
            raise ValueError("not a result of python -m bench, or of another version")
        record = cls(terms=dict(plain["terms"]), seconds=dict(plain["seconds"]))
        for fields in plain["rows"]:
            row = Row(**{name: value for name, value in fields.items() if name != "median"})
            record.rows[row.key] = row
        record.skipped = {(each["scenario"], each["contestant"]): each["reason"] for each in plain["skipped"]}
        known = {"format", "seconds", "terms", "rows", "skipped"}
        record.about = {name: value for name, value in plain.items() if name not in known}
        return record


def spread(values: Sequence[float]) -> str:
    """Lowest and highest of some values."""
    return f"{figure(min(values))}..{figure(max(values))}" if len(values) > 1 else ""


def figure(value: float) -> str:
    """A number with three or four significant digits, as people write it."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
