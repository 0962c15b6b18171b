"""igmpproxy.conf as people write it: each file beside the TOML that it becomes and what is told of it."""

from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from forwarder.check import explain
from forwarder.config.converting import written
from forwarder.config.files import ConfigurationError
from forwarder.config.formats import igmpproxy
from forwarder.config.formats.igmpproxy import KEYWORDS, recognises
from forwarder.config.formats.origins import notices
from forwarder.config.formats.registry import LARGEST
from forwarder.config.formats.translation import Outside, Translation
from forwarder.config.loading import load, understand

HERE = Path(__file__).parent / "igmpproxy"
FILES = sorted(path.stem for path in HERE.glob("*.conf"))
ROLES = "phyint eth0 upstream altnet 10.0.0.0/8\nphyint eth1 downstream\n"


def translate(text: str) -> Translation:
    return igmpproxy.translate(text, Path("x.conf"), Outside())


def interfaces(text: str) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in translate(text).tables["interface"]}


def told(text: str) -> list[str]:
    return [line.removeprefix("x.conf:") for line in notices(translate(text))]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        translate(text)
    return [line.removeprefix("x.conf:") for line in str(refused.value).split("\n")]


def settings_of(folder: Path, octets: bytes, name: str = "x.conf") -> object:
    path = folder / name
    path.write_bytes(octets)
    return load(path, [], [], None)


def test_there_are_twenty():
    assert len(FILES) == 20


@pytest.mark.parametrize("name", FILES)
def test_files_as_people_have_them(name, tmp_path):
    """Unchanged, they are what their TOML is, which `mcfwd convert` prints; and `mcfwd check` says what would run."""
    octets = (HERE / f"{name}.conf").read_bytes()
    loaded = understand(Path(f"{name}.conf"), [], [], None, octets=octets)
    expected = (HERE / f"{name}.toml").read_text()
    assert loaded.translation is not None
    assert loaded.translation.format == "igmpproxy"
    assert written(loaded.translation, Path(f"{name}.conf")) == expected
    assert settings_of(tmp_path, expected.encode(), "x.toml") == loaded.settings
    lines = explain(loaded.settings, {}, privileged=True)
    assert all(any(each.name in line for line in lines) for each in loaded.settings.interface)
    warnings = HERE / f"{name}.warnings"
    assert [*loaded.notices] == (warnings.read_text().splitlines() if warnings.exists() else [])


def test_order_matters_to_defaultdown_alone():
    text = "phyint a\ndefaultdown\nphyint b\nphyint c upstream\nquickleave\n"
    assert {name: each["role"] for name, each in interfaces(text).items()} == {
        "a": "disabled", "b": "downstream", "c": "upstream", "*": "downstream",
    }  # fmt: skip
    assert [name for name, each in interfaces(text).items() if "quick_leave" in each] == ["b", "*"]


def test_the_last_role_and_threshold_count_and_come_in_any_order():
    assert interfaces("phyint a threshold 3 upstream\nthreshold 9 downstream\n")["a"] == {
        "name": "a", "role": "downstream", "threshold": 10,
    }  # fmt: skip


def test_an_upstream_without_altnet_takes_its_own_networks_alone():
    assert interfaces("phyint a upstream phyint b downstream") == {
        "a": {"name": "a", "role": "upstream", "altnets": []}, "b": {"name": "b", "role": "downstream"},
    }  # fmt: skip


@pytest.mark.parametrize(("entries", "allow", "deny"), [
    ("whitelist 0.0.0.0/0", ["224.0.0.0/4"], None),
    ("whitelist 192.0.0.0/2", ["224.0.0.0/4"], None),               # which has all groups and more
    ("whitelist 10.0.0.0/8", None, ["224.0.0.0/4"]),
    ("whitelist 10.0.0.0/8 whitelist 239.0.0.0/8", ["239.0.0.0/8"], None),
    ("blacklist 10.0.0.0/8", None, None),
    ("blacklist 10.0.0.0/8 blacklist 239.1.1.1", None, ["239.1.1.1"]),
    ("altnet 224.0.0.0/4", None, None),
    ("altnet 239.1.0.0/16 altnet 239.2.0.0/16", ["239.1.0.0/16", "239.2.0.0/16"], None),
    ("altnet 239.1.0.0/16 whitelist 239.3.0.0/16", ["239.3.0.0/16"], None),
    ("whitelist 239.1.0.0/16 239.2.0.0/16", ["239.1.0.0/16", "239.2.0.0/16"], None),    # a list, as igmpv3proxy has
])  # fmt: skip
def test_lists_of_groups(entries, allow, deny):
    found = interfaces(f"phyint a downstream {entries} phyint b upstream")["a"]
    assert (found.get("allow"), found.get("deny")) == (allow, deny)


