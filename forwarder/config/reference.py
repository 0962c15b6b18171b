"""The reference of the configuration: tables of docs/configuration.md, and a file with every key.

Pure: types, ranges, defaults and their order come from `forwarder.state.settings`, meanings from `keys`.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le

from forwarder.config.keys import KEYS, Key
from forwarder.state.settings import Settings

WIDTH = 110             # columns of a comment
MIB = 1 << 20           # bytes
MEASURES = ("s", "ms", "bit/s", "bytes")    # units that a comment tells; the others repeat the meaning
UNDESCRIBED = Key("", "")
BEGIN, END = "<!-- keys of {} -->", "<!-- end of keys -->"
HEAD = "| key | meaning | unit | default | values | example |\n|---|---|---|---|---|---|"
INTRODUCTION = """\
# Every key of mcfwd, with its default. A key that is unset by default is a comment: "# key = example".
# The first interface has only what it must have; the second shows all keys that any of them may have.

"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key as settings.py has it: its table ("" for none), name, type and default (MISSING: it must be said)."""

    table: str
    name: str
    type: Any
    default: Any

    @property
    def place(self) -> str:
        """How people name it: `[igmp] robustness`."""
        return f"{title(self.table)} {self.name}".strip()


class Row(NamedTuple):
    """A key as people are told of it: `default` and `values` in words, in which code has the marks of Markdown."""

    setting: Setting
    key: Key
    default: str
    values: str


def rows() -> list[Row]:
    """All keys in the order of settings.py."""
    described = [(each, _described(each)) for each in entries()]
    return [Row(each, key, _default(each), _values(each, key)) for each, key in described]


def title(table: str) -> str:
    """A table's heading in TOML; two brackets where there may be several."""
    if not table:
        return ""
    return f"[[{table}]]" if get_origin(get_type_hints(Settings)[table]) is tuple else f"[{table}]"


def entries() -> list[Setting]:
    """Every key, in the order of settings.py; those without a table first."""
    hints = get_type_hints(Settings, include_extras=True)
    own = [each for each in fields(Settings) if _table(hints[each.name]) is None]
    found = [_entry("", each, hints) for each in own]
    for name, hint in hints.items():
        if (table := _table(hint)) is not None:
            inner = get_type_hints(table, include_extras=True)
            found += [_entry(name, each, inner) for each in fields(table)]
    return found


def _table(hint: Any) -> Any:
    """The dataclass of a table, or None for a key."""
    return next((each for each in (hint, *get_args(hint)) if is_dataclass(each)), None)


def _entry(table: str, field: Field[Any], hints: Mapping[str, Any]) -> Setting:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return Setting(table, field.name, hints[field.name], default)


def problems(described: Mapping[str, Mapping[str, Key]] = KEYS) -> list[str]:
    """What `described` lacks or has too much beside settings.py, and what is to be done; one line each."""
    known = {(each.table, each.name): each for each in entries()}
    said = {(table, name) for table, keys in described.items() for name in keys}
    lines = [f"{known[each].place} has no Key: write one in forwarder/config/keys.py, then run scripts/reference"
             for each in known if each not in said]  # fmt: skip
    lines += [f"{title(table)} {name} is no key of forwarder/state/settings.py: forwarder/config/keys.py describes it"
              for table, name in sorted(said - known.keys())]  # fmt: skip
    lines += [f"{each.place}: its Key in forwarder/config/keys.py needs `values`, its type does not say what may stand"
              for at, each in known.items() if at in said and not _values(each, described[at[0]][at[1]])]  # fmt: skip
    return lines


# --- docs/configuration.md ---


def updated(page: str) -> str:
    """The page with all tables of keys made anew between their marks; ValueError for a table without marks."""
    for table in dict.fromkeys(each.table for each in entries()):
        begin = BEGIN.format(title(table) or "no table")
        head, mark, rest = page.partition(begin + "\n")
        _, end, tail = rest.partition(END)
        if not mark or not end:
            raise ValueError(f"the page lacks {begin} or {END} after it")
        page = f"{head}{mark}{_markdown(table)}{END}{tail}"
    return page


def _markdown(table: str) -> str:
    rows = (_row(each, _described(each)) for each in entries() if each.table == table)
    return "\n".join([HEAD, *rows]) + "\n"


def _row(entry: Setting, key: Key) -> str:
    example = f"`{entry.name} = {key.example}`"
    cells = f"`{entry.name}`", key.meaning, key.unit, _default(entry), _values(entry, key), example
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _described(entry: Setting) -> Key:
    return KEYS.get(entry.table, {}).get(entry.name, UNDESCRIBED)


def _default(entry: Setting) -> str:
    if entry.default is MISSING:
        return "none: it must be said"
    return "unset" if entry.default is None else f"`{_toml(entry, entry.default)}`"


def _values(entry: Setting, key: Key) -> str:
    """What may be written, from the type unless the words say it; empty where neither does."""
    return key.values or _of_type(entry.type)


def _of_type(hint: Any) -> str:
    options = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) is Annotated:
        return _range(hint.__metadata__)
    if get_origin(hint) is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in options)
    if hint is bool:
        return "`true`, `false`"
    return _of_type(options[0]) if type(None) in get_args(hint) and len(options) == 1 else ""


def _range(limits: tuple[Any, ...]) -> str:
    least = next((each.ge for each in limits if isinstance(each, Ge)), None)
    most = next((each.le for each in limits if isinstance(each, Le)), None)
    if least is None:
        return ""
    return f"at least {_number(least)}" if most is None else f"{_number(least)} to {_number(most)}"


def _number(value: Any) -> str:
    return f"{int(value) if value == int(value) else value:,}"


# --- a file with every key ---


def defaults() -> str:
    """TOML that says every default, with what each key means; it would run where eth0 and eth1 are."""
    tables = dict.fromkeys(each.table for each in entries())
    return INTRODUCTION + "\n".join(block for table in tables for block in _blocks(table))


def _blocks(table: str) -> Iterator[str]:
    if table == "interface":
        yield '[[interface]]\nname = "eth0"\nrole = "upstream"\n'
    lines = [line for each in entries() if each.table == table for line in _lines(each)]
    if table == "route":    # one that only had the defaults would block its group
        lines = [line if line.startswith("#") else f"# {line}" for line in lines]
    heading = title(table)
    yield "\n".join([*([f"# {heading}" if table == "route" else heading] if heading else []), *lines, ""])


def _lines(entry: Setting) -> Iterator[str]:
    key = _described(entry)
    unit = f" ({key.unit})" if key.unit in MEASURES else ""
    yield from textwrap.wrap(key.meaning + unit, WIDTH, initial_indent="## ", subsequent_indent="## ")
    if (entry.table, entry.name) == ("interface", "name"):
        yield 'name = "eth1"'
    elif entry.default is None or entry.default is MISSING:
        yield f"# {entry.name} = {key.example}"
    else:
        yield f"{entry.name} = {_toml(entry, entry.default)}"


def _toml(entry: Setting, value: Any) -> str:
    """A value of TOML; JSON's are the same for what the settings hold."""
    if _described(entry).unit == "bytes" and value and value % MIB == 0:
        return f'"{value // MIB}MiB"'
    return json.dumps(value, ensure_ascii=False)
