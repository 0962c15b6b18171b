"""`mcfwd run`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from forwarder.command.options import Format, Maps, Socket, configured, socket_path
from forwarder.endings import plain_errors


class ProfileChoice(StrEnum):
    """What the data plane is tuned for."""

    LATENCY = "latency"
    BALANCED = "balanced"
    THROUGHPUT = "throughput"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="TOML file, or one of another program.",
        readable=False,     # what cannot be read is told by what reads it, as everything else about the file
    ),
]
Upstream = Annotated[
    list[str] | None, typer.Option("-u", "--upstream", metavar="IF", help="Where senders are; groups are joined there.")
]
Downstream = Annotated[list[str] | None, typer.Option("-d", "--downstream", metavar="IF", help="Where receivers are.")]


def run(
    config: Config = None,
    upstream: Upstream = None,
    downstream: Downstream = None,
    socket: Socket = None,
    profile: Annotated[ProfileChoice | None, typer.Option("--profile", help="What the data plane favours.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=32, help="Data plane processes.")] = None,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="How much to log.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How a line looks.")] = LogFormat.TEXT,
    format: Format = None,
    maps: Maps = None,
) -> None:
    """Run an instance in the foreground.

    SIGHUP reads the file again, SIGTERM leaves all groups and ends it.
    """
    from forwarder.config.loading import understand
    from forwarder.serve import Said, serve

    said = Said(None if config is None else str(config), upstream or [], downstream or [], socket_path(socket),
                None if profile is None else profile.value, workers, format, maps or [])  # fmt: skip
    loaded = configured(lambda: understand(config, *said[1:]))
    with plain_errors():
        serve(loaded.settings, said, log_level.value, log_format.value, loaded.notices)
