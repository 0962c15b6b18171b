"""The files that a configuration includes: found and read by whoever may read them, within bounds.

Light: a supervisor reads them for the process that understands them (`reading`).
"""

import os
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from forwarder.config.files import MOST_OCTETS, PATIENCE, ConfigurationError, octets_of, plainly
from forwarder.state.settings import is_wildcard
from forwarder.units import size

MOST_FILES = 1000       # a folder may have a file for each customer

Include = Callable[[str, Path], list[tuple[Path, bytes]]]
"""What a pattern of a file means: the files by name, with what they hold; raises ConfigurationError."""


class Inclusion:
    """Of one configuration; all that it includes counts together, also in time (seconds)."""

    def __init__(self, path: Path, octets: bytes, patience: float = PATIENCE) -> None:
        self._texts = {path: octets}
        self._files, self._octets, self._patience = 0, len(octets), patience

    def __call__(self, pattern: str, beside: Path) -> list[tuple[Path, bytes]]:
        """See `Include`; a pattern that is not absolute is relative to the folder of `beside`, which has it.

        Whoever asks may have fewer rights than we: nothing is read but what a file says in so many words.
        """
        said = pattern.encode(errors="replace")
        if not said or not any(said in text for text in (self._texts.get(beside, b""), *self._texts.values())):
            raise ConfigurationError(f"{plainly(pattern)}: no file says so in these letters; write it without escapes")
        folder, name = os.path.split(os.path.normpath(pattern))
        if is_wildcard(folder):
            raise ConfigurationError(f"{plainly(pattern)}: wildcards may stand for files, not for folders")
        return [(path, self._read(path)) for path in _matching(Path(os.path.normpath(beside.parent / folder)), name)]

    def _read(self, path: Path) -> bytes:
        self._files += 1
        if self._files > MOST_FILES:
            raise ConfigurationError(f"{plainly(path)}: is one of more than {MOST_FILES:,} files that are included")
        began = time.monotonic()
        try:
            octets = octets_of(path, max(0.0, self._patience))
        except OSError as error:
            raise ConfigurationError(f"{plainly(path)}: {error.strerror}") from error
        self._patience -= time.monotonic() - began
        self._octets += len(octets)
        if self._octets > MOST_OCTETS:
            raise ConfigurationError(f"{plainly(path)}: all files together are larger than {size(MOST_OCTETS)}")
        self._texts[path] = octets
        return octets


def _matching(folder: Path, name: str) -> list[Path]:
    """A name without wildcards has to exist. One folder is looked through, which takes no time worth a bound."""
    if not is_wildcard(name):
        return [folder / name]
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"{plainly(folder)}: {error.strerror}") from error
    hidden = name.startswith(".")
    return [folder / each for each in names if fnmatchcase(each, name) and each.startswith(".") == hidden]
