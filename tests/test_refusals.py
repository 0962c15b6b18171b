"""When what was refused is asked for again, and what is news."""

import errno

from forwarder.supervisor.refusals import LONGEST_RETRY, PORT_RETRY, Refusals, remedied


def test_what_helps_is_said_where_it_is_known():
    assert remedied("no", errno.EMFILE).startswith("no; what helps: raise the limit of open files (ulimit -n, ")
    assert (remedied("no", errno.EIO), remedied("no", None)) == ("no", "no")


def test_pauses_grow_to_the_longest_and_no_further():
    refusals = Refusals()
    now, pauses = 0.0, []
    for _ in range(2000):
        refusals.refused("a", "why", now)
        began = now
        while not refusals.due("a", now):
            now += PORT_RETRY
        pauses.append(now - began)
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_RETRY]
    assert set(pauses[6:]) == {LONGEST_RETRY}


def test_a_reason_is_news_once_and_so_is_its_end():
    refusals = Refusals()
    assert [refusals.refused("a", words, 0.0) for words in ("x", "x", "y", "x")] == [True, False, True, True]
    assert (refusals.words("a"), refusals.words("b")) == ("x", None)
    assert [refusals.granted("a"), refusals.granted("a"), refusals.granted("b")] == [True, False, False]
    assert refusals.words("a") is None


def test_what_was_not_refused_is_due_and_nothing_to_try_again():
    refusals = Refusals()
    assert (refusals.due("a", 0.0), refusals.any_due(0.0)) == (True, False)
    refusals.refused("a", "x", 0.0)
    assert (refusals.any_due(PORT_RETRY / 2), refusals.any_due(PORT_RETRY)) == (False, True)


def test_what_was_refused_for_a_reason_that_may_be_gone_is_tried_sooner_and_never_later():
    refusals = Refusals()
    for _ in range(6):
        refusals.refused("a", "memory", 0.0)
    refusals.refused("b", "memory", 0.0)
    refusals.refused("c", "else", 0.0)
    refusals.hurry("memory", 2.0)
    assert [refusals.due(key, PORT_RETRY) for key in "abc"] == [False, True, True]
    assert refusals.due("a", 2.0)


def test_what_is_gone_is_forgotten():
    refusals = Refusals()
    for key in "ab":
        refusals.refused(key, "x", 0.0)
    refusals.keep({"b"})
    assert (refusals.words("a"), refusals.words("b")) == (None, "x")
