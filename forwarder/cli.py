"""The command line: thin commands, each importing what it needs only when it runs.

Whatever goes wrong is one line on stderr (a configuration: one a problem) and an exit status, never a traceback.
"""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forwarder.endings import EXIT_FAILED, fail, plain_errors

if TYPE_CHECKING:       # pydantic takes longer to import than `show` to answer
    from forwarder.state.settings import Settings

EXIT_CONFIGURATION = 78
UNPROCESSABLE = 422     # the answer to a reload of a configuration that cannot run

app = typer.Typer(
    name="mcfwd",
    help="Forward IPv4 multicast between interfaces in user space, with IGMP on both sides.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


route = typer.Typer(help="Static routes of a running instance.", no_args_is_help=True, rich_markup_mode=None)
group = typer.Typer(help="Static groups of a running instance.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(route, name="route")
app.add_typer(group, name="group")


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


Socket = Annotated[str | None, typer.Option("--socket", metavar="PATH", help="Control socket of the instance.")]
Upstream = Annotated[
    list[str] | None, typer.Option("-u", "--upstream", metavar="IF", help="Where senders are; groups are joined there.")
]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="A group, or of routes a network of groups.")]
Source = Annotated[str | None, typer.Option("--source", metavar="S", help="Only from this source.")]
Ingress = Annotated[     # as in the file and in JSON; --from and --to are what the two were called before
    str | None, typer.Option("--upstream", "--from", metavar="IF", help="Only where it comes in by this interface.")
]
Egresses = Annotated[
    list[str] | None,
    typer.Option("--interfaces", "--to", metavar="IF", help="Where it goes; may be repeated. Without: blocked."),
]
Interface = Annotated[str, typer.Argument(metavar="IF", help="An interface, or a wildcard in quotes.")]
Downstream = Annotated[list[str] | None, typer.Option("-d", "--downstream", metavar="IF", help="Where receivers are.")]


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


