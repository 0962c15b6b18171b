"""mcproxy.conf: files beside what they mean, and whatever else a file may hold."""

import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import beside
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.formats import mcproxy
from forwarder.config.formats.translation import Outside, Translation
from forwarder.state.access import access_of
from forwarder.state.settings import InterfaceSettings

PATH = Path("/etc/mcproxy.conf")
HEAD = "pinstance a: up0 ==> d0 d1;\n"
LONG = 1 << 24          # characters: what a file may have
PATIENCE = 20.0         # seconds of processor time, of which they take two


def translated(text: str) -> Translation:
    return mcproxy.translate(text, PATH, Outside())


def refused(text: str) -> list[str]:
    return beside.refused(lambda: translated(text), PATH)


@pytest.mark.parametrize("path", beside.files("mcproxy"), ids=lambda path: path.name)
def test_a_file_is_what_stands_beside_it(path, tmp_path):
    text = path.read_bytes().decode()
    assert mcproxy.recognises(text, path)
    beside.check(path, mcproxy.translate(text, path, Outside()), tmp_path)


@pytest.mark.parametrize(("text", "is_one"), [
    ("pinstance a: b ==> c;", True), ("#\n  protocol  MLDv2 ;", True), ("PROTOCOL igmpv3;", True),
    ("disable;pinstance a: b ==> c;", True),
    ("protocol static;", False), ("phyint eth0 upstream", False), ("# pinstance a", False), ("", False),
])  # fmt: skip
def test_it_is_recognised(text, is_one):
    assert mcproxy.recognises(text, PATH) is is_one


@pytest.mark.parametrize(("text", "words"), [
    ("pinstance a: up0 ==>;", "1: expected a downstream interface, not \";\""),
    ("pinstance a: up0 =>d0;", '1: expected an interface or ==>, not "="'),
    ("pinstance a up0 ==> d0;", '1: expected ( or :, not "up0"'),
    (HEAD + "pinstance a: up0 ==> d2;", '2: there is an instance "a" already'),
    (HEAD + "pinstance b: up1 ==> d2;", '2: instance "b" has other upstream interfaces than "a", and forwards apart'),
    (HEAD + "\npinstance b: up0 ==> d1;", '3: an interface of instance "b" is named twice'),
    ("pinstance a: up0 ==> up0;", '1: an interface of instance "a" is named twice'),
    (HEAD + "pinstance a downstream d9 out whitelist table x;", '2: "d9" is no downstream interface of instance "a"'),
    (HEAD + "pinstance b downstream d0 out whitelist table x;", '2: there is no instance "b" before this'),
    (HEAD + "pinstance a downstream d0 out whitelist table x;", '2: there is no table "x" before this'),
    (HEAD + "pinstance a downstream d0 by whitelist table x;", '2: expected in or out, not "by"'),
    (HEAD + "pinstance a downstream d0 out greylist table x;", "2: expected whitelist or blacklist or rulematching"),
    (HEAD + "pinstance a upstream * in rulematching mutex;", '2: expected milliseconds, not ";"'),
    (HEAD + "pinstance a upstream * in rulematching mutex soon;", '2: mutex takes milliseconds, not "soon"'),
    ("table t { (239.1.1.1 | *) }; table t { };", '1: there is a table "t" already'),
    ("table t {\n (239.1.1.1) };", '2: expected |, not ")"'),
    ("table t {\n (239.1.1.1 | *\n", "3: expected ), not the end of the file"),
    ("table t {\n (239.1.1 | *) };", "2: expected an address, a network, a range or *, not \"239.1.1\""),
    ("table t { (239.1.1.0/33 | *) };", '1: a prefix length is 0 to 32, not "33"'),
    ("table t { (239.1.1.9 - 239.1.1.1 | *) };", "1: 239.1.1.9 to 239.1.1.1 is no range"),
    ("protocol IGMPv4;", '1: expected igmpv1 or igmpv2 or igmpv3 or mldv1 or mldv2, not "IGMPv4"'),
    ("disable now;", '1: expected ;, not "now"'),
    ("up0 ==> d0;", '1: expected protocol or pinstance or table or disable, not "up0"'),
    ("table a {" + "(table {" * 40, "1: tables are inside each other 32 deep at most"),
    ("table a {" + "(239.0.0.1-239.255.255.254|1.0.0.1-9.255.255.254)" * 3, "1: a table has room for 4096 entries"),
    ("pinstance a: up0 ==> \x1b[2J;", '1: expected an interface or ;, not "\\u001b"'),
])  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text, words):
    [line] = refused(text)
    assert line.startswith(words)


def test_what_follows_a_wrong_statement_is_read():
    assert [line.split(":")[0] for line in refused("foo bar;\n" + HEAD + "disable x;\ntable { };\ndisable")] == [
        "1", "3", "4",
    ]  # fmt: skip


def test_a_second_filter_is_refused():
    filter_ = "pinstance a downstream d0 out blacklist table {(239.1.1.1|*)};\n"
    assert refused(HEAD + filter_ + filter_) == ['3: "d0" has a filter for downstream out already']


def test_filters_together_have_a_bound():
    names = " ".join(f"d{at}" for at in range(300))
    groups = "".join(f"(239.0.0.{at}|*)" for at in range(100))
    assert refused(f"pinstance a: up0 ==> {names};\npinstance a downstream * out blacklist table {{{groups}}};") == [
        "2: all filters together have room for 16384 entries"
    ]


