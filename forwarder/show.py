"""`mcfwd show`: an answer of an instance, once or every second, for people or for programs."""

import json
import time

from forwarder.client import Client, check_agent

INTERVAL = 1.0          # seconds between two answers of --watch


def show(client: Client, noun: str, as_json: bool, watch: bool) -> None:
    """Print `noun` once, or every second until interrupted; raises NoAnswerError or RequestError."""
    if as_json:
        _show_json(client, noun, watch)
        return
    from forwarder import screen  # rich takes longer to import than an answer to arrive

    draw = screen.draw_forever if watch else screen.draw_once
    draw(client, noun)


def _show_json(client: Client, noun: str, watch: bool) -> None:
    """One indented document, or one line a second; null where the agent is silent."""
    while watch:
        print(json.dumps(client.get(noun)), flush=True)
        time.sleep(INTERVAL)
    answer = client.get(noun)
    print(json.dumps(answer, indent=2), flush=True)
    check_agent(answer)
