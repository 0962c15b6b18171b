"""A recorded answer of `mcfwd why` as an SVG of the terminal that showed it: README's picture."""

import json

from rich.console import Console
from rich.terminal_theme import MONOKAI

from forwarder.command.chains import picture

WIDTH = 96      # columns: what GitHub shows without scrolling


def drawn(answer: str) -> str:
    """The SVG of an answer as `--json` prints it; the same for the same answer."""
    said = json.loads(answer)
    command = " ".join(["mcfwd why", said["group"], *([said["receiver"]] if said["receiver"] else [])])
    with open("/dev/null", "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, highlight=False)
        console.print(f"$ sudo {command}", markup=False)
        console.print(picture(said, WIDTH))
    return console.export_svg(title="mcfwd why", theme=MONOKAI, unique_id="why")
