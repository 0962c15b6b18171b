"""Waiting for a condition with a deadline; the lab never sleeps for a fixed time and hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL = 0.005  # seconds between two looks: short beside every timer of IGMP, long beside a look


def wait_for(condition: Callable[[], T | None], timeout: float, what: str = "condition") -> T:
    """The first truthy value of `condition`, asked again and again; TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s (last seen: {value!r})")
        time.sleep(POLL)
