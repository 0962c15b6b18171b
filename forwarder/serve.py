"""The second half of `mcfwd run`: `python -m forwarder.serve DESCRIPTOR`, a supervisor and nothing else.

What understands the command line and the configuration (typer, pydantic) takes 13 MiB, and is not used again. So the
process executes the interpreter anew once both are understood, and is told what they were by a file in memory. It is
the same process, with the same signals blocked, and imports what a supervisor needs; a reload has a process of its own
(`reading`).
"""

import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from forwarder.process import signals

if TYPE_CHECKING:       # signals come first
    from collections.abc import Sequence

    from forwarder.state.settings import ProfileName, Settings


class Said(NamedTuple):
    """What the command line of `mcfwd run` says of the configuration: as `loading.understand` has it, plain values."""

    file: str | None
    upstream: list[str]
    downstream: list[str]
    socket: str | None
    profile: "ProfileName | None"
    workers: int | None
    format: str | None = None
    maps: "Sequence[str]" = ()


def serve(
    settings: "Settings", said: Said, log_level: str, log_format: str, notices: "Sequence[str]" = ()
) -> NoReturn:
    """Become the supervisor of these settings; OSError where the interpreter cannot be executed again.

    `notices`: what to know of the file, for the log.
    """
    import json
    import os

    from forwarder.client import default_socket_path
    from forwarder.process import launch

    launch.open_standard_descriptors()
    order = os.memfd_create("mcfwd-order")
    with open(order, "wb", closefd=False) as file:
        path = settings.control.socket or default_socket_path()
        file.write(json.dumps([settings.to_json(), said, path, log_level, log_format, notices]).encode())
    os.set_inheritable(order, True)
    signals.keep()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "forwarder.serve", str(order)], launch.environment())


def main() -> NoReturn:
    """The new interpreter; signals are handled before anything else is imported."""
    signals.begin(running=True)
    import json

    from forwarder.config.reading import Reading
    from forwarder.endings import plain_errors
    from forwarder.process.user import Trial
    from forwarder.state.settings import Settings

    with open(int(sys.argv[1]), "rb") as file:
        file.seek(0)
        plain, words, path, level, form, notices = json.load(file)
    settings, said = Settings.from_json(plain), Said(*words)
    with plain_errors(), Trial(settings.process.user) as trial:
        from forwarder.supervisor import run  # takes about as long as the trial beside it

        raise SystemExit(run(settings, lambda: Reading(said), path, level, trial.result, form, said.file, notices))


if __name__ == "__main__":
    main()
