"""One upstream at a time: a flow that comes in by several upstream ports is taken from one of them.

The rules, for a (source, group) and the upstream ports that could forward it:
* It is taken from the port of the lowest priority number among those where it is heard; of equal ones from the first.
  The other ports stand by.
* A port where it is silent for `failover_time`, or whose link is down, loses it at the next frame of another port,
  to the best of those that heard it within GAP x `failover_time`.
* In the first `failover_time` of a flow priority decides; later a better port gets it (back) only after it was
  heard there for HOLD_DOWN x `failover_time` without a silence of `failover_time`.
* The paths differ in delay. So that no packet comes by both, nothing is taken from the new port until the old one
  has been silent, or was left, for GAP x `failover_time`.

Only sound frames count as heard, so a path that delivers all with an expired TTL does not hold a flow. Whether
anybody wants the flow makes no difference here. A batch costs a few vector operations, and only where there are
several upstreams; Python runs for flows whose turn may have come. Pure; rows are those of the flow table. What has
changed hands and must be decided again is told by `take_changed`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forwarder.dataplane.frame import NONE, Positions

Pairs: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]

HOLD_DOWN = 5.0
GAP = 0.1
NEVER = -math.inf
MOST_AT_ONCE = 2048
"""Flows whose turn is looked at in one batch, some 10 microseconds each."""
NO_PORT = 1 << 12  # beyond all port indexes: what rows of nobody and somebody have for a port
SPARE = 3  # what rows of nobody stand by for, what rows that are taken do, and where -1 writes to


@dataclass(slots=True, eq=False)
class _Flow:
    """A (source, group): its row on every upstream port where it was seen, and the port it is taken from."""

    rows: dict[int, int] = field(default_factory=dict)
    active: int | None = None
    opens: float = NEVER  # nothing is taken from the active port before
    open: bool = False
    settled: float = NEVER  # until then priority alone decides
    epoch: int = 0  # of the configuration that it was last placed by


class Standby:
    """Which rows of a flow table of `capacity` rows are taken, where flows come in by several upstreams."""

    def __init__(self, capacity: int) -> None:
        self._nobody, self._somebody = capacity, capacity + 1
        self._has_rows = False
        self._is_up = np.zeros(NO_PORT + 1, np.bool_)  # by port
        self._priorities: dict[int, int] = {}
        self._up: frozenset[int] = frozenset()
        self._failover = 1.0
        self._epoch = 1  # how often the upstreams changed
        self._flows: dict[int, _Flow] = {}
        self._owner: dict[int, tuple[int, int]] = {}  # row -> source << 32 | group, port
        self._waiting = 0  # rows that are not taken
        self._changed: dict[int, None] = {}

    # what is there

    def _have_rows(self) -> None:
        """What is kept by row: 48 octets of each, which one upstream alone has no use for."""
        self._has_rows, count = True, self._nobody + SPARE
        self._heard = np.full(count, NEVER)  # when last
        self._heard[self._somebody] = math.inf
        self._since = np.full(count, NEVER)  # heard since then without a silence
        self._ready = np.full(count, math.inf)  # when it may have the flow, being of better priority
        self._rival = np.full(count, self._somebody)  # the row it stands by for
        self._entered = np.zeros(count, np.int64)  # the epoch in which it was; 0: not at all
        self._port = np.full(count, NO_PORT)

    def configure(self, priorities: Mapping[int, int], up: Iterable[int], failover_time: float) -> None:
        """The upstream ports with their priorities, and those that are up; every row must `enter` again after it.

        A flow is placed anew when its first row does so: thousands at once would keep the worker.
        """
        self._up = frozenset(up)
        self._is_up[:] = False
        self._is_up[[*self._up, NO_PORT]] = True
        ports = dict(priorities) if len(priorities) > 1 else {}
        if (ports, failover_time) == (self._priorities, self._failover):
            return
        if ports and not self._has_rows:
            self._have_rows()
        self._priorities, self._failover = ports, failover_time
        self._epoch += 1

    @property
    def several(self) -> bool:
        """Whether there is more than one upstream, so that there is anything to do."""
        return bool(self._priorities)

    def concerns(self, port: int) -> bool:
        """Whether `port` is one of several upstreams."""
        return port in self._priorities

    def adopt(self, port: int, pair: int, row: int, taken: bool, heard: float) -> None:
        """A row that a predecessor left, whether it was taken, and when its flow was last heard there."""
        flow = self._join(port, pair, row, heard)
        self._heard[row] = heard
        if taken:
            flow.active, flow.open = port, True
        self._place(flow)

    # what happens

    def enter(self, port: int, pair: int, row: int, now: float) -> bool:
        """The row of source << 32 | group on `port` is being decided: whether the flow is taken from there."""
        self._renew(pair)
        flow = self._flows.get(pair)
        if flow is None or flow.rows.get(port) != row:
            flow = self._join(port, pair, row, now)
        self._entered[row] = self._epoch
        if self._is_free(flow, port, now):
            self._elect(flow, port, now)
            self._changed.pop(row, None)
        return flow.active == port and flow.open

    def enter_all(self, port: int, pairs: Pairs, rows: Positions, now: float) -> Mask:
        """Which of different flows are taken from `port` (`enter`); those that `work` does not name cost nothing."""
        for at in np.flatnonzero(self.work(rows, now)).tolist():
            self.enter(port, int(pairs[at]), int(rows[at]), now)
        taken: Mask = self._rival[rows] == self._somebody
        return taken

    def work(self, rows: Positions, now: float) -> Mask:
        """Which of these rows, when they enter, have not entered before or may change hands."""
        rivals = self._rival[rows]
        settled = self._entered[rows] == self._epoch
        settled &= self._heard[rivals] > now - self._failover
        settled &= self._is_up[self._port[rivals]]
        work: Mask = ~settled
        return work

    def holds(self, rows: Positions) -> Mask:
        """Which of these rows have entered and were not forgotten since."""
        held: Mask = self._entered[rows] != 0
        return held

    def forget_all(self, rows: Positions) -> None:
        """These rows, each named once, were given to other flows, or are refused for other reasons."""
        for row in rows[self.holds(rows)].tolist():
            self.forget(row)

    def forget(self, row: int) -> None:
        """The row was given to another flow, or is refused for another reason."""
        pair, port = self._owner.pop(row, (0, 0))
        if pair:
            self._part(pair, port, self._flows[pair])
        self._heard[row], self._ready[row] = NEVER, math.inf
        self._entered[row] = 0
        self._stand_by(row, self._somebody)

    def listen(self, rows: Positions, now: float) -> None:
        """Sound frames of these rows (-1: of none) came by one of the upstreams."""
        if not self._waiting:
            self._heard[rows] = now
            return
        lost = now - self._failover
        silent = self._heard[rows] <= lost
        if np.count_nonzero(silent):
            self._resume(rows[silent], now)
        self._heard[rows] = now
        due = self._heard[self._rival[rows]] <= lost
        due |= self._ready[rows] <= now
        if np.count_nonzero(due):
            for row in np.unique(rows[due])[:MOST_AT_ONCE].tolist():  # the others are due at their next frame still
                self._advance(row, now)

    def take_changed(self) -> Positions:
        """Rows that were given or lost their flow since the last call; a few may serve other flows by now."""
        if not self._changed:
            return NONE
        changed = np.array(sorted(self._changed), np.int64)
        self._changed = {}
        return changed

    # how it is decided

    def _renew(self, pair: int) -> None:
        """Bring a flow up to date with the upstreams there are."""
        flow = self._flows.get(pair)
        if flow is None or flow.epoch == self._epoch:
            return
        flow.epoch = self._epoch
        for port, row in list(flow.rows.items()):
            if port not in self._priorities:
                self.forget(row)
        self._place(flow)

    def _join(self, port: int, pair: int, row: int, now: float) -> _Flow:
        self.forget(row)
        flow = self._flows.get(pair)
        if flow is not None and port in flow.rows:
            self.forget(flow.rows[port])
        flow = self._flows.setdefault(pair, flow or _Flow(epoch=self._epoch))
        flow.rows[port] = row
        self._owner[row] = pair, port
        self._entered[row], self._port[row] = self._epoch, port
        self._since[row] = now
        self._place(flow)
        if now < flow.settled and self._ready[row] < math.inf:
            self._ready[row] = now
        return flow

    def _part(self, pair: int, port: int, flow: _Flow) -> None:
        row = flow.rows.pop(port)
        if flow.active == port:
            flow.active, flow.opens = None, float(self._heard[row]) + GAP * self._failover
            self._place(flow)
        if not flow.rows:
            del self._flows[pair]

    def _resume(self, rows: Positions, now: float) -> None:
        """These rows are heard again after a silence: what counted in their favour counts no more."""
        again = rows[self._heard[rows] > NEVER]
        self._since[again] = now
        again = again[self._ready[again] < math.inf]
        self._ready[again] = now + HOLD_DOWN * self._failover

    def _advance(self, row: int, now: float) -> None:
        """A row that is not taken was heard, and its turn may have come."""
        pair, port = self._owner[row]
        flow = self._flows[pair]
        if self._is_free(flow, port, now):
            self._elect(flow, port, now)
        elif flow.active == port:
            if now >= flow.opens:
                self._give(flow, port, now)
        elif self._ready[row] <= now and port in self._up:
            self._give(flow, port, now)

    def _is_free(self, flow: _Flow, port: int, now: float) -> bool:
        """Whether the flow is there for `port` to be had: nobody has it, or another that does not hear it."""
        return flow.active is None or (flow.active != port and not self._is_heard(flow, flow.active, now))

    def _elect(self, flow: _Flow, here: int, now: float) -> None:
        """Give the flow to the best of the ports that hear it right now; `here` has it if nobody else is there."""
        hearing = [port for port in flow.rows if self._is_heard(flow, port, now, GAP)]
        if hearing:
            self._give(flow, min(hearing, key=lambda port: (self._priorities[port], self._since[flow.rows[port]])), now)
        elif flow.active is None:
            flow.settled = now + self._failover
            self._give(flow, here, now)
        elif here in self._up and flow.active not in self._up:
            self._give(flow, here, now)

    def _give(self, flow: _Flow, port: int, now: float) -> None:
        former = flow.active
        if former is not None and former != port:
            row = flow.rows[former]
            flow.opens = float(self._heard[row]) + GAP * self._failover
            self._since[row] = now
            self._changed[row] = None
        self._changed[flow.rows[port]] = None
        flow.active, flow.open = port, flow.opens <= now
        self._place(flow)

    def _place(self, flow: _Flow) -> None:
        """Set what `listen` looks at for every row of the flow."""
        active = flow.active
        for port, row in flow.rows.items():
            self._ready[row] = math.inf
            if active is None:
                self._stand_by(row, self._nobody)
            elif port == active:
                self._stand_by(row, self._somebody if flow.open else self._nobody)
            else:
                self._stand_by(row, flow.rows[active])
                if self._priorities[port] < self._priorities[active]:
                    self._ready[row] = self._since[row] + HOLD_DOWN * self._failover

    def _stand_by(self, row: int, rival: int) -> None:
        self._waiting += int(rival != self._somebody) - int(self._rival[row] != self._somebody)
        self._rival[row] = rival

    def _is_heard(self, flow: _Flow, port: int, now: float, times: float = 1.0) -> bool:
        """Whether the flow was heard on `port` within so many times `failover_time`."""
        return port in self._up and bool(self._heard[flow.rows[port]] > now - times * self._failover)
