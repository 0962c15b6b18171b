import re
from functools import cache
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.registry import FORMATS, LARGEST, decoded, known, names_of, recognised, text_of
from forwarder.config.loading import load, understand

FILES = Path(__file__).parent / "formats"
EXPECTED = (".toml", ".warnings", ".py")        # beside a file of another program: what it becomes
IGMPPROXY = b"phyint eth0 upstream altnet 10.0.0.0/8\nphyint eth1 downstream\n"
TOML = b'[[interface]]\nname = "eth0"\nrole = "upstream"\n[[interface]]\nname = "eth1"\n'


def refusal(path: str, octets: bytes, **more: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        understand(Path(path), [], [], None, octets=octets, **more)
    return str(refused.value)


@pytest.mark.parametrize("name", FORMATS)
def test_each_kind_has_a_module(name):
    assert name == __import__(f"forwarder.config.formats.{name}", fromlist=["FORMAT"]).FORMAT
    assert known(name) == name


def test_the_kind_is_recognised_and_an_option_overrides_it():
    names = [
        [each.name for each in understand(Path("x"), [], [], None, octets=octets, format=format).settings.interface]
        for octets, format in ((IGMPPROXY, None), (IGMPPROXY, "igmpproxy"), (TOML, None), (TOML, "toml"))
    ]
    assert names == [["eth0", "eth1"]] * 4
    assert refusal("x", IGMPPROXY, format="toml").startswith("x:1:8: is not TOML")
    assert refusal("x", TOML, format="igmpproxy").startswith("x:1: [[interface]]: is unknown")
    assert refusal("x", TOML, format="word") == f"command line: --format word: known are toml, {', '.join(FORMATS)}"


def test_what_fits_nothing_is_told_as_toml_with_what_else_it_might_be():
    words = refusal("x.conf", b"interface eth0\n")
    assert words.startswith("x.conf:1:11: is not TOML")
    assert words.endswith(f"nor does it look like {', '.join(FORMATS)}: --format says what it is")
    assert "--format" not in refusal("x.toml", b"interface eth0\n")
    assert refusal("x.toml", IGMPPROXY).startswith("x.toml:1:8: is not TOML")


def test_old_files_may_have_any_character_set(tmp_path):
    path = tmp_path / "igmpproxy.conf"
    path.write_bytes(b"# K\xfcche\n" + IGMPPROXY)
    assert [each.name for each in load(path, [], [], None).interface] == ["eth0", "eth1"]
    assert decoded(b"\xef\xbb\xbfa\r\nb\r") == "a\nb\r"


@pytest.mark.parametrize("format", [None, *FORMATS])
def test_a_nul_is_no_text(format):
    words = refusal("x.conf", IGMPPROXY + b"\nfoo\0bar", format=format)
    assert words.startswith("x.conf:4: has a NUL (byte 66): this is no text")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_large_is_refused_unread(name):
    with pytest.raises(ConfigurationError, match=f"^x:1: is larger than 2 MiB, .* a file of {name}$"):
        text_of(name, bytes(LARGEST + 1), Path("x"))


def test_what_is_too_large_is_refused_as_what_it_is():
    """It was told as TOML with something wrong in its first line."""
    large = IGMPPROXY + b"\n# " + b"x" * LARGEST
    assert recognised(large, Path("x")) == "igmpproxy"
    assert refusal("x", large) == "x:1: is larger than 2 MiB, which is the most for a file of igmpproxy"


def test_a_file_of_240_mb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "igmpproxy.conf"
    with path.open("wb") as file:
        file.truncate(240_000_000)
    with pytest.raises(ConfigurationError, match=r"igmpproxy\.conf: is larger than 16 MiB"):
        load(path, [], [], None)


def test_names_are_given_and_odd_ones_refused():
    assert names_of(["wan=eth0", "lan=br-lan", "wan=eth0"]) == {"wan": "eth0", "lan": "br-lan"}
    for maps, words in ((["wan"], "should be NAME=INTERFACE"), (["=eth0"], "should be"), (["wan="], "should be"),
                        (["wan=a", "wan=b"], '"wan" is "a" already')):  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"^command line: --map .*{words}"):
            names_of(maps)


@cache
def files_of(name: str) -> list[bytes]:
    """The files of a kind that are kept for the tests."""
    paths = sorted(path for path in (FILES / name).iterdir() if path.is_file() and path.suffix not in EXPECTED)
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("name", FORMATS)
@examples(0.5)
@given(st.data())
def test_files_that_end_in_the_middle_or_have_something_odd_in_it_are_settings_or_told_by_lines(name, data):
    """Of any kind; whatever is told begins with the file and a line."""
    octets = data.draw(st.sampled_from(files_of(name)) | st.binary(max_size=60))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(octets))] * 2)))
    octets = octets[:start] + data.draw(st.just(b"") | st.binary(max_size=4)) + octets[end:]
    try:
        understand(Path("x.conf"), [], [], None, format=name, octets=octets, include=lambda pattern, beside: [])
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            assert re.match(r"x\.conf:\d+: .|\d+ more problems", line), line
            assert line.isprintable()
