"""One configuration of several TOML files: what they say together, and where it was said when that is wrong."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.files import ConfigurationError
from forwarder.config.included import MOST_FILES, Inclusion
from forwarder.config.loading import load

UP = '[[interface]]\nname = "eth0"\nrole = "upstream"\n'
LAN = '[[interface]]\nname = "{}"\n'


def written(folder: Path, **texts: str) -> Path:
    """Files by name, "_" for a dot and "__" for a folder; the first is the one that is read."""
    paths = [folder / name.replace("__", "/").replace("_", ".") for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return paths[0]


def problems(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load(written(folder, **texts), [], [], None)
    return str(refused.value).replace(f"{folder}/", "").split("\n")


def test_tables_of_others_stand_behind_those_of_the_file(tmp_path):
    path = written(
        tmp_path, a_toml='include = ["d/*.toml", "z"]\n' + LAN.format("eth1") + "[igmp]\nrobustness = 3\n",
        d__2_toml=LAN.format("eth3") + "[igmp]\nlinger = 2.0\n", d__1_toml='include = ["../e"]\n' + LAN.format("eth2"),
        e="[dataplane]\nburst = 9\n" + UP, z='[[route]]\ngroup = "239.1.1.1"\n', d__other="is not read",
    )  # fmt: skip
    settings = load(path, [], [], None)
    assert [each.name for each in settings.interface] == ["eth1", "eth2", "eth0", "eth3"]
    assert (settings.igmp.robustness, settings.igmp.linger, settings.dataplane.burst) == (3, 2.0, 9)
    assert ([each.group for each in settings.route], settings.include) == (["239.1.1.1"], ())


def test_a_wildcard_may_mean_nothing_and_an_empty_list_does(tmp_path):
    text = UP + LAN.format("eth1")
    for value in ('["none.d/*.toml", "*.nothing"]', "[]"):
        assert len(load(written(tmp_path, a=f"include = {value}\n{text}"), [], [], None).interface) == 2


def test_problems_are_told_where_they_stand(tmp_path):
    texts = {"a": 'include = ["b", "c"]\n' + UP, "b": "\n" + LAN.format("eth1") + "threshold = 300\nallow = [\n'x']\n",
             "c": '[[route]]\ngroup = "239.1.1.1"\ndownstreams = ["eth7"]\n[igmp]\nx = 1\n'}  # fmt: skip
    assert problems(tmp_path, **texts) == [
        "c:5: igmp.x: unknown key; known are robustness, query_interval" + problems(tmp_path, **texts)[0][62:],
        "b:4: interface[0].threshold: should be at most 256, not 300 (eth1)",
    ]
    texts = {name: text.replace("300", "3").replace("x = 1", "") for name, text in texts.items()}
    assert problems(tmp_path, **texts) == [
        'b:6: interface[0].allow[0]: should be a network such as "10.0.0.0/8", not "x"',
        'c:3: route[0].downstreams[0]: no [[interface]] covers "eth7"',
    ]


def test_what_is_said_twice_names_both_places(tmp_path):
    assert problems(
        tmp_path, a='include = ["b", "c"]\nmode = "proxy"\n[igmp]\nrobustness = 2\n',
        b='mode = "proxy"\n[igmp]\nlinger = 1.0\nrobustness = 3\n', c="[igmp]\nlinger = 1.0\n[interface]\n",
    ) == [
        "b:1: mode: is said twice, first in a:2",
        "b:4: igmp.robustness: is said twice, first in a:4",
        "c:2: igmp.linger: is said twice, first in b:3",
    ]  # fmt: skip
    assert problems(tmp_path, a='include = ["b"]\n' + UP, b=UP) == [
        'b:1: interface[0]: "eth0" is named twice, first by interface[0] of a'
    ]
    route = '[[route]]\ngroup = "239.1.1.1"\n'
    assert problems(tmp_path, a='include = ["b"]\n' + UP + LAN.format("eth1") + route, b=route) == [
        "b:1: route[0]: is the same as route[0] of a: group, source and upstream agree"
    ]


@pytest.mark.parametrize(("texts", "words"), [
    ({"a": 'include = ["a"]'}, "a:1: include: a includes itself, by this"),
    ({"a": 'include = ["b"]', "b": '\ninclude = ["a"]'}, "b:2: include: a includes itself, by this"),
    ({"a": 'include = [\n"b",\n"b"]', "b": ""}, "a:3: include: b is included twice, first in a:2"),
    ({"a": 'include = ["b"]', "b": "x = ["}, "b:1:6: is not TOML"),
    ({"a": 'include = ["b"]', "b": ""}, "a: interface: none is named"),
    ({"a": '\ninclude = ["none"]'}, "a:2: include: none: No such file or directory"),
    ({"a": 'include = ["*/x.toml"]'}, "a:1: include: */x.toml: wildcards may stand for files, not for folders"),
    ({"a": 'include = [""]'}, 'a:1: include: "": no file says so in these letters'),
    ({"a": 'include = ["\\u0062"]', "b": ""}, "a:1: include: b: no file says so in these letters"),
    ({"a": 'include = "b"'}, "a:1: include: should be a list in brackets"),
    ({"a": "include = [1]"}, "a:1: include[0]: should be text in quotes, not 1"),
    ({"a": 'include = ["b"]', "b": "\ninclude = 3"}, "b:2: include: should be a list in brackets"),
    ({"a": 'include = ["/dev/zero"]'}, "a:1: include: /dev/zero: is larger than 16 MiB"),
    ({chr(97 + n): f'include = ["{chr(98 + n)}"]' for n in range(12)}, "i:1: include: more than 8 files within files"),
    ({"a": 'include = ["b"]', "b": "interface = [1]"}, "b:1: interface[0]: should be a table"),
])  # fmt: skip
def test_includes_that_are_wrong(tmp_path, texts, words):
    assert problems(tmp_path, **texts)[0].startswith(words)


def test_many_files_and_much_time_are_bounded(tmp_path):
    inclusion = Inclusion(tmp_path / "a", b"*.toml p")
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.toml").touch()
    with pytest.raises(ConfigurationError, match="is one of more than 1,000 files"):
        inclusion("*.toml", tmp_path / "a")
    late = Inclusion(tmp_path / "a", b"pipe", patience=-1.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match=r"pipe: whoever writes it did not finish"):
        late("pipe", tmp_path / "a")


KEYS = st.sampled_from(["interface", "igmp", "mode", "route", "x", "include"])
VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["a", "b", "c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=3, max_size=3))
def test_any_files_are_put_together_or_refused(tmp_path_factory, trees):
    import rtoml

    folder = tmp_path_factory.getbasetemp()
    for name, tree in zip("abc", trees, strict=True):
        (folder / name).write_text(rtoml.dumps({"include": [chr(ord(name) + 1)], **tree}))
    with pytest.raises(ConfigurationError) as refused:
        load(folder / "a", [], [], None)
    assert all(line.startswith(str(folder)) for line in str(refused.value).split("\n"))
