"""`mcfwd show`: an answer of an instance, once or again and again, for people or for programs."""

import gc
import json
import time

from forwarder.client import Client, check_agent
from forwarder.command.question import Question


def show(client: Client, question: Question, as_json: bool, interval: float | None) -> None:
    """Print the answer once, or every `interval` seconds until interrupted; NoAnswerError or RequestError."""
    if interval is None:
        gc.disable()    # which looks at all rows again and again: without it 65,536 are decoded in half the time
    if as_json:
        _show_json(client, question, interval)
        return
    from forwarder.command import screen  # rich takes longer to import than an answer to arrive

    if interval is None:
        screen.draw_once(client, question)
    else:
        screen.draw_forever(client, question, interval)


def _show_json(client: Client, question: Question, interval: float | None) -> None:
    """One indented document, or one line each time; null where the agent is silent."""
    while interval is not None:
        print(json.dumps(question.answer(client, worst=question.limit is not None)), flush=True)
        time.sleep(interval)
    answer = question.answer(client)
    print(json.dumps(answer, indent=2), flush=True)
    check_agent(answer)
