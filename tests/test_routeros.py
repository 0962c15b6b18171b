"""`/routing igmp-proxy`: each property of RouterOS's table, the exports that people have, and what is no export."""

import resource
import time
from pathlib import Path

import golden
import pytest
from examples import examples
from golden import expected, files, notices, of_all_formats, read, translated
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.files import ConfigurationError
from forwarder.config.formats import routeros
from forwarder.config.formats.console import value_of
from forwarder.config.formats.durations import seconds
from forwarder.config.formats.translation import Outside, Translation
from forwarder.config.loading import load
from forwarder.state.settings import IgmpSettings

PATH = Path("export.rsc")
GENERAL = "/routing igmp-proxy\n"
MENU = "/routing igmp-proxy interface\n"
UPSTREAM = MENU + "add interface=ether1 upstream=yes\n"
MFC = UPSTREAM + "add interface=ether2\nadd interface=ether3\n/routing igmp-proxy mfc\n"


def translation(text: str, **names: str) -> Translation:
    return routeros.translate(text, PATH, Outside(names))


def interface(text: str, name: str) -> dict:
    return next(each for each in translation(text).tables["interface"] if each["name"] == name)


def lan(properties: str) -> dict:
    """What properties of ether2 become, beside an upstream."""
    return interface(f"{UPSTREAM}add interface=ether2 {properties}\n", "ether2")


def words(text: str) -> str:
    return "\n".join(f"{line}: {told}" for line, told in notices(translation(text)))


