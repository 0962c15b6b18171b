"""A configuration that another process has understood is the one that we would have."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from forwarder.config import loading
from forwarder.config.files import ConfigurationError
from forwarder.config.reading import Reading
from forwarder.serve import Said
from forwarder.state.settings import Settings

OPTIONS = (["eth0"], ["eth1", "tap*"], "/run/s", "latency", 2)
NONE = ([], [], None, None, None)
TEXT = """
[[interface]]
name = "eth8"
role = "upstream"

[[interface]]
name = "eth9"
role = "downstream"
deny = ["239.1.0.0/16"]
rate_limit = "1Mbit"

[igmp]
ssm_range = ["232.0.0.0/8"]

[dataplane]
ring_memory = "64MiB"
"""


def load(said: Said) -> Settings:
    """What a process makes of it."""
    read = Reading(said)
    try:
        select.select([read], (), (), 60.0)
        return read.settings()
    finally:
        read.close()


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "mcfwd.toml"
    path.write_text(TEXT)
    return path


def test_settings_are_the_same_by_both_ways(file):
    for path, options in ((None, OPTIONS), (file, OPTIONS), (file, NONE)):
        said = Said(None if path is None else str(path), *options)
        assert load(said) == loading.load(path, *options)


@pytest.mark.parametrize("octets", [b"[[interface]\n", b"\xff", b'[[interface]]\nname = "a"\nrole = "bridge"\nx = 1\n'])
def test_problems_are_the_same_by_both_ways(file, octets):
    file.write_bytes(octets)
    with pytest.raises(ConfigurationError) as ours:
        loading.load(file, *OPTIONS)
    with pytest.raises(ConfigurationError) as theirs:
        load(Said(str(file), *OPTIONS))
    assert str(theirs.value) == str(ours.value)
    assert str(file) in str(ours.value)


def test_a_file_that_is_missing_is_said_as_ever(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: No such file or directory"):
        load(Said(str(tmp_path / "nowhere.toml"), *NONE))


def test_who_loads_has_no_pydantic_afterwards(file):
    script = """
import sys
from forwarder.config.reading import Reading
from forwarder.serve import Said
Reading(Said(sys.argv[1], [], [], None, None, None)).settings()
print(sorted({'pydantic', 'rtoml', 'forwarder.config.loading'} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(file)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_files_that_are_included_are_read_by_who_may_and_given_to_who_understands(tmp_path):
    """Also within each other, and when it is asked without waiting for a step."""
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_text('include = ["d/*.toml"]\n' + TEXT)
    (tmp_path / "d" / "b.toml").write_text('include = ["c"]\n')
    (tmp_path / "d" / "c").write_text('[[interface]]\nname = "tap*"\n')
    said = Said(str(tmp_path / "a"), *NONE)
    expected = loading.load(tmp_path / "a", *NONE)
    assert [each.name for each in expected.interface] == ["eth8", "eth9", "tap*"]
    assert load(said) == expected
    read = Reading(said)
    try:
        steps = 0
        while select.select([read], (), (), 60.0) and not read.step():
            steps += 1
        assert (steps, read.settings()) == (2, expected)
    finally:
        read.close()
    (tmp_path / "d" / "c").write_text("\n[igmp]\nx = 1\n")
    with pytest.raises(ConfigurationError, match=r"d/c:3: igmp\.x: unknown key"):
        load(said)
    (tmp_path / "d" / "c").unlink()
    with pytest.raises(ConfigurationError, match=r"d/b\.toml:1: include: .*d/c: No such file or directory"):
        load(said)


def test_a_process_that_is_killed_while_it_asks_is_no_settings(tmp_path):
    (tmp_path / "a").write_text('include = ["b"]\n')
    (tmp_path / "b").write_text(TEXT)
    read = Reading(Said(str(tmp_path / "a"), *NONE))
    try:
        select.select([read], (), (), 60.0)
        read.kill()
        with pytest.raises(ConfigurationError, match="killed by SIGKILL"):
            read.settings()
    finally:
        read.close()


def test_a_file_of_another_program_is_understood_and_what_to_know_is_logged(tmp_path, caplog):
    path = tmp_path / "igmpproxy.conf"
    path.write_text("user nobody\nphyint eth0 upstream altnet 10.0.0.0/8\nphyint eth1 downstream\n")
    for format in (None, "igmpproxy"):
        caplog.clear()
        assert load(Said(str(path), *NONE, format, ["wan=eth0"])) == loading.load(path, *NONE)
        assert [record.message for record in caplog.records] == [
            f"{path}:1: user has no counterpart in this file: see [process] user"
        ]


def test_a_process_that_ends_without_an_answer_is_no_settings():
    """As under a memory limit: it is killed, and said so."""
    script = """
import os, sys
from forwarder.config import reading
from forwarder.config.files import ConfigurationError
from forwarder.serve import Said
reading.COMMAND = ("-c", "import os; os.kill(os.getpid(), 9)")
try:
    reading.Reading(Said(None, ["a"], ["b"], None, None, None)).settings()
except ConfigurationError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=True)
    assert result.stdout == "the process that was to understand it ended (killed by SIGKILL)\n"


def test_what_is_given_up_ends_and_leaves_nothing():
    before = os.listdir("/proc/self/fd")
    read = Reading(Said(None, ["a"], ["b"], None, None, None))
    read.kill()
    with pytest.raises(ConfigurationError, match="killed by SIGKILL"):
        read.settings()
    read.close()
    Reading(Said(None, ["a"], ["b"], None, None, None)).close()
    assert os.listdir("/proc/self/fd") == before
