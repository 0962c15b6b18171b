import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.files import ConfigurationError, octets_of
from forwarder.config.loading import load, parse_rate, parse_size
from forwarder.state.settings import Settings

ROLES = '[[interface]]\nname = "eth0"\nrole = "upstream"\n[[interface]]\nname = "eth1"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mcfwd.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, upstream: tuple[str, ...] = (), downstream: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a file, without the name of its folder and the lines."""
    told = problems_with_lines(folder, text, upstream, downstream)
    return [re.sub(r"^mcfwd\.toml:[\d:]+ ", "mcfwd.toml: ", line) for line in told]


def problems_with_lines(folder: Path, text: str, upstream: tuple[str, ...] = (), downstream: tuple[str, ...] = ()):
    with pytest.raises(ConfigurationError) as caught:
        load(written(folder, text), list(upstream), list(downstream), None)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_two_options_are_a_configuration():
    settings = load(None, ["eth0"], ["eth1", "eth2"], None)
    assert [(each.name, each.role) for each in settings.interface] == [
        ("eth0", "upstream"),
        ("eth1", "downstream"),
        ("eth2", "downstream"),
    ]


def test_a_file_without_surprises(tmp_path):
    text = ROLES + 'altnets = ["10.0.0.0/8"]\n[igmp]\nquery_interval = 60\n[dataplane]\nring_memory = "64MiB"\n'
    settings = load(written(tmp_path, text), [], [], None)
    assert settings.interface[1].altnets == ("10.0.0.0/8",)
    assert settings.igmp.query_interval == 60.0
    assert settings.dataplane.ring_memory == 64 << 20


def test_unset_and_empty_altnets_differ(tmp_path):
    settings = load(written(tmp_path, ROLES + "altnets = []\n"), [], [], None)
    assert [each.altnets for each in settings.interface] == [None, ()]


def test_settings_survive_the_way_through_json(tmp_path):
    settings = load(written(tmp_path, ROLES + 'altnets = ["10.0.0.0/8"]\n'), [], ["tap*"], "/tmp/socket")
    assert Settings.from_json(settings.to_json()) == settings


def test_link_local_sources_are_said_by_port(tmp_path):
    settings = load(written(tmp_path, ROLES + "link_local_sources = true\n"), [], [], None)
    assert [each.link_local_sources for each in settings.interface] == [False, True]
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(ConfigurationError, match=r"link_local_sources.*should be true or false"):
        load(written(tmp_path, ROLES + 'link_local_sources = "yes"\n'), [], [], None)


@pytest.mark.parametrize("names", [("eth0", "eth1"), ("eth*",)])
def test_lans_need_no_upstream(tmp_path, names):
    text = "".join(f'[[interface]]\nname = "{name}"\n' for name in names)
    for settings in (load(written(tmp_path, text), [], [], None), load(None, [], [*names], None)):
        assert [(each.name, each.role) for each in settings.interface] == [(name, "downstream") for name in names]


@pytest.mark.parametrize(("text", "ranges"), [
    ('"232.1.0.0/16"', ("232.1.0.0/16",)), ("[]", ()),
    ('["232.0.0.0/8", "239.232.0.0/16"]', ("232.0.0.0/8", "239.232.0.0/16")),
])
def test_source_specific_ranges_are_one_or_a_list_or_none(tmp_path, text, ranges):
    """Where there is none, any-source joins in 232/8 and static groups there are like any other."""
    path = written(tmp_path, f'{ROLES}static_groups = ["232.9.9.9"]\n[igmp]\nssm_range = {text}\n')
    if "232.0.0.0/8" in ranges:
        with pytest.raises(ConfigurationError, match="is in ssm_range: name its source"):
            load(path, [], [], None)
        return
    settings = load(path, [], [], None)
    assert settings.igmp.ssm_range == ranges
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize("name", ["nobody", "daemon", ""])
def test_the_user_of_the_children(tmp_path, name):
    settings = load(written(tmp_path, f'{ROLES}[process]\nuser = "{name}"\n'), [], [], None)
    assert settings.process.user == name
    assert Settings.from_json(settings.to_json()) == settings