def problems(text: str, **names: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        translation(text, **names)
    return str(caught.value).splitlines()


# --- files ---


@pytest.mark.parametrize("path", files("routeros"), ids=lambda path: path.name)
def test_a_published_file_becomes_what_it_means(path):
    tables, known, _ = expected(path)
    found = translated(routeros, path)
    assert (found.tables, notices(found)) == (tables, known)


@pytest.mark.parametrize("path", of_all_formats(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_its_files_are_recognised_and_no_others(path):
    assert routeros.recognises(read(path), path) == (path.parent.name == "routeros")


def test_there_are_ten_files_at_least():
    assert len(files("routeros")) >= 10


def test_a_comment_makes_no_export():
    assert not routeros.recognises("# as /routing igmp-proxy has it\nphyint eth0 upstream\n", PATH)
    assert routeros.recognises(":do {/routing/igmp-proxy/interface/add interface=a} on-error={}", PATH)


@pytest.mark.parametrize("path", files("routeros"), ids=lambda path: path.name)
def test_what_a_published_file_becomes_can_run(path):
    load(path.with_name(path.name + ".toml"), [], [], None)


def test_keys_know_the_statements_they_come_from():
    text = MENU + "add interface=ether1 \\\n    upstream=yes\nadd interface=ether2\n"
    text += "set [find interface=ether2] threshold=4\n"
    found = translation(text)
    assert [(found.origins[key].line, found.origins[key].text) for key in (
        ("interface", 0, "role"), ("interface", 1), ("interface", 1, "threshold"),
    )] == [(2, "add interface=ether1 upstream=yes"), (4, "add interface=ether2"),
           (5, "set [find interface=ether2] threshold=4")]  # fmt: skip


# --- the properties of RouterOS's table ---


@pytest.mark.parametrize(("text", "value"), [
    ("2m5s", 125), ("00:02:05", 125), ("125", 125), ("1h", 3600), ("1s", 1), ("1500ms", 1.5), ("0:01:30.5", 90.5),
    ("1m", 60),
])  # fmt: skip
def test_query_interval_is_a_time_in_any_of_its_forms(text, value):
    found = translation(f"{GENERAL}set query-interval={text} query-response-interval=1s\n{UPSTREAM}")
    assert found.tables["igmp"]["query_interval"] == value


@pytest.mark.parametrize("text", ["0s", "1h1s", "3601", "2m5", "", "5x", "1d", "-5s", "00:02", "9" * 5000, "١s"])
def test_query_interval_is_from_1_s_to_1_h(text):
    told = problems(f"{UPSTREAM}{GENERAL}set query-interval={text}\n")
    assert len(told) == 1
    assert told[0].startswith("export.rsc:4: should be a time")


def test_query_interval_unset_is_125_s_as_here():
    assert "igmp" not in translation(UPSTREAM).tables


def test_query_response_interval_is_a_time():
    found = translation(f"{GENERAL}set query-response-interval=4s500ms\n{UPSTREAM}")
    assert found.tables["igmp"] == {"query_response_interval": 4.5}


@pytest.mark.parametrize(("said", "value", "line"), [
    ("query-interval=10s", 5.0, 5), ("query-interval=1s", 0.5, 5), ("query-response-interval=2m5s", 62.5, 5),
    ("query-interval=30s query-response-interval=30s", 15.0, 5),
])  # fmt: skip
def test_query_response_interval_that_is_too_long_is_shortened_which_is_told(said, value, line):
    text = f"{UPSTREAM}add interface=ether2\n{GENERAL}set {said}\n"
    assert translation(text).tables["igmp"]["query_response_interval"] == value
    assert f"{line}: hosts have to answer before they are asked again" in words(text)


def test_quick_leave_is_the_safe_kind():
    text = f"{UPSTREAM}add interface=ether2\n{GENERAL}set quick-leave=yes\n"
    assert interface(text, "ether2")["quick_leave"] is True
    assert "quick_leave" not in interface(text, "ether1")
    assert "5: quick leave is the safe kind here" in words(text)


def test_quick_leave_is_off_where_nothing_is_said():
    assert "quick_leave" not in lan("")
    assert interface(f"{UPSTREAM}add interface=ether2\n{GENERAL}set quick-leave=no", "ether2")["quick_leave"] is False


def test_interface_is_all_where_nothing_is_said_which_is_a_wildcard_after_the_named_ones():
    found = translation(f"{MENU}add\nadd interface=ether1 upstream=yes\n").tables["interface"]
    assert [each["name"] for each in found] == ["ether1", "*"]


def test_interface_all_may_be_given_another_name():
    found = translation(f"{MENU}add interface=all", all="tap*").tables["interface"]
    assert [each["name"] for each in found] == ["tap*"]


def test_upstream_is_the_role():
    assert interface(UPSTREAM, "ether1")["role"] == "upstream"
    assert lan("")["role"] == lan("upstream=no")["role"] == "downstream"


def test_upstream_may_be_several_which_is_told():
    assert "4: RouterOS takes one upstream" in words(f"{UPSTREAM}add interface=x\nadd interface=y upstream=yes")


def test_threshold_stays_what_it_is():
    assert [lan(f"threshold={least}")["threshold"] for least in (1, 5, 255)] == [1, 5, 255]
    assert interface(UPSTREAM.replace("yes", "yes threshold=5"), "ether1")["threshold"] == 5


def test_threshold_0_is_1():
    assert lan("threshold=0")["threshold"] == 1
    assert "3: threshold 0 is what 1 is" in words(f"{UPSTREAM}add interface=ether2 threshold=0")


@pytest.mark.parametrize("least", [256, 300, 4294967295])
def test_threshold_above_255_blocks(least):
    assert lan(f"threshold={least}")["threshold"] == 256
    assert f"3: threshold {least} lets nothing pass" in words(f"{UPSTREAM}add interface=ether2 threshold={least}")


@pytest.mark.parametrize("text", ["-1", "4294967296", "x", ""])
def test_threshold_is_a_number(text):
    assert problems(f"{UPSTREAM}add interface=ether2 threshold={text}")[0].startswith(
        "export.rsc:3: should be a whole number from 0 to 4294967295")


def test_alternative_subnets_are_further_networks_of_sources_upstream():
    assert interface(UPSTREAM, "ether1")["altnets"] == []
    text = UPSTREAM.replace("yes", 'yes alternative-subnets="10.0.0.0/8, 172.16.0.0/12"')
    assert interface(text, "ether1")["altnets"] == ["10.0.0.0/8", "172.16.0.0/12"]


def test_alternative_subnets_have_no_effect_downstream_which_is_told():
    assert "altnets" not in lan("alternative-subnets=10.0.0.0/8")
    assert "3: alternative-subnets have an effect upstream only" in words(
        f"{UPSTREAM}add interface=ether2 alternative-subnets=10.0.0.0/8")


def test_alternative_subnets_of_groups_are_a_list_of_groups():
    found = interface(UPSTREAM.replace("yes", "yes alternative-subnets=239.1.0.0/16"), "ether1")
    assert (found["altnets"], found["allow"]) == ([], ["239.1.0.0/16"])


def test_disabled_items_are_left_out_which_is_told():
    text = f"{UPSTREAM}add interface=ether2 disabled=yes\nadd interface=ether3\n"
    assert [each["name"] for each in translation(text).tables["interface"]] == ["ether1", "ether3"]
    assert "3: is disabled: left out" in words(text)


def test_comment_is_no_property_of_ours():
    assert lan('comment="a=b; c # \\"d\\""') == lan("")


def test_downstream_queries_of_version_2_are_told_and_not_forced():
    assert "igmp_version" not in lan("")
    assert "3: RouterOS asks receivers in IGMPv2 only" in words(f"{UPSTREAM}add interface=ether2")


def test_upstream_falls_back_to_older_queriers_for_400_s_as_here():
    assert "igmp" not in translation(UPSTREAM).tables
    assert (IgmpSettings().older_querier_timeout, IgmpSettings().rfc9776) == (400.0, False)
    assert "igmp_version" not in interface(UPSTREAM, "ether1")


def test_mfc_group_source_upstream_interface_and_downstream_interfaces_are_a_route():
    rule = "add group=239.1.1.1 source=10.1.1.1 upstream-interface=ether1 downstream-interfaces=ether2,ether3\n"
    assert translation(MFC + rule).tables["route"] == [
        {"group": "239.1.1.1", "source": "10.1.1.1", "upstream": "ether1", "interfaces": ["ether2", "ether3"]}
    ]


def test_mfc_downstream_is_understood_as_the_beginning_of_its_name():
    assert translation(MFC + "add group=239.1.1.1 downstream=ether2").tables["route"] == [
        {"group": "239.1.1.1", "interfaces": ["ether2"]}
    ]


def test_mfc_without_downstream_blocks_the_group():
    rule = "add group=239.1.1.1 source=10.1.1.1 upstream-interface=ether1"
    assert translation(MFC + rule).tables["route"][0]["interfaces"] == []


def test_mfc_of_an_interface_that_is_not_the_proxys_is_inactive_which_is_told():
    text = MFC + "add group=239.1.1.1 downstream-interfaces=ether2,ether9 upstream-interface=ether1"
    assert "route" not in translation(text).tables
    assert '6: "ether9" is no interface of the proxy' in words(text)


def test_mfc_of_any_interface_is_active_where_all_are_the_proxys():
    text = MFC.replace("ether3", "all") + "add group=239.1.1.1 downstream-interfaces=ether9"
    assert translation(text).tables["route"][0]["interfaces"] == ["ether9"]


def test_mfc_of_source_0_is_of_any_source():
    assert "source" not in translation(MFC + "add group=239.1.1.1 source=0.0.0.0").tables["route"][0]


def test_mfc_without_group_is_an_error():
    assert problems(MFC + "add source=10.0.0.1") == ["export.rsc:6: group is missing"]


# --- commands ---


@pytest.mark.parametrize("text", [
    "/routing/igmp-proxy/interface\nadd interface=a upstream=yes\nadd interface=b",
    "/routing igmp-proxy\ninterface add interface=a upstream=yes\ninterface/add interface=b",
    "/routing igmp-proxy interface add interface=a upstream=yes; /routing/igmp-proxy/interface/add interface=b",
    "/routing igmp-proxy interface\nadd interface=a\nadd interface=b\nset [ find interface=a ] upstream=yes",
    "/routing igmp-proxy interface\nadd interface=a\nadd interface=b\nset 0 upstream=yes",
    "/routing igmp-proxy interface\nadd interface=a upstream=yes\nadd interface=x\nset [find !default] upstream=no\n"
    .replace("set [find !default] upstream=no\n", "add interface=b\nremove [find where interface=x]"),
    "/routing igmp-proxy mfc\n.. interface\nadd interface=\"a\" upstr\\\n    eam=y\\\n\tes\nadd inter\\\n  face=b",
    "/ routing igmp-proxy interface\nadd interface=a upstream=true\nadd interface=b upstream=false disabled=no",
])  # fmt: skip
def test_commands_may_be_written_in_many_ways(text):
    assert [(each["name"], each["role"]) for each in translation(text).tables["interface"]] == [
        ("a", "upstream"), ("b", "downstream"),
    ]  # fmt: skip


def test_what_is_said_verbosely_is_the_same():
    verbose = 'add alternative-subnets="" !comment disabled=no interface=ether2 threshold=1 upstream=no\n'
    assert translation(UPSTREAM + verbose + "set [find !disabled upstream=no] threshold=3").tables["interface"][1] == {
        "name": "ether2", "role": "downstream", "threshold": 3
    }  # fmt: skip


def test_set_of_the_default_item_finds_the_one_that_is_there_from_the_start():
    found = translation(f"{MENU}set [ find default=yes ] threshold=4\nset [find default=yes] upstream=yes\n")
    assert found.tables["interface"] == [{"name": "*", "role": "upstream", "altnets": [], "threshold": 4}]


@pytest.mark.parametrize(("command", "problem"), [
    ("add interfaces=x", 'unknown property "interfaces"; did you mean interface?'),
    ("add treshold=5", 'unknown property "treshold"; did you mean threshold?'),
    ("add d=5", 'unknown value of disabled "5"; known are yes, no'),
    ("add upstream=maybe", 'unknown value of upstream "maybe"; known are yes, no'),
    ("add upstream", '"upstream" is not understood; properties are written as name=value'),
    ("ad interface=x", 'unknown command or menu "ad"; did you mean add?'),
    ("set upstream=yes", "says of no item: a number or [find name=value] has to stand first"),
    ("set 7 upstream=yes", 'should be a whole number from 0 to 0, not "7"'),
    ("set [get 0] upstream=yes", "is not understood: in brackets can stand [find name=value]"),
    ("set [find interface=ether1 upstream=yes", "is not understood: in brackets can stand [find name=value]"),
    ("remove", "says of no item: a number or [find name=value] has to stand first"),
    ("remove 0; set 0 upstream=no", "item 0 was removed"),
    ("add interface=ether1", '"ether1" is named twice, first in line 2'),
])  # fmt: skip
def test_a_command_that_is_none_is_told_with_its_line(command, problem):
    text = f"{UPSTREAM}{command}\n"
    found = [each.removeprefix("export.rsc:3: ") for each in problems(text)]
    assert found == [problem]


@pytest.mark.parametrize(("text", "problem"), [
    ("", "export.rsc:1: /routing igmp-proxy interface names no interface"),
    ("/routing igmp-proxy\nset quick-leave=yes", "export.rsc:1: /routing igmp-proxy interface names no interface"),
    ('/a\nadd b="c\n', "export.rsc:2: a quote that does not end"),
    ("/a\nadd b=c\\", "export.rsc:2: a line that is continued, and no other one"),
    ("/a\n" + "x " * 257, "export.rsc:2: a command of more than 256 words"),
    ("/routing igmp-proxy interfaces\n", 'export.rsc:1: unknown command or menu "interfaces"; did you mean interface?'),
])  # fmt: skip
def test_a_file_that_is_none_is_told_with_its_line(text, problem):
    assert problems(text) == [problem]


@pytest.mark.parametrize(("word", "value"), [
    ("plain", "plain"), ('"a b"', "a b"), (r'"a\"b\\c"', 'a"b\\c'), (r'"\41\n\t\_\$x"', "A\n\t $x"),
    ('"one \\\n    two"', "one two"), ("one,\\\r\n    two", "one,two"), (r'"\\' + '\n "', "\\\n "),
    (r'"\D0\9F"', "\u041f"), (r'"\FF"', "\xff"), ('"\u041f"', "\u041f"), ('"\xc3\xa9"', "\xc3\xa9"),
])  # fmt: skip
def test_values_are_read_without_quotes_escapes_and_ends_of_lines(word, value):
    assert value_of(word) == value


def test_times_have_bounds():
    assert seconds("1w1d", 0, 1e6) == 8 * 86400
    assert seconds("1d00:00:01", 0, 1e6) == 86401


# --- names ---


@pytest.mark.parametrize("name", ['"ether1 tv"', "*1A", "bridge-of-the-house", "a/b", '""', '"a\\00b"'])
def test_a_name_that_cannot_be_here_is_told_and_how_to_change_it(name):
    told = problems(f"{MENU}add interface={name}")
    assert len(told) == 1
    assert told[0].startswith("export.rsc:2: ")
    assert "--map" in told[0]
    assert told[0].isprintable()


def test_names_are_those_that_the_command_line_gives_them_in_routes_too():
    names = {"ether1 tv": "eth0", "bridge-of-the-house": "br0"}
    text = f'{MENU}add interface="ether1 tv" upstream=yes\nadd interface=bridge-of-the-house\n/routing igmp-proxy mfc\n'
    rule = 'add group=239.1.1.1 upstream-interface="ether1 tv" downstream-interfaces="bridge-of-the-house"\n'
    found = translation(text + rule, **names).tables
    assert [each["name"] for each in found["interface"]] == ["eth0", "br0"]
    assert found["route"] == [{"group": "239.1.1.1", "upstream": "eth0", "interfaces": ["br0"]}]


# --- anything ---


PIECES = st.sampled_from([
    "/routing", "igmp-proxy", "interface", "mfc", "/routing igmp-proxy", "/routing/igmp-proxy/interface", "add", "set",
    "remove", "disable", "unset", "numbers=", "0", "[", "]", "find", "where", "default=yes", "interface=ether1",
    "interface=all", "upstream=yes", "upstream=no", "threshold=5", "alternative-subnets=10.0.0.0/8,", "group=239.1.1.1",
    "source=1", "downstream=ether1", "disabled=yes", "quick-leave=yes", "query-interval=5s", "\n", "\r\n", "\\", "\\\n",
    '"', ";", "{", "}", "#", ":do", "..", "/", "=", "\0", "é", "[admin@x] /routing igmp-proxy>",
])  # fmt: skip


def survives(text: str) -> None:
    golden.survives(routeros, text, PATH)


@examples(2)
@given(st.lists(PIECES, max_size=40).map(" ".join))
def test_any_words_are_translated_or_refused(text):
    survives(text)
    survives(UPSTREAM + text)


@examples(1)
@given(st.text())
def test_any_text_is_translated_or_refused(text):
    survives(MENU + text)


@pytest.mark.parametrize("path", files("routeros"), ids=lambda path: path.name)
def test_a_file_that_ends_anywhere_is_translated_or_refused(path):
    text = read(path)
    for end in range(0, len(text), 7):
        survives(text[:end])


MOST, LARGE = 16 << 20, 1 << 20     # octets: what is read at all, and enough to see what grows faster than it should


@pytest.mark.parametrize("text", [
    MENU + "add interface=" + "x" * MOST,
    MENU + 'add interface="' + "\\\\" * (MOST // 2),
    "\0" * LARGE,
    "\n" * LARGE,
    "{" * (LARGE // 8),
    MENU + 'add interface="' + "\\\\" * (LARGE // 2) + '"',
    MENU + "add interface=x" + "\\\n  " * (LARGE // 4),
    MENU + "add\n" * (LARGE // 128),
    MENU + "a/" * (LARGE // 2),
    "a\n" * (LARGE // 8),
    UPSTREAM + "set [find interface=ether1] upstream=yes\n" * (LARGE // 128),
    UPSTREAM + "add interface=ether2 upstream=yes alternative-subnets=" + "1.2.3.4," * (LARGE // 64),
    " " * LARGE,
    "[" * LARGE,
    "[a@" * (LARGE // 3),
], ids=range(15))  # fmt: skip
def test_large_and_odd_files_take_bounded_time_and_memory(text):
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    survives(text)
    assert time.process_time() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10      # KiB


def test_what_can_be_looked_for_has_an_end():
    text = MENU + "add interface=x\n" * 2000 + "set [find interface=y] upstream=yes\n" * 300
    assert any("too many [find ...]" in each for each in problems(text))
