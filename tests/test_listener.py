"""The path of the control socket: taken from the dead, never from the living, and by one of two that start together."""

import fcntl
import os
import socket
import stat
import threading
import time

import pytest

from forwarder.supervisor import listener
from forwarder.supervisor.listener import SocketInUse, claim, release


def test_a_claimed_path_answers_to_owner_and_group_and_is_removed_at_the_end(tmp_path):
    path = str(tmp_path / "deep" / "s")
    claimed = claim(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(SocketInUse):
        claim(path)
    release(claimed, path)
    assert not os.path.lexists(path)


def test_what_a_dead_instance_left_is_replaced_and_a_file_is_not(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    release(claim(path), path)
    (tmp_path / "s").write_text("mine")
    with pytest.raises(FileExistsError):
        claim(path)
    assert (tmp_path / "s").read_text() == "mine"


def test_of_many_that_start_together_one_has_the_path(tmp_path):
    path, claimed, refused = str(tmp_path / "s"), [], []
    for _ in range(20):
        start = threading.Barrier(8)

        def attempt(start: threading.Barrier = start) -> None:
            start.wait()
            try:
                claimed.append(claim(path))
            except SocketInUse:
                refused.append(1)

        threads = [threading.Thread(target=attempt) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert (len(claimed), len(refused)) == (1, 7)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            claimed[0].settimeout(5.0)
            claimed[0].accept()[0].close()
        release(claimed.pop(), path)
        refused.clear()


def test_a_lock_that_somebody_keeps_holds_nobody_up_for_long(tmp_path):
    path, handle = str(tmp_path / "s"), os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    began = time.monotonic()
    release(claim(path), path)
    assert listener.WAIT <= time.monotonic() - began < listener.WAIT + 10.0
    os.close(handle)
