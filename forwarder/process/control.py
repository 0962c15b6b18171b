"""Messages with descriptors between the supervisor and a child, over a SOCK_SEQPACKET socket pair (unix(7)).

A message is one JSON object; `descriptors` names the SCM_RIGHTS descriptors that travel with it, in order. Sending
never blocks the supervisor: a child that does not read gets a full queue, and the supervisor is told so. A message has
a size that both sides hold: who sends a larger one is told, and one that comes cut off is none.
"""

import array
import errno
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 250
REFUSALS = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS, errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED,
            errno.ENOMEM}  # fmt: skip


class MessageError(ValueError):
    """What is to be sent is too large for a message, or what came is none."""


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Mapping[str, int] | None = None) -> bool:
    """Send `message` with `descriptors`; False when the other side cannot take it now, or is gone; MessageError.

    It cannot take it while its queue is full, or while too many descriptors are on their way (ETOOMANYREFS, unix(7)).
    """
    names = descriptors or {}
    encoded = json.dumps({**message, "descriptors": list(names)}).encode()
    if len(encoded) > MAX_MESSAGE or len(names) > MAX_DESCRIPTORS:
        raise MessageError(f"{len(encoded)} octets and {len(names)} descriptors are more than a message holds")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", names.values()))] if names else []
    try:
        channel.sendmsg([encoded], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return False
    return True


def receive(channel: socket.socket) -> tuple[dict[str, Any], dict[str, int]] | None:
    """The next message and its descriptors by name, or None when the other side is gone; BlockingIOError, MessageError.

    After a MessageError the next message can be received.
    """
    try:
        encoded, descriptors, flags, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
    except ConnectionResetError:    # it ended with messages of ours unread
        return None
    if not encoded:
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise MessageError("a message was cut off")
        return _decoded(encoded, descriptors)
    except MessageError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _decoded(encoded: bytes, descriptors: list[int]) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        message: dict[str, Any] = json.loads(encoded)
        names: list[str] = message.pop("descriptors")
        return message, dict(zip(names, descriptors, strict=True))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MessageError(f"what came is no message: {error}") from error