def test_a_word_that_goes_around_a_remark_is_one_as_in_igmpproxy_and_told():
    text = "phyint eth1 downstream\nphyint eth0 altnet 10.0.0.0/8#note\nupstream\n"
    assert interfaces(text)["eth0"]["role"] == "disabled"
    assert '2: "10.0.0.0/8upstream" goes around a remark, which ends no word (put a blank before #)' in told(text)
    assert problems("phyint a upstream#x\nphyint b\n") == [
        "1: upstreamphyint: is unknown (a remark does not end a word: put a blank before #)"
    ]


def test_what_is_wrong_is_told_with_its_line_and_the_rest_is_read():
    assert problems("upstream\nphyint\nphyint a altnet phyint b threshold 0\nratelimit -1\nfoo bar\nphyint c") == [
        "1: upstream: belongs to a phyint, and none stands before it",
        "2: phyint: the name of the interface is missing",
        "3: altnet: the network is missing",
        '3: threshold: the TTL should be 1 to 255, not "0"',
        '4: ratelimit: the rate should be 0 to 2147483648, not "-1"',
        "5: foo: is unknown",
    ]


@pytest.mark.parametrize(("text", "words"), [
    ("", "1: there is no statement in it"),
    (" # nothing\n\n", "1: there is no statement in it"),
    ("quickleave\nphyint", "2: phyint: the name of the interface is missing"),
    ("phyint eth0 downstream\naltnet", "2: altnet: the network is missing"),
    ("phyint eth0 downstream altnet 10.0.0.0/33", "1: altnet: should be a network such as 10.0.0.0/8, not"),
    ("phyint eth0 downstream altnet 255.255.255.255", "1: altnet: should be a network"),
    ("phyint eth0 downstream threshold 256", "1: threshold: the TTL should be 1 to 255"),
    ("phyint abcdefghijklmnop downstream", '1: phyint: "abcdefghijklmnop" is longer than 15 characters'),
    ("Phyint eth0 downstream", "1: Phyint: is unknown"),
    ("quickleave hashtablesize 0", "1: hashtablesize: the number of octets should be 1 to 536870912"),
    ("chroot", "1: chroot: what it is is missing"),
    ("chroot /" + "x" * 40 + "\nphyint a", "1: "),
    ("phyint a queryinterval 0", "1: queryinterval: the number should be 1 to 255"),
    ("phyint a filter 10.0.0.0/8 239.0.0.0/8 perhaps", "1: filter: should be allow or block"),
    ("phyint a filter 10.0.0.0/8 allow", "1: filter: should be networks of sources and of groups"),
    ("phyint a querierip x", '1: querierip: should be an address, not "x"'),
])  # fmt: skip
def test_half_written_and_impossible_files(text, words):
    assert problems(text)[0].startswith(words)


@pytest.mark.parametrize(("text", "words"), [
    ("phyint a/b upstream\nphyint eth1 downstream\n", '1: phyint a/b upstream: "a/b" cannot be an interface name'),
    ("phyint eth0 upstream\n", ':1: none has role = "downstream"'),
    (ROLES + "phyint eth2 downstream queryinterval 5\n",
     "3: phyint eth2 downstream queryinterval 5: should be more than query_response_interval (10), not 5"),
])  # fmt: skip
def test_what_is_wrong_with_its_meaning_is_told_at_the_statement(tmp_path, text, words):
    with pytest.raises(ConfigurationError) as refused:
        settings_of(tmp_path, text.encode())
    assert words in str(refused.value)


def test_an_option_that_contradicts_a_file_names_its_line(tmp_path):
    path = tmp_path / "x.conf"
    path.write_text(ROLES)
    with pytest.raises(ConfigurationError) as refused:
        load(path, ["eth1"], [], None)
    assert str(refused.value) == (
        f'command line: -u eth1: "eth1" has two roles: downstream by {path}:2, upstream here'
    )


def test_without_upstream_it_is_told_that_igmpproxy_would_not_start():
    assert told("phyint a downstream\nphyint b downstream\n")[0].startswith("1: no phyint is upstream")


def test_nothing_of_a_file_is_told_as_it_could_do_something_to_a_terminal(tmp_path):
    [words] = told("phyint \x1bc\nphyint a upstream\n")
    assert words == "1: \\x1bc has no role: it is disabled"
    with pytest.raises(ConfigurationError) as refused:
        settings_of(tmp_path, b"phyint \x1b downstream\nphyint a/\x1b upstream\n")
    assert str(refused.value).replace("\n", "").isprintable()


