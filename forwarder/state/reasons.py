"""Why a frame was not forwarded: the names that counters and `show` use, in the order of their columns."""

from enum import IntEnum


class Reason(IntEnum):
    """Verdict on a frame: FORWARD, or the reason of a drop (counter column = value - 1)."""

    FORWARD = 0
    MALFORMED = 1
    TRUNCATED = 2
    TTL_EXPIRED = 3
    TTL_THRESHOLD = 4
    WRONG_INTERFACE = 5
    SOURCE_NOT_ALLOWED = 6
    BAD_SOURCE = 7
    BOUNDARY = 8
    RESERVED = 9
    RATE_LIMITED = 10
    NO_MEMBERS = 11
    NOT_QUERIER = 12
    STANDBY_DUPLICATE = 13
    MTU = 14
    RING_FULL = 15
    TRANSMIT_FAILED = 16
    FLOW_LIMIT = 17
    FLOW_TABLE_FULL = 18


REASONS: tuple[str, ...] = tuple(reason.name.lower() for reason in Reason if reason)
