"""What several commands have: options and arguments that are said alike, and how an instance is asked.

Whatever goes wrong is one line on stderr (a configuration: one a problem) and an exit status, never a traceback.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forwarder.endings import EXIT_FAILED, fail, plain_errors

if TYPE_CHECKING:       # pydantic takes longer to import than `show` to answer
    from forwarder.config.loading import Loaded

EXIT_CONFIGURATION = 78
UNPROCESSABLE = 422     # the answer to a reload of a configuration that cannot run

Socket = Annotated[str | None, typer.Option("--socket", metavar="PATH", help="Control socket of the instance.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="What the file is, if that is not recognised.")
]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=IF", help="An interface by the name that it has in the file; repeatable."),
]
Interface = Annotated[str, typer.Argument(metavar="IF", help="An interface, or a wildcard in quotes.")]


def ask(method: str, noun: str, body: dict[str, object], socket: str | None) -> dict[str, Any]:
    """Have a running instance do something: its answer, or the end of the program with why it does not."""
    from forwarder.client import Client

    answer: dict[str, Any] = asking(lambda: Client(socket).change(method, noun, body))
    return answer


def asking(ask: Callable[[], Any]) -> Any:
    """What `ask` brings of an instance, or the end of the program with why it brings nothing."""
    from forwarder.client import NoAnswerError, RequestError

    with plain_errors():
        try:
            return ask()
        except NoAnswerError as error:
            fail(str(error))
        except RequestError as error:
            fail(str(error), EXIT_CONFIGURATION if error.status == UNPROCESSABLE else EXIT_FAILED)


def socket_path(option: str | None) -> str | None:
    """What was said beside the file, and wins over it; a variable that is empty is as good as unset."""
    return option or os.environ.get("MCFWD_SOCKET") or None


def configured(load: Callable[[], "Loaded"]) -> "Loaded":
    """The configuration, or the end of the program with what is wrong with it, or 0 where it is to run nothing."""
    from forwarder.config.files import ConfigurationError, DisabledError

    with plain_errors():
        try:
            return load()
        except DisabledError as words:
            fail(str(words), 0)
        except ConfigurationError as error:
            fail(str(error), EXIT_CONFIGURATION)
