"""`protocols igmp-proxy`: each command of VyOS's list, the files that people have, and what is no such file."""

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
from forwarder.config.formats import vyos
from forwarder.config.formats.translation import Outside, Translation
from forwarder.config.loading import load

PATH = Path("config.boot")
UPSTREAM = "set protocols igmp-proxy interface eth0 role upstream\n"
LAN = "set protocols igmp-proxy interface eth1"


def translation(text: str, **names: str) -> Translation:
    return vyos.translate(text, PATH, Outside(names))


def interface(text: str, name: str) -> dict:
    """What a file says of an interface."""
    return next(each for each in translation(text).tables["interface"] if each["name"] == name)


def lan(*statements: str) -> dict:
    """What commands about eth1 say of it, beside an upstream."""
    return interface(UPSTREAM + "".join(f"{LAN} {each}\n" for each in ("", *statements)), "eth1")


def words(text: str) -> str:
    """What is to be known of a file."""
    return "\n".join(f"{line}: {told}" for line, told in notices(translation(text)))


def problems(text: str, **names: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        translation(text, **names)
    return str(caught.value).splitlines()


# --- files ---


@pytest.mark.parametrize("path", files("vyos"), ids=lambda path: path.name)
def test_a_published_file_becomes_what_it_means(path):
    tables, known, _ = expected(path)
    found = translated(vyos, path)
    assert (found.tables, notices(found)) == (tables, known)


@pytest.mark.parametrize("path", of_all_formats(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_its_files_are_recognised_and_no_others(path):
    assert vyos.recognises(read(path), path) == (path.parent.name == "vyos")


def test_there_are_ten_files_at_least():
    assert len(files("vyos")) >= 10


def test_a_comment_makes_no_such_file():
    assert not vyos.recognises("# set protocols igmp-proxy interface eth0\n# or igmp-proxy {\n", PATH)
    assert vyos.recognises("/opt/vyatta/sbin/vyatta-cfg-cmd-wrapper set protocols igmp-proxy disable", PATH)


@pytest.mark.parametrize("path", files("vyos"), ids=lambda path: path.name)
def test_what_a_published_file_becomes_can_run(path):
    if path.name == "one_interface.conf":       # VyOS takes it no more than we do
        with pytest.raises(ConfigurationError, match="is the only one"):
            load(path.with_name(path.name + ".toml"), [], [], None)
    else:
        load(path.with_name(path.name + ".toml"), [], [], None)


def test_keys_know_the_statements_they_come_from():
    path = Path(__file__).parent / "formats" / "vyos" / "vyatta.boot"
    found = vyos.translate(read(path), path, Outside())
    assert [(found.origins[key].line, found.origins[key].text) for key in (
        ("interface", 0, "role"), ("interface", 0, "altnets", 1), ("interface", 1, "threshold"),
        ("interface", 1, "allow", 1), ("interface", 1, "quick_leave"), ("interface", 1),
    )] == [(19, "role upstream"), (17, "alt-subnet 172.16.0.0/12"), (24, "threshold 15"),
           (26, "whitelist 232.1.1.1"), (14, "disable-quickleave"), (22, "interface eth1 {")]  # fmt: skip


def test_braces_and_commands_say_the_same():
    braces = "protocols {\n igmp-proxy {\n interface eth0 {\n role upstream\n }\n interface eth1 {\n }\n }\n}\n"
    assert translation(braces).tables == translation(UPSTREAM + LAN).tables


def test_the_ends_of_lines_of_windows_are_no_words():
    text = (UPSTREAM + LAN + " threshold 5\n").replace("\n", "\r\n")
    assert translation(text).tables == translation(text.replace("\r", "")).tables


# --- the commands of VyOS's list ---


def test_role_upstream_takes_sources_of_its_own_subnets_alone():
    assert interface(UPSTREAM + LAN, "eth0") == {"name": "eth0", "role": "upstream", "altnets": []}


def test_role_upstream_may_be_several_which_is_told():
    text = UPSTREAM + LAN + "\nset protocols igmp-proxy interface eth2 role upstream\n"
    assert interface(text, "eth2")["role"] == "upstream"
    assert "3: VyOS takes one upstream; here all are served" in words(text)


def test_role_upstream_may_be_missing_which_is_told():
    assert "1: no interface is upstream, which VyOS does not take" in words(LAN)


def test_role_downstream_is_what_an_interface_has_without_one():
    assert lan()["role"] == lan("role downstream")["role"] == "downstream"


def test_role_disabled_is_disabled():
    assert lan("role disabled")["role"] == "disabled"


def test_another_role_is_an_error_that_names_what_it_is_near_to():
    assert problems(f"{LAN} role upstrem") == ['config.boot:1: unknown role "upstrem"; did you mean upstream?']


def test_alt_subnet_may_be_many():
    assert lan("alt-subnet 10.0.0.0/8", "alt-subnet 172.16.0.0/12")["altnets"] == ["10.0.0.0/8", "172.16.0.0/12"]


def test_alt_subnet_that_is_no_network_is_an_error():
    assert problems(f"{LAN} alt-subnet 10.0.0.0/33") == [
        'config.boot:1: should be a network such as "10.0.0.0/8", not "10.0.0.0/33"'
    ]


def test_alt_subnet_of_groups_is_a_list_of_groups():
    assert lan("alt-subnet 239.1.0.0/16")["allow"] == ["239.1.0.0/16"]


def test_threshold_passes_what_is_above_it_downstream():
    assert [lan(f"threshold {least}")["threshold"] for least in (1, 5, 255)] == [2, 6, 256]


def test_threshold_says_nothing_upstream():
    text = UPSTREAM + "set protocols igmp-proxy interface eth0 threshold 9\n" + LAN
    assert "threshold" not in interface(text, "eth0")
    assert "2: threshold 9 is looked at where datagrams leave" in words(text)


def test_threshold_counts_by_the_role_that_is_said_last():
    text = f"{LAN} threshold 9\n{UPSTREAM}{LAN} role upstream\n"
    assert "threshold" not in interface(text, "eth1")


@pytest.mark.parametrize("text", ["0", "256", "-1", "1.0", "''", "9" * 5000, "٣"])
def test_threshold_is_a_number_from_1_to_255(text):
    assert problems(f"{LAN} threshold {text}")[0].startswith(
        "config.boot:1: should be a whole number from 1 to 255, not")


def test_whitelist_is_a_list_of_groups():
    assert lan("whitelist 239.1.0.0/16", "whitelist 232.1.1.1")["allow"] == ["239.1.0.0/16", "232.1.1.1"]


def test_whitelist_of_hosts_is_left_out_and_told():
    text = f"{UPSTREAM}{LAN} whitelist 192.168.1.0/24"
    assert "allow" not in interface(text, "eth1")
    assert "2: 192.168.1.0/24 is a network of hosts" in words(text)


def test_quick_leave_is_on_where_nothing_is_said_and_is_the_safe_kind():
    assert lan()["quick_leave"] is True
    assert "2: quick leave is the safe kind here" in words(UPSTREAM + LAN)


def test_disable_quickleave_turns_it_off():
    text = f"{UPSTREAM}{LAN}\nset protocols igmp-proxy disable-quickleave"
    assert interface(text, "eth1")["quick_leave"] is False
    assert words(text) == ""


def test_disable_says_that_nothing_is_to_run():
    found = translation(f"{UPSTREAM}{LAN}\nset protocols igmp-proxy disable")
    assert (found.disabled.line, found.disabled.text) == (3, "set protocols igmp-proxy disable")
    assert translation(UPSTREAM + LAN).disabled is None
    assert translation("protocols {\n igmp-proxy {\n  disable\n }\n}").disabled.line == 3


def test_restart_igmp_proxy_is_nothing_that_a_file_says():
    assert translation(f"{UPSTREAM}{LAN}\nrun restart igmp-proxy\nrestart igmp-proxy").tables == translation(
        UPSTREAM + LAN).tables


def test_fewer_than_two_interfaces_are_told():
    assert "1: VyOS wants two interfaces here at least" in words(UPSTREAM)


@pytest.mark.parametrize("rival", ["pim", "igmp"])
def test_pim_or_igmp_beside_it_is_told(rival):
    text = f"protocols {{\n {rival} {{\n  interface eth1 {{\n  }}\n }}\n igmp-proxy {{\n  interface eth0\n }}\n}}"
    assert f"2: VyOS does not take protocols {rival} beside igmp-proxy" in words(text)
    assert f"{rival} beside" in words(f"set protocols {rival} interface eth1\n{UPSTREAM}")


# --- commands in their order ---


def test_delete_takes_back_what_was_set_before_and_not_after():
    assert "threshold" not in lan("threshold 5", "\ndelete protocols igmp-proxy interface eth1 threshold")
    assert lan("threshold 5", "\ndelete protocols igmp-proxy interface eth1", "threshold 6")["threshold"] == 7
    text = f"{LAN}\ndelete protocols igmp-proxy\n{UPSTREAM}"
    assert [each["name"] for each in translation(text).tables["interface"]] == ["eth0"]


def test_delete_of_what_is_not_there_changes_nothing():
    text = f"{UPSTREAM}delete protocols igmp-proxy interface eth9\ndelete protocols igmp-proxy disable\n"
    assert translation(text).tables == translation(UPSTREAM).tables


def test_what_was_deleted_altogether_is_no_proxy():
    assert problems(f"{UPSTREAM}delete protocols igmp-proxy") == [
        "config.boot:1: protocols igmp-proxy names no interface"
    ]
    assert problems(f"{UPSTREAM}delete protocols") == problems(f"{UPSTREAM}delete protocols igmp-proxy interface")


def test_commands_that_are_not_understood_are_not_passed_over():
    assert problems(f"{UPSTREAM}rename protocols igmp-proxy interface eth0 to interface eth1") == [
        "config.boot:2: rename is not understood here; write it as set"
    ]


def test_all_problems_are_told_with_their_lines():
    assert problems(f"{LAN} treshold 1\n{LAN} role\nset protocols igmp-proxy disable-quickleav\n{LAN} vif") == [
        'config.boot:1: unknown statement "treshold"; did you mean threshold?',
        "config.boot:2: role needs a value",
        'config.boot:3: unknown statement "disable-quickleav"; did you mean disable-quickleave?',
        "config.boot:4: vif needs a number",
    ]


def test_of_very_many_problems_the_first_are_told():
    told = problems(f"{LAN} x\n" * 1500)
    assert (len(told), told[-1]) == (1001, "config.boot:1000: what follows was not looked at")


# --- names ---


def test_names_are_those_that_the_command_line_gives_them():
    found = translation(UPSTREAM + LAN, eth0="wan", eth1="lan*")
    assert [each["name"] for each in found.tables["interface"]] == ["wan", "lan*"]


@pytest.mark.parametrize("name", ["eth*", "a/b", "eth0:1", "far-too-long-a-name", "'a b'", "'a\0b'", "''"])
def test_a_name_that_cannot_be_here_is_told_and_how_to_change_it(name):
    told = problems(f"set protocols igmp-proxy interface {name}")
    assert len(told) == 1
    assert told[0].startswith("config.boot:1: ")
    assert "--map" in told[0]
    assert told[0].isprintable()


def test_two_names_cannot_become_one():
    assert problems(UPSTREAM + LAN, eth0="a", eth1="a") == ['config.boot:2: "eth1" and "eth0" are both "a"']


# --- what is no such file ---


@pytest.mark.parametrize(("text", "problem"), [
    ("", "config.boot:1: protocols igmp-proxy names no interface"),
    ("protocols {\n igmp-proxy {\n }\n}", "config.boot:1: protocols igmp-proxy names no interface"),
    ("protocols {\n igmp-proxy {\n", "config.boot:3: a block that does not end"),
    ("igmp-proxy {\n}\n}", "config.boot:3: a } without its {"),
    ("igmp-proxy {\n/* half", "config.boot:2: a comment that does not end"),
    ('igmp-proxy {\n interface "eth0\n}', "config.boot:2: a quote that does not end"),
    ("igmp-proxy {\n interface 'eth0\n}", "config.boot:2: a quote that does not end"),
    ('igmp-proxy {\n interface "eth0\\"', "config.boot:2: a quote that does not end"),
    ("a b\n" + "x " * 65, "config.boot:2: a statement of more than 64 words"),
    ("igmp-proxy {\n interface {\n", "config.boot:3: a block that does not end"),
    ("igmp-proxy {\n interface {\n}\n}", "config.boot:2: interface needs a name"),
    ("igmp-proxy {\n disable yes\n}", "config.boot:2: disable has no value"),
])  # fmt: skip
def test_a_file_that_is_none_is_told_with_its_line(text, problem):
    assert problems(text) == [problem]


PIECES = st.sampled_from([
    "protocols", "igmp-proxy", "interface", "eth0", "eth1", "vif", "10", "role", "upstream", "downstream", "threshold",
    "whitelist", "alt-subnet", "239.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "disable", "{", "}", "\n", "\r\n", '"', "'",
    "/*", "*/", "//", "#", "\\", "\0", "set", "delete", "edit", "up", "top", "set protocols igmp-proxy interface",
    "igmp-proxy {", "é",
])  # fmt: skip


def survives(text: str) -> None:
    golden.survives(vyos, text, PATH)


@examples(2)
@given(st.lists(PIECES, max_size=40).map(" ".join))
def test_any_words_are_translated_or_refused(text):
    survives(text)


@examples(1)
@given(st.text())
def test_any_text_is_translated_or_refused(text):
    survives(text)


@pytest.mark.parametrize("path", files("vyos"), ids=lambda path: path.name)
def test_a_file_that_ends_anywhere_is_translated_or_refused(path):
    text = read(path)
    for end in range(0, len(text), 7):
        survives(text[:end])


MOST, LARGE = 16 << 20, 1 << 20     # octets: what is read at all, and enough to see what grows faster than it should


@pytest.mark.parametrize("text", [
    "protocols {\n" * 10_000,
    "protocols { a b c d e f g h " * 10_000,
    "igmp-proxy {" + "x" * MOST,
    "set protocols igmp-proxy interface a whitelist " + "1" * MOST,
    "\0" * LARGE,
    "\n" * LARGE,
    'igmp-proxy {\n interface "' + "\\\\" * LARGE,
    "{" * LARGE,
    "}" * LARGE,
    "/*" * LARGE,
    " " * LARGE,
    "'" * (LARGE - 1),
    "a b {\n}\n" * (LARGE // 64),
    "edit protocols igmp-proxy\n" + "edit a\n" * (LARGE // 32),
], ids=range(14))  # fmt: skip
def test_large_and_odd_files_take_bounded_time_and_memory(text):
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    survives(text)
    assert time.process_time() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10      # KiB


def test_many_entries_take_time_by_their_number():
    many = "".join(f"{LAN} alt-subnet 10.{at >> 8}.{at & 255}.1/24\n" for at in range(5000))
    began = time.process_time()
    found = translation(UPSTREAM + many)
    assert len(found.tables["interface"][1]["altnets"]) == len(found.notices) - 1 == 5000
    assert time.process_time() - began < 10
