"""Messages with descriptors between the supervisor and a child, over a SOCK_SEQPACKET socket pair (unix(7)).

A message is one JSON object; `descriptors` names the SCM_RIGHTS descriptors that travel with it, in order. Sending
never blocks the supervisor: a child that does not read gets a full queue, and the supervisor is told so.
"""

import array
import errno
import json
import socket
from typing import Any

MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 250
REFUSALS = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS, errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED}


def send(channel: socket.socket, message: dict[str, Any], descriptors: dict[str, int] | None = None) -> bool:
    """Send `message` with `descriptors`; False when the other side cannot take it now, or is gone.

    It cannot take it while its queue is full, or while too many descriptors are on their way (ETOOMANYREFS, unix(7)).
    """
    names = descriptors or {}
    encoded = json.dumps({**message, "descriptors": list(names)}).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", names.values()))] if names else []
    try:
        channel.sendmsg([encoded], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return False
    return True


def receive(channel: socket.socket) -> tuple[dict[str, Any], dict[str, int]] | None:
    """The next message and its descriptors by name, or None when the other side is gone; BlockingIOError."""
    try:
        encoded, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
    except ConnectionResetError:    # it ended with messages of ours unread
        return None
    if not encoded:
        return None
    message: dict[str, Any] = json.loads(encoded)
    names = message.pop("descriptors")
    return message, dict(zip(names, descriptors, strict=True))
