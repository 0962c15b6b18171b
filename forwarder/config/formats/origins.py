"""Problems of a file of another program, told at the statements it has: whoever wrote it knows none of our keys."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from forwarder.config.files import plainly
from forwarder.config.formats.translation import Origin, Translation
from forwarder.config.placing import NUMBERED, Place, bounded, refuse
from forwarder.config.toml_lines import Location
from forwarder.units import visible

LONGEST = 60            # characters of a statement


@dataclass(frozen=True, slots=True)
class Origins:
    """As `placing.Source`, of a translation; `path` is that of the file."""

    path: object
    translation: Translation

    def refuse(self, problems: Iterable[tuple[Place, str]]) -> None:
        """Raise ConfigurationError if there are any."""
        refuse(problems, self._told)

    def _told(self, problems: list[tuple[Place, str]]) -> Iterator[str]:
        for place, words in problems:
            words = NUMBERED.sub(lambda match: self._place((match[1], int(match[2]))), words)
            yield visible(f"{place if isinstance(place, str) else self._where(place)}: {words}")

    def _place(self, place: Location) -> str:
        origin = self._origin(place)
        return plainly(str(self.path)) if origin is None else origin.place

    def _where(self, place: Location) -> str:
        origin = self._origin(place)
        if origin is None:
            return f"{plainly(str(self.path))}:1"
        return f"{origin.place}: {statement(origin)}" if origin.text else origin.place

    def _origin(self, place: Location) -> Origin | None:
        """Where the nearest of what holds it was said."""
        origins = self.translation.origins
        return next((origins[place[:length]] for length in range(len(place), 0, -1) if place[:length] in origins), None)


def statement(origin: Origin, longest: int = LONGEST) -> str:
    """The statement on a line of a terminal, or in a remark."""
    text = visible(" ".join(origin.text.split()))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def notices(translation: Translation) -> tuple[str, ...]:
    """What to know of it, a line each, in the order of the file."""
    in_order = sorted(translation.notices, key=lambda each: (str(each.origin.path), each.origin.line))
    return tuple(bounded([visible(f"{each.origin.place}: {each.words}") for each in in_order], "notices"))