def test_the_socket_option_wins_over_the_file(tmp_path):
    path = written(tmp_path, ROLES + '[control]\nsocket = "/run/a"\n')
    assert load(path, [], [], None).control.socket == "/run/a"
    assert load(path, [], [], "/run/b").control.socket == "/run/b"


def test_a_problem_names_file_key_and_what_is_wrong(tmp_path):
    assert problems_with_lines(tmp_path, ROLES + "threshold = 300\n") == [
        "mcfwd.toml:6: interface[1].threshold: should be at most 256, not 300 (eth1)"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (ROLES + "\n# a remark\n treshold = 2\n", 8),
        (ROLES + '[[interface]]\n\nrole = "upstream"\n', 6),                       # where the name is missing
        (ROLES + 'altnets = [\n  "10.0.0.0/8",\n  "net",\n]\n', 8),
        ("[dataplane]\nring_memory = '?'\n" + ROLES, 2),
        (ROLES + "[igmp]\n\nquery_interval = 5.0\n", 6),                           # it is not said, its table is
        (ROLES + '[[route]]\ngroup = "239.1.1.1"\n[[route]]\ngroup = "239.1.1.1"\n', 8),
        (ROLES + '[process]\nuser = "no-such-user"\n', 7),
        (ROLES + '\n[[interface]]\nname = "eth1"\n', 7),
        ("dataplane.burst = 0\n" + ROLES, 1),
        ("igmp = {robustness = 0}\n" + ROLES, 1),
    ],
)  # fmt: skip
def test_a_problem_names_its_line(tmp_path, text, line):
    [problem] = problems_with_lines(tmp_path, text)
    assert problem.startswith(f"mcfwd.toml:{line}: ")


def test_what_has_no_line_is_told_without(tmp_path):
    assert problems_with_lines(tmp_path, "")[0].startswith("mcfwd.toml: interface: none is named")


