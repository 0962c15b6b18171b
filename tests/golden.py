"""Files of other programs under tests/formats, each with what it becomes beside it."""

import re
import tomllib
from pathlib import Path
from types import ModuleType

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.translation import Outside, Translation

FOLDER = Path(__file__).parent / "formats"
NOTICE = re.compile(r"#: (\d+): (.*)")
MAPPED = re.compile(r"#: --map (.*)=(\S+)")


def files(name: str) -> list[Path]:
    """The files of a format; what one becomes has `.toml` behind its name."""
    return sorted(path for path in (FOLDER / name).iterdir() if path.suffix != ".toml")


def of_all_formats() -> list[Path]:
    """The files of every format."""
    return sorted(path for path in FOLDER.glob("[a-z]*/*") if path.is_file() and path.suffix != ".toml")


def expected(path: Path) -> tuple[dict, list[tuple[int, str]], dict[str, str]]:
    """Tables, notices with their lines, and the interface names that the file needs."""
    text = path.with_name(path.name + ".toml").read_text()
    notices = [(int(line), words) for line, words in NOTICE.findall(text)]
    return tomllib.loads(text), notices, dict(MAPPED.findall(text))


def translated(format: ModuleType, path: Path) -> Translation:
    """What the file becomes."""
    return format.translate(read(path), path, Outside(expected(path)[2]))


def read(path: Path) -> str:
    """Its text with the ends of lines that it has."""
    return path.read_bytes().decode(errors="replace")


def notices(translation: Translation) -> list[tuple[int, str]]:
    """What is to be known, with lines."""
    return [(each.origin.line, each.words) for each in translation.notices]


def survives(format: ModuleType, text: str, path: Path) -> None:
    """A file is translated, or refused in lines that begin with file and line; nothing of it is unfit for a terminal.

    `path` is a plain name.
    """
    format.recognises(text, path)
    told = []
    try:
        found = format.translate(text, path, Outside())
    except ConfigurationError as error:
        told = str(error).split("\n")
    else:
        assert found.tables.get("interface") or found.disabled
        assert all(notice.words.isprintable() for notice in found.notices)
        assert all(origin.text.isprintable() for origin in found.origins.values())
    assert all(re.match(rf"{re.escape(str(path))}:\d+: ", line) and line.isprintable() for line in told)
