"""The supervisor's loop without its children: signals by the thousand, faults."""

import os
import signal
import socket
import time

import pytest
from readings import Read

from forwarder.state.settings import DataplaneSettings, Settings
from forwarder.supervisor.supervisor import BREATH, HANDLED, Supervisor

SETTINGS = Settings(dataplane=DataplaneSettings(max_ports=4, max_flows=64, max_routes=64))


class Watch:
    """Links of which there are none."""

    def rang(self) -> bool:
        return False

    def snapshot(self) -> dict:
        return {}


class Office:
    def __init__(self, listening: socket.socket) -> None:
        self.watch, self.loads = Watch(), 0
        self.supervisor = Supervisor(SETTINGS, self.read, self.watch, listening, "info")

    def read(self) -> Read:
        self.loads += 1
        return Read(lambda: SETTINGS)


@pytest.fixture
def office(tmp_path):
    before = {number: signal.getsignal(number) for number in HANDLED}
    with socket.socket(socket.AF_UNIX) as listening:
        made = Office(listening)
        yield made
        made.supervisor._ports.close()
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_storm_of_signals_is_one_reload_and_hides_no_other_signal(office):
    """The socket that wakes the loop holds some hundred octets; what comes then must not be lost."""
    supervisor = office.supervisor
    supervisor._catch_signals()
    for _ in range(2000):
        os.kill(os.getpid(), signal.SIGHUP)
    supervisor._signalled()
    assert (office.loads, supervisor._stopping) == (1, False)
    for _ in range(3):  # of those that come while it is being read all are another
        os.kill(os.getpid(), signal.SIGHUP)
        supervisor._signalled()
    assert office.loads == 1
    supervisor._turn()
    assert office.loads == 2
    for _ in range(2000):
        os.kill(os.getpid(), signal.SIGCHLD)
    os.kill(os.getpid(), signal.SIGTERM)
    supervisor._signalled()
    assert supervisor._stopping


def test_what_fails_and_is_readable_again_at_once_is_not_taken_again_at_once(office):
    supervisor = office.supervisor
    bell = os.eventfd(1)
    supervisor._selector.register(bell, 1, ("failing", lambda: 1 / 0))
    before = time.monotonic()
    supervisor._turn()
    assert supervisor._guard.faults == 1
    assert time.monotonic() - before >= BREATH
    os.close(bell)
