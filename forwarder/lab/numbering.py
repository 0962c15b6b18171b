"""Which group, stream, sequence and length the n-th datagram of a sender has. Pure."""

import socket

import numpy as np
import numpy.typing as npt


class Numbering:
    """Which stream, sequence and length the n-th datagram has. Pure."""

    def __init__(self, streams: int, segments: int, size: int, largest: int) -> None:
        self._streams, self._segments = streams, segments
        self._size, self._span = size, max(0, largest - size) + 1

    def streams(self, first: int, messages: int) -> npt.NDArray[np.int64]:
        """Stream of each message, in turn; message n holds datagrams n*segments.. ."""
        return (first // self._segments + np.arange(messages)) % self._streams

    def sequences(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Number within its stream of each datagram from `first` on."""
        number = first + np.arange(count)
        message, segment = number // self._segments, number % self._segments
        return message // self._streams * self._segments + segment

    def lengths(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Payload octets of each datagram from `first` on; spread over the range when there is one."""
        if self._span == 1:
            return np.full(count, self._size)
        return self._size + (first + np.arange(count)) * 2654435761 % 2**32 * self._span // 2**32

    def sent(self, count: int) -> list[int]:
        """Datagrams of each stream among the first `count` (whole messages)."""
        messages = count // self._segments
        return [
            (messages // self._streams + (stream < messages % self._streams)) * self._segments
            for stream in range(self._streams)
        ]


def expand(groups: list[str], count: int) -> list[str]:
    """The groups themselves, or with one group and a count that many consecutive ones."""
    if len(groups) > 1 or count < 2:
        return groups
    first = int.from_bytes(socket.inet_aton(groups[0]), "big")
    return [socket.inet_ntoa((first + number).to_bytes(4, "big")) for number in range(count)]
