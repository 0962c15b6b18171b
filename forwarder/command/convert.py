"""`mcfwd convert`: what the file of another program says, as our TOML."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from forwarder.command.options import Format, Maps, configured
from forwarder.endings import fail, plain_errors
from forwarder.units import visible


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="A file of another program.")],
    format: Format = None,
    maps: Maps = None,
) -> None:
    """Print the file of another program as TOML.

    What is to be known of it is said on standard error.
    """
    from forwarder.config.converting import written
    from forwarder.config.files import plainly
    from forwarder.config.loading import convertible

    loaded = configured(lambda: convertible(file, format, maps or []))
    if loaded.translation is None:
        fail(f"{plainly(file)}: is TOML already")
    with plain_errors():
        print(written(loaded.translation, file), end="", flush=True)
        for notice in loaded.notices:
            print(f"mcfwd: {visible(notice)}", file=sys.stderr)
