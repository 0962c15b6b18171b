"""`python -m forwarder.process NICE MODULE CONTROL PARENT`: what a child does before its own imports.

It ignores the signals that are for its parent, and gives up its capabilities and its share of the processor first, so
that what it imports runs without privileges and does not hold up the workers; then it becomes `python -m MODULE CONTROL
PARENT`.
"""

import os
import runpy
import sys

from forwarder.process import privileges, signals


def main() -> None:
    """Shed, then become the module."""
    signals.ignore()
    nice, module, parent = int(sys.argv[1]), sys.argv[2], int(sys.argv[4])
    privileges.shed(parent)
    os.nice(nice)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
