"""Files of other programs beside the TOML that they mean, in tests/formats: what is common to the tests of a format.

NAME.toml beside NAME has the tables of the translation, as our TOML would have them, and its notices as comments:
`# LINE: words`, in the order in which they were told.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import rtoml

from forwarder.config import loading
from forwarder.config.files import ConfigurationError
from forwarder.config.formats.translation import Translation

FORMATS = Path(__file__).parent / "formats"


def files(name: str) -> list[Path]:
    """The files of a format."""
    return sorted(each for each in (FORMATS / name).iterdir() if each.suffix != ".toml")


def check(path: Path, translation: Translation, tmp_path: Path) -> None:
    """It is what stands beside it, each key has an origin, and it may run."""
    expected = path.with_name(f"{path.name}.toml").read_text()
    assert translation.tables == tomllib.loads(expected)
    assert written(translation).splitlines() == [line for line in expected.splitlines() if line.startswith("# ")]
    for table in ("interface", "route"):
        for at, keys in enumerate(translation.tables.get(table, ())):
            assert {(table, at, key) for key in keys} <= translation.origins.keys()
    file = tmp_path / "mcfwd.toml"
    file.write_text(rtoml.dumps(translation.tables))
    loading.load(file, [], [], None)


def written(translation: Translation) -> str:
    """The notices as comments."""
    return "".join(f"# {each.origin.line}: {each.words}\n" for each in translation.notices)


def complaints(translate: Callable[[], Translation], path: Path) -> list[str]:
    """What is wrong with a text, each line without the file that it begins with; an empty list where nothing is."""
    try:
        translate()
    except ConfigurationError as error:
        lines = str(error).split("\n")
        assert all(line.startswith(f"{path}:") and line.split(":")[1].isdigit() for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]
    return []


def refused(translate: Callable[[], Translation], path: Path) -> list[str]:
    """The same of a text that must not be taken."""
    found = complaints(translate, path)
    if not found:
        pytest.fail("it was taken")
    return found
