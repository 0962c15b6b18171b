"""Workers replaced one by one, where the configuration asks for others: more or fewer of them, or for more flows.

What each has carried, its flows and what is in its rings are its successor's. Each is replaced when the one before is
ready, so that no more than one is away. Where there are to be more, these begin before rings are opened for all, and
read them when they have those of all ports; where there are to be fewer, rings are opened for those first, and who is
one too many reads the former ones out and ends.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from forwarder.state.settings import DataplaneSettings
from forwarder.state.worker_segment import WorkerReader
from forwarder.supervisor.children import Child
from forwarder.supervisor.shared import AGENT, API, WORKER, Shared

log = logging.getLogger(__name__)

SPARE_WAIT = 8.0        # seconds for a spare to be there: it is started 5 s after the last one was used
IMPORTS = 1.0           # seconds that a spare has had for its imports, about twice what they take
PATIENCE = 10.0         # seconds for a worker that does not get ready, where others than it are asked for meanwhile
LEAVE = 3.0             # seconds for a worker that is one too many to read its rings out; it takes one at most
WHY = "the configuration asks for other workers"


class Company(Protocol):
    """Whose workers they are."""

    children: dict[str, Child]

    def worker(self, number: int) -> Child:
        """A new role."""

    def spare_age(self, now: float) -> float | None:
        """Seconds since a spare was started; None where there is none, inf where there is to be none."""

    def end(self, child: Child) -> None:
        """Its process is no longer heard, and ended if it has not yet."""


class Rings(Protocol):
    """The ports, of which each worker has a ring."""

    def resize(self, workers: int) -> None:
        """Begin to open rings for so many workers."""

    @property
    def resizing(self) -> bool:
        """Whether some port has not got them yet."""

    def read_segments(self, workers: Sequence[int]) -> None:
        """These are the segments of the workers now, by their numbers."""


class _GivenUpError(Exception):
    """Others are asked for, and whoever was begun last does not get ready."""


class Restaffing:
    """One at a time; what is asked meanwhile comes next. `clock`: monotonic seconds."""

    def __init__(
        self, shared: Shared, company: Company, rings: Rings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared, self._company, self._rings, self._clock = shared, company, rings, clock
        self._steps: Iterator[None] | None = None
        self._now: DataplaneSettings | None = shared.sizes      # None: some are of these sizes, some of those
        self._wanted = shared.sizes
        self._refused: OSError | None = None
        self._untold: set[str] = set()

    @property
    def under_way(self) -> bool:
        """Whether workers are being replaced."""
        return self._steps is not None

    def want(self, sizes: DataplaneSettings) -> None:
        """Let there be workers of these sizes."""
        self._wanted = sizes

    def turn(self) -> None:
        """Go on where something has come that was waited for; OSError where what is needed is not to be had now.

        That is asked for again in the next turn.
        """
        if self._steps is None and _differ(self._now, self._wanted):
            self._shared.plan(self._wanted)
            self._steps, self._now = self._replaced(self._wanted), self._wanted
        if self._steps is not None and next(self._steps, self) is self:
            self._steps = None
        self._tell()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def tell_again(self, name: str) -> None:
        """What agent or API were told was cut off."""
        self._untold |= {name} & {AGENT, API}

    def _replaced(self, sizes: DataplaneSettings) -> Iterator[None]:
        """All there is to be done, as it is planned; waits wherever it yields."""
        try:
            yield from self._one_by_one(sizes, len(self._shared.workers))
        except _GivenUpError:
            self._now = None
            return
        self._shared.settle()
        self._untold = {AGENT, API}
        log.info("workers now: %d, of %d flows each", sizes.workers, sizes.max_flows)

    def _one_by_one(self, sizes: DataplaneSettings, former: int) -> Iterator[None]:
        """There are `former` workers; _GivenUpError."""
        self._untold.add(AGENT)
        if sizes.workers < former:
            yield from self._resize(sizes.workers)
        for number in range(sizes.workers, former):
            yield from self._dismiss(self._company.children.pop(f"{WORKER}{number}"))
        for number in range(min(former, sizes.workers)):
            yield from self._with_spare()
            yield from self._replace(self._company.children[f"{WORKER}{number}"])
        for number in range(former, sizes.workers):
            yield from self._begin(number)
        if sizes.workers > former:
            yield from self._resize(sizes.workers)
        for number in range(former, sizes.workers):     # ready when they have a ring of each port, see `Staff`
            yield from self._until_ready(self._company.children[f"{WORKER}{number}"])

    def _resize(self, workers: int) -> Iterator[None]:
        self._rings.resize(workers)
        while self._rings.resizing:
            yield

    def _begin(self, number: int) -> Iterator[None]:
        while not self._enlist(number):
            yield
        child = self._company.children[f"{WORKER}{number}"]
        yield from self._until(lambda: child.here)

    def _enlist(self, number: int) -> bool:
        """Whether there is one role more now; it is only named when all that it needs is there."""
        try:
            self._shared.hand_on(number)
            child = self._company.worker(number)
            self._news()
        except OSError as error:
            self._refused = error
            return False
        self._company.children[f"{WORKER}{number}"] = child
        return True

    def _until_ready(self, child: Child) -> Iterator[None]:
        yield from self._until(lambda: child.ready)

    def _until(self, reached: Callable[[], bool]) -> Iterator[None]:
        """Whoever fills the role has the new segment, however often that is tried.

        Not for ever where others are asked for: this one may never get ready, as where there is no memory for so many
        flows. But PATIENCE long, or reloads that follow each other would leave nobody the time to begin.
        """
        until = self._clock() + PATIENCE
        while not reached():
            if _differ(self._now, self._wanted) and self._clock() >= until:
                raise _GivenUpError
            yield

    def _with_spare(self) -> Iterator[None]:
        """Wait until one is there who has done its imports, so that nobody reads the rings for 0.1 s and not for 1."""
        until = self._clock() + SPARE_WAIT
        while self._clock() < until and ((age := self._company.spare_age(self._clock())) is None or age < IMPORTS):
            yield

    def _replace(self, child: Child) -> Iterator[None]:
        child.leave(WHY)
        while child.leaving is not None:
            yield
        yield from self._until_ready(child)

    def succeed(self, child: Child) -> None:
        """The process of a worker that was asked to leave has ended: its successor has the segment made for it.

        OSError where something is refused: it is still to be succeeded then, and nobody may take its place before.
        """
        number = int(child.name.removeprefix(WORKER))
        self._shared.hand_on(number)
        reader = WorkerReader(self._shared.workers[number])
        self._news()
        child.heartbeat = lambda: reader.heartbeat
        child.left()

    def _news(self) -> None:
        """A worker has another segment, which others read."""
        self._rings.read_segments(self._shared.workers)
        self._untold.add(API)

    def _dismiss(self, child: Child) -> Iterator[None]:
        """It gets nothing more: what its rings still hold goes out, then it ends."""
        child.send({"type": "leave"})
        until = self._clock() + LEAVE
        while child.process is not None and child.process.popen.poll() is None and self._clock() < until:
            yield
        self._company.end(child)

    def _tell(self) -> None:
        """Lend agent and API what they need of the workers there are now; as soon as their queues take it."""
        lent: Mapping[str, Callable[[], Mapping[str, int]]] = {AGENT: self._shared.bells, API: self._shared.segments}
        for name in sorted(self._untold):
            child = self._company.children[name]
            if child.process is not None and child.begun and child.send({"type": "workers"}, lent[name]()):
                self._untold.discard(name)


def _differ(one: DataplaneSettings | None, other: DataplaneSettings) -> bool:
    return one is None or (one.workers, one.max_flows) != (other.workers, other.max_flows)
