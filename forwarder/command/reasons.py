"""`mcfwd why`: an instance's answer, once or every second, for people or for programs."""

import json
import time
from typing import Any, NamedTuple

from forwarder.client import Client, NoAnswerError, RequestError, understood

INTERVAL = 1.0          # seconds between two answers of --watch
FLOWS = "flows"
UNKNOWN = 400           # the status of what is wrong with the question, and stays so


class GroupQuestion(NamedTuple):
    """What is asked about; the receiver is an address or an interface, None nobody in particular."""

    group: str
    receiver: str | None = None
    source: str | None = None


def tell(client: Client, question: GroupQuestion, as_json: bool) -> bool:
    """Print the answer; whether it flows. NoAnswerError or RequestError."""
    answer = client.why(*question)
    if as_json:
        print(json.dumps(answer, indent=2), flush=True)
    else:
        from forwarder.command import chains, screen  # rich takes longer to import than an answer to arrive

        console = screen.open_console()
        with understood():
            picture = chains.picture(answer, console.width, plain=not encodes(console.encoding))
        console.print(picture)
    return bool(answer.get("verdict") == FLOWS)


def watch(client: Client, question: GroupQuestion, as_json: bool) -> None:
    """Until interrupted; an instance that is away is said so and waited for. RequestError where it means nothing."""
    if as_json:
        while True:
            print(json.dumps(_answer(client, question)), flush=True)
            time.sleep(INTERVAL)
    from forwarder.command import chains, screen

    console = screen.open_console()
    with screen.drawing_on(console) as draw:
        while True:
            draw(chains.of(_answer(client, question), console.width, plain=not encodes(console.encoding)))
            time.sleep(INTERVAL)


def _answer(client: Client, question: GroupQuestion) -> dict[str, Any]:
    """The answer; `{"error"}` where there is none now."""
    try:
        return client.why(*question)
    except NoAnswerError as error:
        return {"error": str(error)}
    except RequestError as error:
        if error.status == UNKNOWN:
            raise
        return {"error": str(error)}


def encodes(encoding: str) -> bool:
    """Whether a tick can be written."""
    try:
        "\u2713\u2717\u2192".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
