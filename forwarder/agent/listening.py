"""Hearing all ports fairly: their sockets behind one descriptor, read in turn for as long as a breath may take."""

import select
import time
from collections import deque
from collections.abc import Callable

from forwarder.agent.igmp_socket import IgmpSocket

BREATH = 0.005          # seconds of reading after which others get their turn
QUOTA = 16              # packets of one port while others wait

Hear = Callable[[int, bytes, float, int, int], None]    # port index, packet, now, MAC addresses it is from and to


def unheard(index: int, packet: bytes, now: float, mac: int, to: int) -> None:
    """Listens to nothing."""


class Listening:
    """The sockets that are listened to; `fileno` is readable while one has something; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._epoll = clock, select.epoll()
        self._sockets: dict[int, IgmpSocket] = {}
        self._waiting: deque[IgmpSocket] = deque()

    def fileno(self) -> int:
        """The number for the loop."""
        return self._epoll.fileno()

    def add(self, sock: IgmpSocket) -> None:
        """Listen to a port."""
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, sock: IgmpSocket) -> None:
        """Listen to a port no longer; before it is closed."""
        self._epoll.unregister(sock.fileno())
        del self._sockets[sock.fileno()]
        self._waiting = deque(each for each in self._waiting if each is not sock)

    def breathe(self, hear: Hear, overhear: Hear = unheard) -> bool:
        """Give `hear` what has come, each port in turn, for BREATH seconds at most; False when all was heard.

        What this host itself has sent goes to `overhear`.
        """
        self._notice()
        waiting, clock = self._waiting, self._clock
        end = clock() + BREATH
        while waiting:
            sock = waiting.popleft()
            for _ in range(QUOTA):
                received = sock.receive()
                if received is None:
                    sock.owed = 0
                    break
                sock.owed -= 1
                now = clock()
                packet, mac, to, outgoing = received
                (overhear if outgoing else hear)(sock.index, packet, now, mac, to)
                if now > end:
                    waiting.append(sock)
                    return True
            else:
                waiting.append(sock)
        return False

    def owe(self) -> None:
        """What waits now is owed, on all ports."""
        self._notice()
        for sock in self._waiting:
            sock.owe()

    @property
    def owes(self) -> bool:
        """Whether something of what is owed was not heard yet."""
        return any(sock.owed > 0 for sock in self._waiting)

    def _notice(self) -> None:
        """Ports that were left waiting keep their place before those that were just noticed."""
        known = set(map(id, self._waiting))
        ready = (self._sockets[number] for number, _ in self._epoll.poll(0))
        self._waiting.extend(each for each in ready if id(each) not in known)
