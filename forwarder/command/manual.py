"""`mcfwd manual`: mcfwd(1) and mcfwd.toml(5), made of what `--help` and docs/configuration.md are made of."""

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Any

import typer

from forwarder.command import roff
from forwarder.command.completing import choices_of, options_of
from forwarder.endings import plain_errors

EXITS = {
    0: "Done; `run`: ended by SIGTERM or SIGINT, and has left all groups upstream.",
    1: "No instance answers, it refused, or the system refused something.",
    2: "Wrong usage: an unknown command, option or noun.",
    69: "`run` cannot start: an interface that never works, or no memory, threads or descriptors.",
    73: "`run`: the control socket cannot be made.",
    77: "`run`: CAP_NET_RAW is missing.",
    78: "The configuration cannot run; one line for each problem.",
    130: "Ctrl-C, before `run` has begun or in another command.",
    141: "Whoever read the output has gone.",
}
TABLES = {
    "": "Before the first table.",
    "interface": "An interface, or all that match a wildcard. May be repeated.",
    "igmp": "Timers, counts and strictness of the protocol.",
    "route": "A static route. May be repeated.",
    "dataplane": "Sizes and manners of forwarding.",
    "control": "The control socket.",
    "process": "The processes of an instance.",
}


class ManualPage(StrEnum):
    """A section of the manual."""

    COMMANDS = "1"
    FILE = "5"


Number = Annotated[ManualPage, typer.Argument(metavar="PAGE", help="1: mcfwd(1); 5: mcfwd.toml(5).")]


def manual(context: typer.Context, page: Number = ManualPage.COMMANDS) -> None:
    """Print a manual page, for `man -l -`.

    To install them: `mcfwd manual 1 > /usr/local/share/man/man1/mcfwd.1`, and `mcfwd manual 5 >
    /usr/local/share/man/man5/mcfwd.toml.5`.
    """
    with plain_errors():
        root = context.find_root().command
        print(commands_page(root) if page is ManualPage.COMMANDS else file_page(), end="", flush=True)


def _page(name: str, number: str, purpose: str, parts: Iterator[str]) -> str:
    head = f'.TH "{roff.plain(name.upper())}" "{number}" "" "mcfwd {roff.plain(version("mcfwd"))}"'
    lines = [head, ".nh", roff.section("NAME"), rf"{roff.plain(name)} \- {roff.plain(purpose)}", *parts]
    return "\n".join(lines) + "\n"


# --- mcfwd(1) ---


def commands_page(root: Any) -> str:
    """mcfwd(1) of the command that has all others."""
    return _page("mcfwd", "1", "multicast forwarder and IGMP proxy in user space", _of_commands(root))


def _of_commands(root: Any) -> Iterator[str]:
    yield roff.section("SYNOPSIS")
    yield f"{roff.bold('mcfwd')} {roff.italic('COMMAND')} [{roff.italic('OPTION')}]..."
    yield roff.section("DESCRIPTION")
    yield roff.paragraphs(root.help or "")
    yield from _options(root)
    yield roff.section("COMMANDS")
    for words, command in commands(root):
        yield from _command(words, command)
    yield roff.section("EXIT STATUS")
    yield from (roff.item(roff.bold(str(status)), roff.marked(words)) for status, words in EXITS.items())
    yield roff.section("SEE ALSO")
    yield f"{roff.bold('mcfwd.toml')}(5)"


def commands(root: Any, before: tuple[str, ...] = ("mcfwd",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands that can be run, each with the words that it takes."""
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        elif not command.hidden:
            yield (*before, name), command


def _command(words: tuple[str, ...], command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in options_of(command) if each.name != "help"]
    shown = [_shown(each) for each in arguments]
    yield f'.SS "{roff.plain(" ".join(words[1:]))}"'
    yield " ".join([*map(roff.bold, words), *(["[" + roff.italic("OPTION") + "]..."] if options else []), *shown])
    yield f".PP\n{roff.paragraphs(command.help or '')}"
    yield from (roff.item(shown, roff.marked(each.help or "")) for shown, each in zip(shown, arguments, strict=True))
    yield from _options(command)


def _shown(argument: Any) -> str:
    """An argument as it stands behind a command."""
    name = (argument.metavar or argument.name.upper()).strip("[].")
    word = roff.italic(name) + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _options(command: Any) -> Iterator[str]:
    """All options of a command; `--help`, which all have, with those of the program as a whole."""
    for option in options_of(command):
        if option.name != "help" or hasattr(command, "commands"):
            choices = choices_of(command, option.name)
            value = "" if option.is_flag else f" {roff.italic('|'.join(choices) or option.metavar or 'N')}"
            opts = sorted(option.opts, key=lambda each: each.startswith("--"))   # those of --help come in any order
            names = ", ".join(map(roff.bold, opts))
            yield roff.item(f"{names}{value}", roff.marked(option.help or ""))


# --- mcfwd.toml(5) ---


def file_page() -> str:
    """mcfwd.toml(5)."""
    return _page("mcfwd.toml", "5", "configuration of mcfwd", _of_file())


def _of_file() -> Iterator[str]:
    from forwarder.config import reference

    yield roff.section("DESCRIPTION")
    yield roff.paragraphs(
        "The file is TOML. `mcfwd run -c FILE` runs it, `mcfwd check FILE` says what it would do, and `mcfwd config"
        " --defaults` prints one with every key.\n\nA name in double brackets is a table that may be there several"
        " times. Every key may be left out but those that have no default."
    )
    table = None
    for row in reference.rows():
        if row.setting.table != table:
            table = row.setting.table
            yield roff.section(reference.title(table) or "OUTSIDE OF TABLES")
            yield roff.marked(TABLES.get(table, ""))
        yield roff.item(roff.bold(row.setting.name), _key(row))
    yield roff.section("SEE ALSO")
    yield f"{roff.bold('mcfwd')}(1)"


def _key(row: Any) -> str:
    unit = f", in {row.key.unit}" if row.key.unit else ""
    lines = [roff.marked(row.key.meaning), f"Default: {roff.marked(row.default)}{roff.plain(unit)}."]
    lines += [f"Values: {roff.marked(row.values)}."] if row.values else []
    lines += [f"Example: {roff.bold(f'{row.setting.name} = {row.key.example}')}"]
    return "\n.br\n".join(lines)
