"""The command line: thin commands, each importing what it needs only when it runs."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from forwarder.command import batch, changes, check, completion, convert, doctor, manual, run, show, why
from forwarder.endings import plain_errors

app = typer.Typer(
    name="mcfwd",
    help="Forward IPv4 multicast between interfaces in user space, with IGMP on both sides.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

route = typer.Typer(help="Static routes of a running instance.", no_args_is_help=True, rich_markup_mode=None)
group = typer.Typer(help="Static groups of a running instance.", no_args_is_help=True, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mcfwd {version('mcfwd')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options of the program as a whole."""


COMMANDS: tuple[Callable[..., None], ...] = (
    run.run, show.show, why.why, check.check, convert.convert, check.config, changes.reload, changes.query,
    changes.clear, batch.batch, completion.completion, manual.manual, doctor.doctor,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
for words, command in batch.COMMANDS.items():
    noun, verb = words.split()
    (route if noun == "route" else group).command(verb)(command)
app.add_typer(route, name="route")
app.add_typer(group, name="group")


def main() -> None:
    """The entry point of `mcfwd`."""
    if None in (sys.stdin, sys.stdout, sys.stderr):     # the next that is opened would be taken for one, also by `run`
        from forwarder.process.launch import open_standard_descriptors

        open_standard_descriptors()
    sys.stdout = sys.stdout or open(os.devnull, "w")    # noqa: SIM115 - closed by whoever started us; errors would
    sys.stderr = sys.stderr or open(os.devnull, "w")    # noqa: SIM115 - become output
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")   # any character set will do
    with plain_errors():            # of --help and --version, and of what is written at the end
        try:
            app(prog_name="mcfwd")
        finally:
            sys.stdout.flush()
