"""Numbered streams of several sources to one group, and which of them pass to a link between two moments."""

import threading
from collections.abc import Sequence
from types import TracebackType

from forwarder.lab.capture import Capture, Frame
from forwarder.lab.namespaces import Namespace
from forwarder.lab.wait import wait_for
from netns.frames import Injector, udp
from netns.scenarios import SOON

PAUSE = 0.01            # seconds between two rounds
WINDOW = 15             # rounds that a look takes
BATCHES = 10            # rounds after which nothing earlier comes any more: a batch leaves flow by flow
HEADERS = 28            # octets before the number


class Streams:
    """Every source sends a datagram a round to `group`, numbered by the round, and one of them to `mark`.

    Links that are looked at want `mark` of everybody all the time: it says which rounds have come.
    """

    def __init__(self, namespace: Namespace, sources: Sequence[str], group: str, mark: str) -> None:
        self.sources, self.group, self.mark = sources, group, mark
        self._round, self._stop = 0, threading.Event()
        self._injector = Injector(namespace)
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> "Streams":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._injector.__exit__()

    def _send(self) -> None:
        while not self._stop.wait(PAUSE):
            number = self._round.to_bytes(4, "big")
            self._injector.send(*(udp(source, self.group, number) for source in self.sources))
            self._injector.send(udp(self.sources[0], self.mark, number))
            self._round += 1

    def look(self, *links: Capture) -> range:
        """The rounds from now on that have passed to all these links, or never will."""
        begin = self._round + 1                         # the round of this moment may have begun before it
        end = begin + WINDOW
        for link in links:
            wait_for(lambda link=link: self._reached(link) >= end + BATCHES, SOON, "rounds")
        return range(begin, end)

    def passed(self, link: Capture, rounds: range) -> set[str]:
        """The sources whose datagrams of these rounds came to a link: all of them, in order, once; others none."""
        came = {source: self.came(link, source, rounds) for source in self.sources}
        for source, numbers in came.items():
            assert numbers in ([], list(rounds)), f"of {source} came {numbers} of {rounds}"
        return {source for source, numbers in came.items() if numbers}

    def came(self, link: Capture, source: str, rounds: range) -> list[int]:
        """The numbers of a source's datagrams of these rounds that came to a link, as they came."""
        frames = link.select(lambda frame: frame.destination == self.group and frame.source == source)
        return [number for frame in frames if (number := _number(frame)) in rounds]

    def _reached(self, link: Capture) -> int:
        return max(map(_number, link.select(lambda frame: frame.destination == self.mark)), default=0)


def _number(frame: Frame) -> int:
    return int.from_bytes(frame.packet[HEADERS : HEADERS + 4], "big")
