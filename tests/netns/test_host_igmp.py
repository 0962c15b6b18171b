"""A program on the forwarding host that wants the same groups: it shares our address, and neither cuts the other off.

    head  eth0 -- eth1 [provider, leaves at once] eth0 -- up0 [router] down0 -- receiver0
    10.1.0.1      10.1.0.2                 10.0.0.1     10.0.0.2

On the router mcfwd forwards, and a recorder is a member on up0 by the kernel's IGMP.
"""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.programs import Receiver, Sender
from forwarder.lab.topology import UPSTREAM, Lab
from forwarder.lab.wait import wait_for
from netns.provider import start_provider
from netns.site import Told

GROUP, SOON, PROMPT = "239.1.1.1", 10.0, 1.0
RATE = 1000.0
AGENT = "mcfwd-agent"
LEAVING, JOINING = {2: "leave", 3: "TO_IN"}, {2: "report v2", 3: "TO_EX"}


class Shared:
    """See the module; `version` is spoken on the link that the router and its recorder share."""

    def __init__(self, stack: ExitStack, version: int) -> None:
        self.version, self._stack = version, stack
        self.lab = lab = stack.enter_context(Lab(1))
        lab.router.sysctl(f"ipv4/conf/{lab.upstream}/force_igmp_version", version)
        self.above = start_provider(stack, lab, version)
        self.provider = self.above.mcfwd
        self.recorder = stack.enter_context(Receiver(lab.router, interface=lab.upstream, port=5001))
        self.receiver = stack.enter_context(Receiver(lab.receivers[0]))
        stack.enter_context(Sender(self.above.head, GROUP, rate=RATE, size=64))
        stack.enter_context(Sender(self.above.head, GROUP, rate=RATE, size=64, port=5001))

    def start(self) -> None:
        """mcfwd on the router, which has heard what version is spoken."""
        lab = self.lab
        self.mcfwd = self._stack.enter_context(Mcfwd(lab.router, "-u", lab.upstream, "-d", *lab.downstreams))
        if self.version == 2:
            self.provider.request("POST", "/v1/query")
        self.mcfwd.wait_for(lambda _: self.up["igmp_version"] == self.version, SOON, "the version")

    @property
    def up(self) -> dict:
        return self.mcfwd.interface(self.lab.upstream)

    def said(self, since: float = 0.0) -> list[Told]:
        """What either of both has said on the link."""
        return self.above.said(GROUP, since)

    def wait_said(self, kind: str, since: float) -> Told:
        return wait_for(lambda: [each for each in self.said(since) if each.kind == kind], SOON, f"{kind} upstream")[0]

    def wait_held(self, count: int) -> None:
        self.mcfwd.wait_for(lambda _: self.up["host_memberships"] == count, SOON, f"{count} of the host's own")

    def wait_wanted(self, wanted: bool) -> None:
        self.mcfwd.wait_for(lambda mcfwd: bool(mcfwd.show("upstream")) is wanted, SOON, f"wanted: {wanted}")

    def flows_to(self, receiver: Receiver, count: int = int(RATE)) -> None:
        receiver.wait_received(receiver.report().total("received") + count, SOON)


@pytest.fixture(params=[pytest.param(2, id="v2", marks=pytest.mark.slow), pytest.param(3, id="v3")])
def shared(request: pytest.FixtureRequest, stack: ExitStack) -> Iterator[Shared]:
    return Shared(stack, request.param)


def host_leaves(shared: Shared, measured) -> None:
    """The recorder comes and goes, while the receiver goes on."""
    joined = shared.recorder.join(GROUP)
    shared.wait_said(JOINING[shared.version], joined)
    shared.wait_held(1)
    shared.flows_to(shared.recorder)
    left = shared.recorder.leave(GROUP)
    leave = shared.wait_said(LEAVING[shared.version], left)
    report = shared.wait_said(JOINING[shared.version], leave.time)
    assert measured("leave of the host to our report", report.time - leave.time) < PROMPT
    shared.wait_held(0)
    shared.flows_to(shared.receiver)
    assert shared.provider.group("eth0", GROUP)


def we_leave(shared: Shared) -> None:
    """The receiver goes, while the recorder goes on; then that goes too."""
    left = shared.receiver.leave(GROUP)
    shared.wait_wanted(False)
    shared.flows_to(shared.recorder)
    assert LEAVING[shared.version] not in {each.kind for each in shared.said(left)}
    shared.wait_said(LEAVING[shared.version], shared.recorder.leave(GROUP))
    shared.provider.wait_for(lambda provider: not provider.group("eth0", GROUP), SOON, "the end of the group")


