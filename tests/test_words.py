from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.formats.words import LONGEST, address, network, number, words
from igmp.link import Network


def texts(text: str, longest: int = LONGEST) -> list[str]:
    return [word.text for word in words(text, longest)]


def as_igmpproxy(text: str) -> list[str]:
    """Octet by octet, as its reader goes through a file: what ends a word is a blank, or that it is full."""
    found, word, in_remark = [], "", False
    for letter in text:
        if in_remark:
            in_remark = letter != "\n"
        elif letter == "#":
            in_remark = True
        elif letter in " \t\r\n":
            if word:
                found.append(word)
            word = ""
        else:
            word += letter
        if len(word) == LONGEST:
            found.append(word)
            word = ""
    return [*found, word] if word else found


@given(st.text("ab#\n \t\r", max_size=60) | st.text("abc#\n", max_size=200))
def test_words_are_those_that_igmpproxy_reads(text):
    assert texts(text) == as_igmpproxy(text)


@given(st.text("ab#\n \t\r", max_size=60))
def test_a_word_is_in_the_line_in_which_it_begins(text):
    lines = text.split("\n")
    for word in words(text):
        assert word.text[0] in lines[word.line - 1]


def test_a_remark_in_a_word_goes_to_the_end_of_the_line_and_no_further():
    [first, second] = words("altnet#x y\n  10.0.0.0/8#z\n\n")
    assert (first.text, first.line, first.joined) == ("altnet", 1, False)
    assert (second.text, second.line, second.joined) == ("10.0.0.0/8", 2, False)
    [glued] = words("10.0.0.0/8#note\nphyint")
    assert (glued.text, glued.line, glued.joined) == ("10.0.0.0/8phyint", 1, True)


def test_long_words_are_cut():
    found = list(words("x" * (2 * LONGEST + 1)))
    assert [(len(each.text), each.cut) for each in found] == [(LONGEST, True), (LONGEST, True), (1, False)]
    assert [each.cut for each in words("x" * LONGEST + " y")] == [False, False]


@pytest.mark.parametrize(("text", "expected"), [
    ("24", (24, True)), ("24;", (24, False)), ("8,", (8, False)), ("-1", (-1, True)), ("+8", (8, True)),
    ("x", (0, False)), ("", (0, False)), ("9" * 5000, (999_999_999_999, True)),
])  # fmt: skip
def test_numbers_are_read_as_by_c(text, expected):
    assert number(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("10.0.0.1", 0x0A000001), ("10.1", 0x0A000001), ("0x0a000001", 0x0A000001), ("012.0.0.1", 0x0A000001),
    ("0", 0), ("10.0.258", 0x0A000102),
])  # fmt: skip
def test_addresses_are_read_as_by_c(text, expected):
    assert address(text) == expected


@pytest.mark.parametrize("text", ["255.255.255.255", "10.0.0.256", "eth0", "", "1.2.3.4.5", "é", "08.1.1.1"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError):
        address(text)


@pytest.mark.parametrize(("text", "expected", "is_plain"), [
    ("10.0.0.0/8", "10.0.0.0/8", True), ("10.0.0.7", "10.0.0.7/32", True), ("10.0.0.7/32", "10.0.0.7/32", True),
    ("10.0.0.0/8;", "10.0.0.0/8", False), ("10.0.0.0/", "10.0.0.0/32", False), ("10.0.0.0/x", "10.0.0.0/0", False),
    ("/10.0.0.0//8", "10.0.0.0/8", False), ("0/0", "0.0.0.0/0", False), ("10.0.0.0/08", "10.0.0.0/8", False),
    ("10.0.0.0/8phyint", "10.0.0.0/8", False),
])  # fmt: skip
def test_networks_are_read_as_by_igmpproxy(text, expected, is_plain):
    assert network(text) == (Network.parse(expected), is_plain)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/255.0.0.0", "/", "", "net/8"])
def test_what_is_no_network(text):
    with pytest.raises(ValueError):
        network(text)


def test_many_words_are_read_one_at_a_time():
    """A file of 4 MiB may have two million."""
    found = words("a " * (1 << 21))
    assert next(found).text == "a"
    assert sum(1 for _, _ in zip(found, count(), strict=False)) == (1 << 21) - 1