def test_an_odd_key_is_told_as_it_may_be_written(tmp_path):
    """Nothing in it reaches the terminal as it is, or makes a line of its own."""
    [problem] = problems_with_lines(tmp_path, ROLES + '"a.b\\u001b[2J\\n" = 1\n')
    assert problem.startswith('mcfwd.toml:6: interface[1]."a.b\\u001b[2J\\n": unknown key')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[interface]]\nrole = "upstream"\n', "interface[0].name: is missing"),
        (ROLES + "treshold = 2\n", "interface[1].treshold: unknown key; did you mean threshold? (eth1)"),
        (ROLES + "strict_sources = true\n", "interface[1].strict_sources: unknown key; it belongs in [igmp] (eth1)"),
        (ROLES + "robustness = 0\n", "interface[1].robustness: should be at least 1, not 0 (eth1)"),
        (ROLES + "max_sources = 65536\n", "interface[1].max_sources: should be at most 65535, not 65536 (eth1)"),
        (ROLES + "[igmpp]\n", "igmpp: unknown key; did you mean igmp?"),
        (ROLES + "[igmp]\nrobustness = 0\n", "igmp.robustness: should be at least 1, not 0"),
        (ROLES + "[igmp]\nspecific_query_burst = 0\n", "igmp.specific_query_burst: should be at least 1, not 0"),
        (ROLES + "[igmp]\nspecific_query_rate = 70000\n",
         "igmp.specific_query_rate: should be at most 65536, not 70000"),
        (ROLES + "[igmp]\nmax_query_interval = 0\n", "igmp.max_query_interval: should be at least 0.05, not 0"),
        (ROLES + "[igmp]\nrobustness = 2.5\n", "igmp.robustness: should be a whole number, not 2.5"),
        (ROLES + "[igmp]\nquery_interval = nan\n", "igmp.query_interval: should be at most 31744, not nan"),
        (ROLES + "[igmp]\nquery_interval = '1'\n", 'igmp.query_interval: should be a number, not "1"'),
        (ROLES + 'querier = "yes"\n', 'interface[1].querier: should be true or false, not "yes" (eth1)'),
        (ROLES + 'altnets = "10.0.0.0/8"\n', "interface[1].altnets: should be a list in brackets (eth1)"),
        (ROLES + "igmp_version = 4\n", 'interface[1].igmp_version: should be "auto", 1, 2 or 3, not 4 (eth1)'),
        ("igmp = 3\n" + ROLES, "igmp: should be a table, not 3"),
        ('[interface]\nname = "eth0"\n', "interface: should be a list of tables: write [[interface]]"),
        (ROLES + "[process]\nuser = 65534\n", "process.user: should be text in quotes, not 65534"),
        (ROLES + "[process]\nuser = true\n", "process.user: should be text in quotes, not true"),
        (ROLES + f"[process]\nuser = '{'x' * 257}'\n", "process.user: is longer than 256 characters"),
        (ROLES + '[process]\ngroup = "x"\n', "process.group: unknown key"),
        (ROLES + '[dataplane]\nring_memory = "lots"\n', 'dataplane.ring_memory: should be a size such as "160MiB"'),
        (ROLES + '[dataplane]\nring_memory = "1kB"\n', "dataplane.ring_memory: should be at least 1048576, not 1000"),
        ('mode = "switch"\n' + ROLES, 'mode: should be "proxy", not "switch"'),
        (ROLES + "mtu = 1979-05-27\n", "interface[1].mtu: unknown key; known are"),
    ],
)
def test_wrong_shapes(tmp_path, text, expected):
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"mcfwd.toml: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROLES + 'altnets = ["10.0.0.1/8"]\n', 'interface[1].altnets[0]: "10.0.0.1/8" has host bits set'),
        (ROLES + 'altnets = ["net"]\n', 'interface[1].altnets[0]: should be a network such as "10.0.0.0/8", not "net"'),
        (ROLES + 'altnets = ["239.0.0.0/8"]\n', 'interface[1].altnets[0]: "239.0.0.0/8" is multicast'),
        (ROLES + 'querier_address = "224.0.0.1"\n', "interface[1].querier_address: should be a unicast IPv4 address"),
        (ROLES + '[igmp]\nssm_range = "10.0.0.0/8"\n', 'igmp.ssm_range[0]: "10.0.0.0/8" is not a range of groups'),
        (ROLES + '[igmp]\nssm_range = ["232.0.0.0/8", "x"]\n', 'igmp.ssm_range[1]: should be a network such as'),
        (
            ROLES + "[igmp]\nquery_interval = 10\n",
            "igmp.query_response_interval: should be less than query_interval (10), not 10",
        ),
        (
            ROLES + "igmp_version = 2\n[igmp]\nquery_response_interval = 30\n",
            "igmp.query_response_interval: at most 25.5 fits the IGMPv2 queries of eth1, not 30",
        ),
        (
            ROLES + "query_interval = 5\n",
            "interface[1].query_interval: should be more than query_response_interval (10), not 5",
        ),
        (
            ROLES + "query_response_interval = 60\n[igmp]\nquery_interval = 50\n",
            "interface[1].query_response_interval: should be less than query_interval (50), not 60",
        ),
        (
            ROLES + "igmp_version = 2\nlast_member_query_interval = 30\n",
            "interface[1].last_member_query_interval: at most 25.5 fits the IGMPv2 queries of eth1, not 30",
        ),
        (ROLES + "[igmp]\nreport_interval = 0.5\n", "igmp.report_interval: should be 0 (off) or at least 1, not 0.5"),
        (ROLES + "report_interval = 0.5\n", "interface[1].report_interval: should be 0 (off) or at least 1, not 0.5"),
        (ROLES + '[[interface]]\nname = "eth1"\n', 'interface[2]: "eth1" is named twice, first by interface[1]'),
        (
            ROLES + '[[interface]]\nname = "eth0"\n',
            'interface[2]: "eth0" has two roles: upstream by interface[0], downstream here',
        ),
        ('[[interface]]\nname = "eth0"\n', 'interface: "eth0" is the only one: nothing could come from elsewhere'),
        (
            '[[interface]]\nname = "eth0"\n[[interface]]\nname = "eth1"\nrole = "disabled"\n',
            'interface: "eth0" is the only one',
        ),
        ('[[interface]]\nname = "eth0"\nrole = "upstream"\n', 'interface: none has role = "downstream" (-d)'),
        ("", "interface: none is named"),
        (ROLES + '[[interface]]\nname = "a/b"\n', 'interface[2].name: "a/b" cannot be an interface name'),
        (ROLES + '[[interface]]\nname = "a b"\n', 'interface[2].name: "a b" cannot be an interface name'),
        (ROLES + '[[interface]]\nname = "eth0:1"\n', 'interface[2].name: "eth0:1" is an alias address'),
        (ROLES + '[[interface]]\nname = "sixteen-letters!"\n', "interface[2].name: is longer than 15 characters"),
        (ROLES + '[[interface]]\nname = "eth2"\n[dataplane]\nmax_ports = 2\n', "dataplane.max_ports: 2 is less"),
        (ROLES + '[process]\nuser = "no-such-user"\n', 'process.user: "no-such-user" is no user of this system'),
        (ROLES + '[process]\nuser = "root"\n', 'process.user: "root" is uid 0, which children must not be'),
        (ROLES + f'[control]\nsocket = "/{"x" * 107}"\n', "control.socket: a socket path has 1 to 107 bytes"),
        (ROLES + '[control]\nsocket_group = "no-such"\n', 'control.socket_group: "no-such" is no group of this system'),
        (ROLES + '[control]\nsocket_mode = "0777"\n', 'control.socket_mode: should be "0600", "0660" or "0666"'),
        (ROLES + "[control]\nsocket_mode = 0o660\n", 'control.socket_mode: should be "0600", "0660" or "0666"'),
        (ROLES + '[control]\nsocket_group = "7"\nsocket_mode = "0600"\n', 'control.socket_mode: "0600" keeps'),
    ],
)
def test_wrong_meanings(tmp_path, text, expected):
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"mcfwd.toml: {expected}")


