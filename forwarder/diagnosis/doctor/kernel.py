"""Capabilities, and what the kernel's packet sockets can. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts, KernelFacts
from forwarder.diagnosis.doctor.finding import ERROR, NOTE, WARNING, Finding, Kind, command

CAPABILITY = Kind("no capability", ERROR)
PACKET_SOCKETS = Kind("packet sockets refused", ERROR)
SEGMENTATION = Kind("no segmentation", WARNING)
UNASKED = Kind("kernel not asked", NOTE)

NO_CAPABILITY = "CAP_NET_RAW is missing here: `mcfwd run` by this user would end with status 77"
"""Also what `mcfwd check` warns of."""
CONTAINER = "give it to the container (docker run --cap-add NET_RAW, securityContext.capabilities.add: [NET_RAW])"
FILTERS = "sysctl -w net/core/optmem_max=131072"    # what Linux has by default since 6.8
OF_FILTERS = "SO_ATTACH_FILTER: ENOMEM"


def findings(facts: Facts) -> Iterator[Finding]:
    """What there is to say; an instance that runs has the capability, whoever asks."""
    kernel = facts.kernel
    if not kernel.raw and not facts.instance.exists:
        yield _capability(kernel)
    if kernel.refused:
        yield _refused(kernel)
    if not kernel.segmentation:
        yield SEGMENTATION.found(
            "kernel", f"Linux {kernel.release} takes no UDP segmentation offload: each datagram is sent by itself,"
            " which costs several times as much, and super-frames of senders that segment are lost (ring_full)",
            "run Linux 6.2 or newer",
        )  # fmt: skip
    elif not kernel.asked:
        yield UNASKED.found(
            "kernel", f"whether packet sockets work here was not asked, which takes CAP_NET_RAW; by its release"
            f" ({kernel.release}) the kernel takes UDP segmentation offload",
            "run mcfwd doctor as root",
        )  # fmt: skip


def _capability(kernel: KernelFacts) -> Finding:
    if kernel.uid == 0:
        return CAPABILITY.found("capabilities", NO_CAPABILITY, CONTAINER)
    user = str(kernel.uid)
    grant = command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps", "+net_raw",
                    "--ambient-caps", "+net_raw", "mcfwd", "run")  # fmt: skip
    return CAPABILITY.mended("capabilities", NO_CAPABILITY, grant,
                             "and what run needs; a unit of systemd: AmbientCapabilities=CAP_NET_RAW")  # fmt: skip


def _refused(kernel: KernelFacts) -> Finding:
    words = f"a packet socket as each interface needs it was refused: {kernel.refused}"
    if OF_FILTERS in kernel.refused:
        return PACKET_SOCKETS.mended("kernel", words, FILTERS)
    return PACKET_SOCKETS.found("kernel", words, kernel.refused_help or "use a kernel with CONFIG_PACKET")
