"""A provider's router above the lab, which leaves at once: mcfwd in the source's namespace, and a head end behind it.

    head  eth0 -- eth1 [provider] eth0 -- up0 [router] ...
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from forwarder.lab import links
from forwarder.lab.capture import Capture, Frame
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import LINK, UPSTREAM, Lab
from netns.site import Told, told

# Queries come at the start alone: nothing that a test sees is the answer to one, and what ends, ends by a leave.
SETTINGS = """
[[interface]]
name = "eth1"
role = "upstream"

[[interface]]
name = "eth0"
role = "downstream"
igmp_version = {version}
quick_leave_untracked = true

[igmp]
startup_query_interval = 0.3
query_response_interval = 0.3
"""


class Provider(NamedTuple):
    """Where streams come from, the router, and what is seen on its link to the lab."""

    head: Namespace
    mcfwd: Mcfwd
    wire: Capture

    def said(self, group: str, since: float = 0.0) -> list[Told]:
        """What was said of a group from the address of the lab's router, whoever has it."""
        def ours(frame: Frame) -> bool:
            return frame.source == UPSTREAM and frame.time >= since

        return [each for frame in self.wire.select(ours) for each in told(frame) if each.group == group]


def start_provider(stack: ExitStack, lab: Lab, version: int) -> Provider:
    """It speaks `version` to the lab."""
    head = stack.enter_context(Namespace("head"))
    links.veth(head, LINK, lab.source, "eth1")
    for namespace, name, address in ((head, LINK, "10.1.0.1/24"), (lab.source, "eth1", "10.1.0.2/24")):
        links.add_address(namespace, name, address)
        links.up(namespace, name)
    links.wait_up(lab.source, "eth1")
    wire = stack.enter_context(Capture(lab.source))
    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "provider.toml"
    file.write_text(SETTINGS.format(version=version))
    return Provider(head, stack.enter_context(Mcfwd(lab.source, "-c", str(file))), wire)