def test_all_problems_are_told_at_once(tmp_path):
    text = ROLES + "threshold = 0\nx = 1\n[igmp]\nrobustness = 0\n[dataplane]\nring_memory = '?'\n"
    assert len(problems(tmp_path, text)) == 4


def test_malformed_toml_is_told_with_line_and_column(tmp_path):
    assert problems_with_lines(tmp_path, "mode = 'proxy'\n[[interface]\n") == [
        "mcfwd.toml:2:13: is not TOML: unclosed array table, expected `]`"
    ]
    [problem] = problems_with_lines(tmp_path, "mode = 'proxy'\nx = [12,\n")
    assert problem == "mcfwd.toml:2:9: is not TOML: unclosed array, expected `]`"


def test_what_is_no_text_is_told_with_its_line(tmp_path):
    path = tmp_path / "mcfwd.toml"
    path.write_bytes(b"mode = 'proxy'\n\n# \xe9\n")
    with pytest.raises(ConfigurationError, match=r"mcfwd\.toml:3: is not UTF-8 text \(byte 18\)"):
        load(path, [], [], None)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = " + b"[" * 5000, b"x = " + b"9" * 5000])
def test_files_that_are_no_configuration_at_all(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"is not (UTF-8|TOML)"):
        load(path, [], [], None)


def test_files_that_cannot_be_read(tmp_path):
    for path, words in ((tmp_path / "absent", "No such file or directory"), (tmp_path, "Is a directory"),
                        (Path("/dev/zero"), "is larger than 16 MiB")):  # fmt: skip
        with pytest.raises(ConfigurationError, match=words):
            load(path, [], [], None)


def test_a_byte_order_mark_is_no_problem(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbf" + ROLES.encode())
    assert len(load(path, [], [], None).interface) == 2


def test_an_interface_cannot_be_both(tmp_path):
    with pytest.raises(ConfigurationError, match='command line: -d eth0: "eth0" has two roles'):
        load(None, ["eth0"], ["eth0", "eth1"], None)
    assert "two roles" in problems(tmp_path, ROLES, upstream=("eth1",))[0]


def test_an_option_may_repeat_what_the_file_says(tmp_path):
    path = written(tmp_path, ROLES + "threshold = 5\n")
    settings = load(path, ["eth0"], ["eth1", "eth1"], None)
    assert [each.threshold for each in settings.interface] == [1, 5]


def test_a_wildcard_may_cover_a_plain_name(tmp_path):
    settings = load(written(tmp_path, ROLES + '[[interface]]\nname = "eth*"\n'), [], [], None)
    assert len(settings.interface) == 3


@pytest.mark.parametrize(("text", "size"), [("160MiB", 160 << 20), ("64 kB", 64000), ("1G", 1 << 30), ("4096", 4096)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "bits"), [("100Mbit", 10**8), ("64 kbit", 64000), ("1Gbit/s", 10**9), ("1mbit", 10**6), ("9600", 9600)]
)
def test_rates(text, bits):
    assert parse_rate(text) == bits


def test_lists_limits_and_static_things(tmp_path):
    text = ROLES + (
        'allow = ["239.0.0.0/8", "10.0.0.0/8, 232.0.0.0/8"]\ndeny = ["239.1.1.1"]\nboundary = ["239.255.0.0/16"]\n'
        'rate_limit = "100Mbit"\nflow_rate_limit = 64000\nstatic_groups = ["239.1.2.3", "10.0.0.7,232.1.1.1"]\n'
        '[[route]]\ngroup = "239.9.0.0/16"\nsource = "10.0.0.0/8"\nupstream = "eth0"\ninterfaces = ["eth*"]\n'
        '[[route]]\ngroup = "239.9.0.0/16"\n[[route]]\ngroup = "224.0.0.0/4"\nsource = "10.0.0.7"\n'
    )
    settings = load(written(tmp_path, text), [], [], None)
    eth1 = settings.interface[1]
    assert (eth1.rate_limit, eth1.flow_rate_limit) == (10**8, 64000)
    assert [route.interfaces for route in settings.route] == [("eth*",), (), ()]
    assert Settings.from_json(settings.to_json()) == settings


ROUTE = ROLES + "[[route]]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROLES + 'rate_limit = "fast"\n', 'interface[1].rate_limit: should be a rate such as "100Mbit" or "64kbit"'),
        (ROLES + 'flow_rate_limit = "100MB"\n', "interface[1].flow_rate_limit: should be a rate such as"),
        (ROLES + 'rate_limit = "0bit"\n', "interface[1].rate_limit: should be at least 1, not 0"),
        (ROLES + "rate_limit = 1.5\n", "interface[1].rate_limit: should be a whole number, not 1.5"),
        (ROLES + 'allow = ["10.0.0.0/8"]\n', 'interface[1].allow[0]: "10.0.0.0/8" is not a range of groups'),
        (ROLES + 'deny = ["239.0.0.0/8", "x"]\n', "interface[1].deny[1]: should be a network such as"),
        (
            ROLES + 'deny = ["239.0.0.0/8,10.0.0.0/8"]\n',
            'interface[1].deny[0]: "239.0.0.0/8" is multicast, not a network of sources (before the comma',
        ),
        (ROLES + 'deny = ["239.0.0.1/8"]\n', 'interface[1].deny[0]: "239.0.0.1/8" has host bits set'),
        (ROLES + 'boundary = ["10.0.0.0/8"]\n', 'interface[1].boundary[0]: "10.0.0.0/8" is not a range of groups'),
        (ROLES + 'boundary = ["10.0.0.7,239.0.0.0/8"]\n', "interface[1].boundary[0]: should be a network such as"),
        (ROLES + 'static_groups = ["239.0.0.0/8"]\n', 'interface[1].static_groups: these are 16777216 memberships; an'),
        (ROLES + 'static_groups = ["10.1.1.1"]\n', 'interface[1].static_groups[0]: "10.1.1.1" is not a group'),
        (ROLES + 'static_groups = ["224.0.0.9"]\n', 'interface[1].static_groups[0]: "224.0.0.9" is link-local'),
        (ROLES + 'static_groups = ["x,239.1.1.1"]\n', "interface[1].static_groups[0]: should begin with a unicast"),
        (ROLES + 'static_groups = ["232.1.1.1"]\n', 'interface[1].static_groups[0]: "232.1.1.1" is in ssm_range'),
        (
            ROLES + "quick_leave = true\nquick_leave_untracked = true\n",
            "interface[1].quick_leave_untracked: contradicts quick_leave",
        ),
        (ROUTE, "route[0].group: is missing"),
        (ROUTE + 'group = "239.1.1.1"\nto = ["eth1"]\n', "route[0].to: unknown key; known are group"),
        (ROUTE + 'group = "10.0.0.0/8"\n', 'route[0].group: "10.0.0.0/8" is not a range of groups'),
        (ROUTE + 'group = "224.0.0.5"\n', 'route[0].group: "224.0.0.5" is link-local and never forwarded'),
        (ROUTE + 'group = "239.1.1.1/8"\n', 'route[0].group: "239.1.1.1/8" has host bits set'),
        (ROUTE + 'group = "239.1.1.1"\nsource = "239.1.1.1"\n', 'route[0].source: "239.1.1.1" is multicast'),
        (ROUTE + 'group = "239.1.1.1"\nupstream = "a b"\n', 'route[0].upstream: "a b" cannot be an interface name'),
        (
            ROUTE + 'group = "239.1.1.1"\nupstream = "eth7"\n',
            'route[0].upstream: no [[interface]] covers "eth7"',
        ),
        *((
            ROLES + f'[[interface]]\nname = "{other}"\n[[interface]]\nname = "eth7"\nrole = "disabled"\n[[route]]\n'
            'group = "239.1.1.1"\ninterfaces = ["eth7"]\n',
            'route[0].interfaces[0]: "eth7" is disabled',
        ) for other in ("eth*", "eth2")),
        (
            ROUTE + 'group = "239.1.1.1"\ninterfaces = ["tap*"]\n',
            'route[0].interfaces[0]: no [[interface]] covers "tap*"',
        ),
        (
            ROUTE + 'group = "239.1.1.1"\nupstream = "eth0"\ninterfaces = ["eth0"]\n',
            'route[0].interfaces[0]: "eth0" is where the group comes from',
        ),
        (
            ROUTE + 'group = "239.1.1.1"\ninterfaces = ["eth1", "eth1"]\n',
            'route[0].interfaces[1]: "eth1" is named twice',
        ),
        (
            ROUTE + 'group = "239.1.1.1"\n[[route]]\ngroup = "239.1.1.1/32"\ninterfaces = ["eth1"]\n',
            "route[1]: is the same as route[0]",
        ),
        ('route = 3\n' + ROLES, "route: should be a list of tables: write [[route]]"),
    ],
)
def test_wrong_lists_limits_and_static_things(tmp_path, text, expected):
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"mcfwd.toml: {expected}")


