from pathlib import Path

from forwarder.config.formats.translation import Origin, Translation

FIRST, SECOND = Origin(Path("x"), 1, "a"), Origin(Path("x"), 2, "b")


def test_each_element_of_a_list_has_the_origin_that_said_it_first():
    translation = Translation("word")
    at = translation.interface("eth0", FIRST)
    assert translation.interface("eth0", SECOND) == at
    place = ("interface", at, "allow")
    for text, origin in (("239.1.0.0/16", FIRST), ("239.2.0.0/16", SECOND), ("239.1.0.0/16", SECOND)):
        translation.add(place, text, origin)
    assert translation.tables["interface"][at]["allow"] == ["239.1.0.0/16", "239.2.0.0/16"]
    assert (translation.origins[*place, 0], translation.origins[*place, 1]) == (FIRST, SECOND)
    translation.say(place, [], SECOND)
    assert (*place, 0) not in translation.origins
    translation.add(place, "239.1.0.0/16", SECOND)
    assert translation.tables["interface"][at]["allow"] == ["239.1.0.0/16"]
    assert translation.origins[*place, 0] == SECOND


def test_what_is_told_twice_is_told_once():
    translation = Translation("word")
    for origin in (FIRST, FIRST, SECOND):
        translation.warn(origin, "words")
    assert [notice.origin for notice in translation.notices] == [FIRST, SECOND]


def test_tens_of_thousands_of_entries_take_no_longer_each():
    translation = Translation("word")
    at = translation.interface("eth0", FIRST)
    for number in range(50_000):
        translation.add(("interface", at, "allow"), str(number), FIRST)
        translation.warn(FIRST, str(number))
    assert len(translation.tables["interface"][at]["allow"]) == len(translation.notices) == 50_000
