"""`mcfwd batch`: commands of a file, as one change."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from forwarder.command import changes
from forwarder.command.options import Socket, asking
from forwarder.config.files import plainly
from forwarder.endings import fail, plain_errors

if TYPE_CHECKING:
    from forwarder.command.batch_lines import Operation, Syntax

MOST_TOLD = 20          # lines that are wrong
COMMANDS: dict[str, Callable[..., None]] = {
    "route add": changes.add_route, "route replace": changes.replace_route, "route del": changes.delete_route,
    "group add": changes.add_group, "group del": changes.delete_group,
}  # fmt: skip


def batch(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="Commands, one a line; - is standard input.")
    ],
    socket: Socket = None,
) -> None:
    """Add and delete many routes and groups in one step.

    A line is `route add ...`, `route replace ...`, `route del ...`, `group add ...` or `group del ...`, as on the
    command line; # begins a comment. They are carried out in their order, all of them or none.
    """
    numbers, operations = _operations(str(file), _text(file))
    from forwarder.client import Client, RequestError

    def change() -> None:
        try:
            Client(socket).change("POST", "batch", operations)
        except RequestError as error:
            number = error.operation
            if number is None or not 0 < number <= len(numbers):
                raise
            words = str(error).removeprefix(f"operation {number}: ")
            raise RequestError(f"{_name(str(file))}:{numbers[number - 1]}: {words}", error.status) from error

    asking(change)


def _text(file: Path) -> str:
    """What a file says, or standard input until it ends; or the end of the program."""
    from forwarder.state.batch import MOST_OCTETS

    with plain_errors():
        try:
            octets = _octets(file, MOST_OCTETS + 1)
        except OSError as error:
            fail(f"{_name(str(file))}: {error.strerror}")
        if len(octets) > MOST_OCTETS:
            fail(f"{_name(str(file))}: is longer than {MOST_OCTETS >> 20} MiB; nothing was changed")
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            line = octets.count(b"\n", 0, error.start) + 1
            fail(f"{_name(str(file))}:{line}: is not UTF-8 text; nothing was changed")


def _octets(file: Path, most: int) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(most)
    with open(file, "rb") as opened:
        return opened.read(most)


def _operations(file: str, text: str) -> "tuple[list[int], list[Operation]]":
    """Numbers of lines and the operations there; or the end of the program with what is wrong, a line each."""
    from forwarder.command import batch_lines
    from forwarder.state.batch import MOST_OPERATIONS

    syntaxes, numbers, operations, wrong = _syntaxes(), list[int](), list["Operation"](), list[str]()
    for number, words in batch_lines.numbered(text):
        try:
            if isinstance(words, batch_lines.LineError):
                raise words
            operations.append(batch_lines.operation_of(words, syntaxes))
            numbers.append(number)
        except batch_lines.LineError as error:
            wrong.append(f"{_name(file)}:{number}: {error}")
    if wrong:
        _refuse(wrong)
    if len(operations) > MOST_OPERATIONS:
        place = f"{_name(file)}:{numbers[MOST_OPERATIONS]}"
        fail(f"{place}: a batch has at most {MOST_OPERATIONS:,} commands, and they end here; nothing was changed")
    return numbers, operations


def _refuse(wrong: list[str]) -> NoReturn:
    more = [f"{len(wrong) - MOST_TOLD} more lines are wrong"] if len(wrong) > MOST_TOLD else []
    fail("\n".join([*wrong[:MOST_TOLD], *more, "nothing was changed"]))


def _name(file: str) -> str:
    return "standard input" if file == "-" else plainly(file)


def _syntaxes() -> "dict[str, Syntax]":
    """What the commands take, but for `--socket`: a batch has one instance."""
    from forwarder.command.batch_lines import Syntax

    made = {}
    for name, function in COMMANDS.items():
        one = typer.Typer(add_completion=False)
        one.command()(function)
        parameters = [each for each in typer.main.get_command(one).params if each.name not in ("socket", "help")]
        options = [each for each in parameters if each.param_type_name == "option"]
        made[name] = Syntax(
            arguments=tuple(each.name or "" for each in parameters if each.param_type_name == "argument"),
            options={said: each.name or "" for each in options for said in each.opts},
            repeated=frozenset(each.name or "" for each in options if getattr(each, "multiple", False)),
        )
    return made
