"""`mcfwd why`."""

from typing import Annotated

import typer

from forwarder.command.options import Socket
from forwarder.endings import EXIT_FAILED, fail, plain_errors

WRONG_USAGE, REFUSED = 2, 400


def why(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group that does not arrive.")],
    receiver: Annotated[
        str | None, typer.Argument(metavar="RECEIVER", help="Where: the address of a host, or an interface.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="S", help="Of this sender.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Every second until Ctrl-C, through restarts.")] = False,
    socket: Socket = None,
) -> None:
    """Say why a group does not arrive, and what to do.

    That is the chain from receiver to sender, and what helps where it is broken.

    Exit status 0: it flows. 1: it does not, or no instance answers.
    """
    from forwarder.client import Client, NoAnswerError, RequestError
    from forwarder.command import reasons

    client, question = Client(socket), reasons.GroupQuestion(group, receiver, source)
    with plain_errors():
        try:
            if watch:
                reasons.watch(client, question, as_json)
            elif not reasons.tell(client, question, as_json):
                raise SystemExit(EXIT_FAILED)
        except NoAnswerError as error:
            fail(str(error))
        except RequestError as error:
            fail(str(error), WRONG_USAGE if error.status == REFUSED else EXIT_FAILED)
        except KeyboardInterrupt:
            if not watch:
                raise
