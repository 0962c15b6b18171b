"""The path of the control socket: taken from the dead, never from the living, and by one of two that start together."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from forwarder.supervisor import listener
from forwarder.supervisor.listener import SocketInUse, claim, release

needs_user = pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")


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


@needs_user
def test_a_group_may_ask_and_others_may_not(tmp_path):
    path = tmp_path / "s"
    with claim(str(path), 0o660, "7"):
        found = path.lstat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o660, 0, 7)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_what_was_asked_for_whatever_the_mask(tmp_path, mode):
    path, mask = tmp_path / "s", os.umask(0o077)
    try:
        claim(str(path), mode).close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.lstat().st_mode) == mode


def test_a_group_that_is_not_there_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="cannot be given to group no-such: there is no group no-such"):
        claim(str(tmp_path / "s"), 0o660, "no-such")
    assert list(tmp_path.iterdir()) == []


@needs_user
def test_a_group_of_others_is_refused_with_what_it_takes(tmp_path):
    tmp_path.chmod(0o777)
    program = f"from forwarder.supervisor.listener import claim; claim({str(tmp_path / 's')!r}, 0o660, '7')"
    argv = ["setpriv", "--bounding-set=-chown", sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "cannot be given to group 7: Operation not permitted; root may with CAP_CHOWN" in done.stderr
    assert list(tmp_path.iterdir()) == []
