"""What a port has heard of others on its link that is still to be known after a restart.

Rules of this file: frozen values; times are absolute monotonic seconds, and what is past is worth nothing.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heard:
    """Of other queriers (RFC 9776 sections 6.6.2 and 7.2.1); 0: none."""

    querier: int = 0                    # downstream: address of the one that won the election
    until: float = 0.0                  # and when it will be gone, unless it asks again
    v1_until: float = 0.0               # upstream: when those that speak version 1 or 2 will be forgotten
    v2_until: float = 0.0
    robustness: int = 0                 # what the querier told of its values
    interval: float = 0.0


NOBODY = Heard()


@dataclass(frozen=True, slots=True)
class OlderHosts:
    """Of hosts of older versions in one group downstream (section 7.3.2); -inf: none, or the group is no more."""

    group: int
    v1_until: float = -math.inf
    v2_until: float = -math.inf
