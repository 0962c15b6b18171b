"""One step of the chain: what was found there, in words, and what to do where it is broken."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from forwarder.diagnosis.case import Case
from forwarder.diagnosis.causes import Trouble


class Found(NamedTuple):
    """`ok` False: this keeps the stream away; `needs`: other steps than the table says that it depends on."""

    ok: bool
    words: str
    remedy: str | None = None
    needs: tuple[str, ...] | None = None


Look: TypeAlias = Callable[[Case], Found | None]
"""What a step finds; None: it has no part in this case."""


def good(words: str) -> Found:
    """A tick."""
    return Found(True, words)


def bad(words: str, remedy: str) -> Found:
    """A cross, and what to do."""
    return Found(False, words, remedy)


def broken(trouble: Trouble) -> Found:
    """A cross of what is said in hints too."""
    return Found(False, trouble.words, trouble.remedy)


def ago(seconds: float | None) -> str:
    """When something was; None: nobody knows."""
    if seconds is None:
        return "at a time that is not known"
    if seconds < 10:
        return f"{seconds:.1f} s ago"
    return f"{seconds:.0f} s ago"
