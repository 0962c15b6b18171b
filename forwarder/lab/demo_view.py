"""How the demo shows itself: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Row:
    """One receiver at a moment."""

    interface: str
    receiver: str
    membership: str  # what it has joined, "" for nothing
    known: str  # what mcfwd knows of it
    received: int
    rate: float
    lost: int


@dataclass(frozen=True)
class Moment:
    """All that is shown at once; `elapsed` in seconds."""

    elapsed: float
    rows: Sequence[Row]
    upstream: Sequence[str]
    stream: str
    happened: Sequence[str] = field(default_factory=list)  # since the last moment


class View(Protocol):
    """Shows moments while its context lasts."""

    def context(self) -> AbstractContextManager[Any]:
        """Prepares and restores the screen."""

    def show(self, moment: Moment) -> None:
        """The newest moment."""


def new_view(console: Console) -> View:
    """A live table on a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """A line for everything that happens, and one a second for what flows."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._second = -1

    def context(self) -> AbstractContextManager[Any]:
        """Nothing to prepare."""
        return nullcontext()

    def show(self, moment: Moment) -> None:
        """Prints what is new."""
        for line in moment.happened:
            self._print(f"{moment.elapsed:5.1f} s  {line}")
        if int(moment.elapsed) > self._second:
            self._second = int(moment.elapsed)
            flows = "; ".join(f"{row.interface} {row.received} ({row.rate:.0f}/s)" for row in moment.rows)
            reported = ", ".join(moment.upstream) or "nothing"
            self._print(f"{moment.elapsed:5.1f} s  arrived: {flows}; upstream is asked for: {reported}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """A table that is drawn again in place, with the latest events under it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._events: list[str] = []

    def context(self) -> AbstractContextManager[Any]:
        """Takes the bottom of the screen."""
        return self._live

    def show(self, moment: Moment) -> None:
        """Draws the table."""
        self._events += [f"{moment.elapsed:5.1f} s  {line}" for line in moment.happened]
        upstream = Text(f"mcfwd asks upstream for: {', '.join(moment.upstream) or 'nothing'}")
        events = Text("\n".join(self._events[-8:]), style="dim")
        self._live.update(Group(table(moment), upstream, events), refresh=True)


def table(moment: Moment) -> Table:
    """The receivers, one a row."""
    drawn = Table(title=f"{moment.stream}   {moment.elapsed:.1f} s", title_justify="left")
    for name in ("interface", "receiver", "has joined", "mcfwd knows"):
        drawn.add_column(name)
    for name in ("arrived", "per second", "lost"):
        drawn.add_column(name, justify="right")
    for row in moment.rows:
        style = "bold green" if row.membership else "dim"
        counts = (f"{row.received:,}", f"{row.rate:,.0f}", f"{row.lost:,}")
        drawn.add_row(row.interface, row.receiver, row.membership or "-", row.known or "-", *counts, style=style)
    return drawn
