import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.command.batch import _syntaxes
from forwarder.command.batch_lines import LineError, numbered, operation_of, words_of

SYNTAXES = _syntaxes()
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0")), min_size=1)


def operation(line: str):
    return operation_of(words_of(line), SYNTAXES)


def wrong(line: str) -> str:
    with pytest.raises(LineError) as caught:
        operation(line)
    return str(caught.value)


@pytest.mark.parametrize(("line", "expected"), [
    ("route add 239.1.2.3", {"command": "route add", "group": "239.1.2.3"}),
    ("mcfwd route add 239.1.2.3", {"command": "route add", "group": "239.1.2.3"}),
    ("route replace 239.1.2.3 --to eth1 --interfaces=eth2 --from 'eth*' --source 10.0.0.0/8",
     {"command": "route replace", "group": "239.1.2.3", "interfaces": ["eth1", "eth2"], "upstream": "eth*",
      "source": "10.0.0.0/8"}),
    ("route del --upstream eth0 -- 239.1.2.3", {"command": "route del", "group": "239.1.2.3", "upstream": "eth0"}),
    ("group\tadd  eth#1 239.1.2.3 # a comment", {"command": "group add", "interface": "eth#1", "group": "239.1.2.3"}),
    ("group del 'eth;rm' \"239.1.2.3\"", {"command": "group del", "interface": "eth;rm", "group": "239.1.2.3"}),
    ("group add $(id) `id`", {"command": "group add", "interface": "$(id)", "group": "`id`"}),
])  # fmt: skip
def test_a_line_means_what_the_command_line_means(line, expected):
    assert operation(line) == expected


@pytest.mark.parametrize(("line", "words"), [
    ("route", 'unknown command "route"; known are route add, route replace, route del, group add, group del'),
    ("run -u eth0", 'unknown command "run -u"'),
    ("mcfwd", 'unknown command ""'),
    ("route add", "group is missing"),
    ("group add eth1", "group is missing"),
    ("group add eth1 239.1.2.3 eth2", '"eth2" is too much'),
    ("route add 239.1.2.3 --socket /s", 'unknown option "--socket"; known are --source, --upstream, --from'),
    ("route add 239.1.2.3 --source", "--source needs a value"),
    ("route add 239.1.2.3 --source 10.0.0.1 --source 10.0.0.2", "--source is there twice"),
    ("route add '239.1.2.3", "a quote is not closed"),
    ("route add 239.1.2.3\\", "cannot be read at"),
    ("route add \x1b[31m 1 2", r'"1" is too much'),
    ("\x1b[31m add", r'unknown command "\x1b[31m add"'),
    ("x" * 1000, f'unknown command "{"x" * 60}..."'),
])  # fmt: skip
def test_what_is_wrong_with_a_line_is_said(line, words):
    assert wrong(line).startswith(words)


def test_lines_are_numbered_and_end_as_they_like():
    text = "\ufeff# first\r\nroute add 1\r\n\r\n  \t\nroute del 2\nroute 'add\n# \"it's"
    found = {number: words if isinstance(words, list) else str(words) for number, words in numbered(text)}
    assert found == {2: ["route", "add", "1"], 5: ["route", "del", "2"], 6: "a quote is not closed"}


@given(WORDS)
def test_words_that_are_quoted_come_back(words):
    assert words_of(shlex.join(words)) == words
    assert words_of(" ".join(f'"{_double(each)}"' for each in words)) == words


def _double(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@given(st.text(st.sampled_from(" \t'\"\\#ab$\x0b\xa0"), max_size=30))
def test_any_line_is_split_as_a_shell_does_or_refused(line):
    """What Python's own reader splits otherwise: # inside a word, which a shell takes for what it is."""
    try:
        words = words_of(line.strip(" \t\r"))
    except LineError:
        return
    if "#" not in line:
        assert words == shlex.split(line)


def test_a_line_is_read_in_linear_time():
    assert words_of("'a'" * 20_000) == ["a" * 20_000]
    with pytest.raises(LineError):
        words_of("'a'\\b\"c\"" * 10_000 + "'")