@app.command()
def run(
    config: Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE", help="TOML file.")] = None,
    upstream: Upstream = None,
    downstream: Downstream = None,
    socket: Socket = None,
    profile: Annotated[ProfileChoice | None, typer.Option("--profile", help="What the data plane favours.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=32, help="Data plane processes.")] = None,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="How much to log.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How a line looks.")] = LogFormat.TEXT,
) -> None:
    """Run an instance in the foreground; SIGHUP reloads, SIGTERM leaves all groups and ends it."""

    from forwarder.config import load
    from forwarder.serve import Said, serve

    said = Said(None if config is None else str(config), upstream or [], downstream or [], _socket_path(socket),
                None if profile is None else profile.value, workers)  # fmt: skip
    settings = _configured(lambda: load(config, said.upstream, said.downstream, said.socket, said.profile, workers))
    with plain_errors():
        serve(settings, said, log_level.value, log_format.value)


@app.command()
def show(
    noun: Annotated[Noun, typer.Argument(metavar="NOUN", help=f"One of {', '.join(Noun)}.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Every second until Ctrl-C; worst flows first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many rows.")] = None,
    socket: Socket = None,
) -> None:
    """Show what a running instance knows."""
    from forwarder.client import Client, NoAnswerError, RequestError
    from forwarder.show import show as show_noun

    with plain_errors():
        try:
            show_noun(Client(socket), noun.value, as_json, watch, limit)
        except (NoAnswerError, RequestError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            if not watch:
                raise


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file.")]) -> None:
    """Explain what a configuration would run, or why it would not."""
    from forwarder.config import load

    settings = _configured(lambda: load(file, [], [], _socket_path(None)))
    from forwarder.process.user import Trial

    with plain_errors(), Trial(settings.process.user) as trial:
        from forwarder.check import explain, obstacles
        from forwarder.process.access import refusal_later, warning
        from forwarder.supervisor.link_watch import current_links
        from forwarder.supervisor.surroundings import surroundings

        links = current_links()
        reasons = obstacles(settings, links)
        if reasons:
            fail("\n".join(f"{file}: {reason}" for reason in reasons), EXIT_CONFIGURATION)
        children = trial.result()
        lines = explain(settings, links, around=surroundings(), children=children.words)
        if reason := refusal_later(str(file), groups=children.user is None):
            lines += [] if "warnings:" in lines else ["warnings:"]
            lines.append(f"  {warning(str(file), reason)}")
        print(f"{file}: would run", *lines, sep="\n", flush=True)


@app.command()
def config(
    defaults: Annotated[bool, typer.Option("--defaults", help="Print every key with its default and meaning.")] = False,
) -> None:
    """Print what can be configured, as a TOML file to start from."""
    if not defaults:
        raise typer.BadParameter("say what to print: --defaults")
    from forwarder import reference

    with plain_errors():
        print(reference.defaults(), end="", flush=True)


@app.command()
def reload(socket: Socket = None) -> None:
    """Have a running instance read its configuration again; what did not change is not touched.

    What needs a restart is said, and the exit status is 1 then.
    """
    answer = _ask("POST", "reload", {}, socket)
    if ignored := answer.get("ignored"):
        fail(f"reloaded, but not {', '.join(ignored)}: fixed at start; needs a restart")


@app.command()
def query(
    interface: Annotated[str | None, typer.Argument(metavar="[IF]", help="Only there; a wildcard in quotes.")] = None,
    socket: Socket = None,
) -> None:
    """Ask on a downstream interface, or on all, at once what is wanted there."""
    _order("query", {"interface": interface}, socket)


@app.command()
def clear(
    interface: Interface,
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="Only this group.")] = None,
    socket: Socket = None,
) -> None:
    """Forget who wants a group, or any, on a downstream interface, and ask; what is configured stays."""
    _order("clear", {"interface": interface, "group": group}, socket)


@route.command("add")
def add_route(
    group: Group, source: Source = None, ingress: Ingress = None, to: Egresses = None, socket: Socket = None
) -> None:
    """Forward a group to interfaces whoever has joined, or to nobody, until it is deleted or the instance ends.

    A route that was added gets more interfaces.
    """
    _ask("POST", "routes", _route(group, source, ingress, to), socket)


@route.command("replace")
def replace_route(
    group: Group, source: Source = None, ingress: Ingress = None, to: Egresses = None, socket: Socket = None
) -> None:
    """Forward a group to these interfaces instead of those before, without a gap for those that stay; or add it."""
    _ask("PUT", "routes", _route(group, source, ingress, to), socket)


@route.command("del")
def delete_route(
    group: Group, source: Source = None, ingress: Ingress = None, to: Egresses = None, socket: Socket = None
) -> None:
    """Take back what `route add` did."""
    _ask("DELETE", "routes", _route(group, source, ingress, to), socket)


def _route(group: str, source: str | None, ingress: str | None, to: list[str] | None) -> dict[str, object]:
    return {"group": group, "source": source, "upstream": ingress, "interfaces": to or []}


@group.command("add")
def add_group(interface: Interface, group: Group, source: Source = None, socket: Socket = None) -> None:
    """Want a group on an interface without a receiver, until it is deleted or the instance ends."""
    _ask("POST", "groups", {"interface": interface, "group": group, "source": source}, socket)


@group.command("del")
def delete_group(interface: Interface, group: Group, source: Source = None, socket: Socket = None) -> None:
    """Take back what `group add` did."""
    _ask("DELETE", "groups", {"interface": interface, "group": group, "source": source}, socket)


def _ask(method: str, noun: str, body: dict[str, object], socket: str | None) -> dict[str, Any]:
    """Have a running instance do something: its answer, or the end of the program with why it does not."""
    from forwarder.client import Client

    answer: dict[str, Any] = _asking(lambda: Client(socket).change(method, noun, body))
    return answer


def _order(noun: str, body: dict[str, object], socket: str | None) -> None:
    """Have it done on interfaces, and say what came of it; exit status 1 where none was asked."""
    from forwarder.client import Client, understood

    def done() -> tuple[list[str], bool]:
        rows = Client(socket).order(noun, body)
        with understood():
            return [_outcome(row, noun) for row in rows], any(row["asked"] for row in rows)

    lines, asked = _asking(done)
    print(*lines, sep="\n", end="\n" if lines else "")
    if not asked:
        raise SystemExit(EXIT_FAILED)


def _outcome(row: dict[str, Any], noun: str) -> str:
    """What came of an order on an interface."""
    told = "asked" if row["asked"] else f"not asked, {row['querier'] or 'nobody'} is the querier there"
    many = f"{row['forgotten']} group{'s'[: row['forgotten'] != 1]}"
    return f"{row['interface']}: {told}" + (f"; {many} forgotten" if noun == "clear" else "")


def _asking(ask: Callable[[], Any]) -> Any:
    from forwarder.client import NoAnswerError, RequestError

    with plain_errors():
        try:
            return ask()
        except NoAnswerError as error:
            fail(str(error))
        except RequestError as error:
            fail(str(error), EXIT_CONFIGURATION if error.status == UNPROCESSABLE else EXIT_FAILED)


def _socket_path(option: str | None) -> str | None:
    """What was said beside the file, and wins over it; a variable that is empty is as good as unset."""
    return option or os.environ.get("MCFWD_SOCKET") or None


def _configured(load: Callable[[], "Settings"]) -> "Settings":
    """The settings, or the end of the program with what is wrong with them."""
    from forwarder.config_file import ConfigurationError

    with plain_errors():
        try:
            return load()
        except ConfigurationError as error:
            fail(str(error), EXIT_CONFIGURATION)


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
