"""Which interfaces another mcfwd on this machine serves too: what both forward arrives twice, and neither hears that.

Whoever serves an interface holds an abstract Unix socket whose name says so. Such names are those of a network
namespace, as interfaces are, need no privilege, and go with the process, however it ends. Anybody may take such a name;
all that comes of it is a warning.
"""

import errno
import resource
import socket
from collections.abc import Collection

NAME = "\0mcfwd interface {}"
MOST = 64       # interfaces that are claimed: of two instances on thousands of links that is enough to be noticed
SHARE = 4       # no claim has a descriptor beyond this part of those that we may have: ports need them more


class Claims:
    """By ifindex, what we hold; a descriptor each."""

    def __init__(self, name: str = NAME) -> None:
        """`name`: of the socket of an ifindex."""
        self._name = name
        self._held: dict[int, socket.socket] = {}

    def hold(self, interfaces: Collection[int]) -> frozenset[int]:
        """Hold these and no others; those that somebody else holds. What cannot be asked counts as nobody's."""
        wanted = sorted(interfaces)[:MOST]
        for gone in self._held.keys() - wanted:
            self._held.pop(gone).close()
        return frozenset(each for each in wanted if each not in self._held and self._is_taken(each))

    def close(self) -> None:
        """Hold nothing any more."""
        self.hold(())

    def _is_taken(self, interface: int) -> bool:
        try:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError:     # no descriptor left
            return False
        taken = False
        if claim.fileno() < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE:
            try:
                claim.bind(self._name.format(interface))
                self._held[interface] = claim
                return False
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
        claim.close()
        return taken
