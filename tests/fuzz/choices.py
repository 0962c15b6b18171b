"""What the bytes of an input choose."""


class Choices:
    """Numbers chosen by bytes; 0 when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def pick(self, options):
        return options[self.number() % len(options)]

    def some(self, options) -> tuple:
        bits = self.number()
        return tuple(each for at, each in enumerate(options) if bits >> at & 1)

    def rest(self, size: int) -> bytes:
        at, self._at = self._at, self._at + size
        return self._data[at : at + size]
