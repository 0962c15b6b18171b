"""`mcfwd show`."""

from enum import StrEnum
from typing import Annotated

import typer

from forwarder.command.options import Socket
from forwarder.endings import fail, plain_errors


class Noun(StrEnum):
    """What can be shown."""

    INTERFACES = "interfaces"
    GROUPS = "groups"
    HOSTS = "hosts"
    REFUSALS = "refusals"
    ROUTES = "routes"
    FLOWS = "flows"
    UPSTREAM = "upstream"
    STATS = "stats"


def show(
    noun: Annotated[Noun, typer.Argument(metavar="NOUN", help=f"One of {', '.join(Noun)}.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Every second until Ctrl-C; worst flows first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many rows.")] = None,
    socket: Socket = None,
) -> None:
    """Show what a running instance knows."""
    from forwarder.client import Client, NoAnswerError, RequestError
    from forwarder.command.printing import show as show_noun

    with plain_errors():
        try:
            show_noun(Client(socket), noun.value, as_json, watch, limit)
        except (NoAnswerError, RequestError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            if not watch:
                raise
