import re
from pathlib import Path
from textwrap import dedent

import pytest
import rtoml
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config import rules
from forwarder.config.files import MOST_OCTETS, ConfigurationError
from forwarder.config.formats import smcroute, smcroute_lines
from forwarder.config.formats.translation import Outside, Translation
from forwarder.config.loading import SETTINGS
from forwarder.config.toml_lines import Location

HERE = Path(__file__).parent / "formats" / "smcroute"
FILES = sorted(HERE.glob("*.conf"))
CONF = Path("smcroute.conf")
KINDS = ("phyint", "mgroup", "mroute", "include", "ssmgroup", "phyin", "#")
WORDS = (
    "from", "source", "group", "to", "enable", "disable", "mrdisc", "ttl-threshold", "eth0", "eth1", "eth+", "eth*",
    "+", "239.1.1.1", "239.1.0.0/16", "239.1.1.1/30", "232.1.1.1", "224.0.0.5", "224.0.0.0/3", "10.0.0.1",
    "10.0.0.0/30", "0.0.0.0", "::1", "ff02::1", "1", "255", "256", "-1", "/", "*", "x.conf", "d/*.conf", "a" * 16,
    "eth0:1", "\x1b[2J", "\x1b", "\u2028",
)  # fmt: skip


def translated(text: str, **files: str) -> Translation:
    """What a text says where `files` are all that can be included, by name without its end."""
    known = [(Path(f"{name}.conf"), each) for name, each in sorted(files.items())]
    outside = Outside(included=lambda pattern: [each for each in known if each[0].match(pattern)])
    return smcroute.translate(dedent(text), CONF, outside)


