"""OpenWrt's /etc/config/igmpproxy: files beside what they mean, and whatever else a file may hold."""

import time
from pathlib import Path

import beside
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.formats import uci
from forwarder.config.formats.translation import Outside, Translation

NAMES = Outside({"wan": "eth0", "lan": "br-lan", "iptv": "eth0.4", "guest": "wlan1"})
PATH = Path("/etc/config/igmpproxy")
HEAD = "config phyint\n option network wan\n option direction upstream\n"
LONG = 1 << 24          # characters: what a file may have
PATIENCE = 20.0         # seconds of processor time, of which they take two


def translated(text: str, outside: Outside = NAMES) -> Translation:
    return uci.translate(text, PATH, outside)


def refused(text: str, outside: Outside = NAMES) -> list[str]:
    return beside.refused(lambda: translated(text, outside), PATH)


@pytest.mark.parametrize("path", beside.files("uci"), ids=lambda path: path.name)
def test_a_file_is_what_stands_beside_it(path, tmp_path):
    text = path.read_bytes().decode()
    assert uci.recognises(text, path)
    beside.check(path, uci.translate(text, path, NAMES), tmp_path)


@pytest.mark.parametrize(("text", "is_one"), [
    ("config phyint\n", True), ("# x\n\t config  'igmpproxy'\n", True), ('config "phyint" wan\n', True),
    ("phyint eth0 upstream\n", False), ("config interface\n", False), ("config phyinterfaces\n", False), ("", False),
    ("# config phyint\n", False), (" " * 1000 + "x", False),
])  # fmt: skip
def test_it_is_recognised(text, is_one):
    assert uci.recognises(text, PATH) is is_one


@pytest.mark.parametrize(("text", "words"), [
    (HEAD.replace("wan", "dsl"), '2: which interface is the network dsl? say so by --map dsl=INTERFACE'),
    (HEAD.replace("wan", "'d\033[2Jl'"), '2: which interface is the network "d\\u001b[2Jl"? say so by --map "d\\u001b'),
    ("config phyint\n option direction upstream\n", "1: phyint without a network: add option network"),
    (HEAD.replace("upstream", "up"), '3: direction should be upstream, downstream, disabled, not "up"'),
    (HEAD + HEAD, '5: "eth0" has a phyint already, in line 2'),
    (HEAD + " list altnet 10.0.0.0/33", '4: altnet cannot be "10.0.0.0/33"'),
    (HEAD + " list altnet 'x y'", '4: altnet cannot be "x y"'),
    (HEAD + " option threshold 0", '4: threshold cannot be "0"'),
    (HEAD + " option threshold 256", '4: threshold cannot be "256"'),
    (HEAD + " option threshold \u00b2", '4: threshold cannot be "\u00b2"'),
    (HEAD + " option ratelimit -1", '4: ratelimit cannot be "-1"'),
    (HEAD + " option altnet", "4: should be: option NAME VALUE"),
    (HEAD + " option altnet 10.0.0.0/8 9", "4: should be: option NAME VALUE"),
    (HEAD + "config", "4: should be: config TYPE [NAME]"),
    (HEAD + "phyint eth0", '4: unknown word "phyint"; a line begins with package, config, option, list'),
    ("option network wan", "1: option stands before the first config"),
    (HEAD + " list altnet '10.0.0.0/8", "4: a quote does not end in this line"),
    (HEAD + ' list altnet "10\\"', "4: a quote does not end in this line"),
    (HEAD + " list altnet 1\\", "4: a quote does not end in this line"),
    (HEAD + "x" * 5000, "4: a line has 4096 characters at most, this one 5000"),
])  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text, words):
    [line] = refused(text)
    assert line.startswith(words)


def test_all_that_is_wrong_is_told():
    assert [line.split(":")[0] for line in refused("foo\n" + HEAD + "bar\n list altnet x\n")] == ["1", "5", "6"]


def test_a_network_that_is_disabled_needs_no_interface():
    text = "config phyint\n option network nowhere\n option direction disabled\n"
    assert translated(text).tables == {}


def test_a_whitelist_of_hosts_alone_lets_nothing_pass():
    [interface] = translated(HEAD + " list whitelist 10.0.0.0/8\n").tables["interface"]
    assert (interface.get("allow"), interface["deny"]) == (None, ["224.0.0.0/4"])


def test_each_key_comes_from_its_line():
    translation = translated(HEAD + " list altnet 10.0.0.0/8\n  list altnet 192.0.2.0/24\n")
    origins = {key[2:]: (origin.line, origin.text) for key, origin in translation.origins.items()}
    assert origins == {
        (): (2, "option network wan"), ("name",): (2, "option network wan"),
        ("role",): (3, "option direction upstream"),
        ("altnets",): (3, "option direction upstream"), ("altnets", 0): (4, "list altnet 10.0.0.0/8"),
        ("altnets", 1): (5, "list altnet 192.0.2.0/24"),
    }  # fmt: skip


words = st.sampled_from([
    "config", "option", "list", "package", "phyint", "igmpproxy", "network", "direction", "altnet", "whitelist",
    "blacklist", "threshold", "ratelimit", "zone", "quickleave", "verbose", "wan", "lan", "upstream", "downstream",
    "disabled", "10.0.0.0/8", "239.0.0.0/8", "239.1.1.1/4", "'", '"', "\\", "#", ";", "1", "0", "16", "\x00", "\u2028",
])  # fmt: skip
lines = st.lists(st.lists(words, max_size=5).map(" ".join), max_size=12).map("\n".join)


@examples(1)
@given(st.one_of(st.text(), lines, lines.map(lambda text: HEAD + text)))
def test_any_text_is_a_translation_or_has_lines_that_are_wrong(text):
    uci.recognises(text, PATH)
    beside.complaints(lambda: translated(text), PATH)


def options() -> str:
    return HEAD + "".join(f" option x{at} 1\n" for at in range(8000))


@pytest.mark.parametrize("text", [
    "a" * 9, " ", "\n", "'", "config phyint\n", HEAD, " list altnet 10.0.0.0/8\n", options,
], ids=["words", "blanks", "lines", "quotes", "sections", "interfaces", "values", "options"])  # fmt: skip
def test_long_files_have_a_bound(text):
    text = HEAD + text * (LONG // len(text) >> (0 if text in " aaaaaaaaa" else 5)) if isinstance(text, str) else text()
    start = time.process_time()
    beside.complaints(lambda: translated(text), PATH)
    assert time.process_time() - start < PATIENCE
