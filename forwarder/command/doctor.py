"""`mcfwd doctor`: what of this machine and a configuration keeps multicast away, and what mends it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from forwarder.command.options import Format, Maps, Socket, socket_path
from forwarder.command.run import Downstream, Upstream
from forwarder.endings import plain_errors

if TYPE_CHECKING:
    from forwarder.diagnosis.doctor.finding import Finding
    from forwarder.state.settings import Settings

Configured: TypeAlias = "tuple[Settings | None, list[str]]"
"""The settings that were named, and why they cannot run; neither where none were."""


def doctor(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", readable=False, help="Configuration.")
    ] = None,
    upstream: Upstream = None,
    downstream: Downstream = None,
    format: Format = None,
    maps: Maps = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    socket: Socket = None,
) -> None:
    """Examine machine and configuration for what is wrong.

    The configuration is that of a running instance, where none is named; each finding says why, and what mends it.

    Nothing is changed. Exit status 0: nothing found but notes; 1: warnings; 2: errors.
    """
    import json

    from forwarder.command import report
    from forwarder.diagnosis.doctor.finding import status

    with plain_errors():
        named = None if not (config or upstream or downstream) else _configured(
            config, upstream or [], downstream or [], socket_path(socket), format, maps or []
        )  # fmt: skip
        findings = _findings(named or (None, []), socket_path(socket))
        if as_json:
            print(json.dumps([each.to_json() for each in findings], indent=2), flush=True)
        else:
            print(*report.lines(findings), sep="\n", flush=True)
        raise SystemExit(status(findings))


def _findings(named: Configured, socket: str | None) -> "list[Finding]":
    from forwarder.command.examining import instance
    from forwarder.command.examining.gathering import gather
    from forwarder.diagnosis.doctor.examination import examine

    settings, problems = named
    answers = instance.asked(settings.control.socket if settings else socket)
    return examine(gather(settings, problems, answers))


def _configured(
    config: Path | None, upstream: list[str], downstream: list[str], socket: str | None, format: str | None = None,
    maps: Sequence[str] = (),
) -> Configured:
    from forwarder.config.files import ConfigurationError
    from forwarder.config.loading import understand

    try:
        return understand(config, upstream, downstream, socket, format=format, maps=maps).settings, []
    except ConfigurationError as error:
        return None, str(error).splitlines()