def test_what_the_host_leaves_is_reported_again_at_once(shared, measured):
    shared.start()
    shared.receiver.join(GROUP)
    shared.wait_wanted(True)
    shared.flows_to(shared.receiver)
    host_leaves(shared, measured)
    shared.wait_said(LEAVING[shared.version], shared.receiver.leave(GROUP))     # nobody else wants it


def test_what_the_host_joined_before_we_came_is_not_left(shared):
    shared.recorder.join(GROUP)
    shared.start()
    shared.wait_held(1)
    shared.receiver.join(GROUP)
    shared.wait_wanted(True)
    shared.flows_to(shared.receiver)
    we_leave(shared)


def test_both_hold_after_the_agent_was_killed(shared, measured):
    shared.start()
    shared.receiver.join(GROUP)
    shared.wait_wanted(True)
    shared.recorder.join(GROUP)
    shared.wait_held(1)
    shared.mcfwd.wait_replaced(AGENT, shared.mcfwd.kill(AGENT, signal.SIGKILL))
    shared.wait_held(1)
    shared.recorder.leave(GROUP)
    shared.wait_held(0)
    host_leaves(shared, measured)
    shared.recorder.join(GROUP)
    shared.wait_held(1)
    we_leave(shared)


def test_when_we_end_what_the_host_holds_is_not_left(shared):
    shared.start()
    shared.receiver.join(GROUP)
    shared.recorder.join(GROUP)
    shared.wait_wanted(True)
    shared.wait_held(1)
    before = shared.said()[-1].time
    assert shared.mcfwd.stop() == 0
    shared.flows_to(shared.recorder)
    assert LEAVING[shared.version] not in {each.kind for each in shared.said(before)}


def test_a_channel_of_the_host_is_kept_beside_a_group_of_ours(stack):
    shared = Shared(stack, 3)
    shared.start()
    shared.receiver.join(GROUP)
    shared.wait_wanted(True)
    shared.recorder.join(GROUP, "10.1.0.1")
    shared.wait_held(1)
    left = shared.receiver.leave(GROUP)
    told_of = shared.wait_said("TO_IN", left)
    assert told_of.sources == ("10.1.0.1",)
    shared.flows_to(shared.recorder)


def test_reports_of_the_link_are_never_taken_for_the_hosts_own(stack):
    """Whatever address they have: what left this host is marked by its kernel."""
    shared = Shared(stack, 3)
    shared.start()
    forged = Receiver(shared.lab.source)
    with forged:
        forged.join(GROUP)
        shared.mcfwd.wait_for(lambda _: shared.up["igmp"]["report_v3"], SOON, "reports")
    igmp = shared.up["igmp"]
    assert (shared.up["host_memberships"], igmp["host_report"], igmp["host_ignored"]) == (0, 0, 0)


def test_a_thousand_groups_of_the_host_and_a_loop_of_joins_and_leaves(stack):
    shared = Shared(stack, 3)
    shared.start()
    shared.receiver.join(GROUP)
    shared.wait_wanted(True)
    many = [f"239.7.{number >> 8}.{number & 255}" for number in range(1000)]
    with Receiver(shared.lab.router, *many, interface=shared.lab.upstream, port=5002):
        shared.wait_held(1000)
        pids = shared.mcfwd.pids
        for _ in range(50):
            shared.recorder.join(GROUP)
            shared.recorder.leave(GROUP)
        shared.flows_to(shared.receiver)
    shared.wait_held(0)
    shared.flows_to(shared.receiver)
    assert shared.mcfwd.pids == pids
    assert shared.up["igmp"]["host_limit"] == 0


def test_what_the_host_sends_on_other_links_of_its_own_is_no_business_of_ours(stack):
    shared = Shared(stack, 3)
    shared.start()
    with shared.lab.router.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
        request = socket.inet_aton(GROUP) + socket.inet_aton("192.168.10.1")
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        shared.receiver.join(GROUP)
        shared.wait_wanted(True)
    assert shared.up["host_memberships"] == 0


def test_what_a_container_says_through_the_upstream_link_is_its_own(stack):
    """It leaves by our interface, from another MAC address: here without an IPv4 address, then with ours."""
    shared = Shared(stack, 3)
    shared.start()
    lab, container = shared.lab, stack.enter_context(Namespace("container"))
    links.macvlan(lab.router, "mv0", lab.upstream)
    links.configure(lab.router, "mv0", net_ns_fd=container.fd)
    links.up(container, "mv0")
    member = stack.enter_context(Receiver(container, interface="mv0"))
    for address in (None, UPSTREAM):
        if address:
            links.add_address(container, "mv0", f"{address}/24")
        before = shared.up["igmp"]["host_ignored"]
        member.join(GROUP)
        shared.mcfwd.wait_for(lambda _, n=before: shared.up["igmp"]["host_ignored"] > n, SOON, "its report")
        assert shared.up["host_memberships"] == 0
        member.leave(GROUP)
