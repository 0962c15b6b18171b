"""Items of a RouterOS menu as commands leave them: added, found, set, removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forwarder.config.formats.console import value_of
from forwarder.config.formats.translation import Origin
from forwarder.config.formats.values import known, whole_number
from forwarder.config.rules import quote

MOST_COMPARED = 1 << 19     # items that all [find ...] of a file may look at: some seconds
MOST_ITEMS = 1 << 16
SAME = {"true": "yes", "false": "no"}

NOWHERE = Origin(Path(), 0)     # of what no command has made
Said = tuple[str, Origin]       # a value, and where it was given


class Item(dict[str, Said]):
    """What was said of one item, by property; `properties` has what holds where nothing was."""

    def __init__(self, properties: Mapping[str, str], origin: Origin = NOWHERE, is_default: bool = False) -> None:
        super().__init__()
        self.properties, self.origin = properties, origin
        self.is_default, self.removed = is_default, False

    def value(self, name: str) -> str:
        """What it has, said or not."""
        return self[name][0] if name in self else self.properties[name]

    def place(self, name: str) -> Origin:
        """Where a property was given, or else the item."""
        return self[name][1] if name in self else self.origin

    def is_yes(self, name: str) -> bool:
        """Of a property that is yes or no; ValueError where it is neither."""
        return known(self.value(name), ("yes", "no"), f"value of {name}") == "yes"

    def list(self, name: str) -> list[str]:
        """Of a property that has many values, with commas between them."""
        return [text.strip() for text in self.value(name).split(",") if text.strip()]


@dataclass(slots=True)
class Items:
    """A menu of items. `properties`: all there are, with what they have where nothing is said.

    Items keep the numbers that they got when they were added, as on a console until the next `print`.
    """

    properties: Mapping[str, str]
    items: list[Item] = field(default_factory=list)
    compared: int = 0

    def present(self) -> Iterator[Item]:
        """Those that were not removed."""
        return (item for item in self.items if not item.removed)

    def do(self, verb: str, words: Sequence[str], origin: Origin) -> str | None:
        """What a command does to them; something to be told where it does nothing. Raises ValueError."""
        if verb == "add":
            self.put([self._added(Item(self.properties, origin))], words, origin)
            return None
        if verb not in ("set", "remove", "enable", "disable", "unset"):
            return None     # print, export, comment, move: they change nothing that matters here
        chosen, rest = self._chosen(words, origin)
        if verb == "set":
            self.put(chosen, rest, origin)
        elif verb == "unset":
            for item in chosen:
                for word in rest:
                    item.pop(self._property(value_of(word)), None)
        else:
            self._mark(verb, chosen, origin)
        return None if chosen else "finds no item, so it changes nothing"

    def put(self, items: Sequence[Item], words: Sequence[str], origin: Origin) -> None:
        """Give items what words say."""
        said = dict(self.pair(word) for word in words)
        for item in items:
            item.update({name: (value, origin) for name, value in said.items()})

    def _mark(self, verb: str, chosen: Sequence[Item], origin: Origin) -> None:
        for item in chosen:
            if verb == "remove":
                item.removed = True
            else:
                item["disabled"] = "yes" if verb == "disable" else "no", origin

    def _added(self, item: Item) -> Item:
        if len(self.items) == MOST_ITEMS:
            raise ValueError(f"more than {MOST_ITEMS} items")
        self.items.append(item)
        return item

    def pair(self, word: str) -> tuple[str, str]:
        """Name and value of `name=value`, or of `!name`, which is not said; ValueError."""
        if word.startswith("!"):
            name = self._property(word[1:])
            return name, self.properties[name]
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{quote(word)} is not understood; properties are written as name=value")
        plain = value_of(value)
        return self._property(value_of(name)), SAME.get(plain, plain)

    def _property(self, name: str) -> str:
        """A property by its name, or as much of it as is enough to know which is meant."""
        meant = [each for each in self.properties if name and each.startswith(name)]
        return meant[0] if len(meant) == 1 else known(name, self.properties, "property")

    def _chosen(self, words: Sequence[str], origin: Origin) -> tuple[list[Item], Sequence[str]]:
        """Items that a command is about, and the words that follow."""
        if words and words[0] == "numbers=":
            words = words[1:]
        first = words[0].removeprefix("numbers=") if words else ""
        if "=" in first or not first:
            raise ValueError("says of no item: a number or [find name=value] has to stand first")
        if first != "[":
            return [self._numbered(text) for text in value_of(first).split(",")], words[1:]
        end = words.index("]") if "]" in words else 0
        if end < 2 or words[1] != "find":
            raise ValueError("is not understood: in brackets can stand [find name=value]")
        return self._found([word for word in words[2:end] if word != "where"], origin), words[end + 1 :]

    def _numbered(self, text: str) -> Item:
        if not self.items:
            raise ValueError(f"there is no item {quote(text)}: nothing was added before")
        item = self.items[whole_number(text, 0, len(self.items) - 1)]
        if item.removed:
            raise ValueError(f"item {text} was removed")
        return item

    def _found(self, words: Sequence[str], origin: Origin) -> list[Item]:
        self.compared += len(self.items)
        if self.compared > MOST_COMPARED:
            raise ValueError("too many [find ...] for so many items")
        defaults = [word for word in words if word in ("default=yes", "default", "default=true")]
        asked = [self.pair(word) for word in words if word not in defaults]
        if defaults and not any(item.is_default for item in self.present()):
            self._added(Item(self.properties, origin, is_default=True))     # the system has it before any command
        return [item for item in self.present() if item.is_default >= bool(defaults) and self._has(item, asked)]

    def _has(self, item: Item, asked: Sequence[tuple[str, str]]) -> bool:
        return all(item.value(name) == value for name, value in asked)
