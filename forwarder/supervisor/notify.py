"""sd_notify(3): tells the service manager, where there is one, how we are."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


def notify(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send `state` (READY=1, RELOADING=1, STOPPING=1) to $NOTIFY_SOCKET, if set."""
    path = environment.get("NOTIFY_SOCKET")
    if not path:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
