"""How long frames are gathered, and how many: not at all when few come, and more the higher the load is.

A batch has a fixed cost, so taking a few frames at a time makes them dear; but one that comes alone has nothing to
wait for. Therefore batches are held `gather` seconds apart, as soon as that many frames are expected to come in the
meantime that it is worth it. A batch that takes longer than that to carry sets its own pace: the more has come in
meanwhile, the more goes together, so the cost of a frame falls as the load rises.

A large batch would only leave the caches, from which every port copies it, and keep the last port and all other rings
waiting; but of many interleaved flows many frames have to be taken from the ring, or there is nothing to gather. So
there are two numbers: what is carried at once (`limit`) follows the number of ports and the time it took, what is taken
from a ring (`reach`) the number of flows that were found; `portions` lie between them. Pure: the clock is the caller's.
"""

FEWEST, USUAL = 256, 2048
"""Frames that are carried at once, at least and at most: several super-datagrams, and what stays in the caches. Larger
ones, up to 16,384, carried 1,000 flows no faster."""
MOST = 16384
"""Frames that are taken from a ring: a third of an upstream ring at high rates, since as many come in while they are
carried; rings lend no more than half of themselves."""
COPIES = 65536
"""Frames that leave in a batch, all ports together: about 40 ms of work."""
SHORT, LONG = 16, 40
"""Frames of a flow in a batch: where more are still much cheaper, and where there is hardly anything left to win."""

LONGEST = 0.040
"""Seconds that a batch may take: nobody else's frames, no news and no heartbeat wait longer."""
AIM = 0.9 * LONGEST
"""Seconds that the next one shall take where time is what bounds it; with halving and doubling it was 28 ms of 40."""

WORTH_WAITING = 12
"""Frames in a batch that are worth a wait; about where half of a batch's cost is its fixed part."""

ENOUGH, LONGER = 50, 1.25
"""Frames that a batch should have, and how much longer than `gather` they may be waited for. At 20,000 frames a second
2 ms bring 40, and each would pay for a fortieth of a batch; the wait for ten more is a quarter of a millisecond in the
mean."""


class Pace:
    """Decides for one worker; `gather` 0 never waits."""

    def __init__(self, gather: float) -> None:
        """`gather`: seconds."""
        self.gather = gather
        self._began = 0.0
        self._rate = 0.0
        self._most = USUAL
        self.limit = USUAL  # frames that are carried at once
        self.reach = USUAL  # frames that are taken from a ring, and carried in portions if that are more

    def bound(self, ports: int) -> None:
        """No batch can go to more than so many ports. Of 250 and more even the smallest batch may take too long."""
        self._most = min(max(COPIES // max(ports, 1), FEWEST), USUAL)
        self.limit = min(self.limit, self._most)

    def fit(self, frames: int, flows: int, seconds: float, done: bool = True) -> None:
        """What was carried at once had `frames` of so many flows that can be gathered, and took `seconds`.

        `done`: it was all that was taken, or the last of it; how much is taken is judged once.
        """
        if seconds > LONGEST:
            self.limit = max(int(min(self.limit, frames) * AIM / seconds), FEWEST)
        elif 2 * frames < self.limit:
            return
        elif seconds < AIM:
            self.limit = min(max(int(frames * AIM / seconds), self.limit), 2 * self.limit, self._most)
        if not done:
            return
        if frames < SHORT * flows:
            self.reach = min(2 * self.reach, MOST)
        elif frames > LONG * flows:
            self.reach //= 2
        self.reach = max(self.reach, self.limit)

    def wait(self, now: float) -> float:
        """Seconds to wait before frames that are ready now are taken."""
        expected = self._rate * self.gather
        if expected < WORTH_WAITING:
            return 0.0
        longer = min(max(ENOUGH / expected, 1.0), LONGER)
        return max(0.0, self._began + self.gather * longer - now)

    def took(self, frames: int, began: float) -> None:
        """A breath that began at `began` carried `frames`."""
        apart = began - self._began
        self._rate = frames / apart if apart > 0.0 else 0.0
        self._began = began
