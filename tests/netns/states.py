"""The notation of RFC 9776 section 6 for the states of a group: INCLUDE(A), EXCLUDE(X, Y), sources by number."""

from collections.abc import Collection

from netns.scenarios import TRAFFIC_SOURCES

INCLUDE, EXCLUDE = "include", "exclude"

State = tuple[str, set[str], set[str]]  # as `state_of` gives it: mode, sources with timers, blocked sources


def sources(*numbers: int) -> list[str]:
    """S1 … S4."""
    return [TRAFFIC_SOURCES[number - 1] for number in numbers]


def include(*wanted: int) -> State:
    """INCLUDE(A)."""
    return INCLUDE, set(sources(*wanted)), set()


def exclude(wanted: tuple[int, ...], blocked: tuple[int, ...]) -> State:
    """EXCLUDE(X, Y)."""
    return EXCLUDE, set(sources(*wanted)), set(sources(*blocked))


def admitted(state: State | None, senders: Collection[str] = TRAFFIC_SOURCES) -> set[str]:
    """Which of the senders a state lets through."""
    if state is None:
        return set()
    mode, wanted, blocked = state
    return wanted & set(senders) if mode == INCLUDE else set(senders) - blocked
