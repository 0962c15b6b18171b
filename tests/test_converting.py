from pathlib import Path

import rtoml
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.converting import written
from forwarder.config.formats.translation import Origin, Translation

FILE = Path("x.conf")
TEXT = st.text(max_size=12)
VALUES = st.one_of(st.booleans(), st.integers(0, 1 << 40), st.floats(0, 1e6), TEXT, st.lists(TEXT, max_size=4))
ORIGINS = st.builds(Origin, st.sampled_from([FILE, Path("d/y.conf")]), st.integers(1, 99), st.text(max_size=150))


def test_lists_have_a_line_for_each_origin_and_other_files_their_names():
    translation = Translation("word")
    first, second = Origin(FILE, 1, "phyint  eth0\tupstream"), Origin(Path("d/y.conf"), 7, "altnet x")
    at = translation.interface("eth0", first)
    translation.say(("interface", at, "role"), "upstream", first)
    for text, origin in (("10.0.0.0/8", first), ("11.0.0.0/8", second), ("10.0.0.0/8", second)):
        translation.add(("interface", at, "altnets"), text, origin)
    translation.say(("igmp", "robustness"), 3, second)
    assert written(translation, FILE) == """\
# x.conf (word); behind each key: the line it comes from

[[interface]]
name = "eth0"                   # line 1: phyint eth0 upstream
role = "upstream"               # line 1: phyint eth0 upstream
altnets = [
  "10.0.0.0/8",                 # line 1: phyint eth0 upstream
  "11.0.0.0/8",                 # d/y.conf:7: altnet x
]

[igmp]
robustness = 3                  # d/y.conf:7: altnet x
"""


def test_a_file_that_is_to_run_nothing_is_told():
    translation = Translation("word", disabled=Origin(FILE, 3, "disable"))
    assert "\n# line 3: disable: nothing is to run, and this cannot be said here\n" in written(translation, FILE)


TABLES = st.sampled_from(["interface", "igmp", "route"])


@given(st.lists(st.tuples(TABLES, st.text("abc_", min_size=1), VALUES, ORIGINS)))
def test_whatever_a_file_says_is_the_same_in_toml(said):
    translation = Translation("word")
    for table, key, value, origin in said:
        if table == "igmp":
            translation.say((table, key), value, origin)
        elif table == "route":
            translation.route({key: value}, origin)
        else:
            at = translation.interface(key, origin)
            translation.say((table, at, "x"), value, origin)
            translation.add((table, at, "list"), f"{value}", origin)
    assert rtoml.loads(written(translation, FILE)) == translation.tables
