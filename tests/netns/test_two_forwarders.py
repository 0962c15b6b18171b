"""Two mcfwd on one host share its upstream link and address: neither cuts the other off, nor keeps what nobody wants.

    head -- [provider, leaves at once] -- up0 [router] down0 -- receiver0, of the first mcfwd
                                                      down1 -- receiver1, of the second
"""

from contextlib import ExitStack

import pytest

from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import Lab
from forwarder.lab.wait import wait_for
from netns.provider import start_provider

GROUP, SOON, PROMPT, RATE = "239.1.1.1", 10.0, 1.0, 1000.0
LEAVING = {2: "leave", 3: "TO_IN"}


class Two:
    """The provider, which speaks `version`, and both forwarders with a receiver each that has joined GROUP."""

    def __init__(self, stack: ExitStack, version: int) -> None:
        self.version = version
        self.lab = lab = stack.enter_context(Lab(2))
        self.above = start_provider(stack, lab, version)
        self.provider = self.above.mcfwd
        self.forwarders = [stack.enter_context(Mcfwd(lab.router, "-u", lab.upstream, "-d", down))
                           for down in lab.downstreams]
        self.provider.request("POST", "/v1/query")
        self.receivers = [stack.enter_context(Receiver(each)) for each in lab.receivers]
        for mcfwd in self.forwarders:
            mcfwd.wait_for(lambda mcfwd: mcfwd.interface(lab.upstream)["igmp_version"] == version, SOON, "the version")
        for mcfwd, receiver in zip(self.forwarders, self.receivers, strict=True):
            receiver.join(GROUP)
            mcfwd.wait_for(lambda mcfwd: mcfwd.show("upstream"), SOON, "the membership upstream")

    def wait_said(self, kind: str, since: float) -> None:
        def said() -> bool:
            return any(each.kind == kind for each in self.above.said(GROUP, since))

        wait_for(said, SOON, f"{kind} upstream")

    def provider_has(self, wanted: bool) -> None:
        self.provider.wait_for(lambda it: bool(it.group("eth0", GROUP)) is wanted, SOON, f"wanted there: {wanted}")


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def two(request: pytest.FixtureRequest, stack: ExitStack) -> Two:
    return Two(stack, request.param)


def test_what_one_left_the_other_keeps_and_what_both_left_ends_at_the_router(two, stack, measured):
    stack.enter_context(Sender(two.above.head, GROUP, rate=RATE, size=64))
    first, second = two.receivers
    second.wait_received(1, SOON)
    left = first.leave(GROUP)
    two.forwarders[0].wait_for(lambda mcfwd: not mcfwd.show("upstream"), SOON, "the end of the membership")
    two.wait_said(LEAVING[two.version], left)       # once it knows that the kernel does not hold it
    second.wait_received(second.report().total("received") + 2 * int(RATE), SOON)
    stream, = second.report().streams
    assert measured("silence for who stays", stream.lost / RATE) < PROMPT
    two.provider_has(True)
    second.leave(GROUP)
    two.provider_has(False)
