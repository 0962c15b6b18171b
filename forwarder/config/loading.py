"""From a file and the command line to `Settings`: the only place that validates. Other programs' files become tables as
TOML has them (`formats`).

Shapes and ranges are checked by pydantic over the dataclasses of `forwarder.state.settings`, in strict mode: TOML has
types, so "yes" is not a boolean. What a shape cannot say is in `rules`. All problems of a kind are reported at once,
one line each: file and line, key, what is wrong.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import rtoml
from pydantic import TypeAdapter, ValidationError

from forwarder.config import rules
from forwarder.config.files import ConfigurationError, DisabledError, plainly, read
from forwarder.config.formats import registry
from forwarder.config.formats.origins import Origins, notices
from forwarder.config.formats.translation import Translation
from forwarder.config.included import Include, Inclusion
from forwarder.config.including import Including
from forwarder.config.placing import (
    COMMAND_LINE,
    Place,
    Source,
    Whence,
    key_of,
    location_of,
    take_aliases,
)
from forwarder.config.rules import quote
from forwarder.process import group, user
from forwarder.state.settings import InterfaceSettings, ProfileName, Role, Settings, interface_holding

SIZE = re.compile(r"(\d{1,18})\s*(B|kB|MB|GB|KiB|MiB|GiB|K|M|G)?")
UNITS = {
    None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip
RATE = re.compile(r"(\d{1,18})\s*(bit|kbit|Mbit|Gbit)?(/s)?", re.IGNORECASE)
RATES = ("rate_limit", "flow_rate_limit")   # keys of an interface
BITS = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}

SETTINGS: TypeAdapter[Settings] = TypeAdapter(Settings)
PARSER_PLACE = re.compile(r"(.*) at line (\d+) column (\d+)", re.DOTALL)
Entry = tuple[Place, InterfaceSettings]     # where it was said, what was said
Problem = tuple[Place, str]                 # where, what is wrong


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can run, and of another program's file what it became and what to know of that, by lines."""

    settings: Settings
    notices: tuple[str, ...] = ()
    translation: Translation | None = None


def load(
    path: Path | None, upstream: list[str], downstream: list[str], socket: str | None,
    profile: ProfileName | None = None, workers: int | None = None, octets: bytes | None = None,
) -> Settings:
    """As `understand`; only the settings."""
    return understand(path, upstream, downstream, socket, profile, workers, octets=octets).settings


def understand(
    path: Path | None, upstream: list[str], downstream: list[str], socket: str | None,
    profile: ProfileName | None = None, workers: int | None = None, format: str | None = None,
    maps: Sequence[str] = (), octets: bytes | None = None, include: Include | None = None,
) -> Loaded:
    """The settings of `path` (None: defaults) with what the command line says instead or besides.

    `octets`: what the file holds, where it was read already; `include` reads what it includes. Raises
    ConfigurationError, which is DisabledError where the file says that nothing is to run.
    """
    registry.known(format)
    source: Whence = Source()
    settings, translation = Settings(), None
    if path is not None:
        octets = read(path) if octets is None else octets
        settings, source, translation = _from_file(path, octets, format, maps, include or Inclusion(path, octets))
    if translation is not None and translation.disabled is not None:
        raise DisabledError(f"{translation.disabled.place}: nothing is to run, the file says so (disable)")
    told = notices(translation) if translation else ()
    with _explained(told):
        settings = _with_command_line(settings, source, upstream, downstream, socket, profile, workers)
    return Loaded(settings, told, translation)


@contextmanager
def _explained(told: Sequence[str]) -> Iterator[None]:
    """What is wrong as a whole follows from what was taken in another sense: an interface that is disabled, say."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError("\n".join([str(error), *told])) from error


def convertible(path: Path, format: str | None, maps: Sequence[str]) -> Loaded:
    """As `understand`, also of a file that says that nothing is to run."""
    registry.known(format)
    octets = read(path)
    settings, source, translation = _from_file(path, octets, format, maps, Inclusion(path, octets))
    told = notices(translation) if translation else ()
    if translation is None or translation.disabled is None:
        with _explained(told):
            settings = _with_command_line(settings, source, [], [], None, None, None)
    return Loaded(settings, told, translation)


def _with_command_line(
    settings: Settings, source: Whence, upstream: list[str], downstream: list[str], socket: str | None,
    profile: ProfileName | None, workers: int | None,
) -> Settings:
    sizes = settings.dataplane
    sizes = replace(sizes, profile=profile or sizes.profile, workers=workers or sizes.workers)
    entries: list[Entry] = [(("interface", at), each) for at, each in enumerate(settings.interface)]
    entries, problems = _merge(entries, _command_line(upstream, downstream))
    ambiguous = bool(problems)
    control = settings.control if socket is None else replace(settings.control, socket=socket)
    settings = replace(settings, interface=tuple(each for _, each in entries), dataplane=sizes, control=control)
    for place, interface in entries:
        problems += [(_within(place, key), text) for key, text in rules.of_interface(interface)]
    if not ambiguous:
        problems += [(location_of(key), text) for key, text in rules.of_settings(settings)]
    if text := user.problem(settings.process.user):
        problems.append((("process", "user"), f"{quote(settings.process.user)} {text}"))
    if text := group.problem(settings.control.socket_group):
        problems.append((("control", "socket_group"), f"{quote(settings.control.socket_group)} {text}"))
    source.refuse(problems)
    return settings


def parse_size(text: str) -> int:
    """Bytes of "160MiB", "64 kB" or "1048576"; raises ValueError."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'should be a size such as "160MiB", not {quote(text)}')
    return int(match[1]) * UNITS[match[2]]


