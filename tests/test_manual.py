"""The manual pages: that they render, and that nothing is missing in them."""

import re
import shutil
import subprocess

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from test_cli import mcfwd
from test_documentation import commands, said_in

from forwarder.command import manual, roff
from forwarder.command.main import app
from forwarder.config import reference

ESCAPES = {r"\(rs": "\\", r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\&": "",
           r"\fB": "", r"\fI": "", r"\fR": ""}  # fmt: skip
ESCAPE = re.compile(r"\\(?:\(..|\[u([0-9A-F]+)\]|f[BIR]|[-&])")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PAGES = {"1": manual.commands_page(typer.main.get_command(app)), "5": manual.file_page()}


def read(text: str) -> str:
    """What groff makes of an escaped text."""
    rest = ESCAPE.sub("", text)
    assert "\\" not in rest, "an escape that nobody meant"
    assert not text.startswith((".", "'")), "a request that nobody meant"
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else ESCAPES[found[0]], text)


def rendered(page: str) -> str:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", "-P-cbou", "-k"], input=page, capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@given(TEXT)
def test_any_text_comes_out_as_it_is(text):
    shown = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    assert read(roff.plain(text)) == shown
    assert read(roff.marked(text)) == re.sub(r"`([^`]*)`", lambda code: " ".join(code[1].split()), shown)
    for each in (roff.plain(text), roff.marked(text), roff.bold(text), roff.italic(text)):
        assert each.isascii()
        assert "\n" not in each


def test_groff_reads_the_escapes_as_the_test_does():
    printable = "".join(map(chr, range(33, 127)))
    lines = [printable, ".so /etc/passwd", "'br", r"\fBx\n", "..", "déjà vu – “x”", "- -- ---"]
    page = '.TH "X" "1" "" "x"\n.ll 200n\n' + "\n.br\n".join(map(roff.plain, lines)) + "\n"
    shown = rendered(page).splitlines()
    for line in lines:
        assert any(each.strip() == line for each in shown), line


@pytest.mark.parametrize("number", PAGES)
def test_a_page_renders_without_a_warning(number):
    assert "NAME" in rendered(PAGES[number])
    assert mcfwd("manual", number).stdout == PAGES[number]


def test_man_takes_the_pages(tmp_path):
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    for number, text in PAGES.items():
        file = tmp_path / f"page.{number}"
        file.write_text(text)
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(file)], capture_output=True,
                              text=True, timeout=60, env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin"})  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_every_command_and_option_is_in_the_manual():
    text = read_page(PAGES["1"])
    for words, options in commands().items():
        assert f'.SS "{words}"' in text
        for option in options:
            assert not option.startswith("-") or option in text, f"mcfwd {words} {option}"


def test_every_key_is_in_the_manual():
    for row in reference.rows():
        assert f".TP\n{roff.bold(row.setting.name)}\n{roff.marked(row.key.meaning)}" in PAGES["5"]


def test_every_exit_status_is_in_the_manual():
    assert sorted(manual.EXITS) == sorted(map(int, said_in("every exit status")))


def read_page(page: str) -> str:
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else ESCAPES[found[0]], page)
