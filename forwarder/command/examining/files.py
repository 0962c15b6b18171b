"""Files of /proc: text of a bounded length, or nothing."""

from pathlib import Path

LONGEST = 4 << 20       # octets: all UDP sockets of a busy host


def text(path: Path, longest: int = LONGEST) -> str:
    """What it holds, as far as that is text; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(longest).decode(errors="backslashreplace")
    except (OSError, ValueError):
        return ""


def number(path: Path) -> int | None:
    """The number that a file begins with; None for none."""
    words = text(path, 64).split()
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() else None
