"""A translation as TOML: only what the file says, and behind each key the line that it comes from. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from forwarder.config.files import plainly
from forwarder.config.formats.origins import statement
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.toml_lines import Location
from forwarder.state.settings import InterfaceSettings
from forwarder.units import visible

COLUMN = 32             # where remarks begin, if what they are about is shorter
LONGEST = 100           # characters of an original line
ORDER = {each.name: number for number, each in enumerate(fields(InterfaceSettings))}


def written(translation: Translation, path: Path) -> str:
    """The text of a file that loads to the same settings."""
    pages = [f"# {visible(plainly(path))} ({translation.format}); behind each key: the line it comes from\n"]
    if translation.disabled is not None:
        pages.append(f"# {_remark(translation.disabled, path)}: nothing is to run, and this cannot be said here\n")
    tables = sorted(translation.tables.items(), key=lambda each: isinstance(each[1], dict | list))
    for name, table in tables:
        if isinstance(table, dict):
            pages.append(f"\n[{name}]\n" + "".join(_keys(table, (name,), translation, path)))
        elif _is_of_tables(table):
            pages += [f"\n[[{name}]]\n" + "".join(_keys(each, (name, at), translation, path))
                      for at, each in enumerate(table)]  # fmt: skip
        else:
            pages += _key(name, table, (name,), translation.origins, path)
    return "".join(pages)


def _is_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _keys(table: Mapping[str, Any], place: Location, translation: Translation, path: Path) -> Iterator[str]:
    for key in sorted(table, key=lambda each: ORDER.get(each, len(ORDER))):
        yield from _key(key, table[key], (*place, key), translation.origins, path)


def _key(key: str, value: Any, place: Location, origins: Mapping[Location, Origin], path: Path) -> Iterator[str]:
    """A line, or of a list whose elements come from several a line each."""
    own = origins.get(place)
    of_each = [origins.get((*place, at), own) for at in range(len(value))] if isinstance(value, list) else []
    if len(set(of_each)) > 1:
        yield f"{key} = [\n"
        for element, origin in zip(value, of_each, strict=True):
            yield _line(f"  {_toml(element)},", origin, path)
        yield "]\n"
    else:
        yield _line(f"{key} = {_toml(value)}", of_each[0] if of_each else own, path)


def _line(text: str, origin: Origin | None, path: Path) -> str:
    return f"{text}\n" if origin is None else f"{text:<{COLUMN - 1}} # {_remark(origin, path)}\n"


def _remark(origin: Origin, path: Path) -> str:
    """The number of the line, with its file where that is another one, and what stands there."""
    where = f"line {origin.line}" if origin.path == path else visible(origin.place)
    return f"{where}: {statement(origin, LONGEST)}" if origin.text else where


def _toml(value: Any) -> str:
    """A value of TOML; JSON's are the same, but for a character that may stand in JSON as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