@pytest.mark.parametrize(("text", "expected"), [
    ('static_groups = ["239.1.1.1/26"]', 'static_groups[0]: "239.1.1.1/26" has host bits set; write 239.1.1.0/26'),
    ('static_groups = ["239.1.1.9-239.1.1.1"]', 'static_groups[0]: "239.1.1.9-239.1.1.1" is no range'),
    ('static_groups = ["224.0.0.9-224.0.1.9"]', 'static_groups[0]: "224.0.0.9-224.0.1.9" has link-local groups'),
    ('static_groups = ["10.1.1.1-239.1.1.1"]', 'static_groups[0]: "10.1.1.1-239.1.1.1" is not a range of groups'),
    ('static_groups = ["10.0.0.0/4,239.1.1.1"]', 'static_groups[0]: "10.0.0.0/4" has host bits set'),
    ('static_groups = ["0.0.0.0-1.1.1.1,239.1.1.1"]', 'static_groups[0]: "0.0.0.0-1.1.1.1" is not a range of unicast'),
    ('static_groups = ["239.1.1.1-x"]', "static_groups[0]: should be a range such as"),
    ('static_groups = ["239.1.1.1/33"]', "static_groups[0]: should be a range such as"),
    ('static_groups = ["231.255.255.0-232.0.0.1"]', 'static_groups[0]: "231.255.255.0-232.0.0.1" is in ssm_range'),
    ('access = ["239.1.1.1"]', "access[0]: should be an entry behind allow or deny"),
    ('access = ["deny 239.1.1.1", "allow 10.0.0.0/8"]', 'access[1]: "10.0.0.0/8" is not a range of groups'),
    ('contribute = ["239.1.1.1", "deny 239.1.1.1/8"]', 'contribute[1]: "239.1.1.1/8" has host bits set'),
    ('contribute = "239.1.1.1"', "contribute: should be a list in brackets (eth1)"),
])  # fmt: skip
def test_wrong_ranges_and_lists_in_an_order(tmp_path, text, expected):
    [problem] = problems(tmp_path, f"{ROLES}{text}\n")
    assert problem.startswith(f"mcfwd.toml: interface[1].{expected}")


