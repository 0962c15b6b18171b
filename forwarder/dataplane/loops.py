"""Our own frames when a loop in the network, such as a bridge over two of our links, brings them back.

A frame that carries the hardware address of another of our ports was sent by us. Of the address of the port it came
in by nothing is concluded: ipvlan links share theirs with their neighbours. Pure.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions, Rows
from forwarder.dataplane.lists import contains

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

    def has_sent(self, ingress: int, mac: bytes) -> bool:
        """Whether a frame from `mac` that came in by port `ingress` was sent by another port of ours."""
        return mac in self._all and self._of.get(ingress, mac) != mac

    def returned(self, ingress: int, rows: Rows) -> Positions:
        """Which of the Ethernet frames that came in by port `ingress` another port of ours has sent."""
        suspects = self._suspect[rows["source_end"]]
        if not np.count_nonzero(suspects):
            return NONE
        if ingress not in self._of:
            return NONE
        (at,) = suspects.nonzero()
        words = rows["source"][at]
        returned: Positions = at[contains(self._words, words) & (words != _words(self._of[ingress] + ETHERTYPE_IPV4))]
        return returned


def _words(octets: bytes) -> npt.NDArray[np.uint64]:
    return np.frombuffer(octets, np.uint64)
