"""How much comes a second, of ports and of flows, by what was counted since a sample. Pure.

A rate is None (NaN in arrays) where it is not known: of a flow that is older than what is known of it. It is never less
than 0: what was counted less of than before is not the same any more.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from forwarder.api.samples import LEAST, Sample
from forwarder.state.flow_columns import Words

Floats = npt.NDArray[np.float64]
YOUNG = 10_000_000_000
"""Nanoseconds from the first frame on in which a flow's own life is what it is measured by."""
SECOND = 1e9


def of_flows(
    before: Sample | None, now: int, rows: npt.NDArray[np.intp], first_seen: Words,
    counters: Iterable[tuple[str, Words]],
) -> list[Floats]:
    """For each of `counters`, a name of `Sample`'s columns and what is counted in `rows` now: that much a second.

    `now`, `first_seen`: monotonic nanoseconds.
    """
    known, was = _known(before, rows, first_seen)
    age = now - first_seen.astype(np.int64)
    young = ~known & (first_seen > 0) & (age < YOUNG)
    elapsed = np.where(known, now - before.at if before else 0, np.maximum(age, LEAST)) / SECOND
    return [_rates(before, name, counted, known, young, was, elapsed) for name, counted in counters]


def _known(
    before: Sample | None, rows: npt.NDArray[np.intp], first_seen: Words
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Which rows were the same flow's in the sample, and where (0 for the others)."""
    sampled = np.frombuffer(before.first_seen if before else b"", np.uint64)
    if not len(sampled):
        return np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.intp)
    was = np.where(rows < len(sampled), rows, 0)
    return (rows < len(sampled)) & (sampled[was] == first_seen) & (first_seen > 0), was


def _rates(
    before: Sample | None, name: str, counted: Words, known: npt.NDArray[np.bool_], young: npt.NDArray[np.bool_],
    was: npt.NDArray[np.intp], elapsed: Floats,
) -> Floats:
    past = np.zeros(len(counted), np.uint64)
    if before is not None and known.any():
        past[known] = np.frombuffer(getattr(before, name), np.uint64)[was[known]]
    more = counted - past
    return np.where((known & (counted >= past)) | young, more.astype(np.float64) / elapsed, np.nan)
