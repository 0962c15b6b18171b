"""Receivers with the socket buffer that they get by default."""

from bench.checks.model import Check
from bench.checks.rates import to_kernel


def _iperf(megabits: int) -> Check:
    metric = f"lost at {megabits} Mbit/s"
    return Check(
        f"iperf-{megabits}",
        f"iperf -b {megabits}M to 2 receivers: lost beyond what the kernel loses, worst pair",
        "%",
        0.25,  # what was lost before sends were spaced
        0.0,
        ("iperf", "mcfwd", metric),
        ("iperf", "kernel", metric),
        more=False,
        minus=True,
        worst=True,
    )


RECEIVERS: tuple[Check, ...] = (
    to_kernel("default-buffers", "4 ports, default socket buffers, to the kernel", 2.0, 2.5, "default-buffers"),
    _iperf(100),
    _iperf(200),
)