def problems(text: str, **files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        translated(text, **files)
    return str(caught.value).split("\n")


def told(translation: Translation) -> list[str]:
    return [f"{notice.origin.place}: {notice.words}" for notice in translation.notices]


# --- files as people have them ---


def included(pattern: str) -> list[tuple[Path, str]]:
    return [(path.relative_to(HERE), path.read_text()) for path in sorted(HERE.glob(pattern))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_means_what_is_written_beside_it(path):
    translation = smcroute.translate(path.read_text(), Path(path.name), Outside(included=included))
    expected = path.with_suffix(".toml").read_text()
    assert translation.tables == rtoml.loads(expected)
    assert told(translation) == re.findall(r"^# (\S+:\d+: .*)$", expected, re.MULTILINE)
    assert smcroute.recognises(path.read_text(), Path("anything"))
    settings = SETTINGS.validate_python(translation.tables)
    assert [*rules.of_settings(settings)] == []
    assert [problem for each in settings.interface for problem in rules.of_interface(each)] == []


def test_there_are_twenty_of_them():
    assert len(FILES) == 20


# --- statement by statement ---


def interfaces(text: str) -> list[dict[str, object]]:
    return translated(text).tables.get("interface", [])


def routes(text: str) -> list[dict[str, object]]:
    return translated(text).tables.get("route", [])


def test_an_interface_is_both_and_its_threshold_is_of_what_leaves():
    assert interfaces("phyint eth0 enable ttl-threshold 15\nphyint eth1\nphyint eth2 disable ttl-threshold 9\n") == [
        {"name": "eth0", "role": "both", "threshold": 16}, {"name": "eth1", "role": "both"},
        {"name": "eth2", "role": "disabled"},
    ]  # fmt: skip
    assert interfaces("phyint eth0 ttl-threshold 255")[0]["threshold"] == 256


def test_of_two_lines_for_an_interface_the_last_one_counts_and_is_told():
    translation = translated("phyint eth0 disable\nphyint eth0 enable\n")
    assert translation.tables["interface"] == [{"name": "eth0", "role": "both"}]
    assert told(translation) == ["smcroute.conf:2: eth0 had another phyint line, smcroute.conf:1: this one counts"]


def test_a_plain_name_has_the_threshold_and_the_groups_of_the_wildcard_that_means_it():
    text = "phyint eth+ ttl-threshold 4\nmgroup from eth+ group 239.1.1.1\nmgroup from eth1 group 239.1.1.2\n"
    assert interfaces(text) == [
        {"name": "eth*", "role": "both", "threshold": 5, "join": ["239.1.1.1"]},
        {"name": "eth1", "role": "both", "threshold": 5, "join": ["239.1.1.1", "239.1.1.2"]},
    ]


def test_what_a_phyint_line_disables_is_left_out_and_told():
    text = """\
        mgroup from eth2 group 239.1.1.1
        mroute from eth2 group 239.1.1.1 to eth0
        mroute from eth0 group 239.1.1.1 to eth2
        mroute from eth0 group 239.1.1.2 to eth2 eth1
        phyint eth2 disable
        """
    assert routes(text) == [
        {"group": "239.1.1.1", "upstream": "eth0", "interfaces": []},
        {"group": "239.1.1.2", "upstream": "eth0", "interfaces": ["eth1"]},
    ]
    assert [line.partition(": ")[2] for line in told(translated(text))] == [
        "eth2 is disabled by a phyint line: the group is left out",
        "eth2 is disabled by a phyint line: the route is left out",
        "eth2 is disabled by a phyint line: the way there is left out",
        "no interface is left that it leads to, so it blocks",
        "eth2 is disabled by a phyint line: the way there is left out",
    ]


def test_ranges_of_groups_and_sources_are_joined_one_by_one():
    assert interfaces("mgroup from a group 239.1.1.4/30 source 10.0.0.2/31")[0]["join"] == [
        f"10.0.0.{source},239.1.1.{group}" for group in (4, 5, 6, 7) for source in (2, 3)
    ]
    assert len(interfaces("mgroup from a group 239.1.0.0/22")[0]["join"]) == 1024
    assert problems("\nmgroup from a group 239.1.0.0/21") == [
        "smcroute.conf:2: 2048 groups and sources of one line: at most 1024 are joined"
    ]
    lines = "".join(f"mgroup from a group 239.{n // 64}.{n % 64 * 4}.0/22\n" for n in range(65))
    too_many = "more than 65536 groups and sources would be joined"
    assert problems(lines) == [f"smcroute.conf:65: {too_many}"]
    named = "".join(f"phyint e{n}\n" for n in range(64)) + "mgroup from e+ group 239.1.0.0/22\n"
    assert problems(named) == [f"smcroute.conf:65: {too_many}"]


def test_every_group_that_is_joined_has_its_line():
    translation = translated("mgroup from a group 239.1.1.1\nmgroup from a group 239.1.1.0/31\n")
    assert translation.tables["interface"][0]["join"] == ["239.1.1.1", "239.1.1.0"]
    places: dict[Location, int] = {place: origin.line for place, origin in translation.origins.items()}
    assert places["interface", 0, "join", 0] == 1
    assert places["interface", 0, "join", 1] == 2


def test_includes_stand_where_they_are_named_and_interfaces_count_first():
    translation = translated(
        "mroute from eth0 group 239.1.1.1 to eth1\ninclude *.conf\n",
        a="mroute from eth0 group 239.1.1.2 to eth1\n", b="phyint eth1 ttl-threshold 7\ninclude a.conf\n",
    )
    assert translation.tables["interface"][0] == {"name": "eth1", "role": "both", "threshold": 8}
    assert [route["group"] for route in translation.tables["route"]] == ["239.1.1.1", "239.1.1.2"]
    assert translation.origins["route", 1].place == "a.conf:1"


def test_includes_that_loop_or_lead_nowhere_are_problems():
    assert problems("include a.conf\n", a="\ninclude a.conf\n") == ['a.conf:2: "a.conf" includes itself']
    looped = problems("include a.conf\n", a="include b.conf\n", b="include a.conf")
    assert looped == ['b.conf:1: "a.conf" includes itself']
    assert problems("include none.conf") == ['smcroute.conf:1: include: there is no "none.conf"']
    assert problems("include a b\ninclude\n") == [
        f"smcroute.conf:{line}: include should be followed by one path or pattern" for line in (1, 2)
    ]
    assert translated("include none/*.conf").tables == {}
    half = "#" * (MOST_OCTETS // 2 + 1)
    assert problems("include a.conf\ninclude b.conf", a=half, b=half) == [
        "smcroute.conf:2: more than 1000 files or 16 MiB are included"
    ]


def test_an_included_file_that_cannot_be_read_is_a_problem_of_its_line():
    def refused(pattern: str) -> list[tuple[Path, str]]:
        raise ConfigurationError(f"{pattern}: Permission denied\nand more")

    with pytest.raises(ConfigurationError) as caught:
        smcroute.translate("\ninclude x.conf", CONF, Outside(included=refused))
    assert str(caught.value).split("\n") == [
        "smcroute.conf:2: include: x.conf: Permission denied", "smcroute.conf:2: include: and more"
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mrout from a group 239.1.1.1 to b", 'unknown statement "mrout"; did you mean mroute?'),
        ("quickleave", 'unknown statement "quickleave"; known are phyint, mgroup, mroute, include, ssmgroup'),
        ("phyint", "phyint should be followed by an interface"),
        ("phyint a threshold 3", 'unknown option "threshold" of phyint; did you mean ttl-threshold?'),
        ("phyint a ttl-threshold", 'ttl-threshold should be 1 to 255, not ""'),
        ("phyint a ttl-threshold 256", 'ttl-threshold should be 1 to 255, not "256"'),
        ("phyint a ttl-threshold \u0663", 'ttl-threshold should be 1 to 255, not "\u0663"'),
        ("phyint eth0:1 enable", '"eth0:1" is an alias address, not an interface; name the interface "eth0"'),
        ("mroute from a to b", "mroute needs group and what belongs behind it"),
        ("mroute group 239.1.1.1 to b", "mroute needs from and what belongs behind it"),
        ("mroute from a group 239.1.1.1 group 239.1.1.2", "group is said twice"),
        ("mroute from a grup 239.1.1.1 to b", 'unknown word "grup" of mroute; did you mean group?'),
        ("mroute frm a", 'unknown word "frm" of mroute; did you mean from?'),
        ("mgroup from a group 239.1.1.1 to b", 'unknown word "to" of mgroup; known are from, source, group'),
        ("mroute from a source group 239.1.1.1", "mroute needs source and what belongs behind it"),
        ("mroute from a group 10.0.0.1 to b", '"10.0.0.1" is not a range of groups'),
        ("mroute from a group 224.0.0.0/3 to b", '"224.0.0.0/3" is not a range of groups'),
        ("mroute from a group 239.1.1 to b", 'group should be as "239.1.2.3" or "239.1.0.0/16", not "239.1.1"'),
        ("mroute from a group 239.1.1.1/33 to b", 'group should be as "239.1.2.3" or "239.1.0.0/16", not "239.1.'),
        ("mroute from a group 239.1.1.1 source x to b", 'source should be as "10.0.0.7" or "10.0.0.0/24", not "x"'),
        ("mroute from a group 239.1.1.1 source 239.1.1.1 to b", '"239.1.1.1" cannot be a source'),
        ("mroute from aaaaaaaaaaaaaaaa group 239.1.1.1", '"aaaaaaaaaaaaaaaa" is longer than 15 characters'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_problem_with_its_line(line, problem):
    found = problems(f"# first\n\n{line}\n")
    assert found[0].startswith(f"smcroute.conf:3: {problem}")
    assert len(found) == 1


def test_after_a_thousand_problems_nothing_is_looked_at_and_statements_are_bounded():
    found = problems("nonsense\n" * 1500)
    assert len(found) == 1001
    assert found[-1] == "smcroute.conf:1000: what follows was not looked at"
    most = smcroute_lines.MOST_STATEMENTS
    assert problems("phyint a\n" * (most + 10)) == [f"smcroute.conf:{most + 1}: there are more than {most} statements"]


def test_long_lines_are_problems_and_long_comments_are_none():
    long = "mroute from a group 239.1.1.1 to" + " b" * 5000
    assert problems(long) == ["smcroute.conf:1: is longer than 8192 characters"]
    assert translated("#" * 10000).tables == {}


def test_notices_are_bounded():
    translation = translated("mroute from a group 239.1.1.1/24 source ::1 to b\n" * 300)
    assert len(translation.notices) == smcroute.MOST_NOTICES
    assert translation.tables == {}


# --- which line counts (as seen with smcrouted 2.5.6) ---


def ways(text: str) -> dict[tuple[str, str, str | None], list[str]]:
    """Where routes lead, by interface, group and source."""
    return {(row["upstream"], row["group"], row.get("source")): row["interfaces"] for row in routes(text)}


def test_lines_of_the_same_packets_are_one_route():
    text = "mroute from a group 239.1.1.1 to b\nmroute from a group 239.1.1.1 source 0.0.0.0 to c b\n"
    assert ways(text) == {("a", "239.1.1.1", None): ["b", "c"]}
    blocked = "mroute from a group 239.1.1.1\nmroute from a group 239.1.1.1 to b\n"
    assert ways(blocked) == {("a", "239.1.1.1", None): ["b"]}


def test_a_line_behind_one_that_has_all_of_it_is_left_out():
    text = """\
        mroute from a group 239.2.0.0/16 to b
        mroute from a group 239.2.1.1 to c
        mroute from a source 10.0.0.0/8 group 239.2.1.1 to c
        mroute from a source 10.1.1.1 group 239.2.1.1 to c
        mroute from d group 239.2.1.1 to c
        mroute from a group 239.3.1.1 to c
        mroute from a group 239.3.0.0/16 to b
        """
    assert ways(text) == {
        ("a", "239.2.0.0/16", None): ["b"], ("a", "239.2.1.1", "10.1.1.1"): ["c"], ("d", "239.2.1.1", None): ["c"],
        ("a", "239.3.1.1", None): ["c"], ("a", "239.3.0.0/16", None): ["b"],
    }  # fmt: skip
    assert told(translated(text)) == [
        f"smcroute.conf:{line}: smcroute.conf:1 comes first and has all of it, so smcrouted never takes it: left out"
        for line in (2, 3)
    ]


def test_a_source_and_group_come_by_the_interface_of_the_last_line():
    text = "mroute from b source 10.0.1.8 group 239.1.1.3 to a\nmroute from c source 10.0.1.8 group 239.1.1.3 to a\n"
    assert ways(text) == {("c", "239.1.1.3", "10.0.1.8"): ["a"]}
    assert "takes it from c alone, though smcroute.conf:1 says b" in told(translated(text))[0]


def test_a_wildcard_and_a_name_that_it_means_are_one_route_of_that_name():
    text = "mroute from t+ group 239.1.1.1 to b t1\nmroute from t1 group 239.1.1.1 to c\n"
    assert ways(text) == {("t*", "239.1.1.1", None): ["b", "t1"], ("t1", "239.1.1.1", None): ["c", "b"]}
    assert ways("mroute from t+ group 239.0.0.0/8 to b\nmroute from t1 group 239.1.1.1 to c\n") == {
        ("t*", "239.0.0.0/8", None): ["b"]
    }


# --- which files are recognised ---


@pytest.mark.parametrize(
    ("text", "name", "ours"),
    [
        ("mgroup from eth0 group 239.1.1.1", "x", True),
        ("# comment\n\n  mroute group 239.1.1.1 from eth0", "x", True),
        ("phyint eth0 enable ttl-threshold 3", "x", True),
        ("phyint eth0 upstream ratelimit 0 threshold 1\n", "smcroute.conf", False),
        ("quickleave\nphyint eth0 upstream\n", "smcroute.conf", False),
        ("[[interface]]\nname = 1\n", "smcroute.conf", False),
        ("# nothing yet\n", "smcroute.conf", True),
        ("include /etc/smcroute.d/*.conf\n", "smcroute-lab.conf", True),
        ("include /etc/x.d/*.conf\n", "igmpproxy.conf", False),
        ("", "mcfwd.toml", False),
    ],
)
def test_a_file_is_recognised_by_its_statements(text, name, ours):
    assert smcroute.recognises(text, Path(name)) is ours


# --- any text ---


LINES = st.tuples(st.sampled_from(KINDS), st.lists(st.sampled_from(WORDS), max_size=9)).map(
    lambda line: " ".join((line[0], *line[1]))
)


@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_any_text_becomes_tables_or_problems_with_file_and_line(text):
    smcroute.recognises(text, CONF)
    try:
        translation = smcroute.translate(text, CONF, Outside(included=lambda pattern: [(Path("x.conf"), text)]))
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            assert re.match(r"(smcroute|x)\.conf:\d+: ", line)
            assert line.isprintable()
        return
    assert translation.format == "smcroute"
    assert all(notice.words.isprintable() for notice in translation.notices)
    settings = SETTINGS.validate_python(translation.tables)
    left = [problem for each in settings.interface for problem in rules.of_interface(each)]
    if any(each.role == "both" for each in settings.interface):
        left += [(key, words) for key, words in rules.of_settings(settings) if "the only one" not in words]
    assert left == []
    for place in translation.origins:
        holder = translation.tables
        for part in place:
            holder = holder[part]
