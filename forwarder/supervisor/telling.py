"""Doubts in the log: all at the start and after a reload, and those that come while we run, once each.

Nobody tells us when another forwarder starts: that is looked at every LOOK seconds, for the price of a small file.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from forwarder.state.ports import Configuration, Port
from forwarder.supervisor.doubts import Surroundings, doubts, others, unexpected
from forwarder.supervisor.links import KernelLink

log = logging.getLogger(__name__)

MOST = 100              # lines at once; the doubts of a kind are mostly one, but thousands may be ports of a bridge
LOOK = 60.0             # seconds: as soon as somebody asks why all comes twice, it should be in the log


class Telling:
    """What was told last; `around` is asked for what there is beside the links."""

    def __init__(self, around: Callable[[], Surroundings]) -> None:
        self._around = around
        self._told: frozenset[str] = frozenset()
        self._others: frozenset[str] = frozenset()
        self._looked = 0.0

    def tell_all(self, configuration: Configuration, links: Mapping[str, KernelLink]) -> None:
        """Whatever there is to say."""
        found = list(doubts(configuration, links, self._around()))
        self._told = self._others = frozenset(doubt.about for doubt in found)
        _log([doubt.words for doubt in found])

    def tell_others(self, ports: Sequence[Port], now: float) -> None:
        """Which other forwarder has come since the last look, if it is time for one; `now` is monotonic seconds."""
        if now - self._looked < LOOK:
            return
        self._looked = now
        found = list(others(ports, self._around()))
        news = [doubt.words for doubt in found if doubt.about not in self._others]
        self._others = frozenset(doubt.about for doubt in found)
        _log(news)

    def tell_news(self, configuration: Configuration, links: Mapping[str, KernelLink]) -> None:
        """What there was not to say the last time."""
        found = list(unexpected(configuration, links))
        news = [doubt.words for doubt in found if doubt.about not in self._told]
        self._told = frozenset(doubt.about for doubt in found)
        _log(news)


def _log(lines: list[str]) -> None:
    for line in lines[:MOST]:
        log.warning("%s", line)
    if len(lines) > MOST:
        log.warning("and %d more warnings: `mcfwd check` has them all", len(lines) - MOST)
