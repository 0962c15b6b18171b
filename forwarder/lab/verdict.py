"""What a receiver of the demo should have seen, and whether it has. Pure."""

from dataclasses import dataclass

JOIN_LIMIT = 1.5  # seconds from join to first datagram: the kernel's own report takes some milliseconds
LEAVE_LIMIT = 3.5  # seconds from leave to last datagram: two last member queries at their default


@dataclass(frozen=True)
class Account:
    """Of one receiver: its datagrams, and the frames of multicast streams that its link carried."""

    joined: float
    left: float
    first: float | None
    received: int
    lost: int
    duplicated: int
    altered: int
    frames: list[tuple[float, str]]  # time and group of every UDP frame that came in
    group: str
    reported_upstream: bool


def complaints(account: Account) -> list[str]:
    """What is wrong, in words; empty when all is well."""
    found = []
    if account.first is None:
        found.append("never received anything")
    elif account.first - account.joined > JOIN_LIMIT:
        found.append(f"first datagram {account.first - account.joined:.2f} s after the join")
    for field in ("lost", "duplicated", "altered"):
        if getattr(account, field):
            found.append(f"{getattr(account, field)} {field}")
    return found + _misplaced(account)


def _misplaced(account: Account) -> list[str]:
    """Frames at the wrong time or of the wrong group."""
    early = sum(time < account.joined for time, _ in account.frames)
    late = sum(time > account.left + LEAVE_LIMIT for time, _ in account.frames)
    foreign = sum(group != account.group for _, group in account.frames)
    found = [
        f"{count} frames {what}"
        for count, what in (
            (early, "before the join"),
            (late, f"more than {LEAVE_LIMIT:g} s after the leave"),
            (foreign, "of groups nobody here joined"),
        )
        if count
    ]
    return found if account.reported_upstream else [*found, "no report seen upstream"]


def leave_delay(account: Account) -> float:
    """Seconds from the leave to the last frame on the link; 0 when it stopped at once."""
    return max([0.0, *(time - account.left for time, _ in account.frames)])
