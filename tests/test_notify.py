"""What the service manager is told, over sockets as it makes them."""

import socket
import time

import pytest

from forwarder.supervisor.notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path, abstract):
    name = f"mcfwd-test-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else f"{tmp_path}/{name}")
        manager.settimeout(10.0)
        notify("READY=1", {"NOTIFY_SOCKET": f"@{name}" if abstract else f"{tmp_path}/{name}"})
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/s"}])
def test_where_there_is_none_nothing_happens(environment):
    notify("READY=1", environment)
