"""The terminal: a table once, or redrawn in place again and again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from forwarder.client import Client, NoAnswerError, RequestError, check_agent, understood
from forwarder.command.question import Question
from forwarder.command.tables import Clip, render, worst_first
from forwarder.diagnosis import notes
from forwarder.units import count, visible

WHOLE = Clip()
NEEDING = frozenset(("flows", "groups", "hosts", "upstream"))   # are empty where interfaces do not work
UNLIMITED = 10_000      # columns, where nobody's terminal is the limit


def draw_once(client: Client, question: Question) -> None:
    """Print the table of what is asked for; raises NoAnswerError or RequestError."""
    console, noun = open_console(), question.noun
    answer = question.answer(client)
    check_agent(answer)
    total = client.total or 0
    with understood():
        console.print(_table(client, question, answer, console.width), crop=False)  # it fits: rich need not look
    if question.limit is not None and total > len(answer):
        console.print(f"{count(len(answer))} of {count(total)} {noun}; --limit {total} shows all")
    elif noun == "flows" and total:
        console.print(f"{count(total)} flow{'s'[: total > 1]}")


def draw_forever(client: Client, question: Question, interval: float) -> None:
    """Redraw until interrupted, of flows the worst first; an instance that is away is said so and waited for."""
    console = open_console()
    with drawing_on(console) as draw:
        while True:
            draw(_picture(client, question, console))
            time.sleep(interval)


def _picture(client: Client, question: Question, console: Console) -> RenderableType:
    """What fits a terminal; of flows no more is asked for."""
    height = console.height if console.is_terminal else None
    most = question.limit if height is None else min(question.limit or height, height)
    flows = question.noun == "flows"
    try:
        answer = question.answer(client, flows and most is not None, most if flows else None)
        check_agent(answer)
        beyond = max((client.total or 0) - len(answer), 0) if isinstance(answer, list) else 0
        with understood():
            if flows and most is None and question.key is None:
                answer.sort(key=worst_first)    # pages of an order that changes would repeat some and lack others
            return _table(client, question, answer, console.width, Clip(height, beyond, ordered=flows))
    except (NoAnswerError, RequestError) as error:
        return Text("\n".join(map(visible, str(error).split("\n"))), style="red")


def _table(client: Client, question: Question, answer: Any, width: int, clip: Clip = WHOLE) -> RenderableType:
    """The table of an answer; an empty one is a sentence."""
    if not answer and question.filters:
        return Text(visible(question.missed))
    in_order = replace(clip, ordered=clip.ordered or question.key is not None)
    return render(question.noun, answer, width, in_order, _why_empty(client, question.noun, answer))


def _why_empty(client: Client, noun: str, answer: Any) -> list[str]:
    """What is wrong with interfaces, where there is nothing in the table that could say it."""
    if answer or noun not in NEEDING:
        return []
    try:
        return notes.of_emptiness(client.get("interfaces"))
    except (NoAnswerError, RequestError):   # the table is the answer, and was given
        return []


@contextmanager
def drawing_on(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """What draws a picture in place of the one before; where there is no terminal, below it."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda picture: live.update(picture, refresh=True)


class _Console(Console):
    """One whose reader may go away, as it may from every command (rich would end the program by itself)."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console() -> Console:
    """Standard output; nobody's terminal limits what is not written to one."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=UNLIMITED)
