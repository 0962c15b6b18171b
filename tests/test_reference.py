"""Every key is described, and what is said of it is so; a key that others add fails here with what to write."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from forwarder.config import loading, reference
from forwarder.config.files import ConfigurationError
from forwarder.config.keys import KEYS, Key
from forwarder.config.reference import Setting

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
ROLES = '[[interface]]\nname = "eth8"\nrole = "upstream"\n[[interface]]\nname = "eth9"\n'
NO_USER = "is no user of this system"   # an example's need not exist here
ENTRIES = [entry for entry in reference.entries() if entry.name in KEYS.get(entry.table, {})]   # others fail by name
PLACES = [entry.place for entry in ENTRIES]


def problems_of(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a configuration, apart from users that are not there."""
    file = tmp_path / "mcfwd.toml"
    file.write_text(text)
    try:
        loading.load(file, [], [], None)
    except ConfigurationError as error:
        return [line for line in str(error).splitlines() if not line.endswith(NO_USER)]
    return []


def with_line(entry: Setting, line: str) -> str:
    """A configuration that would run, with one line more in the entry's table."""
    if not entry.table:
        return f"{line}\n{ROLES}"
    if entry.table == "interface":
        name = "" if entry.name == "name" else 'name = "eth2"\n'
        return f"{ROLES}[[interface]]\n{name}{line}\n"
    needed = "" if entry.place == "[[route]] group" else 'group = "239.9.9.9"\n' * (entry.table == "route")
    wild = '[[interface]]\nname = "*"\n' if entry.table == "route" else ""
    return f"{ROLES}{wild}{reference.title(entry.table)}\n{needed}{line}\n"


def test_every_key_of_the_settings_is_described_and_no_other():
    assert not reference.problems(), "\n" + "\n".join(reference.problems())


def test_the_page_is_what_the_settings_say():
    text = PAGE.read_text()
    assert text == reference.updated(text), "docs/configuration.md is older than the keys: run scripts/reference"


@pytest.mark.parametrize("entry", ENTRIES, ids=PLACES)
def test_every_example_is_accepted(tmp_path, entry):
    key = KEYS[entry.table][entry.name]
    assert problems_of(tmp_path, with_line(entry, f"{entry.name} = {key.example}")) == []


@pytest.mark.parametrize("entry", ENTRIES, ids=PLACES)
def test_every_meaning_is_a_sentence_and_says_what_unset_does(entry):
    key = KEYS[entry.table][entry.name]
    assert key.meaning.endswith(".")
    assert entry.default is not None or "Unset: " in key.meaning, f"{entry.place}: say what it is when unset"


def test_a_new_key_fails_with_what_to_write():
    without = {**KEYS, "igmp": {name: key for name, key in KEYS["igmp"].items() if name != "robustness"}}
    wanted = "[igmp] robustness has no Key: write one in forwarder/config/keys.py, then run scripts/reference"
    assert wanted in reference.problems(without)


def test_a_key_that_is_gone_and_a_range_that_nobody_says_are_told():
    too_much = {**KEYS, "control": {"socket": Key("A path.", '"/s"'), "colour": Key("None.", "1")}}
    told = "\n".join(reference.problems(too_much))
    assert "[control] colour is no key" in told
    assert "[control] socket: its Key in forwarder/config/keys.py needs `values`" in told


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match=r"lacks <!-- keys of \[igmp\] -->"):
        reference.updated(PAGE.read_text().replace("keys of [igmp]", ""))


def test_the_file_of_all_defaults_names_every_key_and_would_run(tmp_path):
    text = reference.defaults()
    for entry in ENTRIES:
        assert f"\n{entry.name} = " in text or f"\n# {entry.name} = " in text, entry.place
    assert problems_of(tmp_path, text) == []


def test_the_file_of_all_defaults_changes_nothing(tmp_path):
    plain, full = tmp_path / "plain.toml", tmp_path / "full.toml"
    plain.write_text(ROLES.replace("eth8", "eth0").replace("eth9", "eth1"))
    full.write_text(reference.defaults())
    assert loading.load(full, [], [], None) == loading.load(plain, [], [], None)


def test_what_is_a_comment_there_can_be_said(tmp_path):
    text = reference.defaults().removeprefix(reference.INTRODUCTION)
    assert problems_of(tmp_path, re.sub("^# ", "", text, flags=re.MULTILINE)) == []


def test_the_command_prints_it_and_check_accepts_it(tmp_path):
    run = [sys.executable, "-m", "forwarder"]
    done = subprocess.run([*run, "config", "--defaults"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "all.toml"
    file.write_text(done.stdout)
    checked = subprocess.run([*run, "check", str(file)], capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_command_alone_says_what_it_could_print():
    done = subprocess.run([sys.executable, "-m", "forwarder", "config"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--defaults" in done.stderr
