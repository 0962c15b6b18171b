"""What a profile means to a worker: how frames are waited for and carried. Which rings there are, others decide."""

from dataclasses import dataclass

from forwarder.state.settings import DataplaneSettings, ProfileName


@dataclass(frozen=True, slots=True)
class Profile:
    """Manners of a worker.

    `gather`: seconds between two batches under load; `few`: frames that are cheaper carried one by one than as
    vectors; `burst`: datagrams of a flow that leave back to back by a port, while there is time; `spin`: never sleep.
    """

    gather: float
    few: int
    spin: bool = False
    burst: int = 64


PROFILES: dict[ProfileName, Profile] = {
    "latency": Profile(gather=0.0, few=6),
    "balanced": Profile(gather=0.002, few=6),
    "throughput": Profile(gather=0.005, few=6),
}


def profile_of(settings: DataplaneSettings) -> Profile:
    """The profile that is configured, with what was said beside it."""
    chosen = PROFILES[settings.profile]
    gather = chosen.gather if settings.gather_ms is None else settings.gather_ms / 1000
    return Profile(gather, chosen.few, settings.busy_poll, settings.burst)