def parse_rate(text: str) -> int:
    """Bits per second of "100Mbit", "64 kbit", "1Gbit/s" or "1500000"; raises ValueError."""
    match = RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'should be a rate such as "100Mbit" or "64kbit", not {quote(text)}')
    return int(match[1]) * BITS[(match[2] or "").lower()]


def _within(place: Place, key: str) -> Place:
    return place if isinstance(place, str) else (*place, *location_of(key))


# --- the file and its shape ---


def _from_file(
    path: Path, octets: bytes, format: str | None, maps: Sequence[str], include: Include
) -> tuple[Settings, Whence, Translation | None]:
    text, plain, name = _kind(path, octets, format)
    if name is not None:
        translation = registry.translated(name, octets, path, maps, include)
        origins = Origins(path, translation)
        if translation.disabled is not None:
            return Settings(), origins, translation
        return _validated(deepcopy(translation.tables), origins, []), origins, translation
    source = Source(path, text)
    if "include" in plain:
        source = Including(include, _read_toml, path, text).put_together(plain)
    aliased, problems = take_aliases(plain)
    source = replace(source, aliased=aliased)
    return _validated(plain, source, problems), source, None


def _kind(path: Path, octets: bytes, format: str | None) -> tuple[str, dict[str, Any], str | None]:
    """Text and tables of TOML, or the name of another kind."""
    if format not in (None, registry.TOML):
        return "", {}, format
    try:
        return *_read_toml(path, octets), None
    except ConfigurationError as error:
        name = None if format else registry.recognised(octets, path)
        if name is None:
            raise ConfigurationError(f"{error}{'' if format else registry.unrecognised(path)}") from error
        return "", {}, name


def _read_toml(path: Path, octets: bytes) -> tuple[str, dict[str, Any]]:
    text = _text(path, octets)
    return text, _parsed(text, path)


def _validated(plain: dict[str, Any], source: Whence, problems: list[Problem]) -> Settings:
    """The settings that tables are; each interface holds nothing but what was said."""
    problems += [(location_of(key), words) for key, words in _convert_texts(plain)]
    try:
        settings = SETTINGS.validate_json(json.dumps(plain, default=str), strict=True)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda each: _sortable(each["loc"]))
        problems += [(each["loc"], _explain(each) + _whose(plain, each["loc"])) for each in found]
    source.refuse(problems)
    said = zip(settings.interface, plain.get("interface", ()), strict=True)
    return replace(settings, interface=tuple(_only(entry, keys) for entry, keys in said))


def _only(entry: InterfaceSettings, keys: Iterable[str]) -> InterfaceSettings:
    """An entry that holds nothing but what was said."""
    held = vars(entry)
    return interface_holding({key: held[key] for key in keys})


