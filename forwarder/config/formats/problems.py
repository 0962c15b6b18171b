"""What is wrong with a foreign file, told all at once: a line a problem, each with file and line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from forwarder.config.files import ConfigurationError
from forwarder.config.formats.translation import Origin
from forwarder.config.placing import MOST_TOLD

LONGEST_TEXT = 200      # characters of a statement that are kept of it, for comments and errors


@dataclass(slots=True)
class Problems:
    """What was found so far."""

    _told: list[str] = field(default_factory=list)

    def add(self, origin: Origin, words: str) -> None:
        """Something is wrong with a statement. Raises ConfigurationError where that is enough: the file is another."""
        self._told.append(f"{origin.place}: {words}")
        if len(self._told) == MOST_TOLD:
            self._told.append(f"{origin.place}: what follows was not looked at")
            self.refuse()

    @contextmanager
    def of(self, origin: Origin) -> Iterator[None]:
        """What is done for a statement: a ValueError in it is a problem of that statement."""
        try:
            yield
        except ValueError as error:
            self.add(origin, str(error))

    def refuse(self) -> None:
        """Raise ConfigurationError if there are any."""
        if self._told:
            raise ConfigurationError("\n".join(self._told))
