"""Who may ask: users of the group that is configured, and no others."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lacks import is_root

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.public import public_python

GROUP, USER = 7, 65534
ASK = """
import socket, sys
asking = socket.socket(socket.AF_UNIX)
asking.connect(sys.argv[1])
asking.sendall(b"GET /v1/stats HTTP/1.0\\r\\n\\r\\n")
print(asking.recv(15).decode())
"""
pytestmark = pytest.mark.skipif(not is_root(), reason="becoming another user needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="mcfwd-control-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def asked(path: str, *groups: str) -> str:
    """What an ordinary user of these groups gets."""
    python, needed = public_python() or (sys.executable, {})
    argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", *groups, python, "-c", ASK, path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=needed)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def test_a_group_of_users_may_ask(make_lab, place):
    file, path = place / "mcfwd.toml", f"{place}/s"
    file.write_text(f'[control]\nsocket_group = "{GROUP}"\n')
    with Mcfwd(make_lab(1).router, "-c", str(file), "-u", "up0", "-d", "d1", socket_path=path):
        assert asked(path, f"--groups={GROUP}") == "HTTP/1.0 200 OK"
        assert asked(path, "--clear-groups").startswith("PermissionError")


def test_everybody_may_where_it_says_so(make_lab, place):
    file, path = place / "mcfwd.toml", f"{place}/s"
    file.write_text('[control]\nsocket_mode = "0666"\n')
    with Mcfwd(make_lab(1).router, "-c", str(file), "-u", "up0", "-d", "d1", socket_path=path):
        assert asked(path, "--clear-groups") == "HTTP/1.0 200 OK"
