"""What is wrong with a file of another program: gathered, told at once, a line each with file and line."""

from dataclasses import dataclass, field

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.translation import Origin

MOST_TOLD = 1000        # a long wrong file may have millions
LONGEST_TEXT = 200      # characters of a statement that are kept of it, for comments and errors


@dataclass(slots=True)
class Complaints:
    """Of one file."""

    _lines: list[str] = field(default_factory=list)
    _more: int = 0

    def add(self, origin: Origin, words: str) -> None:
        """Something is wrong there."""
        if len(self._lines) < MOST_TOLD:
            self._lines.append(f"{origin.place}: {words}")
        else:
            self._more += 1
            self._lines[-1] = f"{origin.place}: and {self._more + 1} more problems up to here"

    def refuse(self) -> None:
        """Raise ConfigurationError if there is anything."""
        if self._lines:
            raise ConfigurationError("\n".join(self._lines))
