"""Receivers as processes of their own, each with one socket, that look like one to whoever commands them.

The processes are forked, so that sixty-four of them start as fast as one.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

DIED = '{"error": "a receiver died"}'
SUMMED = ("unheard", "stray", "damaged", "cpu")


class Fleet:
    """`run` passes commands on and merges the answers; the processes end with it."""

    def __init__(self, count: int, service: Callable[[int], None]) -> None:
        """`service`: what receiver number N does, on its own standard input and output."""
        self._channels = []
        for number in range(count):
            ours, theirs = socket.socketpair()
            if not os.fork():
                ours.close()
                _live(theirs, service, number)
            theirs.close()
            self._channels.append(ours.makefile("rwb", buffering=0))

    def run(self) -> None:
        """Until end of file."""
        for line in sys.stdin.buffer:
            print(json.dumps(self._command(json.loads(line))), flush=True)

    def _command(self, words: list[Any]) -> dict[str, Any]:
        receivers = range(len(self._channels))
        match words:
            case ["join" | "leave" as verb, first, count, [*some]]:
                return self._ask({number: [verb, first, count, [0]] for number in some})
            case ["await", [*counts], quiet, timeout]:
                return self._ask({n: ["await", [counts[n]], quiet, timeout] for n in receivers})
            case ["reset" | "report", *_]:
                return self._ask(dict.fromkeys(receivers, words))
        return {"error": f"{words[0]}: not while they block"}

    def _ask(self, questions: dict[int, list[Any]]) -> dict[str, Any]:
        for number, words in questions.items():
            self._channels[number].write(json.dumps(words).encode() + b"\n")
        return merged([json.loads(self._channels[number].readline() or DIED) for number in questions])


def _live(channel: socket.socket, service: Callable[[int], None], number: int) -> None:
    try:
        os.dup2(channel.fileno(), 0)
        os.dup2(channel.fileno(), 1)
        channel.close()
        service(number)
    except Exception:  # the parent's life must not go on in here
        traceback.print_exc()
    finally:
        os._exit(0)


def merged(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The answers of single receivers as that of all, at their mean time; the first error is everyone's."""
    for answer in answers:
        if "error" in answer:
            return answer
    whole: dict[str, Any] = {}
    for key, value in answers[0].items():
        values = [answer[key] for answer in answers]
        if isinstance(value, list):
            whole[key] = [each for some in values for each in some]
        elif key == "complete":
            whole[key] = all(values)
        else:
            whole[key] = None if None in values else sum(values) / (1 if key in SUMMED else len(values))
    return whole
