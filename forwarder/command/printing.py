"""`mcfwd show`: an answer of an instance, once or every second, for people or for programs."""

import json
import time

from forwarder.client import Client, check_agent

INTERVAL = 1.0          # seconds between two answers of --watch


def show(client: Client, noun: str, as_json: bool, watch: bool, limit: int | None = None) -> None:
    """Print `noun`, `limit` rows at most, once, or every second until interrupted; NoAnswerError or RequestError."""
    if as_json:
        _show_json(client, noun, watch, limit)
        return
    from forwarder.command import screen  # rich takes longer to import than an answer to arrive

    draw = screen.draw_forever if watch else screen.draw_once
    draw(client, noun, limit)


def _show_json(client: Client, noun: str, watch: bool, limit: int | None) -> None:
    """One indented document, or one line a second; null where the agent is silent."""
    while watch:
        print(json.dumps(client.get(noun, limit, worst=limit is not None)), flush=True)
        time.sleep(INTERVAL)
    answer = client.get(noun, limit)
    print(json.dumps(answer, indent=2), flush=True)
    check_agent(answer)
