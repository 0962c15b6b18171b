"""A table of plain text as rich prints it, for tables of any length.

rich's own Table works out every cell as a document: 20,000 flows took it 10 s of processor time, and take 0.3 here.
Where all text of a column is ASCII it is handled as one: 65,536 flows took twice as long cell by cell.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby, zip_longest
from operator import itemgetter
from textwrap import wrap
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from forwarder.units import visible

GAP = 2                 # blanks between columns
HEAD, PLAIN = Style(bold=True), Style.null()


class Heading(NamedTuple):
    """What stands over a column, and how its cells look."""

    title: str
    right: bool = False
    style: Style = PLAIN


class Grid:
    """Cells in columns that are as wide as the longest, or narrower and their cells folded where it is too much."""

    def __init__(
        self, headings: Sequence[Heading], columns: Sequence[Sequence[str]], styles: Mapping[str, Style],
        height: int | None = None, beyond: int = 0,
    ) -> None:
        """`columns`: the cells of each, from top to bottom; `styles`: of cells that look otherwise than their column.

        `height`: lines at most; what has no room is counted in the last. `beyond`: rows that there are besides.
        """
        self._headings, self._styles = headings, styles
        self._height, self._beyond = height, beyond
        self._columns = [list(cells) if "".join(cells).isprintable() else [*map(visible, cells)] for cells in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """The lines, as rich wants them."""
        longest = [max(_lengths([each.title, *cells])) for each, cells in self._pairs]
        widths = narrowed(longest, options.max_width)
        titles = [each.title for each in self._headings]
        for line in _lines(titles, self._headings, [HEAD] * len(titles), widths):
            yield from line
        rule = "-" if options.ascii_only else "─"
        yield from _line([(rule * (sum(widths) + GAP * (len(widths) - 1)), PLAIN)])
        shown, rows = 0, len(self._columns[0])
        room = math.inf if self._height is None else max(self._height - 2, 1)
        for lines in self._rows(longest, widths):
            last = shown + 1 == rows and not self._beyond
            if len(lines) > room - (not last):
                break
            room -= len(lines)
            shown += 1
            yield from chain.from_iterable(lines)
        if more := rows - shown + self._beyond:
            yield from _line([(f"+{more:,} more", PLAIN)])

    @property
    def _pairs(self) -> list[tuple[Heading, list[str]]]:
        return list(zip(self._headings, self._columns, strict=True))

    def _rows(self, longest: Sequence[int], widths: Sequence[int]) -> Iterator[list[list[Segment]]]:
        """The lines of each row. Cells are placed a column at a time; most rows look as the others do."""
        odd = self._odd(longest, widths)
        placed = [
            (each.style, _all_placed(cells, each, width))
            for (each, cells), width in zip(self._pairs, widths, strict=True)
        ]
        placed[:-1] = [(style, [cell + " " * GAP for cell in cells]) for style, cells in placed[:-1]]
        looks = [(style, [cells for _, cells in group]) for style, group in groupby(placed, itemgetter(0))]
        styles, end = [style for style, _ in looks], Segment.line()
        texts = [map("".join, zip(*columns, strict=True)) for _, columns in looks]
        for number, row in enumerate(zip(*texts, strict=True)):
            if number in odd:
                yield self._folded([cells[number] for cells in self._columns], widths)
            else:
                yield [[*map(Segment, row, styles), end]]

    def _odd(self, longest: Sequence[int], widths: Sequence[int]) -> set[int]:
        """Rows with a cell that is folded, or looks otherwise than its column."""
        odd: set[int] = set()
        for cells, length, width in zip(self._columns, longest, widths, strict=True):
            if length > width:
                odd.update(number for number, each in enumerate(_lengths(cells)) if each > width)
            if not self._styles.keys().isdisjoint(cells):
                odd.update(number for number, cell in enumerate(cells) if cell in self._styles)
        return odd

    def _folded(self, row: Sequence[str], widths: Sequence[int]) -> list[list[Segment]]:
        """The lines of a row with each cell in its own style, folded where it must be."""
        looks = [self._styles.get(cell, each.style) for cell, each in zip(row, self._headings, strict=True)]
        return _lines(row, self._headings, looks, widths)


def narrowed(widths: Sequence[int], width: int) -> list[int]:
    """Columns that fit into `width` with their gaps, the widest made narrower; none is less than a character."""
    room = width - GAP * (len(widths) - 1)
    most = max(widths, default=1)
    while sum(min(each, most) for each in widths) > room and most > 1:
        most -= 1
    return [min(each, most) for each in widths]


def _length(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _lengths(texts: Sequence[str]) -> list[int]:
    return list(map(len if "".join(texts).isascii() else _length, texts))


def _all_placed(texts: Sequence[str], heading: Heading, width: int) -> list[str]:
    if not "".join(texts).isascii():
        return [_placed(text, heading, width) for text in texts]
    return [text.rjust(width) for text in texts] if heading.right else [text.ljust(width) for text in texts]


def _placed(text: str, heading: Heading, width: int) -> str:
    blanks = " " * (width - _length(text))
    return blanks + text if heading.right else text + blanks


@lru_cache(4096)        # the hints of thousands of flows are a few
def _folded(text: str, width: int) -> list[str]:
    return [text] if _length(text) <= width else wrap(text, width) or [""]


def _lines(
    row: Sequence[str], headings: Sequence[Heading], styles: Sequence[Style], widths: Sequence[int]
) -> list[list[Segment]]:
    """A row whose cells are folded where they must be."""
    lines = zip_longest(*map(_folded, row, widths), fillvalue="")
    return [_line(list(zip(map(_placed, parts, headings, widths), styles, strict=True))) for parts in lines]


def _line(parts: Sequence[tuple[str, Style]]) -> list[Segment]:
    """A line of texts with a gap between them; those that look the same are one segment."""
    spaced = [(text + " " * GAP, style) for text, style in parts[:-1]] + [*parts[-1:]]
    pieces = [Segment("".join(text for text, _ in group), style) for style, group in groupby(spaced, itemgetter(1))]
    return [*pieces, Segment.line()]
