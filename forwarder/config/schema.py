"""JSON Schema of the configuration file, for editors: what `loading` takes, with the words of `keys`.

What a shape cannot say (networks, interface names, keys that contradict each other) is left to `mcfwd check`.
"""

import tomllib
from typing import Any

from pydantic import TypeAdapter

from forwarder.config.placing import ALIASES
from forwarder.config.reference import Row, rows, title
from forwarder.state.settings import Settings

DRAFT = "http://json-schema.org/draft-07/schema#"       # what editors of TOML know; nothing newer is needed
# as loading.SIZE and loading.RATE, in the regular expressions of ECMA 262, which have no flags inside
SIZE = r"^\s*[0-9]{1,18}\s*(B|kB|MB|GB|KiB|MiB|GiB|K|M|G)?\s*$"
RATE = r"^\s*[0-9]{1,18}\s*([kKmMgG]?[bB][iI][tT])?(/[sS])?\s*$"
PATTERNS = {"bytes": SIZE, "bit/s": RATE}               # by unit
LISTS_OF_ONE = {("igmp", "ssm_range")}                  # one entry needs no brackets


def schema() -> dict[str, Any]:
    """The schema as a JSON object."""
    made: dict[str, Any] = TypeAdapter(Settings).json_schema()
    tables = {"": made["properties"]}
    for name, hint in made["properties"].items():
        if reference := hint.get("$ref") or hint.get("items", {}).get("$ref"):
            definition = made["$defs"][reference.rpartition("/")[2]]
            definition["description"] = title(name)
            tables[name] = definition["properties"]
    for row in rows():
        properties = tables[row.setting.table]
        properties[row.setting.name] = _described(row, properties[row.setting.name])
    for former, name in ALIASES.items():
        tables["route"][former] = {**tables["route"][name], "description": f"The former name of `{name}`."}
    return {"$schema": DRAFT, **made, "title": "mcfwd.toml", "description": "Configuration of mcfwd."}


def _described(row: Row, shape: dict[str, Any]) -> dict[str, Any]:
    """A key's shape without what TOML has not (null), with what its texts may be, and in words."""
    found = _with_text(row, _without_null(shape))
    unit = f" Unit: {row.key.unit}." if row.key.unit else ""
    default = f" Default: {row.default}." if row.default else ""
    found["description"] = f"{row.key.meaning}{unit}{default}"
    if row.key.example:
        found["examples"] = [tomllib.loads(f"example = {row.key.example}")["example"]]
    return found


def _without_null(shape: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in shape.items() if key != "title" and (key, value) != ("default", None)}
    options = [each for each in found.pop("anyOf", []) if each != {"type": "null"}]
    return {**found, **options[0]} if len(options) == 1 else {**found, **({"anyOf": options} if options else {})}


def _with_text(row: Row, shape: dict[str, Any]) -> dict[str, Any]:
    """A size or rate with its unit, or a list of one, which are texts."""
    place = row.setting.table, row.setting.name
    pattern = PATTERNS.get(row.key.unit)
    if pattern is None and place not in LISTS_OF_ONE:
        return shape
    default = {"default": shape.pop("default")} if "default" in shape else {}
    text = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {"anyOf": [shape, text], **default}
