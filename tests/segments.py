"""Segments for tests: those that a supervisor would hold as long as it lives are closed with the test that made them.

Without that a run of all tests has more descriptors than select takes (FD_SETSIZE).
"""

import os

from forwarder.state.settings import DataplaneSettings
from forwarder.supervisor.shared import Shared

_made: list[Shared] = []


def shared(sizes: DataplaneSettings) -> Shared:
    """The supervisor's segments; what it says of being closed with the process is true of the test."""
    made = Shared(sizes)
    _made.append(made)
    return made


def close(one: Shared) -> None:
    """Close what one has, before its test ends."""
    _made.remove(one)
    snapshots = one.configuration, one.processes, one.routes, one.membership, one.api
    for descriptor in (*snapshots, *one.workers, *one.wake.values()):
        os.close(descriptor)


def close_all() -> None:
    """Close what a test has left."""
    while _made:
        close(_made[-1])
