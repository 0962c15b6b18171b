"""What may stand in the place of the last word of a command line: read from the commands themselves.

typer completes too, but where it keeps click has no public name, and its script for zsh evaluates what comes back:
an interface may be called `$(reboot)`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, get_args, get_type_hints

FILES = ":files"        # in place of candidates: any file; no interface, command or option has a colon
FILE_NAMES = ("FILE", "PATH")
INTERFACES = ("IF", "FILTER", "RECEIVER")   # the last two may be something else too


class Candidate(NamedTuple):
    """A word, and what it means."""

    value: str
    meaning: str = ""


@dataclass
class Position:
    """Where the last word stands: in which command, behind how many arguments; the option whose value it is, if any."""

    path: list[str]
    command: Any
    arguments: int = 0
    option: Any = None
    only_arguments: bool = False
    said: dict[str, str] = field(default_factory=dict)      # options and their last values


Names = Callable[[Position], Iterable[str]]


def place_of(root: Any, words: Sequence[str]) -> Position:
    """The place behind `words`, those of a command line without the program's name."""
    place = Position([], root)
    for word in words:
        _step(place, word)
    return place


def _step(place: Position, word: str) -> None:
    if place.option is not None:
        place.said[place.option.name] = word
        place.option = None
    elif word == "--":
        place.only_arguments = True
    elif word.startswith("-") and word != "-" and not place.only_arguments:
        name, equals, value = word.partition("=")
        option = next((each for each in options_of(place.command) if name in each.opts), None)
        if option is not None:
            place.said[option.name] = value
            place.option = None if equals or option.is_flag else option
    elif (inner := getattr(place.command, "commands", {}).get(word)) is not None:
        place.path.append(word)
        place.command = inner
    else:
        place.arguments += 1


def candidates(root: Any, words: Sequence[str], names: Names) -> list[Candidate]:
    """What may stand in the place of the last of `words`; `names`: the interfaces that may be meant at a place."""
    *before, last = words or [""]
    place = place_of(root, before)
    found = list(_found(place, last, names))
    return [each for each in found if each.value == FILES or (each.value.startswith(last) and _is_safe(each.value))]


def _found(place: Position, last: str, names: Names) -> Iterator[Candidate]:
    if place.option is not None:
        yield from _values(place.option, place, names)
    elif last.startswith("-") and not place.only_arguments:
        yield from _options(place)
    elif not (commands := getattr(place.command, "commands", None)):
        yield from _arguments(place, names)
    elif not place.arguments:       # or else a word before it is no command
        yield from (Candidate(name, summary(each)) for name, each in commands.items() if not each.hidden)


def _arguments(place: Position, names: Names) -> Iterator[Candidate]:
    arguments = [each for each in place.command.params if each.param_type_name == "argument"]
    if place.arguments < len(arguments):
        yield from _values(arguments[place.arguments], place, names)
    elif arguments and arguments[-1].nargs == -1:
        yield from _values(arguments[-1], place, names)


def _options(place: Position) -> Iterator[Candidate]:
    for option in options_of(place.command):
        if option.name not in place.said or option.multiple:
            yield from (Candidate(each, option.help or "") for each in option.opts)


def options_of(command: Any) -> list[Any]:
    """The options of a command, `--help` included."""
    context = command.make_context("mcfwd", [], resilient_parsing=True)
    own = command.get_params(context)
    return [each for each in own if each.param_type_name == "option" and not getattr(each, "hidden", False)]


def _values(parameter: Any, place: Position, names: Names) -> Iterator[Candidate]:
    metavar = (parameter.metavar or "").strip("[].")
    if choices := choices_of(place.command, parameter.name):
        yield from map(Candidate, choices)
    elif "--format" in parameter.opts:
        from forwarder.config.formats.registry import FORMATS, TOML

        yield from map(Candidate, (TOML, *FORMATS))
    elif metavar in FILE_NAMES:
        yield Candidate(FILES)
    elif metavar in INTERFACES:
        yield from map(Candidate, names(place))


def choices_of(command: Any, name: str) -> list[str]:
    """What may be said for a parameter, where its function takes one of several words; else nothing.

    Read from the function, since what typer makes of it has changed from version to version.
    """
    hint = get_type_hints(command.callback).get(name)
    options = [each for each in (hint, *get_args(hint)) if isinstance(each, type) and issubclass(each, Enum)]
    return [str(each.value) for each in options[0]] if options else []


def summary(command: Any) -> str:
    """The first sentence of a command's help."""
    return str(command.get_short_help_str(limit=200))


def _is_safe(word: str) -> bool:
    """Whether a terminal and a shell's line can show it: no control characters, no blanks."""
    return word != "" and word.isprintable() and " " not in word


def expanded(path: str) -> str:
    """A path as a shell would have it, which leaves `~` to us."""
    return os.path.expanduser(path)
