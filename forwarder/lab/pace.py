"""How many datagrams are due: a token clock that catches up after a pause, but not without bound. Pure."""

import math


class Pace:
    """Spreads datagrams evenly at `rate` a second; rate 0 is as fast as possible."""

    def __init__(self, rate: float, catch_up: float = 0.05) -> None:
        """`catch_up`: seconds of silence that are made up for at once; what is older is given up."""
        self._rate, self._catch_up = rate, catch_up
        self._start, self._sent = 0.0, 0

    def start(self, now: float) -> None:
        """The first datagram is due now."""
        self._start, self._sent = now, 0

    def due(self, now: float, limit: int) -> int:
        """How many of at most `limit` datagrams are due."""
        if not self._rate:
            return limit
        behind = math.floor((now - self._start) * self._rate) + 1 - self._sent
        if behind > self._rate * self._catch_up + limit:
            self._start += (behind - limit) / self._rate
            behind = limit
        return max(0, min(limit, behind))

    def sent(self, count: int) -> None:
        """`count` datagrams have gone."""
        self._sent += count

    def wait(self, now: float) -> float:
        """Seconds until the next datagram is due; 0 when one is."""
        if not self._rate:
            return 0.0
        return max(0.0, self._start + self._sent / self._rate - now)
