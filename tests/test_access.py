"""A file that could be read at start and not after privileges were given up is found out, in a process of its own."""

import os

import pytest

from forwarder.process.access import refusal, refusal_later, warning

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what it may not")
NOBODY = 65534


@pytest.fixture
def file(tmp_path):
    """A file in a folder of another user, which anybody may pass."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mcfwd.toml").write_text("")
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder / "mcfwd.toml"


def test_what_can_be_read_now_and_later_is_no_trouble(file):
    assert refusal(str(file)) is refusal_later(str(file)) is None


def test_what_is_not_there_is_told_in_the_systems_words(tmp_path):
    assert refusal(f"{tmp_path}/none") == refusal_later(f"{tmp_path}/none") == "No such file or directory"


@needs_root
@pytest.mark.parametrize("closed", ["folder", "file"])
def test_root_does_not_read_what_is_closed_once_it_has_no_capability(file, closed):
    os.chmod(file.parent if closed == "folder" else file, 0o700)
    os.chown(file, NOBODY, NOBODY)
    assert refusal(str(file)) is None
    assert refusal_later(str(file)) == "Permission denied"
    assert "Permission denied" in warning(str(file), "Permission denied")


@needs_root
def test_groups_count_as_long_as_they_are_kept(file):
    former = os.getgroups()
    os.chown(file, NOBODY, 4242)
    os.chmod(file, 0o640)
    try:
        os.setgroups([4242])
        assert refusal_later(str(file)) is None
        assert refusal_later(str(file), groups=False) == "Permission denied"
    finally:
        os.setgroups(former)


def test_a_pipe_has_nobody_to_wait_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(f"{tmp_path}/pipe") is None
