from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.command.question import parse
from forwarder.nouns import NOUNS


@pytest.mark.parametrize(("noun", "word", "kind"), [
    ("flows", "239.1.2.3", "group"), ("flows", "239.0.0.0/8", "group"), ("flows", "224.0.0.0/4", "group"),
    ("flows", "10.0.0.7", "source"), ("flows", "10.0.0.0/8", "source"), ("flows", "0.0.0.0/0", "source"),
    ("hosts", "10.0.0.7", "host"), ("refusals", "10.0.0.7", "host"), ("groups", "10.0.0.7", "source"),
    ("flows", "eth0", "interface"), ("interfaces", "tap*", "interface"), ("flows", "eth0.100", "interface"),
    ("upstream", "[red]", "interface"), ("routes", "a" * 15, "interface"),
])  # fmt: skip
def test_what_a_word_means_is_seen_from_its_form(noun, word, kind):
    assert parse(noun, [word]).filters == ((kind, word),)


@pytest.mark.parametrize(("noun", "words", "said"), [
    ("flows", ["239.1.2.300"], "'239.1.2.300' is no IPv4 address or network"),
    ("flows", ["239.1.2"], "is no IPv4 address or network"),
    ("flows", ["10.0.0.0/33"], "is no IPv4 address or network"),
    ("flows", ["1/2/3"], "is no IPv4 address or network"),
    ("flows", ["ff02::1"], "no interface has a colon in its name"),
    ("flows", [""], "is no group, address or name of an interface"),
    ("flows", ["eth 0"], "is no group, address or name of an interface"),
    ("flows", ["a/b"], "is no group, address or name of an interface"),
    ("flows", ["a" * 16], "is no group, address or name of an interface"),
    ("flows", ["*" * 61], "is no group, address or name of an interface"),
    ("flows", ["\udcff"], "is no group, address or name of an interface"),
    ("interfaces", ["239.1.2.3"], "is a group, and interfaces have no groups to choose by; they can be"),
    ("interfaces", ["10.0.0.7"], "is a network or address, and interfaces have no sources to choose by"),
    ("stats", ["eth0"], "and stats have no interfaces to choose by; all of them are shown"),
])  # fmt: skip
def test_a_word_that_can_mean_nothing_is_an_error_that_names_it(noun, words, said):
    with pytest.raises(ValueError) as error:
        parse(noun, words)
    assert said in str(error.value)


@pytest.mark.parametrize(("options", "said"), [
    ({"noun": "hosts", "problems": True}, "--problems: hosts have none of their own; interfaces, groups"),
    ({"noun": "flows", "order": "speed"}, "--sort: flows have no 'speed'; they have group, source, upstream"),
    ({"noun": "flows", "order": "--packets"}, "--sort: flows have no '-packets'"),
    ({"noun": "stats", "order": "uptime"}, "--sort: stats have no 'uptime'; they are no rows"),
    ({"noun": "flows", "reverse": True}, "--reverse: goes with --sort"),
])  # fmt: skip
def test_options_that_do_not_go_are_an_error_in_words(options, said):
    with pytest.raises(ValueError) as error:
        parse(words=[], **options)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(("order", "reverse", "meant"), [
    (None, False, (None, False)), ("packets", False, ("packets", False)), ("-packets", False, ("packets", True)),
    ("packets", True, ("packets", True)), ("-packets", True, ("packets", False)),
])  # fmt: skip
def test_an_order_has_a_direction(order, reverse, meant):
    question = parse("flows", [], order=order, reverse=reverse)
    assert (question.key, question.descending) == meant


@given(st.sampled_from(list(NOUNS)), st.lists(st.text(), max_size=3))
def test_any_words_are_a_question_or_an_error_in_words(noun, words):
    with suppress(ValueError):
        question = parse(noun, words)
        assert {name for name, _ in question.filters} <= set(NOUNS[noun].parameters)


class Instance:
    """Answers what it has, and remembers what it was asked."""

    total = None

    def __init__(self, rows: Any) -> None:
        self._rows, self.asked = rows, []

    def get(self, *arguments: Any, **named: Any) -> Any:
        self.asked.append((*arguments, *named.values()))
        return self._rows


ROWS = [{"packets": 3, "group": "239.1.2.30"}, {"packets": 7, "group": "239.1.2.4"}]


def test_a_page_is_put_in_order_by_the_instance_and_more_than_that_here():
    """Pages of an order that changes would repeat some flows, and lack others."""
    question = parse("flows", ["eth0"], order="-packets", limit=20)
    instance = Instance(ROWS)
    assert question.answer(instance) == ROWS
    assert instance.asked == [("flows", 20, (("interface", "eth0"), ("order", "-packets")))]
    whole = Instance(ROWS)
    assert parse("flows", [], order="-packets").answer(whole) == ROWS[::-1]
    assert parse("flows", [], order="packets", limit=20_000).answer(whole) == ROWS
    assert whole.asked == [("flows", ())] * 2
    assert parse("flows", [], order="packets").answer(Instance(None)) is None


def test_what_was_missed_is_said_with_the_filters():
    assert parse("flows", ["239.1.2.3", "eth0"]).missed == "no flows for 239.1.2.3 eth0"
    assert parse("flows", ["eth0"], problems=True).missed == "no flows with a problem for eth0"
    assert parse("routes", [], problems=True).missed == "no routes with a problem"
