"""Where statements of a foreign file stand, and how they read there."""

from pathlib import Path

from forwarder.config.formats.translation import Origin

LONGEST = 200           # characters of a statement that people are shown
CONTINUED = "\\\n"


class Lines:
    """Lines, from 1, of places in a text that are asked for in their order."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def of(self, at: int) -> int:
        """The line of the character `at`, which is not before that of the former question."""
        self._line += self._text.count("\n", self._at, at)
        self._at = max(self._at, at)
        return self._line


def origin_of(path: Path, line: int, text: str, start: int, end: int) -> Origin:
    """The origin of what stands from `start` to `end`, as one line that may be printed, shortened."""
    said = " ".join(text[start : min(end, start + LONGEST)].replace("\r", "").replace(CONTINUED, " ").split())
    said += "..." if end - start > LONGEST else ""
    return Origin(path, line, "".join(each if each.isprintable() else "?" for each in said))
