"""docs/conformance.md: a mark that points nowhere, a missing reason or section, and a stale page are noticed."""

import re
from pathlib import Path

import pytest

from scripts.rfc.__main__ import main
from scripts.rfc.marks import Mark, marks_in, marks_under
from scripts.rfc.page import PAGE
from scripts.rfc.problems import problems
from scripts.rfc.requirements import REQUIREMENTS, load

ROOT = Path(__file__).parent.parent

TOML = """
[[rfc]]
number = 9999
title = "Things"
sections = {"1" = "Words", "2" = "Deeds", "2.1" = "More"}
silent = {"1" = "only words."}

[[requirement]]
id = "9999-2-a"
level = "MUST"
sense = "It is done."

[[requirement]]
id = "9999-2.1-a"
level = "MAY"
sense = "It may be left."
why = "Nobody does."
"""
CODE = """
# RFC 9999 2 a
def does():
    pass
"""
TEST = """
import pytest


class TestIt:
    # RFC 9999 2 a
    @pytest.mark.slow
    def test_that_it_is_done(self):
        pass
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Where all is well."""
    for name, text in (("igmp/it.py", CODE), ("tests/test_it.py", TEST), (REQUIREMENTS, TOML)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert main(tmp_path, check=False) == 0
    return tmp_path


def wrong(tree: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a check says."""
    status = main(tree, check=True)
    lines = capsys.readouterr().err.splitlines()
    assert status == bool(lines)
    return lines


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


STALE = f"{PAGE} is older than requirements and marks: run scripts/conformance"


def test_a_row_names_code_and_test_and_what_has_none_says_why(tree, capsys):
    assert wrong(tree, capsys) == []
    text = (tree / PAGE).read_text()
    assert "| RFC 9999 | 2 | 1 | 0 |" in text
    assert ("| a | MUST | It is done. | [it: does](../igmp/it.py) | "
            "[test_it: TestIt.test_that_it_is_done](../tests/test_it.py) |") in text
    assert "| a | MAY | It may be left. *Nobody does.* |  |  |" in text
    assert "### 1 Words\n\nNothing is asked for: only words." in text


@pytest.mark.parametrize(("file", "before", "after", "expected"), [
    ("igmp/it.py", "9999 2 a", "9999 2 a b", ["igmp/it.py:2: 9999-2-b is not in docs/requirements.toml"]),
    ("igmp/it.py", "9999 2 a", "9998 2 a", [
        "igmp/it.py:2: 9998-2-a is not in docs/requirements.toml", "9999-2-a: has no code, and no `why`", STALE]),
    ("tests/test_it.py", "# RFC 9999 2 a", "", ["9999-2-a: has no test, and no `why`", STALE]),
    ("igmp/it.py", "def does():\n    pass", "print()", [
        "igmp/it.py:2: the mark belongs to no function, class or constant", STALE]),
    ("igmp/it.py", "does", "did", [STALE]),
    (REQUIREMENTS, 'sense = "It is done."', 'sense = "It is well done."', [STALE]),
    (REQUIREMENTS, 'sense = "It is done."', 'sense = "It is done."\nwhy = "No."', [
        "9999-2-a: has code and test, so nobody asks for its `why`", STALE]),
    (REQUIREMENTS, 'why = "Nobody does."', "", ["9999-2.1-a: has no code and no test, and no `why`", STALE]),
    (REQUIREMENTS, '"MAY"', '"may"', [
        "9999-2.1-a: may is none of MUST, MUST NOT, SHOULD, SHOULD NOT, MAY, stated", STALE]),
    (REQUIREMENTS, '"2" = "Deeds", ', "", [
        "RFC 9999 section 2.1: section 2 is missing", "9999-2-a: its RFC has no such section", STALE]),
    (REQUIREMENTS, '"More"', '"More", "2.3" = "Most"', [
        "RFC 9999 section 2.3: section 2.2 is missing",
        "RFC 9999 section 2.3: has no requirement, and no reason in `silent`", STALE]),
    (REQUIREMENTS, '"only words."', '"only words.", "2" = "none", "4" = "none"', [
        "RFC 9999 section 2: has a requirement, so it is not `silent`",
        "RFC 9999 section 4: is `silent` and not among the sections"]),
    (REQUIREMENTS, "9999-2.1-a", "9999-2-a", [
        "RFC 9999 section 2.1: has no requirement, and no reason in `silent`",
        "9999-2-a: has code and test, so nobody asks for its `why`", "9999-2-a: is there twice", STALE]),
    (REQUIREMENTS, "9999-2.1-a", "9999-2.1-aa", ["9999-2.1-aa: an id is like 9776-6.4.1-a", STALE]),
])  # fmt: skip
def test_what_is_wrong_is_said(tree, capsys, file, before, after, expected):
    edit(tree / file, before, after)
    assert wrong(tree, capsys) == expected


@pytest.mark.parametrize(("file", "before", "after", "words"), [
    ("igmp/it.py", "9999 2 a", "9999 2.", "igmp/it.py:2: '2.' is none of a mark's"),
    ("igmp/it.py", "9999 2 a", "9999 2 a; 2.1 a", "igmp/it.py:2: '2 a; 2.1 a' is none of a mark's"),
    (REQUIREMENTS, 'level = "MAY"', 'levels = "MAY"', "levels"),
    (REQUIREMENTS, 'level = "MAY"', "level = MAY", "Invalid value"),
])
def test_what_cannot_be_read_is_said(tree, capsys, file, before, after, words):
    edit(tree / file, before, after)
    (line,) = wrong(tree, capsys)
    assert words in line


def test_a_page_that_is_missing_or_edited_is_stale(tree, capsys):
    edit(tree / PAGE, "It is done.", "It is not done.")
    assert wrong(tree, capsys) == [STALE]
    (tree / PAGE).unlink()
    assert wrong(tree, capsys) == [STALE]
    assert main(tree, check=False) == 0
    assert wrong(tree, capsys) == []


def test_marks_belong_to_what_they_stand_in_or_before():
    text = """
NUMBER = 2  # RFC 9999 1 a
# RFC 9999 2 a, 2.1 a b
# RFC 9999 3 a
class Thing:
    def do(self):
        if NUMBER:
            # RFC 9999 4 a
            text = "# RFC 9999 5 a"         # RFC 9999 section 6
    # RFC 9999 7 a
    @property
    def size(self):
        def inner():
            pass    # RFC 9999 8 a
"""
    assert [(mark.id, mark.name) for mark in marks_in("igmp/it.py", text)] == [
        ("9999-1-a", "NUMBER"), ("9999-2-a", "Thing"), ("9999-2.1-a", "Thing"), ("9999-2.1-b", "Thing"),
        ("9999-3-a", "Thing"), ("9999-4-a", "Thing.do"), ("9999-7-a", "Thing.size"), ("9999-8-a", "Thing.size"),
    ]  # fmt: skip


def test_no_more_tests_than_three_are_named_and_unit_tests_first(tree):
    for number in range(3):
        (tree / f"tests/test_no{number}.py").write_text(TEST)
    (tree / "tests/netns").mkdir()
    (tree / "tests/netns/test_a.py").write_text(TEST)
    assert main(tree, check=False) == 0
    assert re.findall(r"\[(test_\w+):", (tree / PAGE).read_text()) == ["test_it", "test_no0", "test_no1"]


# The real ones

def test_nothing_is_wrong_here(capsys):
    assert wrong(ROOT, capsys) == []


def test_all_sections_are_there():
    """By the last of each part: those between two cannot be left out."""
    standards, _ = load((ROOT / REQUIREMENTS).read_text())
    last = {9776: ("3.2", "4.1.12", "4.2.17", "5.2", "6.2.3", "6.4.2", "6.6.3.2", "7.1", "7.2.2", "7.3.2", "8.13",
                   "8.14.3", "9.4", "10"), 4605: ("3.2", "4.3", "5"), 4541: ("2.1.2",)}  # fmt: skip
    assert {each.number for each in standards} == set(last)
    for each in standards:
        assert set(last[each.number]) <= each.sections.keys()


def test_a_mark_whose_requirement_is_gone_is_noticed_here():
    standards, requirements = load((ROOT / REQUIREMENTS).read_text())
    marks = [*marks_under(ROOT), Mark("9776-6.9-z", "igmp/group.py", "Group", 1)]
    assert problems(standards, requirements, marks) == ["igmp/group.py:1: 9776-6.9-z is not in docs/requirements.toml"]
