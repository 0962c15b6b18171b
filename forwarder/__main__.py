"""`python -m forwarder` is `mcfwd`; signals are handled before anything else is imported, which takes a while."""

import sys

from forwarder.process import signals


def main() -> None:
    """The entry point of `mcfwd`."""
    running = sys.argv[1:2] == ["run"]
    signals.begin(running)
    from forwarder.command.main import main as command

    signals.imported(running)
    command()


if __name__ == "__main__":
    main()
