"""`mcfwd show`."""

from enum import StrEnum
from typing import Annotated

import typer

from forwarder.command.options import Socket
from forwarder.endings import EXIT_USAGE, fail, plain_errors

INTERVAL = 1.0          # seconds between two answers of --watch
SHORTEST, LONGEST = 0.1, 86_400.0


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


FILTERS = (
    "Only rows of a group (239.1.2.3, 239.1.0.0/16), of an interface (eth1, 'tap*'), of a host or source (10.0.0.7, "
    "10.0.0.0/8). Of one kind any may hold, of several kinds each must."
)


def show(
    noun: Annotated[Noun, typer.Argument(metavar="NOUN", help=f"One of {', '.join(Noun)}.")],
    filters: Annotated[list[str] | None, typer.Argument(metavar="FILTER", help=FILTERS)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    problems: Annotated[bool, typer.Option("--problems", help="Only what does not work as somebody wants it.")] = False,
    sort: Annotated[str | None, typer.Option("--sort", metavar="KEY", help="By a name of --json; -KEY: down.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="--sort the other way.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again until Ctrl-C; worst flows first.")] = False,
    interval: Annotated[float | None, typer.Option("--interval", metavar="SECONDS", help="Of --watch; 1 unless said.")]
    = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many rows.")] = None,
    socket: Socket = None,
) -> None:
    """Show what a running instance knows."""
    from forwarder.client import Client, NoAnswerError, RequestError
    from forwarder.command import question
    from forwarder.command.printing import show as show_noun

    try:
        asked = question.parse(noun.value, filters or (), problems=problems, order=sort, reverse=reverse, limit=limit)
        seconds = _interval(watch, interval)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    with plain_errors():
        try:
            show_noun(Client(socket), asked, as_json, seconds)
        except (NoAnswerError, RequestError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            if not watch:
                raise


def _interval(watch: bool, seconds: float | None) -> float | None:
    """Seconds between two answers, None for one answer; ValueError where that cannot be."""
    if seconds is None:
        return INTERVAL if watch else None
    if not watch:
        raise ValueError("--interval: goes with --watch")
    if not SHORTEST <= seconds <= LONGEST:      # what is no number is not between them either
        raise ValueError(f"--interval: should be {SHORTEST:g} to {LONGEST:g} seconds")
    return seconds
