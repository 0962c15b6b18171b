"""How long frames are gathered before the next batch is taken: not at all when few come, and longer under load.

A batch has a fixed cost, so taking a few frames at a time makes them dear; but one that comes alone has nothing to
wait for. Therefore batches are held `gather` seconds apart, as soon as that many frames are expected to come in the
meantime that it is worth it. A batch that takes longer than that to carry sets its own pace: the more has come in
meanwhile, the more goes together, so the cost of a frame falls as the load rises. Pure: the clock is the caller's.
"""

WORTH_WAITING = 12
"""Frames in a batch that are worth a wait; about where half of a batch's cost is its fixed part."""


class Pace:
    """Decides for one worker; `gather` 0 never waits."""

    def __init__(self, gather: float) -> None:
        """`gather`: seconds."""
        self.gather = gather
        self._began = 0.0
        self._rate = 0.0

    def wait(self, now: float) -> float:
        """Seconds to wait before frames that are ready now are taken."""
        if self._rate * self.gather < WORTH_WAITING:
            return 0.0
        return max(0.0, self._began + self.gather - now)

    def took(self, frames: int, began: float) -> None:
        """A breath that began at `began` carried `frames`."""
        apart = began - self._began
        self._rate = frames / apart if apart > 0.0 else 0.0
        self._began = began
