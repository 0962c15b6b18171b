from pathlib import Path

import pytest

from forwarder.config.files import ConfigurationError
from forwarder.config.placing import MOST_TOLD, Source, key_of, location_of, take_aliases


@pytest.mark.parametrize("key", ["interface", "interface[12].altnets[3]", "igmp.robustness", "ssm_range[0]"])
def test_keys_are_locations(key):
    assert key_of(location_of(key)) == key


def test_what_could_be_no_bare_key_is_quoted_and_short():
    assert key_of(("igmp", "a.b\x1b" + "x" * 300)) == 'igmp."a.b\\u001b' + "x" * 36 + '"'
    assert key_of(("", 1)) == '""[1]'


def test_no_problems_are_no_error():
    Source(Path("x"), "not [ TOML").refuse([])


def test_problems_are_told_where_they_are():
    source = Source(Path("x"), "a = 1\n[[route]]\ndownstreams = [\n'eth1']\n", frozenset({0}))
    with pytest.raises(ConfigurationError) as caught:
        source.refuse([("command line: -d x", "one"), (("route", 0, "interfaces", 0), "two"), (("b",), "three")])
    assert str(caught.value) == "command line: -d x: one\nx:4: route[0].downstreams[0]: two\nx: b: three"
    with pytest.raises(ConfigurationError, match="command line: interface: one"):
        Source().refuse([(("interface",), "one")])


@pytest.mark.parametrize("route", [3, [3], {}, [{}]])
def test_odd_shapes_have_no_aliases(route):
    plain = {"route": route}
    assert take_aliases(plain) == (frozenset(), [])
    assert plain == {"route": route}


def test_problems_beyond_so_many_are_counted():
    """A file of 20,000 wrong interfaces made a line of the log of 6 MB at a reload."""
    with pytest.raises(ConfigurationError) as refused:
        Source().refuse((("interface", at, "name"), "is wrong") for at in range(MOST_TOLD + 7))
    assert str(refused.value).count("\n") == MOST_TOLD
    assert str(refused.value).endswith("\n7 more problems")
