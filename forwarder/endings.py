"""How a command ends: with a status, and with what is wrong in a line each, never with a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def fail(words: str, status: int = EXIT_FAILED) -> NoReturn:
    """End the program with what is wrong, a line each on standard error.

    Words may be what somebody else said, so nothing in them does something to a terminal.
    """
    from forwarder.units import visible

    with suppress(OSError):     # there is nobody to tell, and the status says it too
        for line in words.split("\n"):
            print(f"mcfwd: {visible(line)}", file=sys.stderr)
    raise SystemExit(status)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What ends any program ends this one without a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        discard_output()
        raise SystemExit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        discard_output()
        subject = f"{error.filename}: " if isinstance(error.filename, str) else ""
        fail(f"{subject}{error.strerror or error}")


def discard_output() -> None:
    """Let the interpreter flush to nowhere at its end what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
