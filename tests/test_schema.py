"""The JSON Schema of the file takes what the program takes, as far as a shape can say."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from fastjsonschema import JsonSchemaException
from hypothesis import given
from hypothesis import strategies as st
from test_cli import mcfwd
from test_documentation import FENCE, PAGES, name_of

from forwarder.config import loading, reference
from forwarder.config.schema import RATE, SIZE, schema

NEEDED = {"interface": {"name": "eth0"}, "route": {"group": "239.1.2.3"}}
WHOLE = schema()
VALID = fastjsonschema.compile(WHOLE)


def is_valid(file: dict[str, Any]) -> bool:
    try:
        VALID(json.loads(json.dumps(file)))
    except JsonSchemaException:
        return False
    return True


def loads(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configurations_on_a_page_are_valid(page: Path):
    for language, text in FENCE.findall(page.read_text()):
        if language == "toml":
            VALID(tomllib.loads(text))


def test_the_file_with_all_defaults_is_valid():
    VALID(tomllib.loads(reference.defaults()))


def test_every_key_is_described_and_its_example_is_valid():
    for row in reference.rows():
        table, name = row.setting.table, row.setting.name
        value = tomllib.loads(f"example = {row.key.example}")["example"]
        body = {**NEEDED.get(table, {}), name: value}
        several = reference.title(table).startswith("[[")
        VALID({table: [body] if several else body} if table else body)
        shape = properties(table)[name]
        assert shape["description"].startswith(row.key.meaning)
        assert shape["examples"] == [value]
        assert "null" not in json.dumps(shape)


def properties(table: str) -> dict[str, Any]:
    if not table:
        return dict(WHOLE["properties"])
    shape = WHOLE["properties"][table]
    place = shape.get("$ref") or shape["items"]["$ref"]
    return dict(WHOLE["$defs"][place.removeprefix("#/$defs/")]["properties"])


@pytest.mark.parametrize(("file", "valid"), [
    ({}, True),
    ({"interface": [{"name": "eth0", "rate_limit": "10Mbit"}]}, True),
    ({"interface": [{"name": "eth0", "rate_limit": 64000}]}, True),
    ({"interface": [{"name": "eth0", "rate_limit": "10 apples"}]}, False),
    ({"interface": [{"name": "eth0", "rate_limit": 0}]}, False),
    ({"interface": [{"role": "upstream"}]}, False),
    ({"interface": {"name": "eth0"}}, False),
    ({"interface": [{"name": "eth0", "role": "sideways"}]}, False),
    ({"interface": [{"name": "eth0", "thresold": 2}]}, False),
    ({"route": [{"group": "239.1.2.3", "downstreams": ["eth1"]}]}, True),
    ({"dataplane": {"ring_memory": "64MiB"}}, True),
    ({"dataplane": {"ring_memory": "64 parsecs"}}, False),
    ({"dataplane": {"max_ports": None}}, False),
    ({"igmp": {"ssm_range": "232.0.0.0/8"}}, True),
    ({"igmp": {"ssm_range": []}}, True),
    ({"igmp": {"query_interval": 60}}, True),
    ({"igmp": {"query_interval": "60"}}, False),
    ({"unknown": {}}, False),
])  # fmt: skip
def test_a_file_is_valid_or_not(file, valid):
    assert is_valid(file) is valid


AMOUNT = st.from_regex(r"\s?[0-9]{0,3} ?([kKMmG]?i?[bBits]{0,3})?(/s)?\s?", fullmatch=True)


@given(AMOUNT.filter(str.isascii))
def test_sizes_and_rates_are_texts_that_the_loader_reads(text):
    for parse, pattern in ((loading.parse_size, SIZE), (loading.parse_rate, RATE)):
        assert bool(re.search(pattern, text)) is loads(parse, text)


def test_the_schema_is_printed():
    assert json.loads(mcfwd("config", "--schema").stdout) == WHOLE
    for words in (("config",), ("config", "--schema", "--defaults")):
        done = mcfwd(*words)
        assert (done.returncode, done.stdout) == (2, "")
