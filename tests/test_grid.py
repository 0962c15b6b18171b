"""Tables of plain text: what fits, what is folded, what is only counted, and nothing that a terminal would obey."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style

from forwarder.command.grid import GAP, Grid, Heading, narrowed, visible

HEADINGS = [Heading("name", style=Style(bold=True)), Heading("count", right=True)]


def lines(names, counts, width=40, height=None, beyond=0):
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(Grid(HEADINGS, [names, counts], {}, height, beyond))
    return captured.get().splitlines()


def test_columns_are_as_wide_as_their_longest_cell():
    assert lines(["a", "bcdef"], ["1", "1,000"]) == [
        "name   count",
        "────────────",
        "a          1",
        "bcdef  1,000",
    ]


def test_what_is_too_long_is_folded_and_the_widest_column_first():
    assert lines(["to be folded soon", "b"], ["1", "12,345"], width=20) == [
        "name           count",
        "────────────────────",
        "to be folded       1",
        "soon                ",
        "b             12,345",
    ]


def test_a_cell_may_look_otherwise_than_its_column():
    console = Console(width=40, highlight=False, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(Grid(HEADINGS, [["a", "bad"], ["1", "2"]], {"bad": Style(color="yellow")}))
    plain, odd = captured.get().splitlines()[2:]
    assert plain.startswith("\x1b[1ma     \x1b[0m")
    assert odd.startswith("\x1b[33mbad   \x1b[0m")


def test_wide_characters_take_two_cells():
    assert lines(["東京", "abcd"], ["1", "2"])[2:] == ["東京      1", "abcd      2"]


@pytest.mark.parametrize(("height", "beyond", "last", "length"), [
    (None, 0, "row99", 102), (None, 7, "+7 more", 103), (12, 0, "+91 more", 12), (12, 1000, "+1,091 more", 12),
    (102, 0, "row99", 102), (101, 0, "+2 more", 101), (1, 0, "+100 more", 3),
])  # fmt: skip
def test_what_has_no_room_is_counted(height, beyond, last, length):
    shown = lines([f"row{number}" for number in range(100)], ["1"] * 100, height=height, beyond=beyond)
    assert shown[-1].split("  ")[0] == last
    assert len(shown) == length


def test_a_folded_row_is_shown_whole_or_counted():
    shown = lines(["a " * 30, "b"], ["1", "2"], width=20, height=6)
    assert shown[2:] == ["+2 more"]


def test_an_empty_grid_is_its_head():
    assert lines([], []) == ["name  count", "───────────"]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(1, 200))
def test_columns_are_narrowed_to_fit_and_no_more_than_that(widths, width):
    found = narrowed(widths, width)
    room = width - GAP * (len(widths) - 1)
    assert sum(found) <= room or max(found) <= 1
    assert all(now <= before for now, before in zip(found, widths, strict=True))
    assert found == widths or sum(found) + sum(each == max(found) for each in found) > room


@given(st.text(max_size=30))
def test_nothing_moves_the_cursor(text):
    assert visible(text).isprintable()
    assert visible("a\x1b[2Jb") == "a\\x1b[2Jb"


def test_thousands_of_rows_take_no_time():
    """rich's own table took 10 s of processor time for so many cells."""
    cells = [f"239.1.{number >> 8}.{number & 255}" for number in range(20_000)]
    begun = time.process_time()
    console = Console(width=200, highlight=False)
    with console.capture():
        console.print(Grid([*HEADINGS] * 4, [cells] * 8, {}))
    assert time.process_time() - begun < 3.0
