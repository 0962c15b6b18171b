"""Findings on a terminal: grouped, the worst first, 80 columns, and commands that are the same to a shell."""

import shlex

from hypothesis import given
from hypothesis import strategies as st

from forwarder.command.report import ALIKE, CLEAN, WIDTH, lines
from forwarder.diagnosis.doctor.finding import ERROR, NOTE, WARNING, Kind
from forwarder.diagnosis.doctor.programs import recipe

BAD, ODD, FINE = Kind("bad", ERROR), Kind("odd", WARNING), Kind("fine", NOTE)


def test_nothing_is_said_so():
    assert list(lines([])) == [CLEAN]


def test_groups_come_the_worst_first_with_subjects_where_words_do_not_begin_with_them():
    found = [FINE.found("x", "x is fine", "leave it"), BAD.mended("memory", "it is bad", "true", "or not")]
    assert list(lines(found)) == [
        "errors:", "  memory: it is bad", "      true", "      # or not",
        "notes:", "  x is fine", "      -> leave it",
        "commands are for root",
    ]  # fmt: skip


def test_a_long_command_is_folded_and_remains_what_it_was():
    command = recipe("mcfwd0", "local0", "192.168.77.1/24")
    printed = list(lines([ODD.mended("eth1", "words " * 40, command, "a comment " * 20)]))
    assert max(map(len, printed)) <= WIDTH
    shell = [line for line in printed if line.startswith("      ") and "words" not in line]
    assert sum(line.startswith("      # ") for line in shell) == 3
    shell = [line for line in shell if "#" not in line]
    assert shlex.split("\n".join(shell).replace("\\\n", " ")) == shlex.split(command)
    assert all(line.endswith((" &&", " \\")) for line in shell[:-1])


def test_of_thousands_alike_some_are_shown_and_the_rest_counted():
    found = [ODD.found(f"tap{number}", f"tap{number} is down", "ip") for number in range(3000)]
    printed = list(lines(found))
    assert len(printed) == 1 + 2 * ALIKE + 1
    assert "+2,996 more like it: tap4, tap5, tap6, tap7 and others" in " ".join(printed)


@given(st.text(min_size=1), st.text(min_size=1))
def test_nothing_moves_the_cursor(words, command):
    for line in lines([ODD.mended("x", words, command), ODD.found(words, words, command)]):
        assert line.isprintable()