def test_a_wildcard_is_told():
    assert told('phyint tap* downstream\nphyint b upstream\n') == [
        '1: "tap*" is a wildcard here, and only a name to igmpproxy'
    ]


def include(files: dict[str, str]) -> Outside:
    return Outside(included=lambda pattern: [(Path(name), files[name]) for name in pattern.split(",")])


def test_igmpv3proxy_includes_files():
    files = {"a": "phyint eth1 downstream\n", "b": "include c phyint eth2 downstream", "c": "defaultthreshold 3\n"}
    found = igmpproxy.translate("include a,b\nphyint eth0 upstream\n", Path("x"), include(files))
    assert [each["name"] for each in found.tables["interface"]] == ["eth1", "eth2", "eth0"]
    assert found.origins["interface", 1].path == Path("b")
    assert found.origins["interface", 1, "threshold"].place == "c:1"
    assert found.origins["interface", 2].place == "x:2"


@pytest.mark.parametrize(("files", "words"), [
    ({"a": "\ninclude a"}, "a:2: include: a includes itself by this"),
    ({"a": "include b", "b": "include a"}, "b:1: include: a includes itself by this"),
    ({"a": "phyint eth1 what"}, "a:1: what: is unknown"),
    ({chr(97 + n): f"include {chr(98 + n)}" for n in range(8)}, "include: more than 8 files within files"),
])  # fmt: skip
def test_includes_that_loop_or_are_wrong_are_told_where_they_are(files, words):
    with pytest.raises(ConfigurationError) as refused:
        igmpproxy.translate("include a\n" + ROLES, Path("x"), include(files))
    assert words in str(refused.value)


@pytest.mark.parametrize(("text", "is_ours"), [
    (ROLES, True), ("# x\nquickleave\nphyint a upstream", True), ("chroot /x phyint a", True),
    ("phyint eth0 enable ttl-threshold 3\nmgroup from eth0 group 239.1.1.1\n", False),
    ("config phyint\n\toption direction upstream\n", False), ("upstream eth0\n", False), ("", False),
    ("pinstance p: eth0 ==> eth1;", False), ("phyint eth0 disable\n", False),
])  # fmt: skip
def test_it_is_told_from_others_that_have_its_words(text, is_ours):
    assert recognises(text, Path("x.conf")) is is_ours


WORDS = st.sampled_from([
    *sorted(KEYWORDS), "eth0", "eth1", "10.0.0.0/8", "239.0.0.0/8", "7", "allow", "#", "\n", "x" * 40,
])  # fmt: skip


@examples(1.0)
@given(st.lists(WORDS, max_size=25).map(" ".join).map(str.encode) | st.binary(max_size=80), st.booleans())
def test_any_octets_are_settings_or_errors_with_their_lines(tmp_path_factory, octets, glued):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.conf"
    path.write_bytes(b"phyint eth9 upstream " + (octets.replace(b" ", b"") if glued else octets))
    try:
        understand(path, [], [], None, format="igmpproxy")
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            assert line.removeprefix(f"{path}:")[:1].isdigit(), line
            assert line.isprintable()


@pytest.mark.parametrize(("text", "words"), [
    ("phyint a234567890123456 upstream threshold 1\nquickleave\n", '"a234567890123456" is longer than 15 characters'),
    ("phyint upstream altnet 10.0.0.0/8\n", "the name of the interface is missing"),
])  # fmt: skip
def test_the_options_of_a_phyint_with_a_wrong_name_are_not_told_too(text, words):
    assert problems(text + ROLES) == [f"1: phyint: {words}"]


def test_why_a_file_that_can_be_read_cannot_run_is_told_with_what_was_taken_in_another_sense():
    """`none has role = "downstream"` was all that was told of a file that says `downstream`."""
    octets = b"phyint eth0 upstream\nphyint eth0 downstream\nphyint eth1 ratelimit 0\n"
    with pytest.raises(ConfigurationError) as refused:
        understand(Path("x.conf"), [], [], None, octets=octets)
    assert [line.removeprefix("x.conf:").partition(":")[0] for line in str(refused.value).split("\n")] == list("123")


def test_a_long_file_is_gone_through(tmp_path):
    """2 MiB of it, of which nothing can be used; one of 3 MiB is not looked at."""
    assert problems("foo " * (LARGEST // 4)) == ["1: foo: is unknown"]
    with pytest.raises(ConfigurationError, match=r"x\.conf:1: is larger than 2 MiB"):
        understand(Path("x.conf"), [], [], None, format="igmpproxy", octets=b"foo " * (3 << 18))
