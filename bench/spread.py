"""Latency samples: of each receiver, and how far apart one datagram reaches the receivers. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
PERCENTILES = {"median": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}


def distribution(samples: npt.NDArray[Any]) -> dict[str, float]:
    """Count, minimum, mean, percentiles and maximum of samples, in their own unit; zeros where there is none."""
    if not len(samples):
        return {"count": 0, "min": 0.0, "mean": 0.0, **dict.fromkeys(PERCENTILES, 0.0), "max": 0.0}
    values = np.percentile(samples, list(PERCENTILES.values()))
    named = dict(zip(PERCENTILES, map(float, values), strict=True))
    return {"count": len(samples), "min": float(samples.min()), "mean": float(samples.mean()), **named} | {
        "max": float(samples.max())
    }


class Latencies:
    """Nanoseconds, one sample for each datagram and receiver."""

    def __init__(self, receivers: int) -> None:
        self._receivers = receivers
        self._parts: list[Counts] = []

    def add(self, owners: Counts, sequences: Counts, nanoseconds: Counts) -> None:
        """Keeps the samples of one sweep."""
        self._parts.append(np.stack((owners, sequences, nanoseconds)))

    def summary(self) -> dict[str, object]:
        """Distributions in seconds: of all, by receiver, and of maximum - minimum over the receivers of a datagram."""
        samples = np.concatenate(self._parts, axis=1) if self._parts else np.zeros((3, 0), np.int64)
        owners, nanoseconds = samples[0], samples[2]
        seconds = nanoseconds / 1e9
        return {
            "all": distribution(seconds),
            "ports": [distribution(seconds[owners == receiver]) for receiver in range(self._receivers)],
            "spread": distribution(self._spreads(samples) / 1e9),
        }

    def _spreads(self, samples: Counts) -> Counts:
        """Of each datagram that reached every receiver once (RFC 3918 section 5.2)."""
        order = np.argsort(samples[1], kind="stable")
        sequences, nanoseconds = samples[1][order], samples[2][order]
        if not len(sequences):
            return np.zeros(0, np.int64)
        _, starts, counts = np.unique(sequences, return_index=True, return_counts=True)
        whole = counts == self._receivers
        highest: Counts = np.maximum.reduceat(nanoseconds, starts)
        lowest: Counts = np.minimum.reduceat(nanoseconds, starts)
        spreads: Counts = (highest - lowest)[whole]
        return spreads
