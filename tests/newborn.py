"""A child for tests/test_process.py: says what it finds once it has begun, writes a line to its log, and ends."""

import ctypes
import logging
import os
import signal
import sys

from setproctitle import getproctitle

from forwarder.process import control
from forwarder.process.child import bootstrap

PR_GET_PDEATHSIG = 2


def main() -> None:
    start = bootstrap("mcfwd-newborn")
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    found = {
        "argv": sys.argv,
        "title": getproctitle(),
        "nice": os.nice(0),
        "ignored": [each for each in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_IGN],
        "ends with its parent": number.value == signal.SIGKILL,
        "arguments": start.arguments,
        "content": {name: os.read(descriptor, 100).decode() for name, descriptor in start.descriptors.items()},
        "handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
    }
    control.send(start.control, found)
    logging.getLogger("forwarder.newborn").info("ready")
    start.control.recv(1)       # until the other side is gone


if __name__ == "__main__":
    main()