def test_a_route_may_name_what_a_wildcard_will_bring(tmp_path):
    text = ROLES + '[[interface]]\nname = "tap*"\n[[route]]\ngroup = "239.1.1.1"\ninterfaces = ["tap7", "*"]\n'
    assert load(written(tmp_path, text), [], [], None).route[0].interfaces == ("tap7", "*")


def test_the_former_name_of_interfaces_is_taken(tmp_path):
    text = ROLES + '[[route]]\ngroup = "239.1.1.1"\ndownstreams = ["eth1"]\n'
    assert load(written(tmp_path, text), [], [], None).route[0].interfaces == ("eth1",)
    assert problems_with_lines(tmp_path, text.replace('["eth1"]', '["eth1", "eth7"]')) == [
        'mcfwd.toml:8: route[0].downstreams[1]: no [[interface]] covers "eth7"'
    ]
    assert problems_with_lines(tmp_path, text.replace('["eth1"]', "7")) == [
        "mcfwd.toml:8: route[0].downstreams: should be a list in brackets"
    ]


def test_one_thing_under_both_of_its_names_is_refused(tmp_path):
    text = ROLES + '[[route]]\ngroup = "239.1.1.1"\ndownstreams = []\ninterfaces = ["eth1"]\n'
    assert problems_with_lines(tmp_path, text) == [
        "mcfwd.toml:8: route[0].downstreams: is the former name of interfaces, which is there too; delete it"
    ]


