"""What every child does once its imports are done: it names itself and waits to be told what it is.

It was started by way of `forwarder.process`, which left it without privileges, and has the number of its control socket
as its first argument. A spare waits here.
"""

import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

from setproctitle import setproctitle

from forwarder.process import control, logs, memory


@dataclass(frozen=True, slots=True)
class Start:
    """What the supervisor says to a new child: its arguments and its descriptors by name."""

    control: socket.socket
    arguments: dict[str, Any]
    descriptors: dict[str, int]


def bootstrap(name: str) -> Start:
    """Become the child `name`; returns once the supervisor has said what to do."""
    setproctitle(name)
    memory.trim()
    channel = socket.socket(fileno=lowest(int(sys.argv[1])))
    received = control.receive(channel)
    if received is None:
        raise SystemExit(0)
    arguments, descriptors = received
    control.send(channel, {"type": "here"})
    setproctitle(arguments["name"])
    logs.configure(arguments["log_level"], arguments["name"], arguments.get("log_format", "text"))
    logs.detach()
    return Start(channel, arguments, descriptors)


def lowest(descriptor: int) -> int:
    """The same descriptor under the lowest number that is free, instead of its own.

    A child gets it under the number that it has in the supervisor, which is high where there are many ports; and
    select(2), by which a worker waits for fractions of a millisecond, takes no number above 1023.
    """
    low = os.dup(descriptor)
    os.close(descriptor)
    return low
