"""The kinds of files that are read, how they are told apart, and what a file becomes; their modules are imported late.

What parses as TOML is TOML. Else each kind is asked whether it knows the file, and `--format` says what nobody can
tell.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from forwarder.config.files import ConfigurationError, plainly
from forwarder.config.formats.translation import Outside, Translation
from forwarder.config.included import Include
from forwarder.config.rules import quote
from forwarder.units import size

TOML = "toml"
FORMATS = (
    "igmpproxy", "smcroute", "vyos", "routeros", "uci", "mcproxy",
)  # fmt: skip
"""Modules of this package, by the name that `--format` has."""

LARGEST = 2 << 20       # octets: 20,000 routes of smcroute, more than settings have room for; it takes some seconds


class _Format(Protocol):
    """What the module of a kind has."""

    FORMAT: str

    @staticmethod
    def recognises(text: str, path: Path) -> bool:
        """Whether a text that is no TOML is likely to be of this kind."""

    @staticmethod
    def translate(text: str, path: Path, outside: Outside) -> Translation:
        """What it says; raises ConfigurationError."""


def known(name: str | None) -> str | None:
    """A name that `--format` may have; raises ConfigurationError."""
    if name is not None and name not in (TOML, *FORMATS):
        raise ConfigurationError(f"command line: --format {plainly(name)}: known are {', '.join((TOML, *FORMATS))}")
    return name


def recognised(octets: bytes, path: Path) -> str | None:
    """The kind of a file that is no TOML, None where no kind fits; raises ConfigurationError where several do.

    One that is too large, or has zeros, is recognised too: what is wrong with it is said of its kind, not of TOML.
    """
    if path.suffix == ".toml":
        return None
    text = decoded(octets[:LARGEST].replace(b"\0", b""))
    found = [name for name in FORMATS if _format(name).recognises(text, path)]
    if len(found) > 1:
        words = f"could be of the kinds {', '.join(found)}: say which by --format"
        raise ConfigurationError(f"{plainly(path)}:1: {words}")
    return found[0] if found else None


def unrecognised(path: Path) -> str:
    """What to add where a file is no TOML, and no other kind fits."""
    return "" if path.suffix == ".toml" else f"; nor does it look like {', '.join(FORMATS)}: --format says what it is"


def translated(name: str, octets: bytes, path: Path, maps: Sequence[str], include: Include) -> Translation:
    """What a file of this kind says; `maps`: what `--map` was given. Raises ConfigurationError."""
    if len(octets) > LARGEST:
        raise ConfigurationError(f"{plainly(path)}:1: {_too_large(name)}")

    def included(pattern: str) -> list[tuple[Path, str]]:
        return [(found, text_of(name, more, found)) for found, more in include(pattern, path)]

    outside = Outside(names_of(maps), included)
    return _format(name).translate(text_of(name, octets, path), path, outside)


def text_of(name: str, octets: bytes, path: Path) -> str:
    """The text of a file that has one; a copy that went wrong may be full of zeros. Raises ConfigurationError."""
    if len(octets) > LARGEST:
        raise ConfigurationError(f"{plainly(path)}:1: {_too_large(name)}")
    if (at := octets.find(b"\0")) >= 0:
        line = octets.count(b"\n", 0, at) + 1
        raise ConfigurationError(f"{plainly(path)}:{line}: has a NUL (byte {at}): this is no text")
    return decoded(octets)


def decoded(octets: bytes) -> str:
    """Remarks in old files may be in any character set; what matters is ASCII."""
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    return text.replace("\r\n", "\n")


def names_of(maps: Sequence[str]) -> Mapping[str, str]:
    """Interfaces by their logical names, of "wan=eth0"; raises ConfigurationError."""
    names: dict[str, str] = {}
    for each in maps:
        logical, equals, name = each.partition("=")
        if not (logical and equals and name):
            raise ConfigurationError(f"command line: --map {quote(each)}: should be NAME=INTERFACE, as in wan=eth0")
        if names.setdefault(logical, name) != name:
            words = f"{quote(logical)} is {quote(names[logical])} already"
            raise ConfigurationError(f"command line: --map {quote(each)}: {words}")
    return names


def _too_large(name: str) -> str:
    return f"is larger than {size(LARGEST)}, which is the most for a file of {name}"


def _format(name: str) -> _Format:
    return cast(_Format, import_module(f"{__package__}.{name}"))