def _text(path: Path, octets: bytes) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{plainly(path)}:{line}: is not UTF-8 text (byte {error.start})") from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """What the file says. rtoml takes 2 of the 60 ms of a reload of 2,000 interfaces; tomllib took 30.

    Compiled code recurses on the C stack, so it must be one that bounds how deep a file may be, as it does.
    """
    try:
        return rtoml.loads(text)
    except ValueError as error:
        place = PARSER_PLACE.fullmatch(str(error))
        words, where = (place[1], f"{plainly(path)}:{place[2]}:{place[3]}") if place else (str(error), plainly(path))
        raise ConfigurationError(f"{where}: is not TOML: {words}") from error


def _convert_texts(plain: dict[str, Any]) -> Iterator[rules.Problem]:
    """Sizes and rates may be written with their units, a list of one range as text; the rest is left to the shape."""
    yield from _convert(plain.get("dataplane"), "dataplane", ("ring_memory",), parse_size)
    igmp = plain.get("igmp")
    if isinstance(igmp, dict) and isinstance(igmp.get("ssm_range"), str):
        igmp["ssm_range"] = [igmp["ssm_range"]]     # one range needs no brackets
    tables = plain.get("interface")
    for at, table in enumerate(tables if isinstance(tables, list) else []):
        if isinstance(table, dict) and any(key in table for key in RATES):
            yield from _convert(table, f"interface[{at}]", RATES, parse_rate)


def _convert(table: Any, where: str, keys: Iterable[str], parse: Callable[[str], int]) -> Iterator[rules.Problem]:
    for key in keys:
        text = table.get(key) if isinstance(table, dict) else None
        if not isinstance(text, str):
            continue
        try:
            table[key] = parse(text)
        except ValueError as error:
            del table[key]
            yield f"{where}.{key}", str(error)


def _sortable(location: tuple[int | str, ...]) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in location]


def _whose(plain: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """The name of the interface a location lies in, since people do not count their tables."""
    match location:
        case ("interface", int(at), _, *_):
            name = plain["interface"][at].get("name")
            return f" ({name})" if name and location[2] != "name" else ""
    return ""


WORDS: dict[str, Callable[[Any], str]] = {
    "missing": lambda error: "is missing",
    "unexpected_keyword_argument": lambda error: "unknown key" + _did_you_mean(error["loc"]),
    "less_than_equal": lambda error: f"should be at most {_plain(error['ctx']['le'])}, not {error['input']}",
    "greater_than_equal": lambda error: f"should be at least {_plain(error['ctx']['ge'])}, not {error['input']}",
    "literal_error": lambda error: f"should be {_choices(error)}, not {quote(error['input'])}",
    "string_type": lambda error: f"should be text in quotes, not {quote(error['input'])}",
    "bool_type": lambda error: f"should be true or false, not {quote(error['input'])}",
    "int_type": lambda error: f"should be a whole number, not {quote(error['input'])}",
    "float_type": lambda error: f"should be a number, not {quote(error['input'])}",
    "tuple_type": lambda error: _should_be_list(error["loc"]),
    "dataclass_type": lambda error: f"should be a table, not {quote(error['input'])}",
    "string_too_long": lambda error: f"is longer than {error['ctx']['max_length']} characters",
    "string_too_short": lambda error: "is empty",
}


def _choices(error: Any) -> str:
    """What may be written, in the quotes that TOML has in this program's examples."""
    expected: str = error["ctx"]["expected"]
    return expected.replace("'", '"')


def _explain(error: Any) -> str:
    words = WORDS.get(error["type"])
    text: str = words(error) if words else error["msg"]
    return text


def _plain(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _should_be_list(location: tuple[int | str, ...]) -> str:
    if location in (("interface",), ("route",)):
        return f"should be a list of tables: write [[{location[0]}]], with two brackets"
    return "should be a list in brackets"


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    *path, key = location
    known = _known_keys(path)
    elsewhere = next((table for table in _tables() if key in _known_keys([table])), None)
    if elsewhere:
        return f"; it belongs in [{elsewhere}]"
    close = difflib.get_close_matches(str(key), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def _known_keys(path: list[int | str]) -> list[str]:
    here: Any = Settings
    for part in (part for part in path if isinstance(part, str)):
        here = get_type_hints(here)[part]
        here = next((each for each in get_args(here) if is_dataclass(each)), here)
    return [field.name for field in fields(here)]


def _tables() -> list[str]:
    return [name for name, hint in get_type_hints(Settings).items() if is_dataclass(hint)]


# --- the command line ---


def _command_line(upstream: list[str], downstream: list[str]) -> list[Entry]:
    roles: tuple[tuple[str, Role, list[str]], ...] = (("-u", "upstream", upstream), ("-d", "downstream", downstream))
    return [
        (f"{COMMAND_LINE}: {option} {plainly(name)}", InterfaceSettings(name=name, role=role))
        for option, role, names in roles
        for name in names
    ]


def _merge(said: list[Entry], options: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """The file's entries, the options that add to them, and their problems: an option may repeat, a file may not."""
    problems: list[Problem] = []
    first: dict[str, Entry] = {}
    for entry, is_option in [*((each, False) for each in said), *((each, True) for each in options)]:
        where, interface = entry
        earlier_where, earlier = first.setdefault(interface.name, entry)
        by = earlier_where if isinstance(earlier_where, str) else key_of(earlier_where)
        if earlier.role != interface.role:
            roles = f"{earlier.role} by {by}, {interface.role} here"
            problems.append((where, f"{quote(interface.name)} has two roles: {roles}"))
        elif earlier is not interface and not is_option:
            problems.append((where, f"{quote(interface.name)} is named twice, first by {by}"))
    return list(first.values()), problems
