"""What a file of another program becomes: tables as our TOML has them, whence each key comes, and what to know of it.

A module of a format has FORMAT, its name; `recognises(text, path) -> bool`; and `translate(text, path, outside) ->
Translation`, which raises ConfigurationError with a line a problem, each of which begins with file and line. Lines of
the text end with "\n", whatever the file has, and it has no NUL. Everything here is plain values: `loading` validates
them as it does what TOML says, and tells problems at their origins; `mcfwd convert` writes them down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forwarder.config.files import plainly
from forwarder.config.toml_lines import Location


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was said: the file, its line from 1, and the statement as it stands there, not indented."""

    path: Path
    line: int
    text: str = ""

    @property
    def place(self) -> str:
        """As errors begin: FILE:LINE."""
        return f"{plainly(self.path)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Remark:
    """What whoever changes over should know of a statement: it was reinterpreted, or has no counterpart here."""

    origin: Origin
    words: str


@dataclass(frozen=True, slots=True)
class Outside:
    """What a file needs that it does not hold.

    `names`: interfaces by the logical names that some formats have for them (`--map wan=eth0`); `included`: path and
    text of the files that a pattern means, sorted by name, which raises ConfigurationError.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    included: Callable[[str], list[tuple[Path, str]]] = lambda pattern: []


@dataclass(slots=True)
class Translation:
    """Of one file and what it includes; `format` is its name, as `--format` has it.

    `tables`: as our TOML would have them; `origins`: by where a key or an element of a list stands in them.
    `disabled`: where the file says that nothing is to run.
    """

    format: str
    tables: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    notices: list[Remark] = field(default_factory=list)
    disabled: Origin | None = None
    _numbers: dict[str, int] = field(default_factory=dict)      # of interfaces by name; there may be thousands
    _held: dict[Location, set[Any]] = field(default_factory=dict)       # what lists hold, for as many
    _told: set[Remark] = field(default_factory=set)

    def interface(self, name: str, origin: Origin) -> int:
        """The number of the `[[interface]]` of this name, which is made where there is none."""
        at = self._numbers.get(name)
        if at is None:
            at = self._numbers[name] = self._table("interface", {"name": name}, origin)
        return at

    def route(self, keys: Mapping[str, Any], origin: Origin) -> int:
        """The number of a new `[[route]]` that says these keys."""
        return self._table("route", keys, origin)

    def say(self, location: Location, value: Any, origin: Origin) -> None:
        """A key has a value, as of ("igmp", "robustness") or ("interface", 0, "role"); what it had is forgotten."""
        former = self._holder(location).get(location[-1])
        for at in range(len(former) if isinstance(former, list) else 0):
            self.origins.pop((*location, at), None)
        self._held.pop(location, None)
        self._holder(location)[location[-1]] = value
        self.origins[location] = origin

    def add(self, location: Location, value: Any, origin: Origin) -> None:
        """A list has one more element; each has an origin of its own."""
        values: list[Any] = self._holder(location).setdefault(location[-1], [])
        self.origins.setdefault(location, origin)
        held = self._held.get(location)
        if held is None:
            held = self._held[location] = set(values)
        if value not in held:
            held.add(value)
            self.origins[*location, len(values)] = origin
            values.append(value)

    def warn(self, origin: Origin, words: str) -> None:
        """Tell something of a statement, once."""
        notice = Remark(origin, words)
        if notice not in self._told:
            self._told.add(notice)
            self.notices.append(notice)

    def _table(self, name: str, keys: Mapping[str, Any], origin: Origin) -> int:
        tables: list[dict[str, Any]] = self.tables.setdefault(name, [])
        tables.append(dict(keys))
        at = len(tables) - 1
        self.origins[name, at] = origin
        self.origins.update({(name, at, key): origin for key in keys})
        return at

    def _holder(self, location: Location) -> Any:
        """The table that a key stands in; tables that exist once are made."""
        table, *rest = location[:-1]
        holder = self.tables.setdefault(str(table), {})
        for part in rest:
            holder = holder[part]
        return holder