@pytest.mark.parametrize(("time_", "seconds"), [("10", 0.05), ("1000", 1.0), ("999999999", 31744.0)])
def test_times_are_what_there_can_be(time_, seconds):
    translation = translated(f"pinstance a: up0 up1 ==> d0; pinstance a upstream * in rulematching mutex {time_};")
    assert translation.tables["dataplane"] == {"failover_time": seconds}


def test_disable_is_known_by_its_statement():
    translation = translated(HEAD + "  Disable ;")
    assert translation.disabled is not None
    assert (translation.disabled.line, translation.disabled.text) == (2, "Disable")


def test_each_key_comes_from_its_statement():
    table = "table t {\n  (239.1.1.1 | *)\n};\n"
    translation = translated(f"{HEAD}{table}pinstance a downstream d1 out blacklist table t;")
    origins = {key[1:]: (origin.line, origin.text) for key, origin in translation.origins.items()}
    assert origins[0, "role"] == origins[2, "name"] == (1, "pinstance a: up0 ==> d0 d1")
    assert origins[2, "deny", 0] == (3, "(239.1.1.1 | *)")


words = st.sampled_from([
    "protocol", "IGMPv3", "IGMPv2", "MLDv2", "pinstance", "table", "disable", "upstream", "downstream", "in", "out",
    "whitelist", "blacklist", "rulematching", "all", "first", "mutex", "a", "up0", "d0", "d1", "==>", ":", ";", "{",
    "}", "(", ")", "|", "*", "-", "/", "239.1.1.1", "10.0.0.7", "8", "1000", "#", "\n", "fe80::1", '"x y"', '"', "\x00",
    ".",
])  # fmt: skip
statements = st.sampled_from([
    HEAD, "table t { (239.1.0.0/16 | *) };", "pinstance a downstream d0 out whitelist table t;",
    "pinstance a upstream up0 in blacklist table {(* | 10.0.0.0/8)};",
])  # fmt: skip


@examples(1)
@given(st.one_of(st.text(), st.lists(st.one_of(words, statements), max_size=20).map(" ".join)))
def test_any_text_is_a_translation_or_has_lines_that_are_wrong(text):
    mcproxy.recognises(text, PATH)
    beside.complaints(lambda: translated(text), PATH)


@given(st.integers(0, 2**28 - 1), st.integers(0, 2**28 - 1), st.integers(0, 2**28 - 1))
def test_ranges_are_the_same_groups_as_networks(first, last, probe):
    first, last, probe = (0xE0000000 + each for each in (min(first, last), max(first, last), probe))
    text = f"table t {{ ({IPv4Address(first)} - {IPv4Address(last)} | *) }};"
    translation = translated(f"{HEAD}{text}pinstance a downstream d0 out whitelist table t;")
    networks = [IPv4Network(each) for each in translation.tables["interface"][1]["allow"]]
    for address in (first, last, probe, max(first - 1, 0), min(last + 1, 2**32 - 1)):
        assert any(IPv4Address(address) in each for each in networks) == (first <= address <= last)


def spans(base: str) -> st.SearchStrategy[tuple[str, int, int]]:
    """An address, a range or a network of few addresses as it is written, with its first and last one; or all."""
    first = int(IPv4Address(base))

    def written(low: int, high: int, way: int) -> tuple[str, int, int]:
        low, high = first + min(low, high), first + max(low, high)
        if way == 0:
            return str(IPv4Address(low)), low, low
        if way == 1:
            network = IPv4Network((low, 29), strict=False)
            return f"{IPv4Address(low)}/29", int(network[0]), int(network[-1])
        return f"{IPv4Address(low)} - {IPv4Address(high)}", low, high

    offsets = st.integers(0, 20)
    return st.one_of(st.just(("*", 0, 2**32 - 1)), st.builds(written, offsets, offsets, st.integers(0, 2)))


@given(
    st.lists(st.tuples(spans("239.0.0.0"), spans("10.0.0.0")), max_size=4), st.booleans(),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), min_size=1, max_size=8),
)  # fmt: skip
def test_a_filter_decides_here_as_its_table_does_there(pairs, allows, flows):
    table = "".join(f"({group[0]} | {source[0]})" for group, source in pairs)
    kind = "whitelist" if allows else "blacklist"
    interface = translated(f"{HEAD}pinstance a downstream d0 out {kind} table {{{table}}};").tables["interface"][1]
    lists = {key: tuple(interface.get(key, ())) for key in ("allow", "deny")}
    access = access_of(InterfaceSettings(name="d0", **lists))
    for source, group in flows:
        source, group = int(IPv4Address("10.0.0.0")) + source, int(IPv4Address("239.0.0.0")) + group
        named = any(g[1] <= group <= g[2] and s[1] <= source <= s[2] for g, s in pairs)
        assert access.admits(source, group) == (named == allows)


def instances() -> str:
    return "".join(f"pinstance a{at}: b ==> c{at};" for at in range(8000))


def references() -> str:
    head = "table a {" + "(239.0.0.1-239.255.255.254|*)" * 80 + "};"
    return head + "".join(f"table b{at}{{(table a)}};" for at in range(8000))


@pytest.mark.parametrize("text", [
    "a", " ", "\n", "(", ";", "#", "(table {", "table t{(*|*)};", instances, references,
], ids=["a word", "blanks", "lines", "brackets", "ends", "a comment", "depth", "tables", "instances", "references"])
def test_long_files_have_a_bound(text):
    text = "table x {" + text * (LONG // len(text) >> (0 if text in "a #" else 5)) if isinstance(text, str) else text()
    start = time.process_time()
    beside.complaints(lambda: translated(text), PATH)
    assert time.process_time() - start < PATIENCE
