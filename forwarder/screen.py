"""The terminal: a table once, or redrawn in place every second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from forwarder.client import Client, NoAnswerError, RequestError
from forwarder.tables import render

INTERVAL = 1.0          # seconds between two pictures
UNLIMITED = 10_000      # columns, where nobody's terminal is the limit


def draw_once(client: Client, noun: str) -> None:
    """Print the table of `noun`; raises NoAnswerError or RequestError."""
    console = _console()
    console.print(render(noun, client.get_answer(noun), console.width))


def draw_forever(client: Client, noun: str) -> None:
    """Redraw until interrupted; an instance that is away is said so and waited for."""
    console = _console()
    with _screen(console) as draw:
        while True:
            picture: RenderableType
            try:
                picture = render(noun, client.get_answer(noun), console.width)
            except (NoAnswerError, RequestError) as error:
                picture = Text(str(error), style="red")
            draw(picture)
            time.sleep(INTERVAL)


@contextmanager
def _screen(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda picture: live.update(picture, refresh=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=UNLIMITED)
