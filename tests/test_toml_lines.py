import tomllib
from contextlib import suppress

import pytest
import rtoml
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.toml_lines import LONGEST, lines

ODD = '''\
# [[interface]] name = "not here"
title = "a [x] # no remark"   # ] [igmp]

[[interface]]           # the first
name = "eth0"
altnets = [             # ] is in a remark
  "10.0.0.0/8",
  "a # b ]", \'\'\'c
[igmp]
\'\'\',
]
text = """
[[interface]]
name = "in a text \\"""
"""
[interface.inner]
"a.b" = 1.5
\'c d\'.e = 1979-05-27 07:32:00

[[ interface ]]
name = "eth1"
when = {a = {b = [1, 2]}, "c" = 3}

  [[interface.list]]
  x = 1
  [[interface.list]]
  x = -1e+3

[igmp]
a.b.c = true
a.b.d = false
[other."dotted.key".'x']
y = """"quoted""""
z = 1
[after]
'''


@pytest.mark.parametrize(("path", "line"), [
    (("title",), 2),
    (("interface", 0), 4), (("interface", 0, "name"), 5), (("interface", 0, "altnets"), 6),
    (("interface", 0, "altnets", 0), 7), (("interface", 0, "altnets", 1), 8), (("interface", 0, "altnets", 2), 8),
    (("interface", 0, "altnets", 9), 6), (("interface", 0, "text"), 12), (("interface", 0, "inner"), 16),
    (("interface", 0, "inner", "a.b"), 17), (("interface", 0, "inner", "c d", "e"), 18),
    (("interface", 0, "max_groups"), 4),
    (("interface", 1), 20), (("interface", 1, "name"), 21), (("interface", 1, "when", "a", "b", 1), 22),
    (("interface", 1, "when", "c"), 22), (("interface", 1, "list", 0, "x"), 25), (("interface", 1, "list", 1), 26),
    (("interface", 1, "list", 1, "x"), 27),
    (("igmp",), 29), (("igmp", "a", "b", "d"), 31), (("igmp", "a", "b"), 30), (("igmp", "robustness"), 29),
    (("other", "dotted.key", "x", "y"), 33), (("other", "dotted.key", "x", "z"), 34), (("after",), 35),
    (("interface",), None), (("interface", 2), None), (("dataplane", "burst"), None), ((), None),
])  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_an_odd_file(path, line, end):
    text = ODD.replace("\n", end)
    assert tomllib.loads(text)
    assert lines(text, [path]).get(path) == line


def test_many_are_found_in_one_go():
    text = "".join(f'[[interface]]\nname = "tap{at}"\nmax_groups = 0\n' for at in range(2000))
    wanted = [("interface", at, "max_groups") for at in range(2000)]
    assert lines(text, wanted) == {path: 3 * path[1] + 3 for path in wanted}


@pytest.mark.parametrize(("text", "path"), [
    ("[a]\nb = 1\n[a", ("a", "b")),
    ("a = 1\n= 2\n", ("a",)),
    ('"\\e" = 1\na = 1\n', ("a",)),         # an escape that is not understood here
    ('a = "\n', ("a",)),
    ("a = ]", ("a",)),
    ("a = 1\n" + "# long\n" * LONGEST, ("a",)),
    ("a = " + "[" * 10_000, ("a",)),
])  # fmt: skip
def test_nothing_is_said_of_what_is_not_understood(text, path):
    assert lines(text, [path]) == {}


@given(st.text() | st.text("[]=\"'.,\n{}ab1 \t#\\"))
def test_any_text_is_gone_through(text):
    lines(text, [("a",), ("b", 0, "a")])


KEYS = st.sampled_from(["a", "b", "a.b", "[x]", "# c", "é", '"', "'", "\n"])
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text("ab]#['\"\n,={}", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_all_that_a_writer_of_toml_writes_is_found(tree, pretty):
    """Every key is in a line that has it, or, in a table of its own, in that of its heading."""
    text = rtoml.dumps(tree, pretty=pretty)
    with suppress(ValueError):
        tree = rtoml.loads(text)
    found = lines(text, [(key,) for key in tree])
    for key, value in tree.items():
        if (key,) in found:
            assert any(name in text.split("\n")[found[key,] - 1] for name in (key, repr(key)[1:-1], '\\"', "\\n"))
        else:
            assert isinstance(value, list | dict)
