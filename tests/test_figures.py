"""The tables of README and docs/performance.md say what the stored result says."""

import json
import re
from pathlib import Path
from statistics import median

import pytest

from bench.figures import TABLES, beside_the_kernel, duration, latencies, rate, updated
from bench.record import Record

ROOT = Path(__file__).parent.parent
STORED = Record.from_json(json.loads((ROOT / "bench" / "results" / "result.json").read_text()))


def record_of(**rows: dict[str, list[float]]) -> Record:
    """From scenario_metric = {contestant: values}."""
    record = Record()
    for name, found in rows.items():
        scenario, _, metric = name.rpartition("_")
        for contestant, values in found.items():
            for value in values:
                record.add(scenario.replace("_", "-"), contestant, metric, "", value)
    return record


def cells(lines: list[str], first: str) -> list[str]:
    """Of the row that begins with `first`."""
    return next(row for line in lines if (row := [cell.strip() for cell in line.strip("|").split("|")])[0] == first)


@pytest.mark.parametrize("name", TABLES)
def test_the_table_of_a_page_is_that_of_the_stored_result(name):
    page = (ROOT / name).read_text()
    assert updated(page, name, STORED) == page, f"{name} is not of bench/results/result.json: run scripts/figures"


@pytest.mark.parametrize("name", TABLES)
def test_a_page_without_marks_is_refused(name):
    with pytest.raises(ValueError, match=name):
        updated("# A page\n", name, STORED)


def test_a_ratio_is_the_median_of_the_pairs_ratios():
    found = record_of(throughput_4_rate={"mcfwd": [200.0, 300.0, 100.0], "kernel": [100.0, 50.0, 100.0]})
    assert cells(beside_the_kernel(found), "4 ports")[1:4] == ["200", "100", "2.00 × (1.00 to 6.00)"]


def test_what_was_not_measured_is_not_said():
    assert cells(beside_the_kernel(Record()), "4 ports") == ["4 ports", "-", "-", "", "-"]
    assert cells(latencies(Record()), "80,000") == ["80,000", "-", "-", "-", "-"]


@pytest.mark.parametrize(("lossless", "said"), [(79_000.0, "loses some"), (81_000.0, "-")])
def test_the_kernel_has_no_latency_where_it_was_offered_more_than_it_carries(lossless, said):
    found = record_of(throughput_4_rate={"kernel": [50_000.0, lossless]}, latency_80000_median={"mcfwd": [0.002]})
    assert cells(latencies(found), "80,000")[-1] == said


def test_readme_has_the_default_profile_at_every_rate_that_was_measured():
    for scenario in {row.scenario for row in STORED.rows.values() if row.scenario.startswith("latency-")}:
        middle, tail = (duration(median(STORED.values(scenario, "mcfwd", metric))) for metric in ("median", "p99"))
        offered = f"{int(scenario.removeprefix('latency-')):,}"
        assert cells((ROOT / "README.md").read_text().splitlines(), offered)[1] == f"{middle} ({tail})"


def test_a_sentence_with_another_latency_is_not_left_in_readme():
    text = (ROOT / "README.md").read_text()
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    assert re.findall(r"\d+ (?:µs|ms)\b", prose) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0018434, "1.84 ms"), (0.00059693, "597 µs"), (1.6e-5, "16 µs"), (8.4e-8, "84 ns"), (0.0, "0 ns")],
)
def test_durations_are_in_a_unit_that_suits_them(value, text):
    assert duration(value) == text


def test_rates_have_three_digits():
    assert [rate(value) for value in (321_393.0, 4_118.0, 99.97)] == ["321,000", "4,120", "100"]
