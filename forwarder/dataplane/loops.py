"""Our own frames when a loop in the network, such as a bridge over two of our links, brings them back.

A frame that carries the hardware address of another of our ports was sent by us. Of the address of the port it came
in by nothing is concluded: ipvlan links share theirs with their neighbours. Pure.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import ETHERNET, NONE, Positions, Rows
from forwarder.dataplane.lists import contains

SOURCE_WORD = (ETHERNET + 6) // 8
"""The 64-bit word of a row with source address and EtherType."""
LAST_OCTETS = (ETHERNET + 10) // 2
"""The 16-bit word of a row with the last two octets of the source address."""
ETHERTYPE_IPV4 = b"\x08\x00"


class OwnAddresses:
    """The hardware addresses of our Ethernet ports."""

    def __init__(self, addresses: Mapping[int, bytes]) -> None:
        """`addresses`: 6 octets by port index."""
        self._of = dict(addresses)
        self._all = frozenset(addresses.values())
        self._words = np.unique(_words(b"".join(mac + ETHERTYPE_IPV4 for mac in self._all)))
        self._suspect = np.zeros(1 << 16, np.bool_)  # by the last two octets: one look serves any number of ports
        self._suspect[np.frombuffer(b"".join(mac[4:] for mac in self._all), np.uint16)] = True

    def ours(self, ingress: int) -> frozenset[bytes]:
        """The addresses that no frame comes from by port `ingress`, but for the port's own; none where it has none.

        One set for all ports: one for each without its own would take memory with the square of their number.
        """
        return self._all if ingress in self._of else frozenset()

    def returned(self, ingress: int, rows: Rows) -> Positions:
        """Which of the Ethernet frames that came in by port `ingress` another port of ours has sent."""
        suspects = self._suspect[rows.view(np.uint16)[:, LAST_OCTETS]]
        if not np.count_nonzero(suspects):
            return NONE
        if ingress not in self._of:
            return NONE
        (at,) = suspects.nonzero()
        words = rows.view(np.uint64)[at, SOURCE_WORD]
        returned: Positions = at[contains(self._words, words) & (words != _words(self._of[ingress] + ETHERTYPE_IPV4))]
        return returned


def _words(octets: bytes) -> npt.NDArray[np.uint64]:
    return np.frombuffer(octets, np.uint64)
