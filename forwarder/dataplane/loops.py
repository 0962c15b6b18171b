"""Our own frames when a loop in the network, such as a bridge over two of our links, brings them back.

A frame that carries the hardware address of another of our ports was sent by us. Of the address of the port it came
in by nothing is concluded: ipvlan links share theirs with their neighbours. Pure.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions, Rows

NOBODY: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
ETHERTYPE_IPV4 = b"\x08\x00"


class OwnAddresses:
    """The hardware addresses of our Ethernet ports."""

    def __init__(self, addresses: Mapping[int, bytes]) -> None:
        """`addresses`: 6 octets by port index."""
        words = {port: np.frombuffer(mac + ETHERTYPE_IPV4, np.uint64)[0] for port, mac in addresses.items()}
        self._others: dict[int, npt.NDArray[np.uint64]] = {
            port: np.array([other for other in words.values() if other != own], np.uint64)
            for port, own in words.items()
        }
        self._octets = {
            port: frozenset(other for other in addresses.values() if other != own) for port, own in addresses.items()
        }
        self._suspect = np.zeros(1 << 16, np.bool_)  # by the last two octets: one look serves any number of ports
        self._suspect[[int(np.frombuffer(mac[4:], np.uint16)[0]) for mac in addresses.values()]] = True

    def others(self, ingress: int) -> frozenset[bytes]:
        """The addresses of the ports that do not share the one of port `ingress`; none where that has none."""
        return self._octets.get(ingress, frozenset())

    def returned(self, ingress: int, rows: Rows) -> Positions:
        """Which of the Ethernet frames that came in by port `ingress` another port of ours has sent."""
        suspects = self._suspect[rows["source_end"]]
        if not np.count_nonzero(suspects):
            return NONE
        at = np.flatnonzero(suspects)
        return at[np.isin(rows["source"][at], self._others.get(ingress, NOBODY))]