@given(st.text() | st.text("[]=\"'.,\n{}interfacnm01 \t#"))
def test_any_text_is_settings_or_a_configuration_error(text):
    with NamedTemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        with suppress(ConfigurationError):
            load(Path(file.name), [], [], None)


@given(st.text())
def test_any_name_is_taken_or_refused(name):
    with suppress(ConfigurationError):
        settings = load(None, [name], ["downstream0"], None)
        assert settings.interface[0].name == name


def test_a_pipe_is_read_to_its_end_and_waited_for_in_vain_no_longer_than_it_may_be(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TimeoutError, match="whoever writes it did not finish within"):
        octets_of(pipe, 0.01)
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_text, ROLES)     # waits for a reader
        assert octets_of(pipe, 60.0) == ROLES.encode()


def test_a_file_that_is_written_while_it_is_read_is_read_again_but_not_for_ever(tmp_path):
    path = written(tmp_path, "half")
    rewrites = iter([ROLES])

    def read_out(file, until, patience):
        octets = file.read()
        for text in rewrites:
            path.write_text(text)
        return octets

    assert octets_of(path, 60.0, read_out) == ROLES.encode()
    rewrites = ("x" * number for number in count())

    def read_out_of_a_busy_one(file, until, patience):
        path.write_text(next(rewrites))
        return file.read()

    with pytest.raises(BlockingIOError, match="is being written all the time"):
        octets_of(path, 0.05, read_out_of_a_busy_one)


def test_the_command_line_has_the_last_word_on_profile_and_workers_and_memory_must_do_for_these(tmp_path):
    path = written(tmp_path, ROLES + '[dataplane]\nring_memory = "2MiB"\nworkers = 2\nprofile = "latency"\n')
    settings = load(path, [], [], None)
    assert (settings.dataplane.workers, settings.dataplane.profile) == (2, "latency")
    settings = load(path, [], [], None, "throughput", 1)
    assert (settings.dataplane.workers, settings.dataplane.profile) == (1, "throughput")
    with pytest.raises(ConfigurationError) as caught:
        load(path, [], ["eth2", "tap*"], None, workers=3)
    words = "2 MiB is less than the 4.5 MiB that receive rings of 3 interfaces for 3 workers need"
    assert str(caught.value) == f"{path}:7: dataplane.ring_memory: {words}"


@pytest.mark.parametrize("text", [
    "a = " + "[" * 1_000_000, "a = " + "{a = " * 1_000_000, "a" + ".a" * 1_000_000 + " = 1", "[a" + ".a" * 9999 + "]",
])  # fmt: skip
def test_a_file_as_deep_as_can_be_is_refused(tmp_path, text):
    """The supervisor reads it at a reload; recursion in compiled code would end it."""
    [problem] = problems(tmp_path, text)
    assert "is not TOML" in problem
    assert "recurs" in problem
