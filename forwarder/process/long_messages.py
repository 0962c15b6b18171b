"""Messages that are too long for `control`: the text travels in a file in memory, whose descriptor is the message."""

import json
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

from forwarder.process import control
from forwarder.process.control import MessageError

LARGEST = 16 << 20      # octets: a batch may be 4 MiB, of characters that JSON writes as six octets each
NAME = "message"        # of the descriptor


def send(channel: socket.socket, message: Mapping[str, Any]) -> bool:
    """As `control.send`, for a message of any length up to LARGEST octets; OSError where there is no memory."""
    encoded = json.dumps(message).encode()
    if len(encoded) > LARGEST:
        raise MessageError(f"{len(encoded)} octets are more than a long message holds")
    with open(os.memfd_create("mcfwd-message", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        file.write(encoded)
        return control.send(channel, {}, {NAME: file.fileno()})


def whole(message: dict[str, Any], descriptors: Mapping[str, int]) -> dict[str, Any]:
    """What `control.receive` has brought, be it long or not; descriptors are closed; OSError, MessageError.

    It is read at most once and no further than LARGEST, and never waited for, whatever the other side sent.
    """
    try:
        return _read(descriptors[NAME]) if NAME in descriptors else message
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
        raise MessageError("what came is no long message")
    try:
        decoded = json.loads(os.pread(descriptor, LARGEST, 0))
    except (ValueError, RecursionError) as error:
        raise MessageError(f"what came is no long message: {error}") from error
    if not isinstance(decoded, dict):
        raise MessageError("what came is no long message")
    return decoded
