"""Doubts in the log: all at the start and after a reload, and those that come while we run, once each."""

import logging
from collections.abc import Callable, Collection, Mapping

from forwarder.state.ports import Configuration
from forwarder.supervisor.doubts import Surroundings, doubts, unexpected
from forwarder.supervisor.links import KernelLink

log = logging.getLogger(__name__)

MOST = 100              # lines at once; the doubts of a kind are mostly one, but thousands may be ports of a bridge


class Telling:
    """What was told last; `around` is asked for what there is beside the links."""

    def __init__(self, around: Callable[[], Surroundings]) -> None:
        self._around = around
        self._told: frozenset[str] = frozenset()

    def tell_all(
        self, configuration: Configuration, links: Mapping[str, KernelLink], shared: Collection[int] = ()
    ) -> None:
        """Whatever there is to say."""
        found = list(doubts(configuration, links, self._around(), shared))
        self._told = frozenset(doubt.about for doubt in found)
        _log([doubt.words for doubt in found])

    def tell_news(
        self, configuration: Configuration, links: Mapping[str, KernelLink], shared: Collection[int] = ()
    ) -> None:
        """What there was not to say the last time."""
        found = list(unexpected(configuration, links, shared))
        news = [doubt.words for doubt in found if doubt.about not in self._told]
        self._told = frozenset(doubt.about for doubt in found)
        _log(news)


def _log(lines: list[str]) -> None:
    for line in lines[:MOST]:
        log.warning("%s", line)
    if len(lines) > MOST:
        log.warning("and %d warnings more: `mcfwd check` has them all", len(lines) - MOST)
